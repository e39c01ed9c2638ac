package gpio

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Pull is the bias of an input line.
type Pull string

// The biases; none leaves the level to the board.
const (
	PullUp   Pull = "up"
	PullDown Pull = "down"
	PullNone Pull = "none"
)

// Contact is an input line. Wait returns at the next edge, after the timeout or
// earlier; the level is then read, so a missed edge costs time only.
type Contact interface {
	High() (bool, error)
	Wait(timeout time.Duration)
	Close() error
}

// InputOptions say how a contact is wired.
type InputOptions struct {
	Line      string // as of Options
	ActiveLow bool   // a low level means pressed
	Pull      Pull
	Debounce  time.Duration // how long a level stands before it counts; default 50 ms
	// Open opens the line; nil opens the real one.
	Open func(line string, pull Pull) (Contact, error)
}

// InputState is what is known of a contact.
type InputState struct {
	Pressed bool
	// Lost says since when the line can not be read; zero where it can.
	Lost time.Time
	// Error is why, for people.
	Error string
}

// Unreadable tells whether the contact has been out of reach for so long that
// it has to be taken for pressed. A normally closed STOP button says the same
// of a broken wire.
func (s InputState) Unreadable(now time.Time) bool {
	return !s.Lost.IsZero() && now.Sub(s.Lost) >= lostAfter
}

const (
	// lostAfter gives udev the time to hand over a line at boot, and a line
	// that fails the time for another try.
	lostAfter = 5 * time.Second
	// lookEvery is how long the loop trusts edges alone.
	lookEvery = 200 * time.Millisecond
	// sampleEvery paces the samples while a level is not settled.
	sampleEvery = 5 * time.Millisecond
	// reopenEvery lies between two tries to open a line.
	reopenEvery     = time.Second
	defaultDebounce = 50 * time.Millisecond
)

// Input watches one contact. Run owns it; the other methods may be called from
// any goroutine.
type Input struct {
	o        InputOptions
	contact  Contact // nil while the line is not open
	state    atomic.Pointer[InputState]
	born     time.Time
	progress atomic.Int64 // nanoseconds since born

	raw   bool      // the level last seen, as pressed
	since time.Time // since when it stands
}

// NewInput returns the contact on a line. Nothing is opened before Run.
func NewInput(o InputOptions) *Input {
	if o.Open == nil {
		o.Open = openInput
	}
	if o.Debounce <= 0 {
		o.Debounce = defaultDebounce
	}
	i := &Input{o: o, born: time.Now()}
	i.state.Store(&InputState{Lost: i.born})
	return i
}

// State returns what is known now.
func (i *Input) State() InputState { return *i.state.Load() }

// Progress is when the contact was last looked at, for the watchdog.
func (i *Input) Progress() time.Time {
	if ns := i.progress.Load(); ns > 0 {
		return i.born.Add(time.Duration(ns))
	}
	return time.Time{}
}

// Run watches the contact until the context ends, and calls seen after every
// look, a few times a second and within the debounce time of a change.
func (i *Input) Run(ctx context.Context, seen func(InputState)) error {
	for ctx.Err() == nil {
		wait := i.look(time.Now())
		i.progress.Store(int64(max(1, time.Since(i.born))))
		seen(i.State())
		i.rest(ctx, wait)
	}
	if i.contact != nil {
		if err := i.contact.Close(); err != nil {
			return fmt.Errorf("close GPIO line %s: %w", i.o.Line, err)
		}
	}
	return nil
}

// rest waits for the next look.
func (i *Input) rest(ctx context.Context, wait time.Duration) {
	begin := time.Now()
	if i.contact != nil && wait == lookEvery {
		i.contact.Wait(wait)
		if time.Since(begin) >= sampleEvery {
			return
		}
		wait = sampleEvery // an edge, or a wait that failed at once: no busy loop
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// look reads the level once and returns how long to wait for the next look.
func (i *Input) look(now time.Time) time.Duration {
	high, err := i.read()
	if err != nil {
		i.lose(now, err)
		return reopenEvery
	}
	before := i.State()
	pressed := high != i.o.ActiveLow
	if pressed != i.raw || i.since.IsZero() {
		i.raw, i.since = pressed, now
	}
	if now.Sub(i.since) < i.o.Debounce && (pressed != before.Pressed || !before.Lost.IsZero()) {
		return min(sampleEvery, i.o.Debounce)
	}
	if s := (InputState{Pressed: pressed}); s != before {
		i.state.Store(&s)
	}
	return lookEvery
}

func (i *Input) read() (high bool, err error) {
	if i.contact == nil {
		if i.contact, err = i.o.Open(i.o.Line, i.o.Pull); err != nil {
			i.contact = nil
			return false, explain(&lineError{i.o.Line, "open", err})
		}
	}
	if high, err = i.contact.High(); err != nil {
		err = explain(&lineError{i.o.Line, "read", errors.Join(err, i.contact.Close())})
		i.contact = nil
	}
	return high, err
}

// lose notes that the line can not be read. What was known before is kept for
// a few seconds, see Unreadable.
func (i *Input) lose(now time.Time, err error) {
	s := i.State()
	if s.Lost.IsZero() {
		s.Lost = now
	}
	s.Error = err.Error()
	i.since = time.Time{}
	i.state.Store(&s)
}
