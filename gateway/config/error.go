package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Error is one fault of a config file, told to the person who has to repair
// it. Every fault of a config is of this type, so that a caller can tell a bad
// config (exit code 78) from a program that failed.
type Error struct {
	Path     string // the file
	Line     int    // 1 is the first; 0 where no line is to blame
	Key      string // "devices[1].max_discharge_kw"; empty for the file itself
	Found    string // what is there
	Accepted string // what may be there; empty where Found says it
	Remedy   string // what to do; may be empty
}

// Error puts the fault on one line:
// "F:12: devices[1].max_dischage_kw: unknown key; did you mean max_discharge_kw?".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Path)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	b.WriteString(": " + e.Found)
	if e.Accepted != "" {
		b.WriteString("; accepted: " + e.Accepted)
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return strings.Map(oneLine, b.String())
}

// oneLine turns control characters into spaces: a key of a hostile file must
// not break the line, nor reach a terminal as an escape sequence.
func oneLine(r rune) rune {
	if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\u2028' || r == '\u2029' {
		return ' '
	}
	return r
}

// faults collects what is wrong in one step, so that the first by line can be
// reported however the checks are ordered.
type faults struct {
	path string
	list []*Error
}

// maxFaults is more than one file can be worth repairing for. The walk goes by
// lines, so the first is among them.
const maxFaults = 100

func (f *faults) full() bool { return len(f.list) >= maxFaults }

func (f *faults) add(e Error) {
	if f.full() {
		return
	}
	e.Path = f.path
	f.list = append(f.list, &e)
}

// first returns the fault with the lowest line, nil when there is none. Of two
// on one line the one found first counts; a section that is missing has no line
// and comes last.
func (f *faults) first() error {
	if len(f.list) == 0 {
		return nil
	}
	line := func(e *Error) int {
		if e.Line == 0 {
			return math.MaxInt
		}
		return e.Line
	}
	return slices.MinFunc(f.list, func(a, b *Error) int { return cmp.Compare(line(a), line(b)) })
}

// Nearest returns the candidate that is the fewest keystrokes away from the
// word, or "" where none is near enough to be what was meant.
func Nearest(word string, candidates []string) string {
	best, bestDist := "", 2+len(word)/4
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(word), strings.ToLower(c)); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours (optimal string alignment). Words longer than 64 bytes are no typo
// of any key and count as far away.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

// show quotes a value as it was written, cut where it is long.
func show(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "..."
	}
	return fmt.Sprintf("%q", s)
}
