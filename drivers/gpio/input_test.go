package gpio

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// button is a contact with a level that the test sets. Its edges wake Wait as
// the kernel's do, unless they are deaf.
type button struct {
	mu     sync.Mutex
	high   bool
	err    error
	open   error
	opened int
	closed int
	deaf   bool
	edge   chan struct{}
}

func newButton(high bool) *button { return &button{high: high, edge: make(chan struct{}, 16)} }

func (b *button) High() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.high && b.err == nil, b.err
}

func (b *button) Wait(timeout time.Duration) {
	select {
	case <-b.edge:
	case <-time.After(timeout):
	}
}

func (b *button) Close() error { b.mu.Lock(); b.closed++; b.mu.Unlock(); return nil }

func (b *button) set(high bool) {
	b.mu.Lock()
	b.high = high
	b.mu.Unlock()
	if !b.deaf {
		b.edge <- struct{}{}
	}
}

func (b *button) fail(open, read error) {
	b.mu.Lock()
	b.open, b.err = open, read
	b.mu.Unlock()
}

func (b *button) connect(string, Pull) (Contact, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open != nil {
		return nil, b.open
	}
	b.opened++
	return b, nil
}

// watched runs an input on a button inside a bubble until the test ends.
func watched(t *testing.T, b *button, o InputOptions) *Input {
	t.Helper()
	o.Line, o.Open = "GPIO27", b.connect
	i := NewInput(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- i.Run(ctx, func(InputState) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return i
}

func wants(t *testing.T, i *Input, what string, pressed, lost bool) {
	t.Helper()
	synctest.Wait()
	s := i.State()
	if s.Pressed != pressed || s.Unreadable(time.Now()) != lost {
		t.Errorf("%s: %+v, unreadable %v; want pressed %v, unreadable %v", what, s, s.Unreadable(time.Now()), pressed, lost)
	}
}

// TestNormallyClosedButton: a closed contact to ground holds the line low; the
// button and a broken wire let the pull-up raise it.
func TestNormallyClosedButton(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newButton(false)
		i := watched(t, b, InputOptions{Pull: PullUp})
		time.Sleep(100 * time.Millisecond)
		wants(t, i, "at rest", false, false)
		b.set(true)
		time.Sleep(30 * time.Millisecond)
		wants(t, i, "within the debounce time", false, false)
		time.Sleep(30 * time.Millisecond)
		wants(t, i, "pressed, or the wire is broken", true, false)
		b.set(false)
		time.Sleep(60 * time.Millisecond)
		wants(t, i, "let go", false, false)
	})
}

func TestBounceIsNoPress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newButton(true)
		i := watched(t, b, InputOptions{ActiveLow: true, Pull: PullUp})
		time.Sleep(100 * time.Millisecond)
		for n := range 40 { // 40 edges in 1.2 s, none stands for 50 ms
			b.set(n%2 == 1)
			time.Sleep(30 * time.Millisecond)
		}
		wants(t, i, "after interference", false, false)
		b.set(false)
		time.Sleep(60 * time.Millisecond)
		wants(t, i, "pressed", true, false)
	})
}

func TestMissedEdgeIsSeenByLooking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newButton(true)
		b.deaf = true
		i := watched(t, b, InputOptions{ActiveLow: true})
		time.Sleep(100 * time.Millisecond)
		b.set(false)
		time.Sleep(lookEvery + 60*time.Millisecond)
		wants(t, i, "pressed without an edge", true, false)
	})
}

// TestLostLineCountsAsPressedAfterAWhile: a line that reads low because it can
// not be read is not a button at rest.
func TestLostLineCountsAsPressedAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newButton(false)
		i := watched(t, b, InputOptions{Pull: PullUp})
		time.Sleep(100 * time.Millisecond)
		b.fail(nil, syscall.EIO)
		time.Sleep(4 * time.Second)
		wants(t, i, "lost for a moment", false, false)
		if i.State().Error == "" || i.State().Lost.IsZero() {
			t.Errorf("state %+v, want it to say what is wrong", i.State())
		}
		time.Sleep(2 * time.Second)
		wants(t, i, "lost", false, true)
		b.fail(nil, nil)
		time.Sleep(2 * time.Second)
		wants(t, i, "back", false, false)
		if b.opened < 2 || b.closed == 0 {
			t.Errorf("opened %d times, closed %d times: a line that failed has to be opened anew", b.opened, b.closed)
		}
	})
}

func TestLineThatOpensLateIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newButton(false)
		b.fail(syscall.EACCES, nil)
		i := watched(t, b, InputOptions{})
		wants(t, i, "at the start", false, false)
		time.Sleep(lostAfter)
		wants(t, i, "never opened", false, true)
		b.fail(nil, nil)
		time.Sleep(2 * time.Second)
		wants(t, i, "opened", false, false)
		if i.Progress().IsZero() {
			t.Error("no progress, though it looks")
		}
	})
}

func TestInputEndsAndClosesItsLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newButton(false)
		i := NewInput(InputOptions{Line: "GPIO27", Open: b.connect})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		looks := 0
		go func() { done <- i.Run(ctx, func(InputState) { looks++ }) }()
		time.Sleep(10 * time.Second)
		cancel()
		if err := <-done; err != nil || b.closed != 1 {
			t.Errorf("ended with %v, closed %d times", err, b.closed)
		}
		if looks < 45 || looks > 75 { // 5 a second, and some while the first level settles
			t.Errorf("%d looks in 10 s, want about 60", looks)
		}
	})
}

func TestRealInputWithoutAChip(t *testing.T) {
	_, err := openInput("GPIO27", PullUp)
	if len(chipPaths(t)) == 0 && !errors.Is(err, errNoChip) {
		t.Errorf("without a chip: %v, want %v", err, errNoChip)
	}
}
