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
	// Allow is called with each range of registers that this driver writes,
	// once they are known. Nil where writing is not restricted.
	Allow func(first, last uint16)
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// storage is a battery behind model 124 or 704.
type storage struct {
	site
	opts StorageOptions

	ctl     block // the control model as last read
	ctlAt   time.Time
	allowed Model   // whose registers were opened for writing
	slow    []block // nameplate, capacity and battery models, read each verifyEvery
	slowDue bool
	serial  string // of the device that sign and lease belong to
	sign    signCheck
	lease   lease
}

// NewStorage returns the battery behind the registers. Nothing is read before
// the first Read.
func NewStorage(r Registers, o StorageOptions) drivers.Device {
	return &storage{site: site{regs: r, now: clock(o.Now)}, opts: o}
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
			d.allow(model)
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

// allow opens the control registers of the chosen model for writing, and only
// those: not the ramps, not the reserve, nothing of grid protection.
func (d *storage) allow(m Model) {
	if d.opts.Allow == nil || (d.allowed.ID == m.ID && d.allowed.Addr == m.Addr) {
		return
	}
	d.allowed = m
	names := []string{"StorCtl_Mod", "OutWRte", "InWRte", "InOutWRte_RvrtTms", "ChaGriSet"}
	if m.ID == 704 {
		names = []string{"WSetEna", "WSetMod", "WSet", "WSetRvrt", "WSetPct", "WSetEnaRvrt", "WSetRvrtTms"}
	}
	b := block{Model: m}
	for _, name := range names {
		p, _ := b.find(name)
		if last := p.At + p.Type.Len() - 1; last < 2+int(m.L) {
			d.opts.Allow(b.addr(p), m.Addr+uint16(last))
		}
	}
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
		State:         d.state(&p),
	}
	return r, nil
}

// prepare has the map, the slow models and a fresh control model.
func (d *storage) prepare(ctx context.Context) error {
	due, err := d.ensure(ctx, d.pick)
	d.slowDue = d.slowDue || due
	if err != nil {
		return err
	}
	if d.serial != d.about.Serial { // another device behind the same address
		d.serial, d.sign, d.lease = d.about.Serial, signCheck{}, lease{}
	}
	if d.slowDue {
		if d.slow, err = d.readAll(ctx, d.m.all(120, 702, 802)); err != nil {
			return err
		}
		d.slowDue = false
	}
	b, err := d.read(ctx, d.primary)
	if err != nil {
		return err
	}
	d.ctl, d.ctlAt = b, d.now()
	d.lease.compare(b, d.now())
	return nil
}

// Describe implements drivers.Device.
func (d *storage) Describe() drivers.Description {
	about := d.about
	if d.primary.ID == 0 {
		return about
	}
	about.Fallback = d.fallback()
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
	if d.ctl.ID == 704 {
		return d.ctl.present("WSetRvrtTms")
	}
	return d.ctl.present("InOutWRte_RvrtTms")
}

// smaller returns the smaller of two quantities that may be unknown.
func smaller(a, b drivers.Opt) drivers.Opt {
	if !a.OK || (b.OK && b.V < a.V) {
		return b
	}
	return a
}
