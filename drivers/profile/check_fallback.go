package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nominald/drivers"
)

// maxTimer is the longest fallback that makes sense: a device that holds a
// command for longer than a day does not end it.
const maxTimer = 24 * time.Hour

func (p *Profile) checkFallback() ([]any, error) {
	f := p.Fallback
	for _, d := range []struct {
		key string
		v   time.Duration
	}{{"min", f.Min}, {"max", f.Max}, {"after", f.After}, {"renew", f.Renew}} {
		if d.v < 0 || d.v > maxTimer {
			return []any{"fallback", d.key}, fmt.Errorf("%s is %v, accepted are 0 to %v", d.key, d.v, maxTimer)
		}
	}
	if f.Register == "" && f.After == 0 {
		if f.Renew != 0 || f.Min != 0 || f.Max != 0 || f.AnyRequest || len(f.KeepAlive) > 0 {
			return []any{"fallback"}, errors.New("fallback has neither register nor after, accepted is one of them")
		}
		return nil, nil
	}
	if f.Register != "" && f.After != 0 {
		return []any{"fallback", "after"}, errors.New("fallback has register and after, accepted is one of them")
	}
	if len(p.Command.Release) == 0 {
		return []any{"fallback"}, errors.New("fallback of a device that takes no command, accepted is none")
	}
	if key, err := p.checkSteps([]any{"fallback", "keep_alive"}, f.KeepAlive, words(p.Kind, "apply")); err != nil {
		return key, err
	}
	if f.Proof != "" {
		if _, ok := p.point(f.Proof); !ok {
			return []any{"fallback", "proof"}, p.unknownPoint("proof", f.Proof)
		}
	}
	if key, err := p.checkRenewal(); err != nil {
		return key, err
	}
	if ends := max(f.Max, f.After); ends > 0 && p.Poll > ends/2 { // it is renewed with polls
		return []any{"poll"}, fmt.Errorf("poll is %v, accepted is up to half of what the device waits (%v)", p.Poll, ends)
	}
	if f.Register != "" {
		return p.checkTimer()
	}
	if f.Renew >= f.After {
		return []any{"fallback", "renew"}, fmt.Errorf("renew is %v, accepted is less than after (%v)", f.Renew, f.After)
	}
	return nil, nil
}

// checkRenewal keeps a register that wears out from being written with each
// renewal.
func (p *Profile) checkRenewal() ([]any, error) {
	path, repeated := []any{"command"}, []Step(nil)
	for _, key := range sequences() {
		if key != "release" {
			repeated = append(repeated, p.Command.steps(key)...)
		}
	}
	if len(p.Fallback.KeepAlive) > 0 {
		path, repeated = []any{"fallback", "keep_alive"}, p.Fallback.KeepAlive
	}
	for _, s := range flat(repeated) {
		r, _ := p.register(s.Write)
		if (r.Interval > 0 || r.PerDay > 0) && !r.Changed {
			return path, fmt.Errorf("%s has a write budget and is written with each renewal, accepted is changed: true, or a keep_alive without it", r.Name)
		}
	}
	return nil, nil
}

// checkTimer checks the register that takes the lease, and that no command goes
// out without it.
func (p *Profile) checkTimer() ([]any, error) {
	f := p.Fallback
	r, ok := p.register(f.Register)
	if !ok {
		return []any{"fallback", "register"}, fmt.Errorf("fallback register %q is not among the writable registers", f.Register)
	}
	if r.Scale < 0 || r.resolution() == 0 {
		return []any{"fallback", "register"}, fmt.Errorf("%s has scale %g, accepted for a timer are seconds, positive", f.Register, r.Scale)
	}
	if f.Max != 0 && f.Min > f.Max {
		return []any{"fallback", "min"}, fmt.Errorf("min is %v, accepted is up to max (%v)", f.Min, f.Max)
	}
	low, high := r.limits()
	for _, d := range []struct {
		key string
		v   time.Duration
	}{{"min", f.Min}, {"max", f.Max}} {
		if d.v != 0 && (d.v.Seconds() < low || d.v.Seconds() > high) {
			return []any{"fallback", d.key}, fmt.Errorf("%s is %v, accepted by %s are %g to %g s", d.key, d.v, r.Name, low, high)
		}
	}
	if f.Max != 0 && f.Renew >= f.Max {
		return []any{"fallback", "renew"}, fmt.Errorf("renew is %v, accepted is less than max (%v)", f.Renew, f.Max)
	}
	for _, key := range sequences() {
		steps := append(slices.Clone(p.Command.steps(key)), f.KeepAlive...)
		if key != "release" && len(p.Command.steps(key)) > 0 && !setsTimer(steps, f.Register) {
			return []any{"command", key}, fmt.Errorf("%s does not write timer to %s, accepted is a step that does, or the command would never end", key, f.Register)
		}
	}
	return nil, nil
}

func setsTimer(steps []Step, register string) bool {
	sets := func(s Step) bool { return s.Write == register && s.Value == "timer" }
	return slices.ContainsFunc(steps, func(s Step) bool { return sets(s) || slices.ContainsFunc(s.Also, sets) })
}

// resolution is the smallest step of the register, in its unit; floats have a
// thousandth of it.
func (r Register) resolution() float64 {
	step := max(r.Scale, -r.Scale)
	if isFloat(r.Type) {
		step /= 1000
	}
	return step
}

func (p *Profile) checkReadBack() ([]any, error) {
	b := p.ReadBack
	if b == (ReadBack{}) {
		return nil, nil
	}
	if _, ok := p.point(b.Point); !ok {
		return []any{"read_back", "point"}, p.unknownPoint("read_back", b.Point)
	}
	if b.After < 0 || b.After > 10*time.Minute {
		return []any{"read_back", "after"}, fmt.Errorf("after is %v, accepted are 0 to 10m", b.After)
	}
	if !(b.Tolerance >= 0) {
		return []any{"read_back", "tolerance"}, fmt.Errorf("tolerance is %g, accepted is 0 or more", b.Tolerance)
	}
	if p.Kind == drivers.Thermostat && !p.Inhibits() {
		return []any{"read_back"}, errors.New("read_back of a set-point, accepted is none: a change by hand wins")
	}
	if p.Kind == drivers.Meter || len(p.Command.Release) == 0 {
		return []any{"read_back"}, errors.New("read_back of a device that takes no command, accepted is none")
	}
	return nil, nil
}

func (p *Profile) unknownPoint(key, name string) error {
	var names []string
	for _, pt := range p.Points {
		names = append(names, pt.Name)
	}
	return fmt.Errorf("%s names point %q, accepted are %s", key, name, strings.Join(names, ", "))
}
