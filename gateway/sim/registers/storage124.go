package registers

import (
	"math"
	"time"

	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
)

// Offsets of the models of a classic storage inverter (modbus.md 4).
const (
	invPhV, invVSF, invW, invWSF, invHz, invHzSF = 10, 13, 14, 15, 16, 17
	invWh, invWhSF, invTmpSF, invSt              = 24, 26, 37, 38
	invA, invASF                                 = 2, 6

	plateTyp, plateW, plateWSF     = 2, 3, 4
	plateWh, plateWhSF             = 19, 20
	plateCha, plateChaSF           = 23, 24
	plateDis, plateDisSF           = 25, 26
	stoWChaMax, stoWChaMaxSF       = 2, 18
	stoChaGra, stoDisGra, stoGraSF = 3, 4, 19
	stoMod                         = 5
	stoReserve, stoReserveSF       = 7, 21
	stoState, stoStateSF, stoChaSt = 8, 22, 11
	stoOut, stoIn, stoRateSF       = 12, 13, 25
	stoWinTms, stoRvrt, stoRmpTms  = 14, 15, 16
	stoChaGrid                     = 17

	batWh, batWhSF              = 3, 53
	batCha, batDis, batRateSF   = 4, 5, 54
	batReserve, batSoC, batSoCF = 10, 11, 56
	batChaSt, batLocRem, batSt  = 16, 17, 22
	batW, batWSF                = 47, 63
)

// The charge states that models 124 and 802 share.
const (
	chargeEmpty, chargeDischarging, chargeCharging, chargeFull, chargeHolding = 2, 3, 4, 5, 6
)

// The bits of StorCtl_Mod.
const (
	limitCharge    = 1
	limitDischarge = 2
)

// Basic is a storage inverter that is controlled through model 124, with 103,
// 120 and 802 beside it.
//
// Rates are percent of WChaMax, discharging too (modbus.md 4, recipes). A
// negative rate forces the other direction. When the fallback timer lapses the
// limits are off and the battery does what it would do by itself.
type Basic struct {
	*device
	plant                               *plant.Battery
	inverter, plate, storage, batteries *model
	timer                               timer
	autonomousW                         float64
}

// NewBasic returns the map of a battery with the rating of its plant.
func NewBasic(p *plant.Battery, opt SunSpec, name string, unit byte) (*Basic, error) {
	b := &Basic{
		plant:     p,
		inverter:  newModel(103, layoutInverter),
		plate:     newModel(120, layoutNameplate),
		storage:   newModel(124, layoutStorage),
		batteries: newModel(802, layoutBattery),
	}
	d, err := newDevice(opt, commonModel("Battery 124", name, unit), b.inverter, b.plate, b.storage, b.batteries)
	if err != nil {
		return nil, err
	}
	b.device = d
	d.refresh, d.check, d.changed = b.refresh, b.check, b.changed
	b.setUp()
	return b, nil
}

// setUp fills what does not move.
func (b *Basic) setUp() {
	p := b.plant.Params()
	b.inverter.setScale(invASF, -1)
	b.inverter.setScale(invVSF, -1)
	b.inverter.setScale(invWSF, b.opt.PowerSF)
	b.inverter.setScale(invHzSF, -2)
	b.inverter.setScale(invWhSF, 0)
	b.inverter.setScale(invTmpSF, 0)

	for _, sf := range []int{plateWSF, plateChaSF, plateDisSF} {
		b.plate.setScale(sf, b.opt.PowerSF)
	}
	b.plate.setScale(plateWhSF, whScale(p.CapacityWh))
	b.plate.reg[plateTyp] = 82 // PV_STOR
	b.plate.setScaled(plateW, plateWSF, math.Max(p.MaxDischargeW, p.MaxChargeW))
	b.plate.setScaled(plateWh, plateWhSF, p.CapacityWh)
	b.plate.setScaled(plateCha, plateChaSF, p.MaxChargeW)
	b.plate.setScaled(plateDis, plateDisSF, p.MaxDischargeW)

	s := b.storage
	s.setScale(stoWChaMaxSF, b.opt.PowerSF)
	s.setScale(stoGraSF, 0)
	for _, sf := range []int{stoReserveSF, stoStateSF, stoRateSF} {
		s.setScale(sf, b.opt.PercentSF)
	}
	s.setScaled(stoWChaMax, stoWChaMaxSF, math.Max(p.MaxDischargeW, p.MaxChargeW))
	s.setScaled(stoChaGra, stoGraSF, 100)
	s.setScaled(stoDisGra, stoGraSF, 100)
	s.setScaled(stoReserve, stoReserveSF, p.ReserveSoC)
	s.reg[stoWinTms], s.reg[stoRvrt], s.reg[stoRmpTms], s.reg[stoChaGrid] = 0, 0, 0, 1
	s.allow(stoMod, stoOut, stoIn, stoWinTms, stoRvrt, stoRmpTms, stoChaGrid)
	b.neutral()

	m := b.batteries
	m.setScale(batWhSF, whScale(p.CapacityWh))
	m.setScale(batRateSF, b.opt.PowerSF)
	m.setScale(batSoCF, b.opt.PercentSF)
	m.setScale(batWSF, b.opt.PowerSF)
	m.setScaled(batWh, batWhSF, p.CapacityWh)
	m.setScaled(batCha, batRateSF, p.MaxChargeW)
	m.setScaled(batDis, batRateSF, p.MaxDischargeW)
	m.setScaled(batReserve, batSoCF, p.ReserveSoC)
	m.reg[batLocRem], m.reg[batSt] = 0, 3 // remote, connected
}

// whScale returns the scale factor at which a capacity fits 16 bits.
func whScale(wh float64) int {
	if wh < 65000 {
		return 0
	}
	return 2
}

// neutral takes the limits away.
func (b *Basic) neutral() {
	b.storage.reg[stoMod] = 0
	b.storage.setScaled(stoOut, stoRateSF, 100)
	b.storage.setScaled(stoIn, stoRateSF, 100)
	b.timer.stop()
}

func (b *Basic) check(m *model) error {
	s := b.storage
	if m != s {
		return nil
	}
	for _, off := range []int{stoOut, stoIn} {
		if math.Abs(s.scaled(off, stoRateSF)) > 100 {
			return modbustcp.IllegalValue
		}
	}
	if s.reg[stoMod] > limitCharge|limitDischarge || s.reg[stoChaGrid] > 1 {
		return modbustcp.IllegalValue
	}
	return nil
}

// changed starts the fallback timer: when the limits are activated and, unless
// the maker is strict, when a rate is written again.
func (b *Basic) changed(_ *model, offsets []int) {
	restart := false
	for _, off := range offsets {
		restart = restart || off == stoMod || (!b.opt.StrictRefresh && (off == stoOut || off == stoIn))
	}
	switch {
	case b.storage.reg[stoMod] == 0:
		b.timer.stop()
	case restart:
		b.timer.start(uint32(b.storage.reg[stoRvrt]))
	}
}

// SetAutonomous says what the battery would do by itself, in W, discharge
// positive.
func (b *Basic) SetAutonomous(w float64) { b.autonomousW = w }

// Commanded reports whether somebody limits the battery.
func (b *Basic) Commanded() bool { return b.storage.reg[stoMod] != 0 }

// Step runs the timer and hands the set-point to the plant. It is called
// before the plant's own step.
func (b *Basic) Step(dt time.Duration) {
	if b.timer.step(dt) {
		b.neutral()
	}
	b.plant.Command(b.setpointW())
}

// setpointW is the power that the limits leave of what the battery would do.
func (b *Basic) setpointW() float64 {
	s, p := b.storage, b.plant.Params()
	low, high := -p.MaxChargeW, p.MaxDischargeW
	reference := s.scaled(stoWChaMax, stoWChaMaxSF) / 100
	if s.reg[stoMod]&limitCharge != 0 {
		low = -s.scaled(stoIn, stoRateSF) * reference
	}
	if s.reg[stoMod]&limitDischarge != 0 {
		high = s.scaled(stoOut, stoRateSF) * reference
	}
	if low > high { // the two rates contradict each other
		return 0
	}
	w := clamp(b.autonomousW, low, high)
	if s.reg[stoChaGrid] == 0 { // charging from the grid is not allowed
		w = math.Max(0, w)
	}
	return w
}

func (b *Basic) refresh() {
	w, soc := b.plant.PowerW(), b.plant.SoC()
	i := b.inverter
	i.setScaled(invW, invWSF, w)
	i.setScaled(invA, invASF, math.Abs(w)/gridV)
	for phase := range 3 {
		i.setScaled(invA+1+phase, invASF, math.Abs(w)/3/gridV)
		i.setScaled(invPhV+phase, invVSF, gridV)
	}
	i.setScaled(invHz, invHzSF, 50)
	i.setScaled(invWh, invWhSF, b.plant.DischargedWh())
	i.reg[invSt] = 4 // MPPT: running
	b.storage.setScaled(stoState, stoStateSF, soc)
	b.storage.reg[stoChaSt] = chargeState(b.plant)
	b.batteries.setScaled(batSoC, batSoCF, soc)
	b.batteries.setScaled(batW, batWSF, w)
	b.batteries.reg[batChaSt] = chargeState(b.plant)
}

// chargeState returns the state that models 124 and 802 name.
func chargeState(p *plant.Battery) uint16 {
	switch w := p.PowerW(); {
	case w > 10:
		return chargeDischarging
	case w < -10:
		return chargeCharging
	case p.SoC() > 99.5:
		return chargeFull
	case p.SoC() <= p.Params().ReserveSoC+0.05:
		return chargeEmpty
	}
	return chargeHolding
}
