// Package baseline estimates what a site would have drawn had no timeslot been
// there, from its own history: the parameterised engine of domain.md 3.1. It is
// pure; the history is an argument. What it gives is a local estimate, never a
// settlement, and says what it stands on.
package baseline

import (
	"fmt"
	"math"
	"slices"
	"time"

	"nominald/drivers"
)

// Params describe a baseline method.
type Params struct {
	Name     string
	Lookback int     // days that it looks back
	Coverage float64 // share of a day's hours that must have been measured
	Business Selection
	Weekend  Selection // and holidays
	Adjust   Adjustment
}

// Selection is how many days of the event day's type are averaged.
type Selection struct {
	Days  int // the most recent ones without an event
	Least int // filled up with the event days of the highest load where there are fewer
}

// Adjustment scales the average to the event day: by what was drawn in a window
// before the start over what the average has there, within two limits.
type Adjustment struct {
	From, To  time.Duration // before the start
	Low, High float64
}

// Preset returns the parameters of a method by its name.
func Preset(name string) (Params, bool) {
	if name != CAISO10in10 {
		return Params{}, false
	}
	// Domain.md 3.1: last 10 similar non-event days in 45 d, at least 5; weekend
	// and holiday 4 in 4; multiplicative, 4th to 2nd hour before the start, 0.80
	// to 1.20.
	return Params{Name: CAISO10in10, Lookback: 45, Coverage: 0.95,
		Business: Selection{Days: 10, Least: 5}, Weekend: Selection{Days: 4, Least: 4},
		Adjust: Adjustment{From: 4 * time.Hour, To: time.Hour, Low: 0.8, High: 1.2}}, true
}

// CAISO10in10 is the name of California's "10-in-10" with its same-day
// adjustment.
const CAISO10in10 = "caiso-10-in-10"

// Interval is the grid of an estimate: that of settlement (domain.md 3).
const Interval = 15 * time.Minute

// History is the measured net load of the site.
type History interface {
	// MeanW is the mean load of [from, to) in W, import positive, and how much
	// of it was measured, 0 to 1.
	MeanW(from, to time.Time) (meanW, coverage float64, err error)
}

// Event is what a baseline is estimated for.
type Event struct {
	Start, End time.Time
	// RowStart is the start of the first timeslot of an unbroken row: only what
	// lies before it says what the site does by itself. Zero: Start.
	RowStart time.Time
	// IsEventDay tells whether a local day, given by its noon, had an event of
	// this meter.
	IsEventDay func(noon time.Time) bool
}

// Estimate is a baseline, interval by interval.
type Estimate struct {
	Method   string        `json:"method"`
	Start    time.Time     `json:"start"`
	Interval time.Duration `json:"interval_ns"`
	W        []float64     `json:"w"`    // net load, import positive
	Days     []string      `json:"days"` // local dates that were averaged
	Factor   float64       `json:"factor"`
	Clamped  bool          `json:"clamped,omitempty"` // the factor is at its limit
	Coverage float64       `json:"coverage"`          // of the days that were averaged
	Note     string        `json:"note,omitempty"`
}

// beforeStart is how long before its start an estimate is asked for already:
// devices are prepared for up to a minute.
const beforeStart = 2 * time.Minute

// At is the baseline at a time, unknown outside the event.
func (e *Estimate) At(t time.Time) drivers.Opt {
	if e == nil || len(e.W) == 0 || e.Interval <= 0 || t.Before(e.Start.Add(-beforeStart)) {
		return drivers.Opt{}
	}
	i := max(0, int(t.Sub(e.Start)/e.Interval))
	if i >= len(e.W) {
		return drivers.Opt{}
	}
	return drivers.Some(e.W[i])
}

// TooLittle is the error of a history that has not got enough days.
type TooLittle struct{ Found, Needed int }

// Error says how many days were found and how many it takes.
func (e TooLittle) Error() string {
	return fmt.Sprintf("the history has %d complete days of this kind, it takes %d", e.Found, e.Needed)
}

// day is a day of the history with what the site drew then.
type day struct {
	noon     time.Time
	hourW    []float64 // in the hours of the event
	windowW  float64   // in the window of the adjustment
	coverage float64
}

// Compute estimates a baseline.
func Compute(p Params, zone *time.Location, ev Event, h History) (*Estimate, error) {
	c := computation{Params: p, zone: zone, ev: ev, history: h}
	if c.ev.RowStart.IsZero() {
		c.ev.RowStart = ev.Start
	}
	days, err := c.chooseDays()
	if err != nil {
		return nil, err
	}
	hours := make([]float64, c.hours())
	e := &Estimate{Method: p.Name, Start: c.firstHour(), Interval: Interval, Factor: 1, Coverage: 1}
	var windowW float64
	for _, d := range days {
		for i := range hours {
			hours[i] += d.hourW[i] / float64(len(days))
		}
		windowW += d.windowW / float64(len(days))
		e.Days = append(e.Days, d.noon.Format(time.DateOnly))
		e.Coverage = math.Min(e.Coverage, d.coverage)
	}
	if err := c.adjust(e, hours, windowW); err != nil {
		return nil, err
	}
	for _, w := range hours {
		for range time.Hour / Interval {
			e.W = append(e.W, e.Factor*w)
		}
	}
	return e, nil
}

// computation is one estimate in the making.
type computation struct {
	Params
	zone    *time.Location
	ev      Event
	history History
}

// firstHour is the start of the clock hour in which the event starts.
func (c *computation) firstHour() time.Time {
	t := c.ev.Start.In(c.zone)
	return t.Add(-time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second -
		time.Duration(t.Nanosecond())).UTC()
}

// hours is how many clock hours the event touches.
func (c *computation) hours() int {
	return int((c.ev.End.Sub(c.firstHour()) + time.Hour - 1) / time.Hour)
}

// daysBefore moves a time to the same time of day some local days earlier.
func (c *computation) daysBefore(t time.Time, n int) time.Time {
	l := t.In(c.zone)
	return time.Date(l.Year(), l.Month(), l.Day()-n, l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), c.zone)
}

// chooseDays picks the days that are averaged: the most recent ones of the
// event day's type without an event, filled up with event days where there are
// too few.
func (c *computation) chooseDays() ([]day, error) {
	want, off := c.Business, IsOffDay(c.ev.Start.In(c.zone))
	if off {
		want = c.Weekend
	}
	var quiet, busy []day
	for n := 1; n <= c.Lookback && len(quiet) < want.Days; n++ {
		noon := c.noonBefore(n)
		if IsOffDay(noon) != off {
			continue
		}
		d, ok, err := c.look(noon, n)
		if err != nil {
			return nil, err
		}
		switch {
		case !ok:
		case c.ev.IsEventDay != nil && c.ev.IsEventDay(noon):
			busy = append(busy, d)
		default:
			quiet = append(quiet, d)
		}
	}
	slices.SortStableFunc(busy, func(a, b day) int { return compare(sum(b.hourW), sum(a.hourW)) })
	for len(quiet) < want.Least && len(busy) > 0 {
		quiet, busy = append(quiet, busy[0]), busy[1:]
	}
	if len(quiet) < want.Least {
		return nil, TooLittle{len(quiet), want.Least}
	}
	return quiet, nil
}

func (c *computation) noonBefore(n int) time.Time {
	l := c.ev.Start.In(c.zone)
	return time.Date(l.Year(), l.Month(), l.Day()-n, 12, 0, 0, 0, c.zone)
}

// look reads what a day of the history drew; ok is false where too little of it
// was measured.
func (c *computation) look(noon time.Time, n int) (d day, ok bool, err error) {
	d = day{noon: noon, coverage: 1}
	first := c.firstHour()
	for i := range c.hours() {
		from := c.daysBefore(first.Add(time.Duration(i)*time.Hour), n)
		w, covered, err := c.history.MeanW(from, from.Add(time.Hour))
		if err != nil {
			return d, false, err
		}
		if covered < c.Coverage {
			return d, false, nil
		}
		d.hourW, d.coverage = append(d.hourW, w), math.Min(d.coverage, covered)
	}
	start := c.daysBefore(c.ev.RowStart, n)
	w, covered, err := c.history.MeanW(start.Add(-c.Adjust.From), start.Add(-c.Adjust.To))
	if err != nil || covered < c.Coverage {
		return d, false, err
	}
	d.windowW, d.coverage = w, math.Min(d.coverage, covered)
	return d, true, nil
}

// smallWindow is the share of the site's usual load below which a window says
// nothing about a factor: with photovoltaics it may be near zero or negative.
const smallWindow = 0.05

// adjust sets the factor of the event day.
func (c *computation) adjust(e *Estimate, hours []float64, windowW float64) error {
	from, to := c.ev.RowStart.Add(-c.Adjust.From), c.ev.RowStart.Add(-c.Adjust.To)
	today, covered, err := c.history.MeanW(from, to)
	if err != nil {
		return err
	}
	var usual float64
	for _, w := range hours {
		usual += math.Abs(w) / float64(len(hours))
	}
	switch {
	case covered < c.Coverage:
		e.Note = "not adjusted: the hours before the start were not measured in full"
		return nil
	case windowW <= smallWindow*usual || windowW <= 0:
		e.Note = "not adjusted: the site's usual load before the start is too small for a factor"
		return nil
	}
	f := today / windowW
	e.Factor = math.Max(c.Adjust.Low, math.Min(c.Adjust.High, f))
	e.Clamped = f < c.Adjust.Low || f > c.Adjust.High
	return nil
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func sum(v []float64) float64 {
	var s float64
	for _, x := range v {
		s += x
	}
	return s
}
