package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Fault is a mistake in a profile, with its place.
type Fault struct {
	File string
	Line int    // 1 is the first
	Text string // what is wrong, what was found, what is accepted
}

// Error puts the fault on one line: "mine.yaml:12: key ... is not known".
func (f *Fault) Error() string { return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text) }

// Parse reads one profile. It is strict; an error is a *Fault.
func Parse(file string, data []byte) (*Profile, error) {
	var root yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&root); err != nil {
		return nil, placed(file, &root, err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, &Fault{file, 1, "one profile a file, found more"}
	}
	if root.Kind != yaml.DocumentNode || root.Content[0].Kind != yaml.MappingNode {
		return nil, &Fault{file, 1, "a profile is a list of keys, found something else"}
	}
	if line, err := document().strange(&root); err != nil {
		return nil, &Fault{file, line, err.Error()}
	}
	p := &Profile{}
	if err := root.Decode(p); err != nil {
		return nil, placed(file, &root, err)
	}
	p.defaults()
	if key, err := p.check(); err != nil {
		return nil, &Fault{file, lineOf(&root, key...), err.Error()}
	}
	return p, nil
}

// placed takes the line out of what the YAML library says.
func placed(file string, root *yaml.Node, err error) error {
	if errors.Is(err, io.EOF) {
		return &Fault{file, 1, "the file is empty"}
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if list := (*yaml.TypeError)(nil); errors.As(err, &list) && len(list.Errors) > 0 {
		text = list.Errors[0]
	}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, rest, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			return &Fault{file, line, plain(root, line, rest)}
		}
	}
	return &Fault{file, 1, text}
}

// plain puts "cannot unmarshal !!int `70000` into uint16" into words, with the key
// that it is at. Anything else is left as it is.
func plain(root *yaml.Node, line int, text string) string {
	rest, ok := strings.CutPrefix(text, "cannot unmarshal !!")
	found, goType, into := strings.Cut(rest, " into ")
	if !ok || !into {
		return text
	}
	tag, value, quoted := strings.Cut(found, " ")
	value = strings.Trim(value, "`")
	if !quoted {
		value = map[string]string{"map": "a map of keys", "seq": "a list"}[tag]
	}
	key := keyAt(root, line, strings.TrimSuffix(value, "..."), quoted)
	if key == "" || value == "" {
		return text
	}
	return fmt.Sprintf("%s is %s, accepted is %s", key, value, inWords(goType))
}

// inWords is what a Go type of the format takes.
func inWords(goType string) string {
	words := map[string]string{
		"uint16": "a whole number from 0 to 65535", "uint64": "a whole number from 0", "uint": "a whole number from 0",
		"int": "a whole number", "float64": "a number", "bool": "true or false", "string": "text",
		"time.Duration": "a time with its unit, as 500ms, 30s or 10m",
	}
	switch w, ok := words[goType]; {
	case ok:
		return w
	case strings.HasPrefix(goType, "["):
		return "a list"
	default:
		return "a map of keys"
	}
}

// keyAt returns the key whose value begins at the line: the text, or a map or a
// list where it is no scalar. An element of a list has the key of the list.
func keyAt(n *yaml.Node, line int, text string, scalar bool) string {
	matches := func(v *yaml.Node) bool {
		return v.Line == line && (v.Kind == yaml.ScalarNode) == scalar && (!scalar || strings.HasPrefix(v.Value, text))
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue
			}
			key := n.Content[i-1].Value
			if matches(c) || c.Kind == yaml.SequenceNode && slices.ContainsFunc(c.Content, matches) {
				return key
			}
		}
		if key := keyAt(c, line, text, scalar); key != "" {
			return key
		}
	}
	return ""
}

// defaults fills in what most devices have in common.
func (p *Profile) defaults() {
	if p.MaxRegisters == 0 {
		p.MaxRegisters = 125
	}
	for i := range p.Points {
		pt := &p.Points[i]
		pt.Table, pt.Type = usual(pt.Table, pt.Type)
		if pt.Scale == 0 {
			pt.Scale = 1
		}
	}
	for i := range p.Identity {
		c := &p.Identity[i]
		c.Table, c.Type = usual(c.Table, c.Type)
		if c.Scale == 0 {
			c.Scale = 1
		}
	}
	for i := range p.Writable {
		r := &p.Writable[i]
		if r.Table == "" && r.Function == 5 {
			r.Table = tableCoil
		}
		r.Table, r.Type = usual(r.Table, r.Type)
		if r.Scale == 0 {
			r.Scale = 1
		}
	}
}

// usual returns table and type with what is left out filled in.
func usual(table, t string) (string, string) {
	if table == "" {
		table = tableHolding
	}
	if t == "" && (table == tableCoil || table == tableDiscrete) {
		t = typeBit
	}
	return table, t
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
			if n.Content[i].Value != k {
				continue
			}
			if len(path) == 1 || n.Content[i+1].Kind == yaml.ScalarNode {
				return n.Content[i].Line
			}
			return lineOf(n.Content[i+1], path[1:]...)
		}
	case int:
		if n.Kind == yaml.SequenceNode && k < len(n.Content) {
			return lineOf(n.Content[k], path[1:]...)
		}
	}
	return n.Line
}
