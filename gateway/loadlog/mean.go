package loadlog

import (
	"fmt"
	"time"
)

// longestFlat is the longest stretch of recovered minutes that says how much was
// drawn when: the hour is the finest grid of the baselines (domain.md 3.1), and
// what a counter moved by across more than one is spread evenly over hours that
// were not alike.
const longestFlat = time.Hour

// Mean is the mean power of a channel in [from, to), over what is known of it,
// and how much that is, 0..1. It answers from memory where memory reaches, else
// from stored minutes, where a minute that lies partly inside counts by its
// share. Recovered minutes count where they are an hour at most without one that
// was measured: of a longer gap only the energy of the whole is known.
func (l *Log) Mean(name string, from, to time.Time) (meanW, coverage float64, err error) {
	span := to.Sub(from)
	if span <= 0 {
		return 0, 0, fmt.Errorf("mean load of %s: %v is not before %v", name, from, to)
	}
	if mean, coverage, ok := l.meanSeconds(name, from, to); ok {
		return mean, coverage, nil
	}
	s := meanSum{from: from, to: to}
	if err := l.sumMinutes(name, from, to, &s); err != nil {
		return 0, 0, err
	}
	if s.flats > 0 { // how long those are shows only beside them
		s = meanSum{from: from, to: to}
		if err := l.sumMinutes(name, from.Add(-longestFlat), to.Add(longestFlat), &s); err != nil {
			return 0, 0, err
		}
	}
	s.endRun()
	if s.covered == 0 {
		return 0, 0, nil
	}
	return s.wns / s.covered, s.covered / float64(span), nil
}

// sumMinutes adds the minutes of a channel that touch [from, to).
func (l *Log) sumMinutes(name string, from, to time.Time, s *meanSum) error {
	wanted := func(n string) bool { return n == name }
	return l.eachHour(from.Unix(), to.Unix()+1, wanted, func(h int64, _ []string, hours map[string]*hour) error {
		mine, ok := hours[name]
		if !ok {
			return nil
		}
		for i := range mine.minutes {
			start := time.Unix(h*3600+int64(i)*60, 0)
			if start.Before(to) && start.Add(time.Minute).After(from) {
				s.add(start, &mine.minutes[i])
			}
		}
		return nil
	})
}

// meanSum is the energy and the time that are known of [from, to). The minutes
// of a run of recovered ones wait until it is known how long that is.
type meanSum struct {
	from, to           time.Time
	wns, covered       float64
	runWns, runCovered float64
	run, flats         int // minutes of this run, and of all
	next               time.Time
}

// add takes the minutes by time.
func (s *meanSum) add(start time.Time, m *minute) {
	share := max(0, min(s.to.Sub(start), time.Minute)-max(s.from.Sub(start), 0)).Minutes()
	if m.covered == 0 || m.recovered < m.covered || !start.Equal(s.next) {
		s.endRun()
	}
	s.next = start.Add(time.Minute)
	switch wns, covered := m.wns*share, float64(m.covered)*share; {
	case m.covered == 0:
	case m.recovered < m.covered:
		s.wns, s.covered = s.wns+wns, s.covered+covered
	default:
		s.run, s.flats = s.run+1, s.flats+1
		s.runWns, s.runCovered = s.runWns+wns, s.runCovered+covered
	}
}

// endRun counts a run of recovered minutes unless it is too long.
func (s *meanSum) endRun() {
	if time.Duration(s.run)*time.Minute <= longestFlat {
		s.wns, s.covered = s.wns+s.runWns, s.covered+s.runCovered
	}
	s.run, s.runWns, s.runCovered = 0, 0, 0
}

func (l *Log) meanSeconds(name string, from, to time.Time) (mean, coverage float64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, found := l.channels[name]
	if !found || !c.ring.covers(from.Unix()) {
		return 0, 0, false
	}
	var sum, n float64
	for s := from.Unix(); s < to.Unix(); s++ {
		if watts, _, ok := c.ring.at(s); ok {
			sum, n = sum+float64(watts), n+1
		}
	}
	if n == 0 {
		return 0, 0, false
	}
	return sum / n, min(1, n/to.Sub(from).Seconds()), true
}
