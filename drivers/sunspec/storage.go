package sunspec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nominald/drivers"
)

// StorageOptions are the owner's limits on a battery.
type StorageOptions struct {
	// MaxDischargeW and MaxChargeW lower the device's own ratings, both
	// positive.
	MaxDischargeW, MaxChargeW drivers.Opt
	// CapacityWh replaces the capacity the device states.
	CapacityWh drivers.Opt
	// AllowNoFallback is the owner's consent to command a device whose
	// reversion timer is missing (domain.md 4.4).
	AllowNoFallback bool
	// Allow is called with all registers that this driver may write, once they
	// are known and whenever they change. Each list replaces the one before.
	// Nil where writing is not restricted.
	Allow func([]Range)
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// storage is a battery behind model 124 or 704.
type storage struct {
	steer
	opts  StorageOptions
	sign  signCheck
	beats uint16          // the controller's heartbeat as last written
	deaf  map[uint16]bool // addresses of battery models that refuse it
}

// NewStorage returns the battery behind the registers. Nothing is read before
// the first Read.
func NewStorage(r Registers, o StorageOptions) drivers.Device {
	return &storage{
		steer: steer{site: site{regs: r, now: clock(o.Now)}, open: o.Allow},
		opts:  o, deaf: map[uint16]bool{},
	}
}

// pick chooses the control model: the first 704 that takes an active power
// set-point, else the first 124 that takes both rates.
func (d *storage) pick(ctx context.Context, m Map) (Model, error) {
	for _, model := range append(m.all(704), m.all(124)...) {
		b, err := d.read(ctx, model)
		if err != nil && !errors.Is(err, drivers.ErrRefused) {
			return Model{}, err
		}
		if takesPower(b) {
			return model, nil
		}
	}
	return Model{}, fmt.Errorf("found SunSpec models %s at %d; a battery has 704 with WSet or WSetPct, or 124 with OutWRte and InWRte: %w",
		m.IDs(), m.Base, drivers.ErrWrongDevice)
}

// takesPower reports whether a battery can be commanded through the model.
func takesPower(b block) bool {
	if b.ID == 704 {
		return b.present("WSetEna") && (b.present("WSet") || b.present("WSetPct"))
	}
	return b.present("StorCtl_Mod") && b.present("OutWRte") && b.present("InWRte")
}

// openRegisters opens the control points of the chosen model for writing, and
// the controller's heartbeat where the battery has one.
func (d *storage) openRegisters() {
	names := []string{"StorCtl_Mod", "OutWRte", "InWRte", "InOutWRte_RvrtTms", "ChaGriSet"}
	if d.primary.ID == 704 {
		names = []string{"WSetEna", "WSetMod", "WSet", "WSetRvrt", "WSetPct", "WSetEnaRvrt", "WSetRvrtTms"}
	}
	var hearts []Range
	for _, b := range d.slow {
		if b.ID == 802 && b.present("CtrlHb") {
			p, _ := b.find("CtrlHb")
			hearts = append(hearts, Range{b.addr(p), b.addr(p)})
		}
	}
	d.allow(d.primary, names, hearts...)
}

// Read implements drivers.Device.
func (d *storage) Read(ctx context.Context) (drivers.Reading, error) {
	if err := d.prepare(ctx); err != nil {
		return drivers.Reading{}, err
	}
	p := poll{site: &d.site, got: map[uint16]block{d.ctl.Addr: d.ctl}}
	power, err := d.power(ctx, &p)
	if err != nil {
		return drivers.Reading{}, err
	}
	soc, err := d.soc(ctx, &p)
	if err != nil {
		return drivers.Reading{}, err
	}
	capacity, err := d.capacity(ctx, &p)
	if err != nil {
		return drivers.Reading{}, err
	}
	r := drivers.Reading{
		At: d.now(), PowerW: power, SoC: soc, CapacityWh: capacity, Connected: true,
		MaxDischargeW: smaller(d.opts.MaxDischargeW, d.rating(discharge())),
		MaxChargeW:    smaller(d.opts.MaxChargeW, d.rating(charge())),
	}
	for i, b := range d.slow { // what was read just now is newer
		if read, ok := p.got[b.Addr]; ok {
			d.slow[i] = read
		}
	}
	r.State = d.state(&p)
	return r, nil
}

// prepare has the map, the slow models and a fresh control model.
func (d *storage) prepare(ctx context.Context) error {
	other, err := d.settle(ctx, d.pick, []uint16{120, 702, 802}, []uint16{703})
	if other {
		d.sign, d.deaf = signCheck{}, map[uint16]bool{}
	}
	if err != nil {
		return err
	}
	d.openRegisters()
	return d.control(ctx, d.primary)
}

// Describe implements drivers.Device.
func (d *storage) Describe() drivers.Description {
	about := d.about
	if d.primary.ID == 0 {
		return about
	}
	about.Fallback = d.fallback()
	if about.Fallback {
		about.FallbackAfter = d.holds(d.timerPoint())
	}
	about.Detail += fmt.Sprintf("; commanded through model %d at %d", d.primary.ID, d.primary.Addr)
	if !about.Fallback {
		about.Detail += "; no reversion timer"
	}
	if note := d.sign.note(); note != "" {
		about.Detail += "; " + note
	}
	return about
}

// fallback reports whether the device ends a command by itself.
func (d *storage) fallback() bool {
	return d.ctl.present(d.timerPoint())
}

// timerPoint is the reversion timer of the control model.
func (d *storage) timerPoint() string {
	if d.ctl.ID == 704 {
		return "WSetRvrtTms"
	}
	return "InOutWRte_RvrtTms"
}

// smaller returns the smaller of two quantities that may be unknown.
func smaller(a, b drivers.Opt) drivers.Opt {
	if !a.OK || (b.OK && b.V < a.V) {
		return b
	}
	return a
}
