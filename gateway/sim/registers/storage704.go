package registers

import (
	"math"
	"time"

	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
)

// Offsets of the models of an IEEE 1547 inverter (modbus.md 4).
const (
	acType, acSt, acInvSt, acConnSt              = 2, 3, 4, 5
	acAlarm, acMode                              = 6, 8
	acW, acVA, acA, acLNV, acHz                  = 10, 11, 14, 16, 17
	acInj, acAbs                                 = 19, 23
	acASF, acVSF, acHzSF, acWSF, acVASF          = 113, 114, 115, 116, 118
	acWhSF                                       = 120
	capW, capCha, capDis                         = 2, 10, 11
	capSetW, capSetCha, capSetDis, capWSF        = 26, 34, 35, 45
	ctlLimEna, ctlLimPct, ctlLimRvrt             = 14, 15, 16
	ctlLimEnaRvrt, ctlLimTms, ctlLimRem          = 17, 18, 20
	ctlSetEna, ctlSetMod, ctlSet                 = 22, 23, 24
	ctlSetRvrt, ctlSetPct, ctlSetPctRvrt         = 26, 28, 29
	ctlSetEnaRvrt, ctlSetTms, ctlSetRem          = 30, 31, 33
	ctlLimSF, ctlSetSF, ctlSetPctSF              = 54, 55, 56
	scWh, scAvail, scSoC, scSoH, scSta           = 2, 3, 4, 5, 6
	scWhSF, scPctSF                              = 7, 8
	setModeWatts                          uint16 = 1
)

// Modern is a storage inverter that is controlled through model 704, with 701,
// 702 and 713 beside it. WSet is positive for discharging (modbus.md 4, signs).
//
// A fallback timer starts when its function is enabled or when its time is
// written while it is, and then the ...Rvrt points take the place of what was
// commanded. Where both WMaxLimPct and WSet are enabled, the limit cuts the
// set-point: the standard leaves that open (modbus.md 4, recipes).
type Modern struct {
	*device
	plant                     *plant.Battery
	ac, rating, control, cell *model
	set, limit                timer
	autonomousW               float64
}

// NewModern returns the map of a battery with the rating of its plant.
func NewModern(p *plant.Battery, opt SunSpec, name string, unit byte) (*Modern, error) {
	b := &Modern{
		plant:   p,
		ac:      newModel(701, layoutMeasure),
		rating:  newModel(702, layoutCapacity),
		control: newModel(704, layoutControls),
		cell:    newModel(713, layoutStorageCap),
	}
	d, err := newDevice(opt, commonModel("Battery 704", name, unit), b.ac, b.rating, b.control, b.cell)
	if err != nil {
		return nil, err
	}
	b.device = d
	d.refresh, d.check, d.changed = b.refresh, b.check, b.changed
	b.setUp()
	return b, nil
}

// setUp fills what does not move.
func (b *Modern) setUp() {
	p := b.plant.Params()
	for off, exponent := range map[int]int{
		acASF: -1, acVSF: -1, acHzSF: -2, acWSF: b.opt.PowerSF, acVASF: b.opt.PowerSF, acWhSF: 0,
	} {
		b.ac.setScale(off, exponent)
	}
	b.ac.reg[acType], b.ac.reg[acSt], b.ac.reg[acConnSt] = 2, 1, 1
	b.ac.setU32(acAlarm, 0)
	b.ac.setU32(acMode, 1) // grid following

	b.rating.setScale(capWSF, b.opt.PowerSF)
	most := math.Max(p.MaxDischargeW, p.MaxChargeW)
	for off, w := range map[int]float64{
		capW: most, capSetW: most, capCha: p.MaxChargeW, capSetCha: p.MaxChargeW,
		capDis: p.MaxDischargeW, capSetDis: p.MaxDischargeW,
	} {
		b.rating.setScaled(off, capWSF, w)
	}

	c := b.control
	c.setScale(ctlLimSF, b.opt.PercentSF)
	c.setScale(ctlSetPctSF, b.opt.PercentSF)
	c.setScale(ctlSetSF, b.opt.PowerSF)
	for _, off := range []int{ctlLimEna, ctlLimEnaRvrt, ctlSetEna, ctlSetMod, ctlSetPct, ctlSetPctRvrt, ctlSetEnaRvrt} {
		c.reg[off] = 0
	}
	for _, off := range []int{ctlSet, ctlSetRvrt, ctlSetTms, ctlSetRem, ctlLimTms, ctlLimRem} {
		c.setU32(off, 0)
	}
	c.setScaled(ctlLimPct, ctlLimSF, 100)
	c.setScaled(ctlLimRvrt, ctlLimSF, 100)
	c.allow(ctlLimEna, ctlLimPct, ctlLimRvrt, ctlLimEnaRvrt, ctlLimTms, ctlSetEna, ctlSetMod, ctlSet,
		ctlSetRvrt, ctlSetPct, ctlSetPctRvrt, ctlSetEnaRvrt, ctlSetTms)

	b.cell.setScale(scWhSF, whScale(p.CapacityWh))
	b.cell.setScale(scPctSF, b.opt.PercentSF)
	b.cell.setScaled(scWh, scWhSF, p.CapacityWh)
	b.cell.setScaled(scSoH, scPctSF, 100)
	b.cell.reg[scSta] = 0
}

func (b *Modern) check(m *model) error {
	c := b.control
	if m != c {
		return nil
	}
	for _, off := range []int{ctlLimEna, ctlLimEnaRvrt, ctlSetEna, ctlSetEnaRvrt, ctlSetMod} {
		if c.reg[off] > 1 {
			return modbustcp.IllegalValue
		}
	}
	if c.scaled(ctlLimPct, ctlLimSF) > 100 || math.Abs(c.scaled(ctlSetPct, ctlSetPctSF)) > 100 {
		return modbustcp.IllegalValue
	}
	return nil
}

func (b *Modern) changed(_ *model, offsets []int) {
	for _, off := range offsets {
		switch off {
		case ctlSetEna, ctlSetTms:
			restart(&b.set, b.control.reg[ctlSetEna], b.control.u32(ctlSetTms))
		case ctlLimEna, ctlLimTms:
			restart(&b.limit, b.control.reg[ctlLimEna], b.control.u32(ctlLimTms))
		}
	}
}

func restart(t *timer, enabled uint16, seconds uint32) {
	if enabled == 1 {
		t.start(seconds)
		return
	}
	t.stop()
}

// SetAutonomous says what the battery would do by itself, in W, discharge
// positive.
func (b *Modern) SetAutonomous(w float64) { b.autonomousW = w }

// Commanded reports whether somebody sets or limits the battery's power.
func (b *Modern) Commanded() bool {
	return b.control.reg[ctlSetEna] == 1 || b.control.reg[ctlLimEna] == 1
}

// Step runs the timers and hands the set-point to the plant. It is called
// before the plant's own step.
func (b *Modern) Step(dt time.Duration) {
	c := b.control
	if b.set.step(dt) {
		c.reg[ctlSetEna] = c.reg[ctlSetEnaRvrt]
		c.setU32(ctlSet, c.u32(ctlSetRvrt))
		c.reg[ctlSetPct] = c.reg[ctlSetPctRvrt]
	}
	if b.limit.step(dt) {
		c.reg[ctlLimEna] = c.reg[ctlLimEnaRvrt]
		c.reg[ctlLimPct] = c.reg[ctlLimRvrt]
	}
	b.plant.Command(b.setpointW())
}

func (b *Modern) setpointW() float64 {
	c := b.control
	rated := b.rating.scaled(capW, capWSF)
	w := b.autonomousW
	if c.reg[ctlSetEna] == 1 {
		w = c.scaled(ctlSetPct, ctlSetPctSF) / 100 * rated
		if c.reg[ctlSetMod] == setModeWatts {
			w = c.scaled(ctlSet, ctlSetSF)
		}
	}
	if c.reg[ctlLimEna] == 1 {
		w = math.Min(w, c.scaled(ctlLimPct, ctlLimSF)/100*rated)
	}
	return w
}

func (b *Modern) refresh() {
	w := b.plant.PowerW()
	b.ac.setScaled(acW, acWSF, w)
	b.ac.setScaled(acVA, acVASF, math.Abs(w))
	b.ac.setScaled(acA, acASF, math.Abs(w)/gridV)
	b.ac.setScaled(acLNV, acVSF, gridV)
	b.ac.setScaled(acHz, acHzSF, 50)
	b.ac.setScaled(acInj, acWhSF, b.plant.DischargedWh())
	b.ac.setScaled(acAbs, acWhSF, b.plant.ChargedWh())
	b.ac.reg[acInvSt] = 3 // running
	if math.Abs(w) < 10 {
		b.ac.reg[acInvSt] = 7 // standby
	}
	b.control.setU32(ctlSetRem, b.set.remaining())
	b.control.setU32(ctlLimRem, b.limit.remaining())
	b.cell.setScaled(scSoC, scPctSF, b.plant.SoC())
	b.cell.setScaled(scAvail, scWhSF, b.plant.Params().CapacityWh*b.plant.SoC()/100)
}
