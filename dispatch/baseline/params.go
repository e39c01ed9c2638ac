package baseline

import (
	"slices"
	"time"
)

// Params describe a baseline method (domain.md 3.1). What it stands on is one
// of three: days of the history (Days), the event day itself (SameDay), or,
// where both are empty, what somebody has laid down (PerKWh; nothing is zero).
type Params struct {
	Name     string
	Interval time.Duration // step of the averages: an hour, or the settlement interval
	Coverage float64       // share of each stretch that counts which must have been measured
	Days     []Selection   // the first that is for the event day's type counts
	SameDay  []Window      // the load in these, one mean for the whole event
	PerKWh   []float64     // discharge in kW per kWh of capacity, by local hour; 24 of them or none
	// CapacityWh is the battery's capacity that PerKWh is for.
	CapacityWh float64
	Adjust     Adjustment
}

// Selection is how days of the history are chosen and averaged. Days with an
// event are never among them, except by Fill.
type Selection struct {
	For      DayType // it is for event days of these types, and looks at days of these types
	Lookback int     // days that it looks back over
	Skip     int     // days right before the event day that it leaves out

	NoHolidays  bool    // leaves holidays out
	NoDayBefore bool    // leaves the day before an event out
	LowShare    float64 // leaves days out that drew less than this share, in the event's hours,
	LowOf       Level   // of this level of all days; 0 leaves none out

	Days  int  // the most recent ones that are left
	Least int  // fewer are too few,
	Fill  bool // filled up with the event days of the highest load before that is said

	Rank     Rank
	DropHigh int       // of Days, this many of the highest load are dropped
	DropLow  int       // and this many of the lowest
	Keep     int       // then the first of the rank are kept; 0 keeps all
	Weights  []float64 // by rank; none is equal weights
}

// Rank is the order in which days are kept.
type Rank int

// The ranks.
const (
	Recent   Rank = iota // the latest first
	HighLoad             // the highest load in the event's hours first
	Match                // the likest load in the other hours of the event day first
)

// Level is what a day's load in the event's hours is compared with.
type Level int

// The levels, both over the days that may be chosen.
const (
	MeanOfDays Level = iota
	PeakOfDays
)

// Window is a stretch of time before the start of an event, or after its end.
type Window struct {
	After    bool
	From, To time.Duration // distance of its two ends from the start: From > To; after the end: From < To
}

// Adjustment brings an average to the event day, by what was drawn in Windows
// and what the average has there: times their quotient, or plus their
// difference. The limits are of the factor, or of the addend in W; both 0 are none.
type Adjustment struct {
	Kind      AdjustKind
	Windows   []Window
	Low, High float64
}

// AdjustKind is how an average is adjusted.
type AdjustKind int

// The kinds of adjustment.
const (
	NoAdjustment AdjustKind = iota
	Multiply
	Add
)

// clamp keeps v within the limits, and tells whether it was beyond.
func (a Adjustment) clamp(v float64) (float64, bool) {
	if a.Low == 0 && a.High == 0 {
		return v, false
	}
	c := max(a.Low, min(a.High, v))
	return c, c != v
}

// of are the two ends of a window of an event.
func (w Window) of(ev *Event) (from, to time.Time) {
	if w.After {
		return ev.RowEnd.Add(w.From), ev.RowEnd.Add(w.To)
	}
	return ev.RowStart.Add(-w.From), ev.RowStart.Add(-w.To)
}

// windows are all stretches of the event day whose load a method uses. For the
// likest day it is the whole day.
func (p Params) windows() []Window {
	out := slices.Concat(p.SameDay, p.Adjust.Windows)
	if p.matches() {
		out = append(out, Window{From: 24 * time.Hour, To: matchGap}, Window{After: true, From: matchGap, To: 24 * time.Hour})
	}
	return out
}

func (p Params) matches() bool {
	return slices.ContainsFunc(p.Days, func(s Selection) bool { return s.Rank == Match })
}

// Before is the time before a row of events whose load counts: how long before
// the start it begins and ends. Both are 0 where none does.
func (p Params) Before() (from, to time.Duration) {
	to = 1<<63 - 1
	for _, w := range p.windows() {
		if !w.After {
			from, to = max(from, w.From), min(to, w.To)
		}
	}
	return from, min(from, to)
}

// After is the time after the end of a row of events whose load counts: how
// long after it it begins and ends. Both are 0 where none does.
func (p Params) After() (from, to time.Duration) {
	from = 1<<63 - 1
	for _, w := range p.windows() {
		if w.After {
			from, to = min(from, w.From), max(to, w.To)
		}
	}
	return min(from, to), to
}

// Complete is when all load that counts for an event has been drawn: from then
// on an estimate does not change any more.
func (p Params) Complete(zone *time.Location, ev Event) time.Time {
	ev = ev.whole()
	if p.matches() { // it is the event day alone that is matched
		return later(ev.RowEnd, midnightAfter(ev.RowStart.In(zone)))
	}
	_, to := p.After()
	return ev.RowEnd.Add(to)
}

// Lookback is how many days of history a method looks back over at the most.
func (p Params) Lookback() int {
	days := 0
	for _, s := range p.Days {
		days = max(days, s.Skip+s.Lookback)
	}
	return days
}

// OfDevice tells whether a method is of programs that settle a device at
// itself: it says nothing of what a site draws.
func (p Params) OfDevice() bool { return len(p.Days) == 0 && len(p.SameDay) == 0 }
