package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nominald/drivers"
)

// InverterOptions are the owner's word on an inverter.
type InverterOptions struct {
	// AllowNoFallback is the owner's consent to limit a device whose reversion
	// timer is missing (domain.md 4.4).
	AllowNoFallback bool
	// Allow is called with all registers that this driver may write, once they
	// are known and whenever they change. Each list replaces the one before.
	// Nil where writing is not restricted.
	Allow func([]Range)
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// inverter is a generator behind model 701, 101-103 or 111-113. What it feeds
// in is limited through model 704, else 123, where it has one of them.
type inverter struct {
	steer
	opts  InverterOptions
	limit Model // the model that limits it, the zero Model where there is none
}

// NewInverter returns the inverter behind the registers. Nothing is read before
// the first Read.
func NewInverter(r Registers, o InverterOptions) drivers.Device {
	return &inverter{steer: steer{site: site{regs: r, now: clock(o.Now)}, open: o.Allow}, opts: o}
}

// generators are the models that measure AC power, the newest first.
func generators() []uint16 { return append([]uint16{701}, inverters()...) }

// pick chooses the model that measures, the first that knows a power, and the
// one that limits. Inverters that sleep know none; then it is the first.
func (d *inverter) pick(ctx context.Context, m Map) (Model, error) {
	var found Model
	for _, id := range generators() {
		for _, model := range m.all(id) {
			b, err := d.read(ctx, model)
			if err != nil && !errors.Is(err, drivers.ErrRefused) {
				return Model{}, err
			}
			if b.has("W") {
				return d.pickLimit(ctx, m, model)
			}
			if found.ID == 0 {
				found = model
			}
		}
	}
	if found.ID == 0 {
		return Model{}, fmt.Errorf("found SunSpec models %s at %d, an inverter has one of 701, 101-103, 111-113: %w",
			m.IDs(), m.Base, drivers.ErrWrongDevice)
	}
	return d.pickLimit(ctx, m, found)
}

// pickLimit chooses the first 704, else 123, that takes a limit.
func (d *inverter) pickLimit(ctx context.Context, m Map, measures Model) (Model, error) {
	d.limit = Model{}
	for _, model := range append(m.all(704), m.all(123)...) {
		b, err := d.read(ctx, model)
		if err != nil && !errors.Is(err, drivers.ErrRefused) {
			return Model{}, err
		}
		if p := limitOf(model.ID); b.present(p.percent) && b.present(p.enable) {
			d.limit = model
			break
		}
	}
	return measures, nil
}

// prepare has the map, the slow models and a fresh control model.
func (d *inverter) prepare(ctx context.Context) error {
	if _, err := d.settle(ctx, d.pick, []uint16{120, 121, 702}, []uint16{122, 703}); err != nil {
		return err
	}
	if d.limit.ID == 0 {
		d.ctl = block{}
		d.allow(Model{}, nil)
		return nil
	}
	d.allow(d.limit, limitOf(d.limit.ID).writes)
	return d.control(ctx, d.limit)
}

// Read implements drivers.Device. Power is generation positive, what it has
// generated counts as exported.
func (d *inverter) Read(ctx context.Context) (drivers.Reading, error) {
	if err := d.prepare(ctx); err != nil {
		return drivers.Reading{}, err
	}
	b, err := d.read(ctx, d.primary)
	if err != nil {
		return drivers.Reading{}, err
	}
	energy := opt(b.value("WH"))
	if b.ID == 701 {
		energy = opt(b.value("TotWhInj"))
	}
	return drivers.Reading{
		At: d.now(), PowerW: opt(b.value("W")), ExportWh: energy, Connected: true,
		MaxDischargeW: d.rating(), State: d.state(b),
	}, nil
}

// rating is the most it can feed in, in W: the setting that its limit is a
// percentage of, else the nameplate.
func (d *inverter) rating() drivers.Opt {
	sources := []struct {
		name string
		id   uint16
	}{{"WMax", 121}, {"WRtg", 120}, {"WMax", 702}, {"WMaxRtg", 702}}
	if d.limit.ID == 704 {
		sources = slices.Concat(sources[2:], sources[:2])
	}
	for _, s := range sources {
		if w := d.slowFirst(s.name, s.id); w.OK {
			return w
		}
	}
	return drivers.Opt{}
}

// state is the device's own word for what it does, with what is wrong.
func (d *inverter) state(b block) string {
	words := []string{d.working(b)}
	if v, ok := b.word("ConnSt"); ok && v == 0 {
		words = append(words, "not connected to the grid")
	}
	for _, s := range d.slow {
		pv, ok := s.word("PVConn")
		if s.ID == 122 && ok && pv&1 == 0 {
			words = append(words, "not connected to its panels")
		}
		ecp, ok := s.word("ECPConn")
		if s.ID == 122 && ok && ecp == 0 {
			words = append(words, "not connected to the grid")
		}
	}
	if v, ok := d.ctl.word("Conn"); ok && v == 0 {
		words = append(words, "disconnected by its control (123.Conn is 0)")
	}
	words = append(words, d.enterService(), d.limited(), d.lease.note)
	var said []string
	for _, w := range words {
		if w != "" && !slices.Contains(said, w) {
			said = append(said, w)
		}
	}
	return strings.Join(said, "; ")
}

// working names St of the inverter models and InvSt of 701, which count the
// same states from 1 and from 0.
func (d *inverter) working(b block) string {
	names := [...]string{"off", "sleeping", "starting", "running", "throttled", "shutting down", "fault", "standby"}
	if v, ok := b.word("InvSt"); ok && int(v) < len(names) {
		return names[v]
	}
	if v, ok := b.word("St"); ok && v > 0 && int(v) <= len(names) {
		return names[v-1]
	}
	return ""
}

// Describe implements drivers.Device.
func (d *inverter) Describe() drivers.Description {
	about := d.about
	if d.primary.ID == 0 {
		return about
	}
	about.Detail += fmt.Sprintf("; inverter model %d at %d", d.primary.ID, d.primary.Addr)
	if d.limit.ID == 0 {
		about.Detail += "; neither model 704 nor 123, so it can not be limited"
		return about
	}
	about.Detail += fmt.Sprintf("; limited through model %d at %d", d.limit.ID, d.limit.Addr)
	if about.Fallback = d.fallback(); about.Fallback {
		about.FallbackAfter = d.holds(limitOf(d.limit.ID).timer)
	} else {
		about.Detail += "; no reversion timer"
	}
	return about
}
