package registers

import (
	"time"

	"nominald/gateway/sim/plant"
)

// Offsets of model 203 (modbus.md 4; SunSpec model_203.json).
const (
	mtrA, mtrASF, mtrPhV, mtrVSF = 2, 6, 7, 15
	mtrHz, mtrHzSF               = 16, 17
	mtrW, mtrWSF                 = 18, 22
	mtrPF, mtrPFSF               = 33, 37
	mtrExp, mtrImp, mtrWhSF      = 38, 46, 54
	mtrEvt                       = 105
)

// gridV is the nominal voltage phase to neutral of the simulated site.
const gridV = 230.0

// Meter is a three-phase SunSpec meter, model 203, import positive.
type Meter struct {
	*device
	m      *model
	plant  *plant.Meter
	invert bool
}

// NewMeter returns the map of a meter. With invert its power and its counters
// have the sign of a meter that is wired the other way.
func NewMeter(p *plant.Meter, opt SunSpec, name string, unit byte, invert bool) (*Meter, error) {
	m := newModel(203, layoutMeter)
	m.setScale(mtrASF, -1)
	m.setScale(mtrVSF, -1)
	m.setScale(mtrHzSF, -2)
	m.setScale(mtrWSF, opt.PowerSF)
	m.setScale(mtrWhSF, 0)
	m.setU32(mtrEvt, 0)
	d, err := newDevice(opt, commonModel("Meter 203", name, unit), m)
	if err != nil {
		return nil, err
	}
	out := &Meter{device: d, m: m, plant: p, invert: invert}
	d.refresh = out.refresh
	return out, nil
}

// Step does nothing: the plant moves, the map only shows it.
func (r *Meter) Step(time.Duration) {}

func (r *Meter) refresh() {
	w, imp, exp := r.plant.PowerW(), r.plant.ImportWh(), r.plant.ExportWh()
	if r.invert {
		w, imp, exp = -w, exp, imp
	}
	r.m.setScaled(mtrW, mtrWSF, w)
	r.m.setScaled(mtrA, mtrASF, w/gridV)
	for phase := 1; phase <= 3; phase++ {
		r.m.setScaled(mtrW+phase, mtrWSF, w/3)
		r.m.setScaled(mtrA+phase, mtrASF, w/3/gridV)
		r.m.setScaled(mtrPhV+phase, mtrVSF, gridV)
	}
	r.m.setScaled(mtrPhV, mtrVSF, gridV)
	r.m.setScaled(mtrHz, mtrHzSF, 50)
	r.m.setScaled(mtrExp, mtrWhSF, exp)
	r.m.setScaled(mtrImp, mtrWhSF, imp)
}
