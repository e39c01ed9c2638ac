package config

import (
	"fmt"
	"strings"
)

// brief is the key's meaning in the middle of a sentence.
func (k *key) brief() string {
	s, _, _ := strings.Cut(k.doc, ". ")
	s = strings.TrimSuffix(s, ".")
	if len(s) > 1 && s[1] >= 'a' && s[1] <= 'z' {
		s = strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// ReferencePage returns the page of all keys in Markdown, made from the table that
// the parser reads.
func ReferencePage() string {
	var b strings.Builder
	b.WriteString(`# The config file, key by key

This page is printed by ` + "`nominald check --reference`" + `; do not edit it.

The file is YAML and read strictly: an unknown key, a wrong unit or a name given
twice is an error that names the line. ` + "`nominald check --config FILE`" + ` reads it
without starting anything. Anchors, aliases and tags are not accepted.

* A duration has a unit: ` + "`90s`, `5m`, `1h30m`, `400d`" + `.
* A name has lower-case letters, digits and hyphens, at most 63 of them.
* A secret is never written into the file. ` + "`file:PATH`" + ` reads a file, ` + "`env:NAME`" + ` the
  environment and ` + "`credential:NAME`" + ` a credential that systemd hands over.
`)
	for _, s := range schema() {
		s.reference(&b)
	}
	return b.String()
}

func (s *section) reference(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s", s.name, s.doc)
	if s.list {
		b.WriteString(" A list.")
	}
	if s.required {
		b.WriteString(" Required.")
	}
	b.WriteString("\n\n| key | accepted | default | meaning |\n|---|---|---|---|\n")
	for _, k := range s.keys {
		if k.refused != "" {
			continue
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.name, k.accepted(), k.defaultText(), k.meaning())
	}
}

func (k *key) defaultText() string {
	switch {
	case k.required:
		return "required"
	case k.def == "":
		return ""
	}
	return "`" + k.def + "`"
}

func (k *key) meaning() string {
	s := k.doc
	if k.kinds != nil {
		s += " For kind " + kindList(k.kinds) + "."
	}
	if k.needs != "" {
		s += " With `" + k.needs + "`."
	}
	return s
}
