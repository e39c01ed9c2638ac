package modbus

import (
	"context"
	"time"
)

// Timing is what one unit needs where it differs from its line. Zero values
// take the line's Options.
type Timing struct {
	// Timeout bounds a transaction, see Options.
	Timeout time.Duration
	// PauseBetween is kept between the last transaction on the line and a
	// request to this unit.
	PauseBetween time.Duration
	// PauseAfterConnect is kept between opening and a request to this unit.
	PauseAfterConnect time.Duration
	// UnitChange is kept, on both sides, between a transaction with another
	// unit of the line and one with this one.
	UnitChange time.Duration
}

// over returns the timing with the line's options where it says nothing.
func (t Timing) over(o Options) Timing {
	if t.Timeout <= 0 {
		t.Timeout = o.Timeout
	}
	if t.PauseBetween <= 0 {
		t.PauseBetween = o.PauseBetween
	}
	if t.PauseAfterConnect <= 0 {
		t.PauseAfterConnect = o.PauseAfterConnect
	}
	return t
}

// pace is what a wire remembers of its last transactions, so that it can keep
// the pauses that units ask for, and tell how long the last one took.
type pace struct {
	opened time.Time     // when the connection was opened
	last   time.Time     // end of the last transaction on it
	unit   byte          // of the last transaction
	change time.Duration // that unit's UnitChange
	hold   time.Time     // nothing is sent before: after a broadcast, or a request cut short
	took   time.Duration // from the first byte of the request to the reply
}

// due returns when a request to the unit may be sent.
func (p *pace) due(unit byte, t Timing) time.Time {
	at := later(p.hold, p.opened.Add(t.PauseAfterConnect))
	if p.last.IsZero() {
		return at
	}
	pause := t.PauseBetween
	if p.unit != unit {
		pause = max(pause, t.UnitChange, p.change)
	}
	return later(at, p.last.Add(pause))
}

// done notes the end of a transaction.
func (p *pace) done(now time.Time, unit byte, t Timing) {
	p.last, p.unit, p.change = now, unit, t.UnitChange
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// latency implements wire.
func (p *pace) latency() time.Duration { return p.took }

// wait sleeps, or returns early when the context ends.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
