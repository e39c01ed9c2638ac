package profile

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"nominald/drivers"
)

// Write is one write request.
type Write struct {
	Function byte
	Address  uint16
	Values   []uint16
	When     string // it is left out elsewhere: "ems_mode holds 2"; empty where it is always written
}

// Preview is a command and what would be written for it.
type Preview struct {
	Title   string // "charge 1000 W"
	Writes  []Write
	Problem string // why it can not be commanded so; empty else
}

// previewLease is the length of the leases that the bus gives.
const previewLease = 30 * time.Second

// previewRating is that of a battery nobody said one of, W.
const previewRating = 5000.0

// Previews renders commands of the kind as they go out to a device of which
// nothing is known, as if every register written on change only held something
// else, and one with only what it has to hold. Nothing is sent.
func (p *Profile) Previews(params Params) []Preview {
	if len(p.Command.Release) == 0 {
		return nil
	}
	params.AllowNoFallback, params.Remember, params.Allow = true, nil, nil
	at := time.Unix(0, 0)
	params.MaxDischargeW, params.MaxChargeW = drivers.Some(params.MaxDischargeW.Or(previewRating)), drivers.Some(params.MaxChargeW.Or(previewRating))
	params.Now = func() time.Time { return at }
	if p.Kind == drivers.Thermostat && !p.Inhibits() {
		return p.previewShift(params)
	}
	var all []Preview
	for _, c := range previewCommands(p.Kind) {
		rec := &recorder{}
		err := New(p, rec, params).Apply(context.Background(), c.command, previewLease)
		all = append(all, rec.preview(c.title, err))
	}
	rec := &recorder{}
	err := New(p, rec, params).Release(context.Background())
	return append(all, rec.preview("release", err))
}

type previewCommand struct {
	title   string
	command drivers.Command
}

func previewCommands(k drivers.Kind) []previewCommand {
	switch k {
	case drivers.Battery:
		return []previewCommand{{"discharge 1000 W", drivers.Command{PowerW: 1000}}, {"charge 1000 W", drivers.Command{PowerW: -1000}},
			{"hold", drivers.Command{}}}
	case drivers.Charger:
		return []previewCommand{{"limit 10 A", drivers.Command{CurrentA: 10}}, {"pause", drivers.Command{}}}
	case drivers.Inverter:
		return []previewCommand{{"limit 1000 W", drivers.Command{PowerW: 1000}}}
	default:
		return []previewCommand{{"inhibit", drivers.Command{Inhibit: true}}}
	}
}

// previewShift renders a shift by 1 K from the middle of each mode that has a
// direction, and back.
func (p *Profile) previewShift(params Params) []Preview {
	var all []Preview
	for _, name := range sorted(p.Modes) {
		m := p.Modes[name]
		if m.Direction == 0 {
			continue
		}
		user := math.Round((m.Min + m.Max) / 2)
		for _, s := range []struct {
			title string
			steps []Step
			v     values
		}{
			{fmt.Sprintf("%s, 1 K less load than %g C", name, user), p.Command.Apply, values{"command": user + m.Direction}},
			{fmt.Sprintf("%s, release to %g C", name, user), p.Command.Release, values{"remembered": user}},
		} {
			rec := &recorder{}
			d := &device{p: p, r: rec, params: params, now: params.Now}
			all = append(all, rec.preview(s.title, d.command(context.Background(), s.steps, s.v, 0, previewLease)))
		}
	}
	return all
}

// recorder is a device that takes every write.
type recorder struct {
	writes []Write
	when   map[string]string // by function and address, of the next write there
}

// assumer is asked nothing about a register with only: it holds what it has to.
type assumer interface {
	assume(p part, at uint16)
}

// assume implements assumer.
func (r *recorder) assume(p part, at uint16) {
	if r.when == nil {
		r.when = map[string]string{}
	}
	r.when[fmt.Sprint(p.reg.Function, at)] = p.reg.Name + " holds " + p.reg.text(p.only...)
}

// Read answers with what no step writes, so that nothing is left out.
func (r *recorder) Read(_ context.Context, _ byte, _ uint16, dst []uint16) error {
	for i := range dst {
		dst[i] = 0xDEAD
	}
	return nil
}

// Write implements Registers.
func (r *recorder) Write(_ context.Context, function byte, addr uint16, vs []uint16) error {
	key := fmt.Sprint(function, addr)
	r.writes = append(r.writes, Write{function, addr, slices.Clone(vs), r.when[key]})
	delete(r.when, key)
	return nil
}

func (r *recorder) preview(title string, err error) Preview {
	p := Preview{Title: title, Writes: r.writes}
	if err != nil {
		p.Problem = err.Error()
	}
	return p
}
