package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"nominald/dispatch/plan"
)

// table prints aligned columns. It keeps the first error, so that the caller
// asks once, at the end.
type table struct {
	w   *tabwriter.Writer
	err error
}

func newTable(w io.Writer) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
}

// row prints one row. Cells come from the network as well, so what would break
// the columns or reach the terminal as an escape sequence is taken out.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.write(strings.Join(cells, "\t") + "\n")
}

// line prints one line that is no row.
func (t *table) line(format string, args ...any) {
	t.flush()
	t.write(printable(fmt.Sprintf(format, args...)) + "\n")
}

func (t *table) write(s string) {
	if _, err := io.WriteString(t.w, s); err != nil && t.err == nil {
		t.err = err
	}
}

// flush ends a group of rows; the next has columns of its own.
func (t *table) flush() {
	if err := t.w.Flush(); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) done() error {
	t.flush()
	return t.err
}

// printable replaces control characters by spaces.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// dash stands for what is not known; it is never a zero.
const dash = "-"

// kw writes watts as kilowatts.
func kw(w float64) string {
	digits := 2
	if math.Abs(w) >= 99_995 {
		digits = 1
	}
	s := fmt.Sprintf("%.*f", digits, w/1000)
	if strings.Trim(s, "-0.") == "" {
		s = strings.TrimPrefix(s, "-")
	}
	return s + " kW"
}

func optKW(w *float64) string {
	if w == nil {
		return dash
	}
	return kw(*w)
}

// opt writes a number that may be unknown with a format of its own.
func opt(format string, v *float64) string {
	if v == nil {
		return dash
	}
	return fmt.Sprintf(format, *v)
}

// clock writes times of the site: local time with its offset from UTC.
type clock struct{ zone *time.Location }

// newClock takes the site's zone; where this machine does not know it, times
// are shown in UTC and say so by their offset.
func newClock(zone string) clock {
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "" {
		loc = time.UTC
	}
	return clock{zone: loc}
}

func (c clock) full(t time.Time) string {
	if t.IsZero() {
		return dash
	}
	return t.In(c.zone).Format("2006-01-02 15:04:05 -07:00")
}

func (c clock) minute(t time.Time) string {
	if t.IsZero() {
		return dash
	}
	return t.In(c.zone).Format("2006-01-02 15:04 -07:00")
}

func (c clock) optMinute(t *time.Time) string {
	if t == nil {
		return dash
	}
	return c.minute(*t)
}

// age writes seconds for people: "12 s", "5 min", "3 h", "4 d".
func age(s float64) string {
	switch {
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	case s < 7200:
		return fmt.Sprintf("%.0f min", s/60)
	case s < 2*86400:
		return fmt.Sprintf("%.0f h", s/3600)
	}
	return fmt.Sprintf("%.0f d", s/86400)
}

// because writes a reason code with what it means.
func because(code string) string {
	text := plan.ReasonText(plan.Reason(code))
	switch {
	case code == "":
		return dash
	case text == "":
		return code
	}
	return code + ": " + text
}
