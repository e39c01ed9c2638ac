package sunspec

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"nominald/drivers"
)

// Range is registers that stand side by side, both ends included.
type Range struct{ First, Last uint16 }

// ctlFresh is how old the control model's registers may be for a command:
// scale factors may change at run time.
const ctlFresh = 10 * time.Second

// steer is what a battery and an inverter share: a device that is read, and
// commanded through one model that has a reversion timer.
type steer struct {
	site
	open  func([]Range) // told of all registers that may be written; nil where writing is not restricted
	given []Range       // what it was told last

	ctl     block // the control model as last read
	ctlAt   time.Time
	slow    []block // the slowly changing models, read each verifyEvery
	slowDue bool
	serial  string // of the device that the lease belongs to
	lease   lease
}

// settle has the map and the slow models: ratings, which have to be read, and
// status, which may be refused. It reports whether another device answers than
// before; the lease of the old one is then forgotten.
func (d *steer) settle(ctx context.Context, pick choose, ratings, status []uint16) (other bool, err error) {
	due, err := d.ensure(ctx, pick)
	d.slowDue = d.slowDue || due
	if err != nil {
		return false, err
	}
	if d.serial != d.about.Serial {
		d.serial, d.lease, other = d.about.Serial, lease{}, true
	}
	if d.slowDue {
		if d.slow, err = d.readAll(ctx, d.m.all(ratings...)); err != nil {
			return other, err
		}
		for _, m := range d.m.all(status...) {
			b, err := d.tryRead(ctx, m)
			if err != nil {
				return other, err
			}
			d.slow = append(d.slow, b)
		}
		d.slowDue = false
	}
	return other, nil
}

// control reads the control model and holds it against what was commanded.
func (d *steer) control(ctx context.Context, m Model) error {
	b, err := d.read(ctx, m)
	if err != nil {
		return err
	}
	d.ctl, d.ctlAt = b, d.now()
	d.lease.compare(b, d.now())
	return nil
}

// fresh reports whether the control model was read lately enough to command by.
func (d *steer) fresh(m Model) bool {
	return d.known && d.ctl.Addr == m.Addr && d.ctl.ID == m.ID && d.now().Sub(d.ctlAt) < ctlFresh
}

// allow opens these points of the model for writing, with what is open besides,
// and nothing else: no ramps, no reserve, nothing of grid protection. The list
// replaces the one before, so that a map that moved leaves nothing open.
func (d *steer) allow(m Model, names []string, besides ...Range) {
	if d.open == nil {
		return
	}
	var ranges []Range
	b := block{Model: m}
	for _, name := range names {
		p, _ := b.find(name)
		if last := p.At + p.Type.Len() - 1; last < 2+int(m.L) {
			ranges = append(ranges, Range{b.addr(p), m.Addr + uint16(last)})
		}
	}
	ranges = append(ranges, besides...)
	if !slices.Equal(ranges, d.given) {
		d.given = ranges
		d.open(ranges)
	}
}

// slowFirst returns a rating of the first slow model with the id that has it.
func (d *steer) slowFirst(name string, id uint16) drivers.Opt {
	for _, b := range d.slow {
		if v, ok := b.positive(name); ok && b.ID == id {
			return drivers.Some(v)
		}
	}
	return drivers.Opt{}
}

// enterService says where the device is not permitted to connect (model 703),
// which its grid operator or its owner decides; empty where it is, or where it
// says nothing.
func (d *steer) enterService() string {
	for _, b := range d.slow {
		if v, ok := b.word("ES"); ok && b.ID == 703 && v == 0 {
			return "not permitted to enter service (703.ES is 0)"
		}
	}
	return ""
}

// acceptable reports why a command can not be given at all.
func (d *steer) acceptable(c drivers.Command, valid time.Duration) error {
	if math.IsNaN(c.PowerW) || valid <= 0 {
		return fmt.Errorf("command %v W for %v: no such command: %w", c.PowerW, valid, drivers.ErrRefused)
	}
	return nil
}

// noTimer is the refusal to command a device that nothing would release if this
// program died.
func (d *steer) noTimer() error {
	return fmt.Errorf("model %d of this device has no reversion timer, so nothing would end a command if this program died; allow_no_fallback accepts that: %w",
		d.ctl.ID, drivers.ErrRefused)
}

// holds returns how long the device holds a command that is not renewed: what
// its timer was given last, else what stands in it.
func (d *steer) holds(timerPoint string) time.Duration {
	if d.lease.valid > 0 {
		return time.Duration(math.Ceil(d.lease.valid.Seconds())) * time.Second
	}
	v, _ := d.ctl.value(timerPoint)
	return time.Duration(v) * time.Second
}

// set writes one point of the control model as an unscaled number.
func (d *steer) set(ctx context.Context, name string, raw float64) error {
	p, ok := d.ctl.find(name)
	if !ok {
		return fmt.Errorf("write %s: model %d has no such point: %w", name, d.ctl.ID, drivers.ErrRefused)
	}
	regs, err := Encode(p.Type, raw)
	if err != nil {
		return err
	}
	return d.write(ctx, name, d.ctl.addr(p), regs, len(regs) > 1)
}

// setReversion writes a 32-bit timer of model 704 with "disabled" as the state
// it reverts to: the device decides for itself. A device that can not say so
// reverts to the neutral value instead.
func (d *steer) setReversion(ctx context.Context, enable, value, timerPoint string, neutral float64, valid time.Duration) error {
	seconds, err := Encode(Uint32, timer(Uint32, valid))
	if err != nil {
		return err
	}
	if d.ctl.present(enable) { // the timer stands right behind it
		p, _ := d.ctl.find(enable)
		return d.write(ctx, enable, d.ctl.addr(p), append([]uint16{0}, seconds...), true)
	}
	if d.ctl.present(value) {
		if err := d.set(ctx, value, neutral); err != nil {
			return err
		}
	}
	p, _ := d.ctl.find(timerPoint)
	return d.write(ctx, timerPoint, d.ctl.addr(p), seconds, true)
}

// restore writes back what the owner had set before the first command.
func (d *steer) restore(ctx context.Context) error {
	for _, old := range d.lease.before {
		if now, ok := d.ctl.value(old.name); ok && now != old.value {
			if err := d.set(ctx, old.name, old.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// timer returns a duration in whole seconds for a reversion timer: rounded up,
// never 0 (no reversion at all) and never the "unimplemented" pattern.
func timer(t Type, valid time.Duration) float64 {
	_, high := t.limits()
	return math.Min(math.Max(math.Ceil(valid.Seconds()), 1), high)
}
