package bus

import (
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"nominald/drivers"
)

// Snapshot is what is known of a device at one moment. It is never changed
// after it was published.
type Snapshot struct {
	Reading     drivers.Reading     // the last good one; its At says how old it is
	Description drivers.Description // after the last good reading
	Tried       bool                // read at least once, successfully or not
	Online      bool                // it answered when it was last talked to
	LastError   string              // of the last read or write that failed; empty once the same kind works again
	LastSeen    time.Time           // when it last answered
	Lease       *drivers.Lease      // nil when none is in force
	Applied     drivers.Command     // the last command it took
	AppliedAt   time.Time           // when it took it; zero after a release
	Neutral     bool                // known to do what it would do without us
	RetryAt     time.Time           // it is left alone until then; zero when it is not
	Polls       uint64              // reads begun
	Failures    uint64              // reads and writes that failed
	Writes      uint64              // commands and releases begun
	RoundTrip   time.Duration       // of the last good reading
}

// post is what a mailbox holds: a lease, or the wish for neutral.
type post struct {
	lease  drivers.Lease
	ends   time.Time // lease.Until on the monotonic clock
	at     time.Time // when it was posted, or the first of those it replaced
	retire bool      // neutral is asked
}

// Port is a device's place on a worker: the way in for commands and the way
// out for readings. Its methods may be called from any goroutine and never
// block.
type Port struct {
	worker  *Worker
	name    string
	device  drivers.Device
	every   time.Duration
	log     *slog.Logger
	mailbox atomic.Pointer[post]
	shown   atomic.Pointer[Snapshot]
	state   // the worker goroutine's alone
}

// Name returns the device's name in the config.
func (p *Port) Name() string { return p.name }

// Snapshot returns what is known of the device now.
func (p *Port) Snapshot() Snapshot { return *p.shown.Load() }

// Lease asks the device to follow the command until l.Until. The newest call
// of Lease or Neutral wins. Where neither is called again, the device is
// released when the lease has run out.
// A command that holds a NaN or an infinity is no command: it counts as Neutral.
func (p *Port) Lease(l drivers.Lease) {
	c := l.Command
	if !(finite(c.PowerW) && finite(c.CurrentA) && finite(c.OffsetK)) {
		p.Neutral()
		return
	}
	// From here on the lease ends by the monotonic clock: a wall clock that is
	// set back must not prolong it.
	now := time.Now()
	p.send(&post{lease: l, ends: now.Add(l.Until.Sub(now)), at: now})
}

// Neutral asks the device to do what it would do without us.
func (p *Port) Neutral() { p.send(&post{retire: true, at: time.Now()}) }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// send replaces what is in the mailbox, and wakes the worker.
func (p *Port) send(m *post) {
	for {
		old := p.mailbox.Load()
		if old != nil && old.at.Before(m.at) {
			m.at = old.at // a changed mind keeps its place in the queue
		}
		if p.mailbox.CompareAndSwap(old, m) {
			break
		}
	}
	select {
	case p.worker.wake <- struct{}{}:
	default: // it is awake already, and will look into every mailbox
	}
}
