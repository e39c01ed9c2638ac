package sunspec

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"nominald/drivers"
)

// Apply implements drivers.Device. Discharge is positive; the power is limited
// to the smaller of the owner's and the device's own maximum.
func (d *storage) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.acceptable(c, valid); err != nil {
		return err
	}
	if err := d.current(ctx); err != nil {
		return err
	}
	if err := d.lease.conflict(d.now()); err != nil {
		return err
	}
	if why := d.barred(); why != "" {
		return fmt.Errorf("the device is %s, and would not follow a command: %w", why, drivers.ErrRefused)
	}
	if !d.fallback() && !d.opts.AllowNoFallback {
		return d.noTimer()
	}
	w := c.PowerW
	if top := smaller(d.opts.MaxDischargeW, d.rating(discharge())); top.OK {
		w = math.Min(w, top.V)
	}
	if top := smaller(d.opts.MaxChargeW, d.rating(charge())); top.OK {
		w = math.Max(w, -top.V)
	}
	follow := d.rates
	if d.primary.ID == 704 {
		follow = d.setPoint
	}
	if err := follow(ctx, w, valid); err != nil {
		return err
	}
	return d.beat(ctx)
}

// barred says why the device would not follow a command: its service is not
// permitted, or somebody has switched its battery to local control.
func (d *storage) barred() string {
	if why := d.enterService(); why != "" {
		return why
	}
	for _, b := range filled(d.slow) {
		if v, ok := b.word("LocRemCtl"); ok && v == 1 {
			return "set to local control (802.LocRemCtl)"
		}
	}
	return ""
}

// beat counts the controller's heartbeat of model 802 on, where the device has
// one: some batteries take its standing still for a dead controller. A device
// that shows the point and refuses to have it written goes without.
func (d *storage) beat(ctx context.Context) error {
	d.beats = (d.beats + 1) % math.MaxUint16 // 0xFFFF would say "unimplemented"
	for _, b := range d.slow {
		if b.ID != 802 || !b.present("CtrlHb") || d.deaf[b.Addr] {
			continue
		}
		p, _ := b.find("CtrlHb")
		err := d.write(ctx, "CtrlHb", b.addr(p), []uint16{d.beats}, false)
		if errors.Is(err, drivers.ErrRefused) {
			d.deaf[b.Addr] = true
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// current has a control model that is fresh enough to command by.
func (d *storage) current(ctx context.Context) error {
	if d.fresh(d.primary) {
		return nil
	}
	return d.prepare(ctx)
}

// Release implements drivers.Device.
func (d *storage) Release(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	var err error
	if d.primary.ID == 704 {
		err = d.set(ctx, "WSetEna", 0)
	} else {
		err = d.releaseRates(ctx)
	}
	if err == nil {
		d.lease = lease{}
	}
	return err
}

// stepsWithin returns the raw number nearest to v/step whose value does not
// exceed the magnitude of v by rounding where v is already the limit.
func stepsWithin(v float64, exp int, limit float64) float64 {
	raw := math.Round(scale(v, -exp))
	if math.Abs(scale(raw, exp)) > limit+1e-9 {
		raw = math.Trunc(scale(limit, -exp) + 1e-9)
		raw = math.Copysign(raw, v)
	}
	return raw
}

// rates commands model 124: the timer first, then both rates as the same
// percentage with opposite signs, which pins the power from both sides, then
// the mode. The whole sequence is the refresh, because some devices restart
// the timer only when StorCtl_Mod is written (modbus.md 4).
func (d *storage) rates(ctx context.Context, w float64, valid time.Duration) error {
	out, _ := d.ctl.find("OutWRte")
	exp, ok := d.ctl.exponent(out)
	full, fullOK := d.ctl.positive("WChaMax")
	if !ok || !fullOK {
		return fmt.Errorf("command model 124 at %d: InOutWRte_SF or WChaMax is missing, so a rate means nothing: %w",
			d.primary.Addr, drivers.ErrRefused)
	}
	limit := 100.0
	if top := smaller(d.opts.MaxDischargeW, d.rating(discharge())); w > 0 && top.OK {
		limit = math.Min(limit, 100*top.V/full)
	}
	if top := smaller(d.opts.MaxChargeW, d.rating(charge())); w < 0 && top.OK {
		limit = math.Min(limit, 100*top.V/full)
	}
	pct := math.Min(math.Max(100*w/full, -100), 100)
	raw := stepsWithin(pct, exp, limit)
	mode, stated := d.ctl.word("StorCtl_Mod")
	d.lease.remember(d.ctl, stated && mode == 0, "ChaGriSet", "InOutWRte_RvrtTms")
	if d.fallback() {
		if err := d.set(ctx, "InOutWRte_RvrtTms", timer(Uint16, valid)); err != nil {
			return err
		}
	}
	if err := d.setRates(ctx, raw, -raw); err != nil {
		return err
	}
	if grid, ok := d.ctl.word("ChaGriSet"); ok && w < 0 && grid != 1 {
		if err := d.set(ctx, "ChaGriSet", 1); err != nil {
			return err
		}
	}
	if err := d.set(ctx, "StorCtl_Mod", 3); err != nil {
		return err
	}
	d.lease.sent(d.now(), valid, []want{
		{"StorCtl_Mod", 3}, {"OutWRte", scale(raw, exp)}, {"InWRte", scale(-raw, exp)},
	})
	return nil
}

// setRates writes OutWRte and InWRte, which stand side by side, as unscaled
// numbers.
func (d *storage) setRates(ctx context.Context, out, in float64) error {
	o, err := Encode(Int16, out)
	if err != nil {
		return err
	}
	i, err := Encode(Int16, in)
	if err != nil {
		return err
	}
	p, _ := d.ctl.find("OutWRte")
	return d.write(ctx, "OutWRte", d.ctl.addr(p), append(o, i...), false)
}

// releaseRates lets a model 124 battery decide for itself again: no limit
// counts, both rates stand at 100 % for whoever enables one next, and what the
// owner had set before the first command is back.
func (d *storage) releaseRates(ctx context.Context) error {
	if err := d.set(ctx, "StorCtl_Mod", 0); err != nil {
		return err
	}
	out, _ := d.ctl.find("OutWRte")
	if exp, ok := d.ctl.exponent(out); ok {
		o, _ := d.ctl.value("OutWRte")
		i, _ := d.ctl.value("InWRte")
		if full := math.Round(scale(100, -exp)); o != 100 || i != 100 {
			if err := d.setRates(ctx, full, full); err != nil {
				return err
			}
		}
	}
	return d.restore(ctx)
}

// setPoint commands model 704: the reversion timer first, with "disabled" as
// the state it reverts to, then the set-point, then the enable, whose writing
// restarts the timer.
func (d *storage) setPoint(ctx context.Context, w float64, valid time.Duration) error {
	name, mode, value := "WSet", 1.0, w
	if !d.ctl.present("WSet") {
		full := smaller(d.slowFirst("WMax", 702), d.slowFirst("WMaxRtg", 702))
		if !full.OK {
			return fmt.Errorf("command model 704 at %d: it takes percent only, and model 702 states no WMax: %w",
				d.primary.Addr, drivers.ErrRefused)
		}
		name, mode, value = "WSetPct", 0, math.Min(math.Max(100*w/full.V, -100), 100)
	}
	p, _ := d.ctl.find(name)
	exp, ok := d.ctl.exponent(p)
	if !ok {
		return fmt.Errorf("command model 704 at %d: the scale factor of %s is missing: %w", d.primary.Addr, name, drivers.ErrRefused)
	}
	raw := stepsWithin(value, exp, math.Abs(value)+scale(1, exp)/2)
	if d.fallback() {
		if err := d.setReversion(ctx, "WSetEnaRvrt", "WSetRvrt", "WSetRvrtTms", 0, valid); err != nil {
			return err
		}
	}
	if err := d.setMode(ctx, name, mode, raw); err != nil {
		return err
	}
	if err := d.set(ctx, "WSetEna", 1); err != nil {
		return err
	}
	d.lease.sent(d.now(), valid, []want{{"WSetEna", 1}, {name, scale(raw, exp)}})
	return nil
}

// setMode writes the mode and the set-point. Mode and WSet stand side by side
// and go in one request, so that a set-point is never taken in the other unit.
func (d *storage) setMode(ctx context.Context, name string, mode, raw float64) error {
	hasMode := d.ctl.present("WSetMod")
	if name == "WSet" && hasMode {
		v, err := Encode(Int32, raw)
		if err != nil {
			return err
		}
		p, _ := d.ctl.find("WSetMod")
		return d.write(ctx, "WSetMod", d.ctl.addr(p), append([]uint16{uint16(mode)}, v...), true)
	}
	if err := d.set(ctx, name, raw); err != nil || !hasMode {
		return err
	}
	return d.set(ctx, "WSetMod", mode)
}
