package loadlog

import (
	"cmp"
	"math"
	"time"
)

// A meter counts on while nobody reads it. What its counters moved by across a
// gap is the energy of the gap: known exactly, though not when in the gap.
const (
	// longestBridge is the longest gap that is filled; beyond it a meter may
	// have been exchanged.
	longestBridge = 31 * 24 * time.Hour
	// mostBridgedW is more than any connection that this gateway serves: a
	// counter that says more was reset.
	mostBridgedW = 10e6
	// coarse is what the counter's resolution may make of the mean power: a share
	// of it, or so many watts.
	coarseShare, coarseW = 0.02, 20.0
	// coarsestStep is the resolution of a counter that has not moved yet, Wh.
	coarsestStep = 1000
	// leastBridge is the shortest gap worth filling: a sample or two that went
	// missing leave the mean of their minute as it is.
	leastBridge = 10 * time.Second
)

// counting is what a channel knows of its meter's counters.
type counting struct {
	last    counters  // the last that came with a time to believe
	fresh   *counters // the same, until it is on the card
	step    int64     // Wh, the smallest that the counters moved by; 0 is not known yet
	bridges []bridge  // gaps to be filled with the next write
}

// bridge is a gap and the energy that was counted across it.
type bridge struct {
	from, to int64 // Unix time
	wh       float64
}

// Count takes a meter's own energy counters, in Wh, beside the sample that Add
// was given for the same time. Where samples are missing before it, the gap is
// filled with the energy that they say it had, as Recovered, with the next
// write.
func (l *Log) Count(t time.Time, name string, importWh, exportWh float64) {
	const most = 1e15 // Wh; also keeps what is not a number out
	if !(math.Abs(importWh) < most) || !(math.Abs(exportWh) < most) || t.Unix() <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.channel(name)
	if c.prev.doubtful {
		return
	}
	c.counting.note(counters{t.Unix(), int64(math.Round(importWh)), int64(math.Round(exportWh))})
}

// note compares counters with the last ones.
func (k *counting) note(now counters) {
	last := k.last
	in, out := now.importWh-last.importWh, now.exportWh-last.exportWh
	k.last, k.fresh = now, &now
	if last.at == 0 || now.at <= last.at || in < 0 || out < 0 {
		return // the first, or a clock or counter that was set
	}
	gap := now.at - last.at
	switch {
	case gap < int64(leastBridge/time.Second):
		k.learn(in)
		k.learn(out)
	case gap <= int64(longestBridge/time.Second):
		k.bridges = append(k.bridges, bridge{last.at, now.at, float64(in - out)})
	}
}

// learn takes a move of a counter: the smallest is its resolution.
func (k *counting) learn(move int64) {
	if move > 0 && (k.step == 0 || move < k.step) {
		k.step = move
	}
}

// open makes the minutes of the bridges ready in memory, so that what the store
// has of them joins first.
func (c *channel) open() {
	for _, b := range c.counting.bridges {
		c.eachMinute(b, func(*minute, time.Duration) {})
	}
}

// cross fills the gaps.
func (c *channel) cross() {
	for _, b := range c.counting.bridges {
		c.fill(b)
	}
	c.counting.bridges = nil
}

// fill spreads the energy that was counted, less what was measured meanwhile,
// over what was not measured.
func (c *channel) fill(b bridge) {
	var measured float64
	var missing time.Duration
	c.eachMinute(b, func(m *minute, inside time.Duration) {
		gap := m.missing(inside)
		missing += gap
		if m.covered > 0 {
			measured += m.wns / float64(m.covered) * float64(inside-gap)
		}
	})
	if missing < leastBridge {
		return
	}
	powerW := (b.wh*float64(time.Hour) - measured) / float64(missing)
	step := cmp.Or(c.counting.step, coarsestStep)
	doubtW := 2 * float64(step) / missing.Hours()
	if math.Abs(powerW) > mostBridgedW || doubtW > max(coarseW, coarseShare*math.Abs(powerW)) {
		return
	}
	c.eachMinute(b, func(m *minute, inside time.Duration) {
		if gap := m.missing(inside); gap > 0 && !m.doubtful {
			m.bridge(powerW, gap)
		}
	})
}

// missing is how much of a minute was not measured, of which so much lies in a
// gap: what was measured of a minute at the gap's edge lies outside.
func (m *minute) missing(inside time.Duration) time.Duration {
	return min(inside, time.Minute-time.Duration(m.covered))
}

// eachMinute calls fn for the minutes of a bridge, with how much of each lies
// inside.
func (c *channel) eachMinute(b bridge, fn func(m *minute, inside time.Duration)) {
	for at := b.from - b.from%60; at < b.to; at += 60 {
		inside := min(b.to, at+60) - max(b.from, at)
		fn(c.minute(time.Unix(at, 0)), time.Duration(inside)*time.Second)
	}
}
