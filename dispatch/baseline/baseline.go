// Package baseline estimates what a site would have drawn had no timeslot been
// there, from its own history: the parameterised engine of domain.md 3.1. It is
// pure; the history is an argument. What it gives is a local estimate, never a
// settlement, and says what it stands on.
package baseline

import (
	"fmt"
	"math"
	"strings"
	"time"

	"nominald/drivers"
)

// Label is with every number: settlement is Leap's and the utility's.
const Label = "local estimate, not settlement"

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
	// RowStart and RowEnd are the start of the first and the end of the last
	// timeslot of an unbroken row: only what lies outside says what the site does
	// by itself. Zero: Start and End.
	RowStart, RowEnd time.Time
	// Known is the time up to which the history may be used: nothing that was
	// drawn after it enters, and a window that ends after it is left out. Zero:
	// RowStart, as an estimate before the event.
	Known time.Time
	// Shifted tells whether a timeslot outside the row changed what was drawn in
	// [from, to) of the event day; nil: none did.
	Shifted func(from, to time.Time) bool
	// IsEventDay tells whether a local day, given by its noon, had an event of
	// this meter.
	IsEventDay func(noon time.Time) bool
}

// whole fills in what zero stands for.
func (ev Event) whole() Event {
	if ev.RowStart.IsZero() {
		ev.RowStart = ev.Start
	}
	if ev.RowEnd.IsZero() {
		ev.RowEnd = ev.End
	}
	if ev.Known.IsZero() {
		ev.Known = ev.RowStart
	}
	return ev
}

// Estimate is a baseline, interval by interval.
type Estimate struct {
	Method   string        `json:"method"`
	Start    time.Time     `json:"start"`
	Interval time.Duration `json:"interval_ns"`
	W        []float64     `json:"w"`    // net load, import positive
	Days     []string      `json:"days"` // local dates that were averaged, in the order of their rank
	Factor   float64       `json:"factor"`
	AddW     float64       `json:"add_w,omitempty"`   // W that an additive adjustment adds
	Clamped  bool          `json:"clamped,omitempty"` // factor or addend is at its limit
	Coverage float64       `json:"coverage"`          // least share measured of what was used, 0 to 1
	Known    time.Time     `json:"known,omitzero"`    // load up to here could be used
	// EventStart and RowStart are the start of the timeslot and of its row that it
	// was made for; of an early version zero.
	EventStart time.Time `json:"event_start,omitzero"`
	RowStart   time.Time `json:"row_start,omitzero"`
	// Gaps: hours of the day that it goes by were not measured in full. A meter's
	// counters may bring them back.
	Gaps  bool   `json:"gaps,omitempty"`
	Note  string `json:"note,omitempty"`
	Label string `json:"label,omitempty"` // Label
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

// MadeFor tells whether it was made for a timeslot and its row as they are now:
// the load before the start that counts, and the days, go by their starts.
func (e *Estimate) MadeFor(start, row time.Time) bool {
	return e != nil && (e.EventStart.IsZero() || e.EventStart.Equal(start) && e.RowStart.Equal(row))
}

// TooLittle is the error of a history that has not got enough days.
type TooLittle struct{ Found, Needed int }

// Error says how many days were found and how many it takes.
func (e TooLittle) Error() string {
	return fmt.Sprintf("the history has %d complete days of this kind, it takes %d", e.Found, e.Needed)
}

// NotMeasured is the error of a method that goes by the event day alone where
// none of its windows is known and measured in full.
type NotMeasured struct{ Method string }

// Error says what is missing.
func (e NotMeasured) Error() string {
	return "the load of the day that " + e.Method + " goes by was not measured in full"
}

// computation is one estimate in the making.
type computation struct {
	Params
	zone    *time.Location
	ev      Event
	history History
	steps   []span   // the event, by the method's interval
	today   []window // of the event day, known and measured in full
	match   []hour   // hours of the event day that a like day is like in
	notes   []string
	gaps    bool
}

// Compute estimates a baseline. The error is TooLittle or NotMeasured where the
// history does not suffice, or what reading it gave.
func Compute(p Params, zone *time.Location, ev Event, h History) (*Estimate, error) {
	if p.Interval <= 0 || p.Interval%Interval != 0 || time.Hour%p.Interval != 0 || len(p.PerKWh) != 0 && len(p.PerKWh) != 24 {
		return nil, fmt.Errorf("baseline %s: an interval of %v and %d values by hour; accepted: 15m, 30m or 1h, and 24 values or none",
			p.Name, p.Interval, len(p.PerKWh))
	}
	c := computation{Params: p, zone: zone, ev: ev.whole(), history: h}
	first := c.floor(ev.Start)
	c.steps = cut(first, ev.End, p.Interval)
	e := &Estimate{Method: p.Name, Start: first, Interval: Interval, Factor: 1, Coverage: 1, Known: c.ev.Known.UTC(),
		EventStart: c.ev.Start.UTC(), RowStart: c.ev.RowStart.UTC(), Label: Label}
	raw, err := c.raw(e)
	if err != nil {
		return nil, err
	}
	for _, w := range raw {
		for range p.Interval / Interval {
			e.W = append(e.W, e.Factor*w+e.AddW)
		}
	}
	e.Note, e.Gaps = strings.Join(c.notes, "; "), c.gaps
	return e, nil
}

// raw is the baseline by the method's interval before its adjustment, which it
// puts into the estimate.
func (c *computation) raw(e *Estimate) ([]float64, error) {
	switch {
	case len(c.Days) > 0:
		return c.byDays(e)
	case len(c.SameDay) > 0:
		return c.bySameDay(e)
	}
	return c.prescribed(), nil
}

// byDays averages days of the history.
func (c *computation) byDays(e *Estimate) ([]float64, error) {
	if err := c.readToday(c.Adjust.Windows); err != nil {
		return nil, err
	}
	days, err := c.chooseDays()
	if err != nil {
		return nil, err
	}
	raw, windowW := make([]float64, len(c.steps)), 0.0
	for _, d := range days {
		for i, w := range d.stepW {
			raw[i] += d.weight * w
		}
		windowW += d.weight * d.windowW
		e.Days = append(e.Days, d.noon.Format(time.DateOnly))
		e.Coverage = math.Min(e.Coverage, d.coverage)
	}
	c.adjust(e, raw, windowW)
	return raw, nil
}

// bySameDay takes the mean load of the event day's windows for the whole event.
func (c *computation) bySameDay(e *Estimate) ([]float64, error) {
	if err := c.readToday(c.SameDay); err != nil {
		return nil, err
	}
	if len(c.today) == 0 {
		return nil, NotMeasured{c.Name}
	}
	raw, w := make([]float64, len(c.steps)), c.todayW(e)
	for i := range raw {
		raw[i] = w
	}
	return raw, nil
}

// prescribed is what was laid down for the local hour: discharge is positive
// there, and here a load is.
func (c *computation) prescribed() []float64 {
	raw := make([]float64, len(c.steps))
	if len(c.PerKWh) > 0 {
		for i, s := range c.steps {
			raw[i] = 0 - c.PerKWh[s.from.In(c.zone).Hour()]*c.CapacityWh
		}
	}
	return raw
}
