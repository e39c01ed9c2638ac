package plan

import (
	"math"
	"time"

	"nominald/drivers"
)

// Thermostats and relays are on or off and rest for minutes. They form a stack
// (domain.md 4.3): what must be held off is held where the room can bear it
// longest, and what may run again is given to the room that needs it most. The
// battery, where there is one, is kept in the middle of what it can give, so
// that it can follow the load both ways in between.

// The band in which a battery is kept by holding loads off or letting them go,
// as a share of what it can sustain (domain.md 4.3: 40-60 %, with room for the
// size of a unit on both sides). Where the target does not move with the load,
// comfort is spent only on what the battery can not give.
const (
	bandHigh   = 0.7
	bandMiddle = 0.5
	bandLow    = 0.2
	steadyBack = 0.95
)

// Without a battery units are rounded: one more is held off when more than this
// share of one is missing, one is let go when the rest of one is too much. It
// leans to the side of giving more: what is missing is not paid, what is too
// much only costs comfort.
const lean = 0.3

// swapK is how much longer-suffering one room must be than another before they
// change places.
const swapK = 1.0

// budgetK is how far a room that is held off may leave its set-point (domain.md
// 4.3: 2-2.5 K).
const budgetK = 2.5

// loadUnit is a thermostat or relay in this round.
type loadUnit struct {
	dev   *Device
	share *share
	held  bool
	takeW float64 // a free one: what holding it off takes from the load now
	early bool    // cheaper than the batteries: used before them
	needK float64 // how far its room has left the set-point
}

// stack is the thermostats and relays of a meter in this round.
type stack struct {
	rd       *round
	units    []loadUnit
	bounded  bool
	high     float64 // above this one more is held off
	back     float64 // one is let go if the battery then gives no more than this
	low      float64 // below this one is let go
	fits     float64 // even if the battery then gives all of this
	fraction bool    // no battery: limits are by the size of a unit
}

// comfort holds off thermostats and relays, or lets them go, so that the rest
// of the aim lies where the batteries can give it, and returns what those that
// are held off are expected to give.
func (rd *round) comfort(devices []*Device, a aim, batteryW, sustainedW float64) float64 {
	st := stack{rd: rd, bounded: a.bounded}
	restW := math.Max(0, a.w)
	for _, d := range devices {
		s := rd.share(d)
		switch d.Kind {
		case drivers.Battery:
		case drivers.Charger:
			restW -= rd.chargerGivesW(d, s)
		default:
			u := loadUnit{dev: d, share: s, held: s.inhibit || heldOff(d), needK: needK(d), early: d.Cost < rd.cheapestBattery(devices)}
			restW -= rd.unitGivesW(&u, a.tracked)
			st.units = append(st.units, u)
		}
	}
	if len(st.units) == 0 {
		return 0
	}
	st.limits(a, batteryW, sustainedW)
	st.keepOrFree(&restW)
	st.holdMore(&restW)
	st.freeOne(&restW)
	st.swap()
	return st.settle()
}

// limits sets the band that the rest of the aim is kept in.
func (st *stack) limits(a aim, batteryW, sustainedW float64) {
	st.fits = batteryW
	switch {
	case batteryW <= 0:
		st.fraction = a.tracked
	case a.tracked:
		st.high, st.back, st.low = bandHigh*sustainedW, bandMiddle*sustainedW, bandLow*sustainedW
	default:
		st.high, st.back = batteryW, steadyBack*batteryW
	}
}

// unitGivesW is what a unit gives once it has followed what it was told last.
// One that nothing measures is taken to give what it is rated for, unless the
// site's meter shows it.
func (rd *round) unitGivesW(u *loadUnit, tracked bool) float64 {
	d := u.dev
	drawn := d.PowerW.Or(0)
	const follows = 10 * time.Second // by then a compressor has stopped or started
	young := d.Commanded != nil && rd.in.Now.Sub(d.HeldSince) < follows
	switch {
	case u.held && !d.PowerW.OK:
		if tracked && !young {
			return 0
		}
		return d.NormalW.Or(d.RatedW)
	case u.held && young:
		return d.GivenW().Or(0) + drawn
	case u.held:
		return d.GivenW().Or(0)
	case !d.FreeSince.IsZero() && rd.in.Now.Sub(d.FreeSince) < follows:
		return -math.Max(0, d.RatedW-drawn)
	}
	u.takeW = drawn
	if !d.PowerW.OK {
		u.takeW = d.NormalW.Or(d.RatedW)
	}
	return 0
}

// chargerGivesW is what a charger will give with the limit of this round.
func (rd *round) chargerGivesW(d *Device, s *share) float64 {
	if s.used {
		return s.giveW
	}
	return d.GivenW().Or(0)
}

// needK is how far a room has left its set-point, in K, to either side: it is
// not known whether it is heated or cooled.
func needK(d *Device) float64 {
	if !d.TemperatureC.OK || !d.SetpointC.OK {
		return 0
	}
	return math.Abs(d.TemperatureC.V - d.SetpointC.V)
}

// hold and free change a unit's place and what is left to give.
func (u *loadUnit) hold(restW *float64) {
	*restW -= u.takeW
	u.held = true
}

func (u *loadUnit) free(restW *float64) {
	*restW += u.size()
	u.held = false
}

// size is what a unit draws when it runs, in W.
func (u *loadUnit) size() float64 {
	return math.Max(u.dev.RatedW, u.dev.NormalW.Or(0))
}

// keepOrFree lets go at once what may not be held off any longer.
func (st *stack) keepOrFree(restW *float64) {
	for i := range st.units {
		u := &st.units[i]
		reason := st.rd.comfortRefusal(u.dev)
		switch {
		case reason == "":
		case u.held:
			u.free(restW)
			u.share.reason = reason
		default:
			u.takeW = 0
			u.share.reason = reason
		}
	}
}

// holdMore holds off running units, those first whose rooms need it least,
// while the battery would have to give too much.
func (st *stack) holdMore(restW *float64) {
	for {
		var best *loadUnit
		for i := range st.units {
			u := &st.units[i]
			if u.held || u.takeW <= 0 || (st.bounded && u.takeW > *restW-st.fits) {
				continue
			}
			if *restW > st.over(u) && (best == nil || u.goesBefore(best)) {
				best = u
			}
		}
		if best == nil {
			return
		}
		best.hold(restW)
	}
}

// over is the rest above which a unit is held off.
func (st *stack) over(u *loadUnit) float64 {
	if st.fraction || u.early {
		return lean * u.takeW
	}
	return st.high
}

// goesBefore is the order in which units are held off: the cheaper, then the
// room that needs it least.
func (u *loadUnit) goesBefore(o *loadUnit) bool {
	if u.dev.Cost != o.dev.Cost {
		return u.dev.Cost < o.dev.Cost
	}
	return u.needK < o.needK
}

// heldOff tells whether a device is held off now, by us or by the process
// before.
func heldOff(d *Device) bool {
	return d.Held || d.Commanded != nil && (d.Commanded.Inhibit || d.Commanded.OffsetK > 0)
}

// cheapestBattery is the least cost of a battery that can be used, without one
// that of nothing.
func (rd *round) cheapestBattery(devices []*Device) float64 {
	least := math.Inf(-1)
	for _, d := range devices {
		if d.Kind == drivers.Battery && (math.IsInf(least, 0) || d.Cost < least) {
			least = d.Cost
		}
	}
	return least
}

// freeOne lets the unit run whose room needs it most, where the battery has
// room for it. One a round: the next round sees what came of it.
func (st *stack) freeOne(restW *float64) {
	var best *loadUnit
	for i := range st.units {
		u := &st.units[i]
		if u.held && st.mayFree(u) && (best == nil || best.goesBefore(u)) {
			best = u
		}
	}
	if best == nil {
		return
	}
	then := *restW + best.size() // what the battery would have to give
	back := then <= st.back
	if st.fraction || best.early {
		back = then <= lean*best.size()
	}
	if !back && !(*restW < st.low && then <= st.fits) {
		return
	}
	best.free(restW)
}

// mayFree tells whether a unit has been held off for its least time and no
// other timeslot holds it.
func (st *stack) mayFree(u *loadUnit) bool {
	if !heldOff(u.dev) || u.dev.Commanded == nil || u.share.inhibit {
		return false
	}
	return st.rd.in.Now.Sub(u.dev.HeldSince) >= u.dev.MinOff
}

// swap lets the room that needs it most run in the place of the one that needs
// it least.
func (st *stack) swap() {
	var hot, cool *loadUnit
	for i := range st.units {
		u := &st.units[i]
		switch {
		case u.held && st.mayFree(u) && (hot == nil || u.needK > hot.needK):
			hot = u
		case !u.held && u.takeW > 0 && (cool == nil || u.needK < cool.needK):
			cool = u
		}
	}
	if hot != nil && cool != nil && hot.needK >= cool.needK+swapK {
		hot.held, cool.held = false, true
	}
}

// keepYoung keeps holding off what was held off just now: a compressor rests for
// its least time, whatever became of the reason.
func (rd *round) keepYoung(devices []*Device) {
	for _, d := range devices {
		load := d.Kind == drivers.Thermostat || d.Kind == drivers.Relay
		s := rd.share(d)
		if !load || s.used || d.Commanded == nil || rd.in.Now.Sub(d.HeldSince) >= d.MinOff || rd.comfortRefusal(d) != "" {
			continue
		}
		s.used, s.inhibit, s.offsetK, s.reason = true, d.Commanded.Inhibit, d.Commanded.OffsetK, MinOff
	}
}

// settle writes the places into the shares.
func (st *stack) settle() float64 {
	var given float64
	for i := range st.units {
		u := &st.units[i]
		s, d := u.share, u.dev
		if !u.held {
			if !s.used && (s.reason == Idle || s.reason == "") {
				s.reason = NotNeeded
			}
			continue
		}
		gives := d.NormalW.Or(d.RatedW)
		if d.PowerW.OK && d.Commanded == nil && !d.Held {
			gives = u.takeW
		}
		s.used, s.inhibit, s.offsetK, s.giveW = true, true, d.MaxOffsetK, gives
		s.reason = Inhibited
		if d.MaxOffsetK > 0 {
			s.reason = Shifted
		}
		given += gives
	}
	return given
}

// Comfort limits that no target overrides (domain.md 6, F3).
const (
	lowestRoomC  = 16
	highestRoomC = 30
)

// comfortRefusal says why a unit may not be held off now; empty if it may.
func (rd *round) comfortRefusal(d *Device) Reason {
	if t := d.TemperatureC; t.OK && (t.V < lowestRoomC || t.V > highestRoomC) {
		return ComfortLimit
	}
	if d.MaxOffsetK == 0 && needK(d) > budgetK {
		return ComfortLimit
	}
	// It is let go so early that max_off is kept even if the line dies now; where
	// that would take all of it, half is used.
	if d.MaxOff > 0 && d.Commanded != nil && rd.in.Now.Sub(d.HeldSince) >= max(d.MaxOff-d.HoldsOn, d.MaxOff/2) {
		return MaxOffReached
	}
	// After it was held off a load runs at least as long as its compressor
	// needs before it may be held off again.
	if d.Commanded == nil && !d.FreeSince.IsZero() && rd.in.Now.Sub(d.FreeSince) < d.MinOn {
		return MinOn
	}
	return ""
}
