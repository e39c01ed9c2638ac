package profile

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shape is which keys a part of a profile has, and what lies below them. A part
// without keys is a plain value, or a map whose keys are free.
type shape struct {
	keys map[string]*shape
	each *shape // of the elements of a list, or of a map with free keys
}

// fields makes a shape of plain keys.
func fields(names string) *shape {
	s := &shape{keys: map[string]*shape{}}
	for _, n := range strings.Fields(names) {
		s.keys[n] = nil
	}
	return s
}

// with adds a key that has a shape of its own.
func (s *shape) with(name string, below *shape) *shape {
	s.keys[name] = below
	return s
}

// document is the shape of a profile. A test holds it against the Go types.
func document() *shape {
	list := func(of *shape) *shape { return &shape{each: of} }
	steps := list(fields("write value unless only").with("also", list(fields("write value"))))
	command := fields("")
	for _, name := range sequences() {
		command.with(name, steps)
	}
	return fields("name kind maker bus driver source revision tested connect notes replaces max_registers max_gap holes one_per_request channels poll never min_interval").
		with("link", fields("baud format port units")).
		with("timing", fields("timeout pause_between pause_after_connect unit_change")).
		with("points", list(fields("name table address stride type scale unit meaning mask shift words unset min max slow optional where"))).
		with("identity", list(fields("table address type scale min max one_of unset length text"))).
		with("writable", list(fields("name table address stride type function raw scale unit min max clamp interval per_day changed where"))).
		with("modes", &shape{each: fields("value direction min max")}).
		with("command", command).
		with("read_back", fields("point after tolerance")).
		with("fallback", fields("register min max after renew any_request proof state").with("keep_alive", steps))
}

// sequences are the keys of a command, in the order people read them.
func sequences() []string {
	return []string{"apply", "charge", "discharge", "hold", "pause", "inhibit", "release"}
}

// strange returns the first key that the shape does not have, as an error with
// the nearest one that it has, and its line. Anchors are refused: what a profile
// may write has to be seen where it stands.
func (s *shape) strange(n *yaml.Node) (line int, err error) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return n.Line, fmt.Errorf("anchors and aliases are not accepted in a profile")
	}
	switch {
	case n.Kind == yaml.DocumentNode && len(n.Content) > 0:
		return s.strange(n.Content[0])
	case n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			if line, err := s.element().strange(c); err != nil {
				return line, err
			}
		}
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if line, err := s.entry(n.Content[i], n.Content[i+1]); err != nil {
				return line, err
			}
		}
	}
	return 0, nil
}

func (s *shape) entry(key, value *yaml.Node) (int, error) {
	below := s.element()
	if s != nil && s.keys != nil {
		k, ok := s.keys[key.Value]
		if !ok {
			var names []string
			for n := range s.keys {
				names = append(names, n)
			}
			slices.Sort(names)
			return key.Line, fmt.Errorf("key %q is not known; did you mean %q? Accepted are %s",
				key.Value, nearest(key.Value, names), strings.Join(names, ", "))
		}
		below = k
	}
	return below.strange(value)
}

func (s *shape) element() *shape {
	if s == nil {
		return nil
	}
	return s.each
}
