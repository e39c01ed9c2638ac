package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parse reads one profile. It is strict; an error names file and line.
func Parse(file string, data []byte) (*Profile, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	p := &Profile{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: one profile a file, found more", file)
	}
	p.defaults()
	if key, err := p.check(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", file, lineOf(&root, key...), err)
	}
	return p, nil
}

// defaults fills in what most devices have in common.
func (p *Profile) defaults() {
	if p.MaxRegisters == 0 {
		p.MaxRegisters = 125
	}
	for i := range p.Points {
		if p.Points[i].Scale == 0 {
			p.Points[i].Scale = 1
		}
	}
	for i := range p.Writable {
		if p.Writable[i].Scale == 0 {
			p.Writable[i].Scale = 1
		}
	}
}

// check returns the first mistake and the path of the key it is at.
func (p *Profile) check() (key []any, err error) {
	for _, f := range []struct{ key, value string }{
		{"name", p.Name}, {"kind", string(p.Kind)}, {"maker", p.Maker}, {"source", p.Source}, {"tested", p.Tested},
	} {
		if f.value == "" {
			return []any{f.key}, fmt.Errorf("%s is missing", f.key)
		}
	}
	if !slices.Contains([]string{"modbus", "gpio"}, p.Bus) {
		return []any{"bus"}, fmt.Errorf("bus is %q, accepted are modbus, gpio", p.Bus)
	}
	if p.MaxRegisters < 1 || p.MaxRegisters > 125 {
		return []any{"max_registers"}, fmt.Errorf("max_registers is %d, accepted are 1 to 125", p.MaxRegisters)
	}
	if p.Driver != "" {
		return nil, nil // the rest is for people
	}
	for _, part := range []func() ([]any, error){p.checkPoints, p.checkWritable, p.checkCommand} {
		if key, err := part(); err != nil {
			return key, err
		}
	}
	return nil, nil
}

// meanings are the words for what a point fills in a reading.
func meanings() []string {
	return []string{"power_w", "current_a", "soc", "state", "connected", "temperature_c",
		"setpoint_c", "import_wh", "export_wh", "failsafe_a", "timer_s", "on", "link"}
}

func (p *Profile) checkPoints() ([]any, error) {
	for i, c := range p.Identity {
		if !validType(c.Type) || !validTable(c.Table) {
			return []any{"identity", i}, fmt.Errorf("type %q in table %q is not known", c.Type, c.Table)
		}
	}
	for i, pt := range p.Points {
		at := []any{"points", i}
		switch {
		case pt.Name == "":
			return at, errors.New("a point needs a name")
		case !validType(pt.Type):
			return at, fmt.Errorf("type of %s is %q, accepted are %s", pt.Name, pt.Type, strings.Join(types(), ", "))
		case !validTable(pt.Table):
			return at, fmt.Errorf("table of %s is %q, accepted are holding, input", pt.Name, pt.Table)
		case !slices.Contains(meanings(), pt.Meaning):
			return at, fmt.Errorf("meaning of %s is %q, accepted are %s", pt.Name, pt.Meaning, strings.Join(meanings(), ", "))
		case width(pt.Type) > p.MaxRegisters:
			return at, fmt.Errorf("%s is wider than max_registers", pt.Name)
		case math.IsNaN(pt.Scale) || math.IsInf(pt.Scale, 0):
			return at, fmt.Errorf("scale of %s is %g", pt.Name, pt.Scale)
		}
	}
	return nil, nil
}

func (p *Profile) checkWritable() ([]any, error) {
	for i, r := range p.Writable {
		at := []any{"writable", i}
		if r.Name == "" || !validType(r.Type) || (r.Function != 6 && r.Function != 16) {
			return at, fmt.Errorf("writable register %q needs a name, a type of %s and function 6 or 16", r.Name, strings.Join(types(), ", "))
		}
		if r.Function == 6 && width(r.Type) != 1 {
			return at, fmt.Errorf("%s takes %d registers, function 6 writes one", r.Name, width(r.Type))
		}
		if low, high := r.limits(); math.IsNaN(r.Scale) || math.IsInf(r.Scale, 0) || low > high {
			return at, fmt.Errorf("scale or limits of %s make no sense", r.Name)
		}
		for _, n := range p.Never {
			if n >= r.Address && int(n) < int(r.Address)+width(r.Type) {
				return at, fmt.Errorf("%s writes register %d, which must never be written", r.Name, n)
			}
		}
	}
	if _, ok := p.register(p.Fallback.Register); p.Fallback.Register != "" && !ok {
		return []any{"fallback"}, fmt.Errorf("fallback register %q is not among the writable ones", p.Fallback.Register)
	}
	return nil, nil
}

func (p *Profile) checkCommand() ([]any, error) {
	for _, seq := range []struct {
		key   string
		steps []Step
	}{{"apply", p.Command.Apply}, {"pause", p.Command.Pause}, {"release", p.Command.Release}} {
		for i, s := range seq.steps {
			at := []any{"command", seq.key, i}
			if _, ok := p.register(s.Write); !ok {
				return at, fmt.Errorf("%q is not among the writable registers", s.Write)
			}
			_, err := strconv.ParseFloat(s.Value, 64)
			if err != nil && !slices.Contains([]string{"command", "max", "timer", "remembered"}, s.Value) {
				return at, fmt.Errorf("value is %q, accepted are a number, command, max, timer, remembered", s.Value)
			}
		}
	}
	return nil, nil
}

// lineOf returns the line of the node at the path, or of the deepest part of
// the path that exists.
func lineOf(n *yaml.Node, path ...any) int {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	if len(path) == 0 {
		return n.Line
	}
	switch k := path[0].(type) {
	case string:
		for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
			if n.Content[i].Value == k {
				return lineOf(n.Content[i+1], path[1:]...)
			}
		}
	case int:
		if n.Kind == yaml.SequenceNode && k < len(n.Content) {
			return lineOf(n.Content[k], path[1:]...)
		}
	}
	return n.Line
}
