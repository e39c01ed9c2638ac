package sunspec

import (
	"context"
	"math"
	"strings"

	"nominald/drivers"
)

// poll reads each model at most once during one Read of the device.
type poll struct {
	*site
	got map[uint16]block // by address
}

// models reads the models with one of the ids, in the device's order.
func (p *poll) models(ctx context.Context, ids ...uint16) ([]block, error) {
	var blocks []block
	for _, m := range p.m.all(ids...) {
		b, ok := p.got[m.Addr]
		if !ok {
			var err error
			if b, err = p.read(ctx, m); err != nil {
				return nil, err
			}
			p.got[m.Addr] = b
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// first returns the point of the first model that implements it.
func (p *poll) first(ctx context.Context, name string, ids ...uint16) (drivers.Opt, error) {
	blocks, err := p.models(ctx, ids...)
	if err != nil {
		return drivers.Opt{}, err
	}
	for _, b := range blocks {
		if v, ok := b.value(name); ok {
			return drivers.Some(v), nil
		}
	}
	return drivers.Opt{}, nil
}

// inverters are the models of AC power, generation positive.
func inverters() []uint16 { return []uint16{101, 102, 103, 111, 112, 113} }

// power returns the battery's power, discharge positive, from the most
// trusted source that the device implements. The AC power of a hybrid inverter
// includes its panels, so under model 124 the battery's own DC power comes
// first; a 704 device is commanded on its AC side and measured there.
func (d *storage) power(ctx context.Context, p *poll) (drivers.Opt, error) {
	ac := func() (drivers.Opt, error) { return p.first(ctx, "W", 701) }
	dc := func() (drivers.Opt, error) { return d.bankPower(ctx, p) }
	inv := func() (drivers.Opt, error) { return p.first(ctx, "W", inverters()...) }
	va := func() (drivers.Opt, error) { return bankVoltAmps(ctx, p) }
	sources := []func() (drivers.Opt, error){dc, inv, ac, va}
	if d.primary.ID == 704 {
		sources = []func() (drivers.Opt, error){ac, dc, inv, va}
	}
	for _, source := range sources {
		if w, err := source(); err != nil || w.OK {
			return w, err
		}
	}
	return drivers.Opt{}, nil
}

// banks reads the battery models that hold anything. A device with several
// batteries repeats model 802 for each; an empty one is not a battery.
func banks(ctx context.Context, p *poll) ([]block, error) {
	blocks, err := p.models(ctx, 802)
	return filled(blocks), err
}

// filled leaves out the battery models that measure nothing.
func filled(blocks []block) []block {
	var found []block
	for _, b := range blocks {
		if b.ID == 802 && (b.has("SoC") || b.has("W") || b.has("A")) {
			found = append(found, b)
		}
	}
	return found
}

// bankPower sums the DC power of all batteries; a sum that misses one would be
// wrong. Makers differ in the sign (modbus.md 4), so it is held against the
// charge status.
func (d *storage) bankPower(ctx context.Context, p *poll) (drivers.Opt, error) {
	blocks, err := banks(ctx, p)
	if err != nil || len(blocks) == 0 {
		return drivers.Opt{}, err
	}
	var sum float64
	for _, b := range blocks {
		w, ok := b.value("W")
		if !ok {
			return drivers.Opt{}, nil
		}
		sum += w
	}
	status, _ := d.chargeStatus(p)
	return drivers.Some(d.sign.correct(sum, status)), nil
}

// bankVoltAmps is the last resort: voltage times current of all batteries.
func bankVoltAmps(ctx context.Context, p *poll) (drivers.Opt, error) {
	blocks, err := banks(ctx, p)
	if err != nil || len(blocks) == 0 {
		return drivers.Opt{}, err
	}
	var sum float64
	for _, b := range blocks {
		v, okV := b.value("V")
		a, okA := b.value("A")
		if !okV || !okA {
			return drivers.Opt{}, nil
		}
		sum += v * a
	}
	return drivers.Some(sum), nil
}

// soc returns the state of charge in percent: 713, else 802, else 124.
func (d *storage) soc(ctx context.Context, p *poll) (drivers.Opt, error) {
	if v, err := p.first(ctx, "SoC", 713); err != nil || v.OK {
		return percent(v), err
	}
	blocks, err := banks(ctx, p)
	if err != nil {
		return drivers.Opt{}, err
	}
	if v := bankSoC(blocks); v.OK {
		return percent(v), nil
	}
	v, err := p.first(ctx, "ChaState", 124)
	return percent(v), err
}

// bankSoC is the mean over the batteries, weighted by capacity where all of
// them state it.
func bankSoC(blocks []block) drivers.Opt {
	var sum, weights, plain float64
	weighted := true
	for _, b := range blocks {
		soc, ok := b.value("SoC")
		if !ok {
			return drivers.Opt{}
		}
		wh, ok := b.positive("WHRtg")
		weighted = weighted && ok
		sum, weights, plain = sum+soc*wh, weights+wh, plain+soc
	}
	if len(blocks) == 0 {
		return drivers.Opt{}
	}
	if weighted {
		return drivers.Some(sum / weights)
	}
	return drivers.Some(plain / float64(len(blocks)))
}

// percent drops a state of charge that can not be one. Some devices overshoot
// 100 by a little.
func percent(v drivers.Opt) drivers.Opt {
	if v.V < 0 || v.V > 101 {
		return drivers.Opt{}
	}
	v.V = math.Min(v.V, 100)
	return v
}

// capacity returns the usable energy in Wh: the owner's word, else what the
// device states.
func (d *storage) capacity(ctx context.Context, p *poll) (drivers.Opt, error) {
	if d.opts.CapacityWh.OK {
		return d.opts.CapacityWh, nil
	}
	v, err := p.first(ctx, "WHRtg", 713)
	if err != nil || v.V > 0 {
		return v, err
	}
	if v := total(filled(d.slow), "WHRtg"); v.OK {
		return v, nil
	}
	return d.slowFirst("WHRtg", 120), nil
}

// total sums a rating over all blocks; unknown where one leaves it out.
func total(blocks []block, name string) drivers.Opt {
	var sum float64
	for _, b := range blocks {
		v, ok := b.positive(name)
		if !ok {
			return drivers.Opt{}
		}
		sum += v
	}
	if len(blocks) == 0 {
		return drivers.Opt{}
	}
	return drivers.Some(sum)
}

// direction names the points that rate one direction of power.
type direction struct{ rated, set, bank, nameplate string }

func discharge() direction {
	return direction{"WDisChaRteMaxRtg", "WDisChaRteMax", "WDisChaRteMax", "MaxDisChaRte"}
}

func charge() direction {
	return direction{"WChaRteMaxRtg", "WChaRteMax", "WChaRteMax", "MaxChaRte"}
}

// rating returns the device's own limit in W. Settings and the inverter's
// maximum lower it; under model 124 a rate is a percentage of WChaMax, so
// nothing above WChaMax can be asked for.
func (d *storage) rating(dir direction) drivers.Opt {
	r := smaller(d.slowFirst(dir.rated, 702), d.slowFirst(dir.set, 702))
	if !r.OK {
		r = total(filled(d.slow), dir.bank)
	}
	if !r.OK {
		r = d.slowFirst(dir.nameplate, 120)
	}
	if d.primary.ID == 124 {
		return smaller(r, opt(d.ctl.positive("WChaMax")))
	}
	return smaller(r, smaller(d.slowFirst("WMax", 702), d.slowFirst("WMaxRtg", 702)))
}

// Values of ChaSt, the same in models 124 and 802.
const (
	chaDischarging = 3
	chaCharging    = 4
)

// chargeStatus returns ChaSt as read in this poll.
func (d *storage) chargeStatus(p *poll) (uint16, bool) {
	for _, id := range []uint16{802, 124} {
		for _, m := range p.m.all(id) {
			if v, ok := p.got[m.Addr].word("ChaSt"); ok {
				return v, true
			}
		}
	}
	return 0, false
}

// state is the device's own word for what it does, with what is wrong.
func (d *storage) state(p *poll) string {
	chaSt := [...]string{"", "off", "empty", "discharging", "charging", "full", "holding", "testing"}
	invSt := [...]string{"off", "sleeping", "starting", "running", "throttled", "shutting down", "fault", "standby"}
	var words []string
	if v, ok := d.chargeStatus(p); ok && v > 0 && int(v) < len(chaSt) {
		words = append(words, chaSt[v])
	}
	for _, m := range p.m.all(701, 802) {
		if v, ok := p.got[m.Addr].word("InvSt"); ok && int(v) < len(invSt) && len(words) == 0 {
			words = append(words, invSt[v])
		}
	}
	for _, note := range []string{d.barred(), d.sign.note(), d.lease.note} {
		if note != "" {
			words = append(words, note)
		}
	}
	return strings.Join(words, "; ")
}
