package sunspec

import (
	"context"
	"fmt"
	"math"
	"time"

	"nominald/drivers"
)

// limitPoints names the points of a model that limits active power.
type limitPoints struct {
	percent, enable, timer string
	window                 string   // of the random delay, only in model 123
	writes                 []string // all that may be written
}

func limitOf(id uint16) limitPoints {
	if id == 704 {
		return limitPoints{
			percent: "WMaxLimPct", enable: "WMaxLimPctEna", timer: "WMaxLimPctRvrtTms",
			writes: []string{"WMaxLimPctEna", "WMaxLimPct", "WMaxLimPctRvrt", "WMaxLimPctEnaRvrt", "WMaxLimPctRvrtTms"},
		}
	}
	return limitPoints{
		percent: "WMaxLimPct", enable: "WMaxLim_Ena", timer: "WMaxLimPct_RvrtTms", window: "WMaxLimPct_WinTms",
		writes: []string{"WMaxLimPct", "WMaxLimPct_WinTms", "WMaxLimPct_RvrtTms", "WMaxLim_Ena"},
	}
}

// fallback reports whether the device ends a limit by itself.
func (d *inverter) fallback() bool { return d.ctl.present(limitOf(d.ctl.ID).timer) }

// limited says what limit is in force, whoever set it; empty where none is.
func (d *inverter) limited() string {
	p := limitOf(d.ctl.ID)
	on, _ := d.ctl.word(p.enable)
	pct, ok := d.ctl.value(p.percent)
	if on != 1 || !ok || pct >= 100 {
		return ""
	}
	if full := d.rating(); full.OK {
		return fmt.Sprintf("limited to %.0f W", pct/100*full.V)
	}
	return fmt.Sprintf("limited to %g %%", pct)
}

// Apply implements drivers.Device: the most it may feed in, from 0 to what it
// can.
func (d *inverter) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.acceptable(c, valid); err != nil {
		return err
	}
	if d.limit.ID == 0 || !d.fresh(d.limit) {
		if err := d.prepare(ctx); err != nil {
			return err
		}
	}
	if d.limit.ID == 0 {
		return fmt.Errorf("limit the inverter: it has neither model 704 nor 123 with a limit in percent: %w", drivers.ErrRefused)
	}
	if err := d.lease.conflict(d.now()); err != nil {
		return err
	}
	if !d.fallback() && !d.opts.AllowNoFallback {
		return d.noTimer()
	}
	p := limitOf(d.limit.ID)
	at, _ := d.ctl.find(p.percent)
	exp, ok := d.ctl.exponent(at)
	full := d.rating()
	if !ok || !full.OK {
		return fmt.Errorf("limit model %d at %d: the scale factor of %s or the device's WMax is missing, so a percentage means nothing: %w",
			d.limit.ID, d.limit.Addr, p.percent, drivers.ErrRefused)
	}
	pct := 100 * math.Min(math.Max(c.PowerW/full.V, 0), 1)
	// Down: a limit is what may not be exceeded.
	return d.limitTo(ctx, p, math.Floor(scale(pct, -exp)+1e-9), exp, valid)
}

// limitTo writes the timer, then the percentage, then the enable. The whole
// sequence is the refresh: some devices restart the timer only when the enable
// is written, others when the percentage is (modbus.md 4).
func (d *inverter) limitTo(ctx context.Context, p limitPoints, raw float64, exp int, valid time.Duration) error {
	on, _ := d.ctl.word(p.enable)
	pct, known := d.ctl.value(p.percent)
	if p.window != "" {
		d.lease.remember(d.ctl, on == 0 || (known && pct >= 100), p.timer, p.window)
	}
	if d.fallback() {
		if err := d.renewal(ctx, p, valid); err != nil {
			return err
		}
	}
	if v, ok := d.ctl.value(p.window); ok && v != 0 { // a random delay that somebody left behind
		if err := d.set(ctx, p.window, 0); err != nil {
			return err
		}
	}
	if err := d.set(ctx, p.percent, raw); err != nil {
		return err
	}
	if err := d.set(ctx, p.enable, 1); err != nil {
		return err
	}
	d.lease.sent(d.now(), valid, []want{{p.enable, 1}, {p.percent, scale(raw, exp)}})
	return nil
}

// renewal writes how long the limit holds without a refresh.
func (d *inverter) renewal(ctx context.Context, p limitPoints, valid time.Duration) error {
	if d.ctl.ID != 704 {
		return d.set(ctx, p.timer, timer(Uint16, valid))
	}
	at, _ := d.ctl.find("WMaxLimPctRvrt")
	exp, _ := d.ctl.exponent(at)
	return d.setReversion(ctx, "WMaxLimPctEnaRvrt", "WMaxLimPctRvrt", p.timer, math.Round(scale(100, -exp)), valid)
}

// Release implements drivers.Device: no limit counts, and the percentage stands
// at 100 for whoever enables one next.
func (d *inverter) Release(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if d.limit.ID == 0 {
		return nil // never commanded
	}
	p := limitOf(d.limit.ID)
	if err := d.set(ctx, p.enable, 0); err != nil {
		return err
	}
	at, _ := d.ctl.find(p.percent)
	pct, known := d.ctl.value(p.percent)
	if exp, ok := d.ctl.exponent(at); ok && (!known || pct != 100) {
		if err := d.set(ctx, p.percent, math.Round(scale(100, -exp))); err != nil {
			return err
		}
	}
	if err := d.restore(ctx); err != nil {
		return err
	}
	d.lease = lease{}
	return nil
}
