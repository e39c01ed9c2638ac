package gateway

import (
	"math"
	"time"

	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/gateway/config"
)

// unit is one device of the site: its config, its place on a bus, and what its
// last minute showed. Only the control goroutine touches it.
type unit struct {
	cfg   config.Device
	port  Port
	every time.Duration
	watch watch
	now   func() time.Time // the process's own clock, which no step of the time of day moves
	// zone is the site's, for a vehicle's departure; session what it has got.
	zone    *time.Location
	session session
	lag     lag // a battery's
	// dry is what the last round would have commanded in a dry run.
	dry *drivers.Command
}

// staleAfter is how old a reading may be before a device counts as silent:
// three polls (domain.md 4.2), and no less than 5 s.
func (u *unit) staleAfter() time.Duration { return max(3*u.every, 5*time.Second) }

// watch derives from the readings what the planner needs beyond the latest.
type watch struct {
	vehicle   bool        // a charger's
	free      []float64   // W, one a round, of the last minute without a command
	restored  drivers.Opt // normal as known before the last 60 rounds: stored, or of a command that lapsed
	normal    drivers.Opt // frozen while commanded
	command   *drivers.Command
	heldSince time.Time
	changedAt time.Time
	freeSince time.Time
	gain      drivers.Opt
	anchor    float64   // W, the command about which the last ones moved little
	anchored  time.Time // since when
	told      []float64 // W, the commands of the last rounds
	deafSince time.Time // since when a command shows no effect; zero when it does

	silent    bool      // no fresh reading this round
	bound     bool      // a command lapsed while it was silent: it may follow it yet
	neutralAt time.Time // since when it is known to be left alone; zero when it is not
}

const (
	normalWindow = 60 // rounds
	// settleAfter is how long a command must stand before its effect is judged
	// (domain.md 4.6: dead time, lag and ramp of a slow battery).
	settleAfter = 12 * time.Second
	// toldWindow is how many rounds of commands are averaged: what is measured
	// follows the command of some seconds ago.
	toldWindow = 5
	// noResponseAfter is when a command without effect is a fault: slow
	// batteries show a fifth of it after 10 s.
	noResponseAfter = 20 * time.Second
	// judgedFromW is the smallest command whose effect can be told from noise.
	judgedFromW = 300
	// respondsFrom is the share of a command that counts as following it.
	respondsFrom = 0.2
)

// note takes one round: what was commanded (nil for nothing) and what was
// measured. real is false in a dry run, whose commands nobody follows.
func (w *watch) note(now time.Time, command *drivers.Command, power drivers.Opt, real bool) {
	// After a step back of the clock nothing lies in the future.
	w.heldSince, w.changedAt = earlier(w.heldSince, now), earlier(w.changedAt, now)
	w.freeSince, w.anchored = earlier(w.freeSince, now), earlier(w.anchored, now)
	switch {
	case command == nil && w.command != nil && w.silent:
		// What it draws when it is heard again says nothing of what it would.
		*w = watch{vehicle: w.vehicle, freeSince: now, restored: w.normal, silent: true, bound: true}
	case command == nil && w.command != nil:
		*w = watch{vehicle: w.vehicle, freeSince: now}
	case command != nil && w.command == nil:
		w.heldSince, w.changedAt = now, now
		w.freeze()
	case command != nil && *command != *w.command:
		w.changedAt = now
		if w.command.OffsetK < 0 && command.OffsetK >= 0 {
			w.heldSince = now // what was cooled ahead is held off only now
		}
	}
	w.command = command
	if command != nil {
		w.bound = false
	}
	if command == nil && power.OK && !w.bound {
		w.free = append(w.free, power.V)
		if len(w.free) > normalWindow {
			w.free = w.free[len(w.free)-normalWindow:]
		}
	}
	if real {
		w.judge(now, power)
	}
}

// heed takes what is known of the device this round, ahead of note: whether it
// was heard, and whether it is known to be left alone. Once it has been for a
// while, a command that lapsed is over.
func (w *watch) heed(now time.Time, fresh, neutral bool) {
	w.silent = !fresh
	switch {
	case !neutral:
		w.neutralAt = time.Time{}
	case w.neutralAt.IsZero():
		w.neutralAt = now
	}
	w.neutralAt = earlier(w.neutralAt, now)
	if neutral && fresh && now.Sub(w.neutralAt) >= settleAfter {
		w.bound = false
	}
}

// held tells whether it follows a command that nobody gives now: of a process
// before this one, or of a lease that ran out while it was silent.
func (w *watch) held() bool {
	return w.command == nil && w.restored.OK && w.neutralAt.IsZero()
}

// charging is a vehicle's power since it began to charge: the zeros before say
// nothing of what it draws, nor do the seconds in which it ramped up.
func charging(free []float64) drivers.Opt {
	const chargingW = 300
	var run []float64
	for i := len(free) - 1; i >= 0 && free[i] >= chargingW; i-- {
		run = append(run, free[i])
	}
	const rampsFor, steps = 15, 5 // rounds
	switch {
	case len(run) == 0:
		return drivers.Some(0)
	case len(run) < steps, len(run) < rampsFor && run[0] > 1.05*run[steps-1]:
		return drivers.Opt{} // on its way up: what it will draw is not known yet
	}
	return drivers.Some(math.Max(mean(run), run[0]))
}

// freeze keeps what the device drew before it was commanded. After a restart
// in the middle of a timeslot the stored value counts, not what the still
// commanded device draws now.
func (w *watch) freeze() {
	if w.restored.OK && len(w.free) < normalWindow/2 {
		w.normal = w.restored
		return
	}
	w.normal = w.usual()
}

func (w *watch) usual() drivers.Opt {
	switch {
	case len(w.free) == 0:
		return w.restored
	case w.vehicle:
		return charging(w.free)
	}
	return drivers.Some(mean(w.free))
}

// normalW is what the device draws when left alone.
func (w *watch) normalW() drivers.Opt {
	if w.command != nil {
		return w.normal
	}
	if w.restored.OK && len(w.free) < normalWindow/2 {
		return w.restored
	}
	return w.usual()
}

// judge measures how much of a settled command arrives. Small moves, as the
// trim makes them all the time, leave a command settled.
func (w *watch) judge(now time.Time, power drivers.Opt) {
	if w.command == nil {
		return
	}
	asked := w.command.PowerW
	if w.told = append(w.told, asked); len(w.told) > toldWindow {
		w.told = w.told[1:]
	}
	if math.Abs(asked-w.anchor) > math.Max(100, 0.05*math.Abs(w.anchor)) || len(w.told) == 1 {
		w.anchor, w.anchored = asked, now
	}
	if !power.OK || math.Abs(asked) < judgedFromW {
		w.deafSince = time.Time{}
		return
	}
	switch {
	case power.V/asked >= respondsFrom:
		w.deafSince = time.Time{}
	case w.deafSince.IsZero():
		w.deafSince = now
	}
	if now.Sub(w.anchored) < settleAfter {
		return
	}
	seen := power.V / mean(w.told)
	if !w.gain.OK {
		w.gain = drivers.Some(seen)
		return
	}
	const weight = 0.2 // of the newest round: five rounds smooth the meter's noise
	w.gain = drivers.Some(w.gain.V + weight*(seen-w.gain.V))
}

// unresponsive tells whether a battery's command shows no effect.
func (w *watch) unresponsive(now time.Time) bool {
	return w.command != nil && !w.deafSince.IsZero() && now.Sub(w.deafSince) >= noResponseAfter
}

// power is what the device measured of its own power, and whether its reading
// may be acted on. The age of the reading is taken on the process's own clock,
// which no step of the time of day moves.
func (u *unit) power(s bus.Snapshot) (power drivers.Opt, fresh bool) {
	if !s.Online || u.now().Sub(s.Reading.At) > u.staleAfter() {
		return drivers.Opt{}, false
	}
	return s.Reading.PowerW, true
}

// takeOver takes what an earlier process left: what a load drew before that one
// commanded it.
func (u *unit) takeOver(normal drivers.Opt, now time.Time) {
	u.watch.restored, u.watch.vehicle = normal, u.cfg.Kind == drivers.Charger
	if u.cfg.ByInhibit && normal.OK {
		// It was held off when the process before ended, and let go since. Its
		// driver now insists on min_on, so it must not be counted on.
		u.watch.freeSince = now
	}
}

// usualCost is the merit order of domain.md 4.3: charging that can wait, the
// battery, thermostats, relays.
func usualCost(k drivers.Kind) float64 {
	switch k {
	case drivers.Charger:
		return 10
	case drivers.Battery:
		return 20
	case drivers.Thermostat:
		return 30
	case drivers.Relay:
		return 40
	}
	return 0
}

// look takes one round: it notes the command in force and what was measured,
// and returns the device as the planner sees it.
func (u *unit) look(now time.Time, s bus.Snapshot) plan.Device {
	command := u.dry
	if s.Lease != nil {
		held := s.Lease.Command
		command = &held
	}
	power, fresh := u.power(s)
	u.watch.heed(now, fresh, s.Neutral)
	u.watch.note(now, command, power, u.dry == nil)
	d := plan.Device{
		Name: u.cfg.Name, Kind: u.cfg.Kind, ReserveSoC: u.cfg.ReserveSoC,
		Phases: u.cfg.Phases, VoltageV: u.cfg.VoltageV, MinA: u.cfg.MinA, MaxA: u.cfg.MaxA,
		RatedW: u.cfg.RatedW, MaxOff: u.cfg.MaxOff, MinOff: u.cfg.MinOff, MinOn: u.cfg.MinOn, MaxOffsetK: u.cfg.MaxOffsetK,
		Fresh: fresh, PowerW: power, Connected: s.Reading.Connected,
		SoC: s.Reading.SoC, TemperatureC: s.Reading.TemperatureC, SetpointC: s.Reading.SetpointC,
		CapacityWh:    firstKnown(u.cfg.CapacityWh, s.Reading.CapacityWh),
		MaxDischargeW: smaller(u.cfg.MaxDischargeW, s.Reading.MaxDischargeW),
		MaxChargeW:    smaller(u.cfg.MaxChargeW, s.Reading.MaxChargeW),
		NormalW:       u.watch.normalW(), Commanded: u.watch.command,
		ChangedAt: u.watch.changedAt, HeldSince: u.watch.heldSince, FreeSince: u.watch.freeSince,
		Gain: u.watch.gain, Unresponsive: u.watch.unresponsive(now),
		Held: u.watch.held(), Cost: u.cfg.Cost.Or(usualCost(u.cfg.Kind)),
		Refused: s.Lease != nil && s.AppliedAt.IsZero() && s.Online && s.LastError != "",
	}
	if d.Kind == drivers.Battery {
		u.lag.note(command != nil && u.dry == nil, power.OK, commandedW(command), power.V)
		d.Lag = time.Duration(u.lag.rounds) * time.Second
	}
	if d.MaxOff > 0 {
		d.HoldsOn = s.Description.FallbackAfter
	}
	if u.cfg.ByInhibit {
		d.MaxOffsetK = 0 // it is held off, nothing is shifted
	}
	if u.cfg.DepartureWh.OK && u.zone != nil {
		d.DepartAt = nextClock(now, u.cfg.Departure, u.zone)
		d.NeedWh = drivers.Some(math.Max(0, u.cfg.DepartureWh.V-u.session.note(now, d.Connected, power)))
	}
	return d
}

func commandedW(c *drivers.Command) float64 {
	if c == nil {
		return 0
	}
	return c.PowerW
}

func firstKnown(a, b drivers.Opt) drivers.Opt {
	if a.OK {
		return a
	}
	return b
}

// smaller is the smaller of two limits of which either may be unknown.
func smaller(a, b drivers.Opt) drivers.Opt {
	if a.OK && b.OK {
		return drivers.Some(math.Min(a.V, b.V))
	}
	return firstKnown(a, b)
}
