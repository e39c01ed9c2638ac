package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"nominald/drivers"
)

// maxBytes is far beyond any site; it bounds memory, not people.
const maxBytes = 1 << 20

// document is the file as written: which keys stand where, each value checked
// for itself. Nothing is known yet of defaults or of what refers to what.
type document struct {
	schema []section
	blocks map[string][]*block // by name of the section
}

// block is one mapping of the file.
type block struct {
	section *section
	path    string // "devices[1]"
	line    int
	values  map[string]value // the keys that were given, by name
	odd     bool             // a key in it is at fault, so nothing is said of missing ones
}

// value is one value of the file. Which field counts follows from its shape.
type value struct {
	line  int
	text  string
	num   float64 // numbers; seconds of a duration
	flag  bool
	items []value
}

// at returns the path of a key in the block, for messages.
func (b *block) at(key string) string { return b.path + "." + key }

// has reports whether the file gives the key.
func (b *block) has(key string) bool {
	_, ok := b.values[key]
	return ok
}

// lineOf returns the line of a key, or of the block where it is not given.
func (b *block) lineOf(key string) int {
	if v, ok := b.values[key]; ok {
		return v.line
	}
	return b.line
}

// readNode reads the one YAML document of r.
func readNode(r io.Reader, path string) (*yaml.Node, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, &Error{Path: path, Found: "can not be read: " + err.Error()}
	}
	if len(raw) > maxBytes {
		return nil, &Error{Path: path, Found: "is larger than 1 MiB; is it the right file?"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	var doc, more yaml.Node
	err = dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, &Error{Path: path, Found: "is empty", Remedy: "start from nominald.example.yaml"}
	}
	if err != nil {
		return nil, syntaxError(path, err)
	}
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, &Error{Path: path, Line: more.Line, Found: "a second YAML document begins", Remedy: "remove the line ---"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(path, err)
	}
	return doc.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxError tells what YAML itself did not understand.
func syntaxError(path string, err error) *Error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	e := &Error{Path: path, Remedy: "check indentation, quotes and colons around it"}
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	}
	// The library counts lines from 0 in this group of its errors.
	if strings.HasPrefix(msg, "did not find expected") {
		e.Line++
	}
	e.Found = "is not YAML: " + msg
	return e
}

// walker turns nodes into a document.
type walker struct {
	faults *faults
}

// document walks the root. Faults go to w.faults.
func (w *walker) document(root *yaml.Node) *document {
	doc := &document{schema: schema(), blocks: map[string][]*block{}}
	byName := map[string]*section{}
	var names []string
	for i := range doc.schema {
		byName[doc.schema[i].name] = &doc.schema[i]
		names = append(names, doc.schema[i].name)
	}
	if !w.mapping(root, "") {
		return doc
	}
	seen := map[string]int{}
	odd := false
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if !w.newKey(k, "", names, seen) {
			odd = true
			continue
		}
		s := byName[k.Value]
		doc.blocks[s.name] = w.section(s, k, v)
	}
	for i := range doc.schema {
		s := &doc.schema[i]
		if _, ok := seen[s.name]; !ok && s.required && !odd {
			w.faults.add(Error{Key: s.name, Found: "is missing", Remedy: s.remedy})
		}
		if !s.list && len(doc.blocks[s.name]) == 0 {
			doc.blocks[s.name] = []*block{{section: s, path: s.name, line: 1}}
		}
	}
	return doc
}

// section walks one part of the file.
func (w *walker) section(s *section, k, v *yaml.Node) []*block {
	if !s.list {
		return []*block{w.block(s, s.name, k.Line, v)}
	}
	if isNull(v) {
		if s.required {
			w.faults.add(Error{Line: k.Line, Key: s.name, Found: "is empty", Remedy: s.remedy})
		}
		return nil
	}
	if !w.plain(v, s.name) {
		return nil
	}
	if v.Kind != yaml.SequenceNode {
		w.faults.add(Error{Line: v.Line, Key: s.name, Found: "found " + kindOf(v), Accepted: "a list", Remedy: `begin each entry with "- "`})
		return nil
	}
	if len(v.Content) == 0 && s.required {
		w.faults.add(Error{Line: k.Line, Key: s.name, Found: "is empty", Remedy: s.remedy})
	}
	var blocks []*block
	for i, item := range v.Content {
		blocks = append(blocks, w.block(s, fmt.Sprintf("%s[%d]", s.name, i), item.Line, item))
	}
	return blocks
}

// block walks one mapping.
func (w *walker) block(s *section, path string, line int, n *yaml.Node) *block {
	b := &block{section: s, path: path, line: line, values: map[string]value{}}
	if isNull(n) {
		n = &yaml.Node{Kind: yaml.MappingNode, Line: line}
	}
	if !w.mapping(n, path) {
		b.odd = true
		return b
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		kn, vn := n.Content[i], n.Content[i+1]
		if !w.newKey(kn, path, s.keyNames(), seen, refusedNames(s)...) {
			b.odd = true
			continue
		}
		k, _ := s.key(kn.Value)
		if k.refused != "" {
			w.faults.add(Error{Line: kn.Line, Key: b.at(k.name), Found: k.refused, Accepted: strings.Join(s.keyNames(), ", "), Remedy: "remove the line"})
			b.odd = true
			continue
		}
		if v, ok := w.value(k, b.at(k.name), vn); ok {
			b.values[k.name] = v
		} else {
			b.odd = true
		}
	}
	if !b.odd {
		w.complete(b)
	}
	return b
}

func refusedNames(s *section) []string {
	var names []string
	for _, k := range s.keys {
		if k.refused != "" {
			names = append(names, k.name)
		}
	}
	return names
}

// complete checks which keys stand beside which.
func (w *walker) complete(b *block) {
	kind := drivers.Kind(b.values["kind"].text)
	for _, k := range b.section.keys {
		given := b.has(k.name)
		fits := k.kinds == nil || slices.Contains(k.kinds, kind)
		switch {
		case given && !fits && b.has("kind"):
			w.faults.add(Error{Line: b.lineOf(k.name), Key: b.at(k.name), Found: fmt.Sprintf("a device of kind %s has no %s", kind, k.name), Remedy: "it is for kind " + kindList(k.kinds)})
		case given && k.needs != "" && !b.has(k.needs):
			w.faults.add(Error{Line: b.lineOf(k.name), Key: b.at(k.name), Found: fmt.Sprintf("means nothing without %s", k.needs), Remedy: fmt.Sprintf("add %s or remove the line", k.needs)})
		case !given && k.required && fits:
			w.faults.add(Error{Line: b.line, Key: b.at(k.name), Found: "is missing (" + k.brief() + ")", Accepted: k.accepted()})
		}
	}
}

func kindList(kinds []drivers.Kind) string {
	var s []string
	for _, k := range kinds {
		s = append(s, string(k))
	}
	return strings.Join(s, ", ")
}

// newKey checks the name of a key: text, known, not there before.
func (w *walker) newKey(n *yaml.Node, path string, known []string, seen map[string]int, hidden ...string) bool {
	if w.faults.full() {
		return false
	}
	if n.Kind != yaml.ScalarNode || !w.plain(n, path) {
		w.faults.add(Error{Line: n.Line, Key: path, Found: "a key is " + kindOf(n), Accepted: strings.Join(known, ", ")})
		return false
	}
	full := n.Value
	if path != "" {
		full = path + "." + n.Value
	}
	if len(full) > 100 {
		full = full[:100] + "..."
	}
	if !slices.Contains(known, n.Value) && !slices.Contains(hidden, n.Value) {
		e := Error{Line: n.Line, Key: full, Found: "unknown key"}
		near := Nearest(n.Value, known)
		if near != "" {
			e.Remedy = "did you mean " + near + "?"
		}
		if near == "" || len(known) <= 9 {
			e.Accepted = strings.Join(known, ", ")
		}
		w.faults.add(e)
		return false
	}
	if first, ok := seen[n.Value]; ok {
		w.faults.add(Error{Line: n.Line, Key: full, Found: fmt.Sprintf("is given twice, first on line %d", first), Remedy: "remove one of them"})
		return false
	}
	seen[n.Value] = n.Line
	return true
}

// mapping checks that a node is a mapping.
func (w *walker) mapping(n *yaml.Node, path string) bool {
	if !w.plain(n, path) {
		return false
	}
	if n.Kind == yaml.MappingNode {
		return true
	}
	w.faults.add(Error{Line: n.Line, Key: path, Found: "found " + kindOf(n), Accepted: "keys with values, one on a line"})
	return false
}

// plain refuses the parts of YAML that a config does not need: an alias can
// make a small file large, and an anchor or tag surprises who reads it.
func (w *walker) plain(n *yaml.Node, path string) bool {
	e := Error{Line: n.Line, Key: path, Remedy: "write the value out"}
	switch {
	case n.Kind == yaml.AliasNode:
		e.Found = "a YAML alias (*) is not accepted"
	case n.Anchor != "":
		e.Found = "a YAML anchor (&) is not accepted"
	case n.Style&yaml.TaggedStyle != 0:
		e.Found = "a YAML tag (!) is not accepted"
	default:
		return true
	}
	w.faults.add(e)
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// kindOf names what a node is, for people.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys with values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "a YAML alias"
	case isNull(n):
		return "nothing"
	}
	return "a single value"
}
