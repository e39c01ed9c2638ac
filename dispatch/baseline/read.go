package baseline

import (
	"math"
	"time"
)

// span is a stretch of time, [from, to).
type span struct{ from, to time.Time }

func (s span) length() time.Duration { return s.to.Sub(s.from) }

// cut cuts the time from one instant to another into steps. The last is whole,
// also where it reaches beyond the end.
func cut(from, to time.Time, step time.Duration) []span {
	var out []span
	for ; from.Before(to); from = from.Add(step) {
		out = append(out, span{from, from.Add(step)})
	}
	return out
}

// floor is the start of the local interval in which a time lies.
func (c *computation) floor(t time.Time) time.Time {
	l := t.In(c.zone)
	past := time.Duration(l.Minute())*time.Minute + time.Duration(l.Second())*time.Second + time.Duration(l.Nanosecond())
	return t.Add(-(past % c.Interval)).UTC()
}

// daysBefore are the instants at which local clocks showed the same time of day
// some days earlier: one, two where the clock was put back over it, none where
// it was put forward over it.
func (c *computation) daysBefore(t time.Time, n int) []time.Time {
	l := t.In(c.zone)
	wall := time.Date(l.Year(), l.Month(), l.Day()-n, l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
	var out []time.Time
	for _, near := range []time.Time{wall.Add(-24 * time.Hour), wall.Add(24 * time.Hour)} {
		_, offset := near.In(c.zone).Zone()
		at := wall.Add(-time.Duration(offset) * time.Second)
		_, really := at.In(c.zone).Zone()
		if really == offset && (len(out) == 0 || !out[0].Equal(at)) {
			out = append(out, at)
		}
	}
	return out
}

func (c *computation) noonBefore(n int) time.Time { return c.noonBeforeOf(c.ev.Start, n) }

// noonBeforeOf is the noon of the local day some days before that of t.
func (c *computation) noonBeforeOf(t time.Time, n int) time.Time {
	l := t.In(c.zone)
	return time.Date(l.Year(), l.Month(), l.Day()-n, 12, 0, 0, 0, c.zone)
}

// midnightAfter is the end of the local day.
func midnightAfter(l time.Time) time.Time {
	return time.Date(l.Year(), l.Month(), l.Day()+1, 0, 0, 0, 0, l.Location())
}

// mean reads the history, and nothing of it that was drawn after a limit.
func (c *computation) mean(s span, limit time.Time) (w, covered float64, err error) {
	if s.to.After(limit) || !s.to.After(s.from) {
		return 0, 0, nil
	}
	return c.history.MeanW(s.from, s.to)
}

// meanBefore is the mean load at the same time of day some days earlier, of
// both where local clocks showed it twice, and the lesser coverage. Nothing of
// the event itself enters, however long it is.
func (c *computation) meanBefore(s span, n int) (w, covered float64, err error) {
	limit := c.ev.Known
	if c.ev.RowStart.Before(limit) {
		limit = c.ev.RowStart
	}
	at := c.daysBefore(s.from, n)
	if len(at) > 0 {
		covered = 1
	}
	for _, from := range at {
		one, part, err := c.mean(span{from, from.Add(s.length())}, limit)
		if err != nil {
			return 0, 0, err
		}
		w, covered = w+one/float64(len(at)), math.Min(covered, part)
	}
	return w, covered, nil
}

// window is a stretch of the event day whose load counts, with that load.
type window struct {
	span
	parts   []span // by the method's interval, as days of the history are read
	w       float64
	covered float64
}

// readToday reads windows of the event day. Of those that are not known yet or
// were not measured in full it makes a note.
func (c *computation) readToday(windows []Window) error {
	var early, gap, shifted bool
	for _, w := range windows {
		var s window
		s.from, s.to = w.of(&c.ev)
		if s.to.After(c.ev.Known) {
			early = true
			continue
		}
		if c.wasShifted(s.span) {
			shifted = true
			continue
		}
		var err error
		if s.w, s.covered, err = c.mean(s.span, c.ev.Known); err != nil {
			return err
		}
		if s.covered < c.Coverage {
			gap = true
			continue
		}
		if s.parts = cut(s.from, s.to, c.Interval); len(s.parts) > 0 {
			s.parts[len(s.parts)-1].to = s.to
		}
		c.today = append(c.today, s)
	}
	if early {
		c.note("hours of the day that it goes by had not passed when it was estimated")
	}
	if c.gaps = c.gaps || gap; gap {
		c.note("hours of the day that it goes by were not measured in full")
	}
	if shifted {
		c.note("another timeslot ran in hours of the day that it goes by, which are left out")
	}
	return nil
}

// wasShifted tells whether another timeslot changed what was drawn in a stretch
// of the event day.
func (c *computation) wasShifted(s span) bool {
	return c.ev.Shifted != nil && c.ev.Shifted(s.from, s.to)
}

func (c *computation) note(text string) { c.notes = append(c.notes, text) }

// todayW is the mean load of the event day's windows by their length.
func (c *computation) todayW(e *Estimate) float64 {
	var wh, hours float64
	for _, s := range c.today {
		wh, hours = wh+s.w*s.length().Hours(), hours+s.length().Hours()
		e.Coverage = math.Min(e.Coverage, s.covered)
	}
	return wh / hours
}

// matchGap is how much before the start and after the end is left out where a
// like day is looked for (domain.md 3.1, PJM match-day).
const matchGap = time.Hour

// hour is an hour of the event day.
type hour struct {
	span
	w float64
}

// readMatch reads the hours of the event day that a like day is to be like in,
// as far as they are known.
func (c *computation) readMatch() error {
	l := c.ev.RowStart.In(c.zone)
	begin := time.Date(l.Year(), l.Month(), l.Day(), 0, 0, 0, 0, c.zone)
	var gap bool
	for _, s := range cut(begin, midnightAfter(l), time.Hour) {
		if s.to.After(c.ev.RowStart.Add(-matchGap)) && s.from.Before(c.ev.RowEnd.Add(matchGap)) {
			continue
		}
		w, covered, err := c.mean(s, c.ev.Known)
		if err != nil {
			return err
		}
		switch {
		case c.wasShifted(s):
		case covered >= c.Coverage:
			c.match = append(c.match, hour{s, w})
		case !s.to.After(c.ev.Known):
			gap = true
		}
	}
	if c.gaps = c.gaps || gap; gap {
		c.note("hours of the day that like days are found by were not measured in full")
	}
	switch {
	case len(c.match) == 0:
		c.note("no hour of the day is known to find like days by: the latest days count")
	case c.ev.Known.Before(c.Complete(c.zone, c.ev)):
		c.note("like days were found by the hours before the start alone")
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
