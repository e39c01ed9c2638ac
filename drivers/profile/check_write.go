package profile

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"nominald/drivers"
)

// maxWrite is the most registers that one request writes (FC16).
const maxWrite = 123

func (p *Profile) checkWritable() ([]any, error) {
	if p.Kind == drivers.Meter && len(p.Writable) > 0 {
		return []any{"writable"}, errors.New("a meter has writable registers, accepted are none")
	}
	owner := map[string]string{}
	for i, r := range p.Writable {
		at := []any{"writable", i}
		if other, ok := p.register(r.Name); r.Name == "" || !ok || other != r {
			return at, fmt.Errorf("name of a writable register is %q, accepted is a name that no other one has", r.Name)
		}
		s := spot{r.Name, r.Table, r.Address, r.Stride, width(r.Type)}
		for _, err := range []error{p.checkRegister(r), p.inside(s)} {
			if err != nil {
				return at, err
			}
		}
		if err := p.alone(s, owner); err != nil {
			return at, err
		}
	}
	return nil, nil
}

// checkRegister checks a writable register by itself.
func (p *Profile) checkRegister(r Register) error {
	switch {
	case r.Table != tableHolding && r.Table != tableCoil:
		return fmt.Errorf("table of %s is %q, accepted are holding, coil", r.Name, r.Table)
	case r.Function != 5 && r.Function != 6 && r.Function != 16:
		return fmt.Errorf("function of %s is %d, accepted are 5, 6, 16", r.Name, r.Function)
	case (r.Table == tableCoil) != (r.Function == 5):
		return fmt.Errorf("function of %s is %d in table %s, accepted are 5 for a coil, 6 and 16 for holding", r.Name, r.Function, r.Table)
	case r.Raw && r.Function != 5:
		return fmt.Errorf("%s is raw with function %d, accepted with function 5 only", r.Name, r.Function)
	case r.Function == 6 && width(r.Type) != 1:
		return fmt.Errorf("%s takes %d registers, function 6 writes one", r.Name, width(r.Type))
	case r.Interval < 0 || r.Interval > 24*time.Hour || r.PerDay < 0:
		return fmt.Errorf("budget of %s is %v and %d a day, accepted are 0 to 24h and 0 or more", r.Name, r.Interval, r.PerDay)
	case r.Changed && r.Raw:
		return fmt.Errorf("%s is raw and changed, accepted is changed where the value can be read back", r.Name)
	}
	if err := errors.Join(fits(r.Name, r.Table, r.Type), sane(r.Name, r.Scale, r.Min, r.Max)); err != nil {
		return err
	}
	for _, l := range []*float64{r.Min, r.Max} {
		if l == nil {
			continue
		}
		if _, err := r.encode(*l); err != nil {
			return fmt.Errorf("limit %g of %s: %w, accepted are values that its type holds", *l, r.Name, err)
		}
	}
	return nil
}

// alone checks that no other register, and no register that must never be
// written, lies where the spot does, in any channel. owner collects who has
// each address.
func (p *Profile) alone(s spot, owner map[string]string) error {
	for ch := range p.channels() {
		if ch > 0 && s.stride == 0 {
			return nil
		}
		for w := range s.width {
			at := int(s.address) + ch*int(s.stride) + w
			key := fmt.Sprint(s.table, " ", at)
			if other := owner[key]; other != "" {
				return fmt.Errorf("%s writes %s, which %s writes, accepted are registers that do not overlap", s.name, key, other)
			}
			owner[key] = s.name
			if s.table == tableHolding && slices.Contains(p.Never, uint16(at)) {
				return fmt.Errorf("%s writes register %d, which must never be written", s.name, at)
			}
		}
	}
	return nil
}

// checkUsed keeps the allow-list as short as the commands are.
func (p *Profile) checkUsed() ([]any, error) {
	for i, r := range p.Writable {
		if !p.used(r.Name) {
			return []any{"writable", i}, fmt.Errorf("%s is writable and no step writes it, accepted are registers that are needed", r.Name)
		}
	}
	return nil, nil
}

// used tells whether any sequence writes the register.
func (p *Profile) used(name string) bool {
	writes := func(s Step) bool { return s.Write == name }
	return slices.ContainsFunc(p.allSteps(), func(s Step) bool { return writes(s) || slices.ContainsFunc(s.Also, writes) })
}

func (p *Profile) allSteps() []Step {
	all := slices.Clone(p.Fallback.KeepAlive)
	for _, key := range sequences() {
		all = append(all, p.Command.steps(key)...)
	}
	return all
}

// forms are the sets of sequences that a kind is commanded by, each with release.
func forms(k drivers.Kind) [][]string {
	switch k {
	case drivers.Battery:
		return [][]string{{"apply"}, {"charge", "discharge"}, {"charge", "discharge", "hold"}}
	case drivers.Charger:
		return [][]string{{"apply", "pause"}}
	case drivers.Thermostat:
		return [][]string{{"apply"}, {"inhibit"}}
	case drivers.Relay:
		return [][]string{{"inhibit"}}
	case drivers.Inverter:
		return [][]string{{"apply"}}
	default:
		return nil
	}
}

// words are what a step's value may be beside a number, in a kind's sequence.
func words(k drivers.Kind, seq string) []string {
	switch {
	case seq == "release" && k == drivers.Thermostat:
		return []string{"remembered"}
	case seq == "release" && k == drivers.Charger:
		return []string{"max"}
	case seq == "release":
		return nil
	case k == drivers.Battery:
		return []string{"command", "charge", "discharge", "timer"}
	case k == drivers.Charger:
		return []string{"command", "watts", "max", "timer"}
	case k == drivers.Relay || seq == "inhibit":
		return []string{"timer"}
	default:
		return []string{"command", "timer"}
	}
}

func (p *Profile) checkCommand() ([]any, error) {
	var got []string
	for _, key := range sequences() {
		if steps := p.Command.steps(key); len(steps) > 0 {
			got = append(got, key)
			allowed := words(p.Kind, key)
			if p.Inhibits() && key == "release" { // no set-point was shifted
				allowed = nil
			}
			if at, err := p.checkSteps([]any{"command", key}, steps, allowed); err != nil {
				return at, err
			}
		}
	}
	if len(got) == 0 && len(p.Writable) == 0 {
		return nil, nil // read only
	}
	if err := p.checkLargest(); err != nil {
		return []any{"command", "release"}, err
	}
	var accepted []string
	for _, form := range forms(p.Kind) {
		form = append(slices.Clone(form), "release")
		if slices.Equal(form, got) {
			return nil, nil
		}
		accepted = append(accepted, strings.Join(form, " + "))
	}
	return []any{"command"}, fmt.Errorf("a %s is commanded by %q, accepted are %s", p.Kind, strings.Join(got, " + "), strings.Join(append(accepted, "none"), "; "))
}

// checkLargest sees to a limit where max is written: without one it would be
// whatever the register holds.
func (p *Profile) checkLargest() error {
	for _, s := range flat(p.allSteps()) {
		if r, _ := p.register(s.Write); s.Value == "max" && r.Max == nil {
			return fmt.Errorf("max is written to %s, which has no max of its own, accepted is a register with one", s.Write)
		}
	}
	return nil
}

func (p *Profile) checkSteps(path []any, steps []Step, words []string) ([]any, error) {
	for i, s := range steps {
		at := append(slices.Clone(path), i)
		if err := p.checkStep(s, words); err != nil {
			return at, err
		}
		before, _ := p.register(s.Write)
		total := width(before.Type)
		for j, also := range s.Also {
			at := append(slices.Clone(at), "also", j)
			if err := p.checkStep(also, words); err != nil {
				return at, err
			}
			r, _ := p.register(also.Write)
			if len(s.Only) > 0 {
				return at, errors.New("also at a step with only, accepted is one register there")
			}
			if len(also.Also) > 0 || also.Unless != nil || len(also.Only) > 0 {
				return at, errors.New("also, unless or only below also, accepted are write and value")
			}
			if r.Function != 16 || before.Function != 16 || r.Stride != before.Stride || int(r.Address) != int(before.Address)+width(before.Type) {
				return at, fmt.Errorf("%s is written together with %s, accepted are function 16 and the address that follows (%d), same stride",
					r.Name, before.Name, int(before.Address)+width(before.Type))
			}
			if total += width(r.Type); total > maxWrite {
				return at, fmt.Errorf("%d registers in one request, accepted are %d", total, maxWrite)
			}
			before = r
		}
	}
	return nil, nil
}

// checkStep checks what one step writes, and that a number suits its register.
func (p *Profile) checkStep(s Step, words []string) error {
	r, ok := p.register(s.Write)
	if !ok {
		var names []string
		for _, w := range p.Writable {
			names = append(names, w.Name)
		}
		return fmt.Errorf("%q is not among the writable registers, accepted are %s", s.Write, strings.Join(names, ", "))
	}
	if s.Unless != nil && (math.IsNaN(*s.Unless) || math.IsInf(*s.Unless, 0)) {
		return fmt.Errorf("unless of %s is %g, accepted are numbers", s.Write, *s.Unless)
	}
	if err := checkOnly(s, r); err != nil {
		return err
	}
	if slices.Contains(words, s.Value) {
		return nil
	}
	v, ok := constant(s.Value)
	if !ok {
		return fmt.Errorf("value of %s is %q, accepted here are a number, %s", s.Write, s.Value, strings.Join(words, ", "))
	}
	if low, high := r.limits(); v < low || v > high {
		return fmt.Errorf("value of %s is %s, accepted are %g to %g", s.Write, s.Value, low, high)
	}
	if u := unscaled(v, r.Scale); !isFloat(r.Type) && math.Abs(u-math.Round(u)) > 1e-6 {
		return fmt.Errorf("value of %s is %s, accepted are multiples of its scale %g", s.Write, s.Value, r.Scale)
	}
	if _, err := r.encode(v); err != nil {
		return fmt.Errorf("value of %s: %w", s.Write, err)
	}
	return nil
}

// checkOnly checks what a register has to hold before it is written: values that
// it can hold and show, whatever may be written to it.
func checkOnly(s Step, r Register) error {
	if len(s.Only) > 0 && r.Raw {
		return fmt.Errorf("only of %s, which is raw, accepted is only where the value can be read back", s.Write)
	}
	value, fixed := constant(s.Value)
	for _, v := range s.Only {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("only of %s is %g, accepted are numbers", s.Write, v)
		}
		if _, err := r.encode(v); err != nil {
			return fmt.Errorf("only of %s: %w", s.Write, err)
		}
		if u := unscaled(v, r.Scale); !isFloat(r.Type) && math.Abs(u-math.Round(u)) > 1e-6 {
			return fmt.Errorf("only of %s is %g, accepted are multiples of its scale %g", s.Write, v, r.Scale)
		}
		if fixed && math.Abs(v-value) < r.resolution()/2 {
			return fmt.Errorf("only of %s is %g, which is what is written, accepted is another value", s.Write, v)
		}
	}
	return nil
}

// encode returns the registers of a value in the register's unit.
func (r Register) encode(v float64) ([]uint16, error) {
	if r.Function != 5 {
		return encode(r.Type, unscaled(v, r.Scale))
	}
	if r.Raw {
		return encode("u16", unscaled(v, r.Scale))
	}
	regs, err := encode(typeBit, unscaled(v, r.Scale))
	if err == nil && regs[0] == 1 {
		regs[0] = 0xFF00 // what function 5 takes for on
	}
	return regs, err
}
