package sunspec

import (
	"fmt"
	"math"
	"time"

	"nominald/drivers"
)

const (
	// settle is how long a device may take to show a command in its registers
	// (modbus.md 8: 1-10 s before read-back verification).
	settle = 5 * time.Second
	// missesToStop so many reads in a row that show something else mean that
	// somebody else commands the device, or that it ignores us.
	missesToStop = 3
	// retryAfter is how long nothing is written then (domain.md 6 F4).
	retryAfter = time.Minute
)

// want is a control point and the value in its unit it should read back as.
type want struct {
	name  string
	value float64
}

// command is one written command.
type command struct {
	at    time.Time
	wants []want
}

// lease is what the device was told and whether it shows it.
type lease struct {
	since   time.Time     // first command since the last release or lapse
	until   time.Time     // when the device's own timer ends the command
	valid   time.Duration // of the last command
	history []command     // the last, and those that were current within settle
	misses  int
	retryAt time.Time
	note    string
	before  []want // what the owner had set before the first command
}

// remember keeps the settings that a command changes and that are not part of
// it, once, and only while the device is neutral: what stands there under a
// running command may be our own from before a restart.
func (l *lease) remember(ctl block, neutral bool, names ...string) {
	if l.before != nil || !neutral {
		return
	}
	for _, name := range names {
		if v, ok := ctl.value(name); ok {
			l.before = append(l.before, want{name, v})
		}
	}
}

// sent notes a command that was written.
func (l *lease) sent(now time.Time, valid time.Duration, wants []want) {
	if l.since.IsZero() || now.After(l.until) {
		l.since, l.history, l.misses = now, nil, 0
	}
	l.until, l.valid = now.Add(valid), valid
	for len(l.history) > 1 && now.Sub(l.history[1].at) > settle {
		l.history = l.history[1:]
	}
	l.history = append(l.history, command{now, wants})
}

// compare holds the control registers against what was commanded. A device may
// still show the command before the last one.
func (l *lease) compare(ctl block, now time.Time) {
	if l.since.IsZero() || now.Sub(l.since) < settle || !now.Before(l.until) {
		l.note = ""
		return
	}
	miss := ""
	for i := len(l.history) - 1; i >= 0; i-- {
		recent := i == len(l.history)-1 || now.Sub(l.history[i+1].at) <= settle
		if !recent {
			break
		}
		if miss = shows(ctl, l.history[i].wants); miss == "" {
			l.misses, l.note = 0, ""
			return
		}
	}
	l.misses++
	l.note = "not as commanded: " + miss
}

// shows returns the first point that does not read back as wanted.
func shows(ctl block, wants []want) string {
	for _, w := range wants {
		p, _ := ctl.find(w.name)
		exp, _ := ctl.exponent(p)
		got, ok := ctl.value(w.name)
		if !ok || math.Abs(got-w.value) > 0.51*scale(1, exp) {
			return fmt.Sprintf("%s reads %g, commanded %g", w.name, got, w.value)
		}
	}
	return ""
}

// conflict is the error that stops writing while the device shows something
// else than commanded. It lets one attempt pass each retryAfter.
func (l *lease) conflict(now time.Time) error {
	if l.misses < missesToStop {
		l.retryAt = time.Time{}
		return nil
	}
	if l.retryAt.IsZero() {
		l.retryAt = now.Add(retryAfter)
	}
	if now.Before(l.retryAt) {
		return fmt.Errorf("%s, in %d reads in a row: another controller writes to the device, or remote control is off in its settings: %w",
			l.note, l.misses, drivers.ErrRefused)
	}
	l.misses, l.retryAt, l.since = 0, time.Time{}, time.Time{}
	return nil
}
