package profile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nominald/drivers"
	"nominald/drivers/hold"
)

// inhibitor holds a load off: a relay, or a heat pump's blocking contact. The
// times that protect a compressor are kept here, as in package gpio.
type inhibitor struct {
	*device
	held     bool // the inhibit was written, or may have been
	allowed  bool // the release was written, and nothing since
	recalled bool // what ran on over a restart is counted
	wanted   bool
	until    time.Time
}

// limits are the owner's times.
func (d *inhibitor) limits() hold.Limits {
	return hold.Limits{MinOff: d.params.MinOff, MinOn: d.params.MinOn, MaxOff: d.params.MaxOff}
}

// Read implements drivers.Device. It also ends what is due: a command that was
// not renewed, an inhibit at its longest, a release that had to wait.
func (d *inhibitor) Read(ctx context.Context) (drivers.Reading, error) {
	if err := d.read(ctx); err != nil {
		return drivers.Reading{}, err
	}
	now := d.now()
	usage := d.usage(now)
	if d.held && !usage.Decide(now, true, d.wanted && now.Before(d.until), d.limits()) {
		if err := d.permit(ctx); err != nil {
			d.notes = append(d.notes, err.Error())
		}
	}
	r := &d.reading
	if _, ok := d.raw["inhibited"]; !ok {
		r.Inhibited = d.held
	}
	d.notes = append([]string{d.standsNow(usage.State(now, d.held, d.wanted && now.Before(d.until), d.limits()))}, d.notes...)
	r.State = d.state()
	return *r, nil
}

// standsNow is what the load does, for people: as told, unless the device shows
// otherwise. What this program has not told it nor sees it does not claim.
func (d *inhibitor) standsNow(told string) string {
	_, shows := d.raw["inhibited"]
	switch {
	case d.held && shows && !d.reading.Inhibited:
		return told + " by command, and the device shows it allowed"
	case !d.held && shows && d.reading.Inhibited:
		return "held off, and not by a command of this program"
	case !d.held && !shows && !d.allowed && d.reading.State != "":
		return "" // the device's own word stands there
	case !d.held && !shows && !d.allowed:
		return "not commanded"
	}
	return told
}

// usage returns what is used up now, after a restart with what ran on.
func (d *inhibitor) usage(now time.Time) *hold.Usage {
	if d.kept.Hold == nil {
		d.kept.Hold = &hold.Usage{}
	}
	if !d.recalled {
		*d.kept.Hold = d.kept.Hold.Recall(now, d.limits())
		d.recalled = true
	}
	d.kept.Hold.Count(now, d.held, d.limits())
	return d.kept.Hold
}

// Apply implements drivers.Device. A load that rests after a longest inhibit,
// or was allowed just now, is not held off; the error says until when.
func (d *inhibitor) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.begin(ctx, 0, "", valid); err != nil {
		return err
	}
	d.wanted, d.until = c.Inhibit, d.now().Add(valid)
	if err := d.update(ctx); err != nil {
		return err
	}
	if c.Inhibit && !d.held {
		return fmt.Errorf("%s: %s: %w", d.p.Name, d.kept.Hold.Refusal(d.now(), d.limits()), drivers.ErrRefused)
	}
	return nil
}

// update counts the time and switches.
func (d *inhibitor) update(ctx context.Context) error {
	now := d.now()
	usage := d.usage(now)
	wanted := d.wanted && now.Before(d.until)
	if !usage.Decide(now, d.held, wanted, d.limits()) {
		if d.allowed {
			return nil
		}
		return d.permit(ctx)
	}
	if !d.held {
		if err := d.permitted(ctx, d.p.Command.Inhibit, values{"timer": d.timer(d.until.Sub(now)).Seconds()}); err != nil {
			return err
		}
		usage.Switched(now, true)
		d.held, d.allowed = true, false // from the first byte on
		if err := d.remember(); err != nil {
			return err
		}
	}
	lease := d.until.Sub(now)
	if rest := d.params.MinOff - now.Sub(usage.Since); !wanted && rest > lease {
		lease = rest
	}
	return d.command(ctx, d.p.Command.Inhibit, values{}, 1, lease)
}

// permit writes the release.
func (d *inhibitor) permit(ctx context.Context) error {
	if err := d.release(ctx, values{}); err != nil {
		return err
	}
	d.allowed = true
	if !d.held {
		return nil
	}
	d.held = false
	d.kept.Hold.Switched(d.now(), false)
	return d.remember()
}

// Release implements drivers.Device. Within MinOff the load stays off, and a
// later Read lets go. A program that did not begin the inhibit itself lets go at
// once: nobody else may come to do it.
func (d *inhibitor) Release(ctx context.Context) error {
	if d.held {
		d.wanted = false
		return d.update(ctx)
	}
	return d.LetGo(ctx)
}

// LetGo releases at once, whatever MinOff says, for a program that ends.
func (d *inhibitor) LetGo(ctx context.Context) error {
	lost := d.recall() // is told, and does not keep the load off
	d.wanted = false
	d.usage(d.now())
	return errors.Join(d.permit(ctx), lost)
}
