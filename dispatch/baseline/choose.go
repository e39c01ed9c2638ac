package baseline

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// day is a day of the history with what the site drew then.
type day struct {
	noon     time.Time
	stepW    []float64 // in the intervals of the event
	loadW    float64   // their mean
	windowW  float64   // in the windows of the adjustment
	unlike   float64   // mean difference to the event day in the hours that are compared, W
	coverage float64
	weight   float64 // all together are 1
}

// chooseDays picks the days that are averaged.
func (c *computation) chooseDays() ([]day, error) {
	kind := TypeOf(c.ev.Start.In(c.zone))
	i := slices.IndexFunc(c.Days, func(s Selection) bool { return s.For&kind != 0 })
	if i < 0 {
		return nil, fmt.Errorf("baseline %s says nothing of the day of %s", c.Name, c.ev.Start.Format(time.RFC3339))
	}
	s := &c.Days[i]
	if s.Rank == Match {
		if err := c.readMatch(); err != nil {
			return nil, err
		}
	}
	quiet, busy, err := c.candidates(s)
	if err != nil {
		return nil, err
	}
	quiet = s.withoutLow(quiet)
	quiet = quiet[:min(len(quiet), s.Days)]
	slices.SortStableFunc(busy, byLoad)
	for s.Fill && len(quiet) < s.Least && len(busy) > 0 {
		quiet, busy = append(quiet, busy[0]), busy[1:]
	}
	if len(quiet) < s.Least {
		return nil, TooLittle{len(quiet), s.Least}
	}
	return s.weigh(s.keep(quiet)), nil
}

// candidates are the complete days of the event day's type, the latest first,
// without and with an event. Where no more can matter it looks no farther.
func (c *computation) candidates(s *Selection) (quiet, busy []day, err error) {
	for n := s.Skip + 1; n <= s.Skip+s.Lookback && (len(quiet) < s.Days || s.LowShare > 0); n++ {
		noon := c.noonBefore(n)
		had := c.touchesEvent(n)
		switch {
		case s.For&TypeOf(noon) == 0, had && !s.Fill, s.NoHolidays && IsHoliday(noon),
			s.NoDayBefore && (n == 1 || c.hadEvent(c.noonBefore(n-1))):
			continue
		}
		d, ok, err := c.look(noon, n)
		switch {
		case err != nil:
			return nil, nil, err
		case !ok:
		case had:
			busy = append(busy, d)
		default:
			quiet = append(quiet, d)
		}
	}
	return quiet, busy, nil
}

func (c *computation) hadEvent(noon time.Time) bool {
	return c.ev.IsEventDay != nil && c.ev.IsEventDay(noon)
}

// touchesEvent tells whether any local day that would be read for the nth day
// before had an event: an event over midnight reads two of them.
func (c *computation) touchesEvent(n int) bool {
	if c.hadEvent(c.noonBefore(n)) {
		return true
	}
	touches := func(s span) bool {
		return c.hadEvent(c.noonBeforeOf(s.from, n)) || c.hadEvent(c.noonBeforeOf(s.to.Add(-1), n))
	}
	return slices.ContainsFunc(c.steps, touches) ||
		slices.ContainsFunc(c.today, func(w window) bool { return slices.ContainsFunc(w.parts, touches) })
}

// look reads what a day of the history drew; ok is false where too little of it
// was measured, or it had not got all hours that count.
func (c *computation) look(noon time.Time, n int) (d day, ok bool, err error) {
	d = day{noon: noon, coverage: 1}
	read := func(s span) float64 {
		if err != nil || d.coverage < c.Coverage {
			return 0
		}
		var w, covered float64
		w, covered, err = c.meanBefore(s, n)
		d.coverage = math.Min(d.coverage, covered)
		return w
	}
	for _, s := range c.steps {
		w := read(s)
		d.stepW, d.loadW = append(d.stepW, w), d.loadW+w/float64(len(c.steps))
	}
	var hours float64
	for i := range c.today {
		for _, s := range c.today[i].parts {
			d.windowW, hours = d.windowW+read(s)*s.length().Hours(), hours+s.length().Hours()
		}
	}
	if hours > 0 {
		d.windowW /= hours
	}
	for _, h := range c.match {
		d.unlike += math.Abs(read(h.span)-h.w) / float64(len(c.match))
	}
	return d, err == nil && d.coverage >= c.Coverage, err
}

// withoutLow leaves out the days that drew far less than others. A site that
// feeds in at that time has no such level.
func (s *Selection) withoutLow(days []day) []day {
	if s.LowShare <= 0 || len(days) == 0 {
		return days
	}
	var mean float64
	peak := days[0].loadW
	for _, d := range days {
		mean, peak = mean+d.loadW/float64(len(days)), math.Max(peak, d.loadW)
	}
	level := mean
	if s.LowOf == PeakOfDays {
		level = peak
	}
	if level <= 0 {
		return days
	}
	return slices.DeleteFunc(days, func(d day) bool { return d.loadW < s.LowShare*level })
}

// keep drops the days of the highest and the lowest load and keeps the first of
// the rank. Of equal days the latest are first.
func (s *Selection) keep(days []day) []day {
	if s.DropHigh > 0 || s.DropLow > 0 {
		slices.SortStableFunc(days, byLoad)
		days = days[min(len(days), s.DropHigh):]
		days = days[:max(0, len(days)-s.DropLow)]
		slices.SortFunc(days, func(a, b day) int { return b.noon.Compare(a.noon) })
	}
	switch s.Rank {
	case Recent:
	case HighLoad:
		slices.SortStableFunc(days, byLoad)
	case Match:
		slices.SortStableFunc(days, func(a, b day) int { return cmp.Compare(a.unlike, b.unlike) })
	}
	if s.Keep > 0 {
		days = days[:min(len(days), s.Keep)]
	}
	return days
}

// weigh gives the days their weights, equal ones where the method has none.
func (s *Selection) weigh(days []day) []day {
	var all float64
	for i := range days {
		days[i].weight = 1
		if len(s.Weights) > 0 {
			days[i].weight = s.Weights[min(i, len(s.Weights)-1)]
		}
		all += days[i].weight
	}
	for i := range days {
		days[i].weight /= all
	}
	return days
}

// byLoad sorts the highest load first.
func byLoad(a, b day) int { return cmp.Compare(b.loadW, a.loadW) }

// smallWindow is the share of the site's usual load below which a window says
// nothing about a factor: with photovoltaics it may be near zero or negative.
const smallWindow = 0.05

// adjust sets the factor or the addend of the event day.
func (c *computation) adjust(e *Estimate, raw []float64, windowW float64) {
	if c.Adjust.Kind == NoAdjustment {
		return
	}
	if len(c.today) == 0 {
		c.note("not adjusted to the day")
		return
	}
	var usual float64
	for _, w := range raw {
		usual += math.Abs(w) / float64(len(raw))
	}
	switch today := c.todayW(e); {
	case c.Adjust.Kind == Add:
		e.AddW, e.Clamped = c.Adjust.clamp(today - windowW)
	case windowW <= smallWindow*usual || windowW <= 0:
		c.note("not adjusted to the day: the site's usual load in the hours that it goes by is too small for a factor")
	default:
		e.Factor, e.Clamped = c.Adjust.clamp(today / windowW)
	}
}
