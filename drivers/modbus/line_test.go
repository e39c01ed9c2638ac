package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nominald/drivers"
)

func TestUnitsShareOneConnectionAndItsTransactionIDs(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, time.Second)
	seen := map[uint16]bool{}
	for i := range 20 {
		if err := checkHolding(t, l.Unit(byte(i%4+1)), uint16(i), 3); err != nil {
			t.Fatal(err)
		}
		seen[binary.BigEndian.Uint16(d.lastRequest())] = true
	}
	if len(seen) != 20 {
		t.Errorf("20 requests had %d transaction ids", len(seen))
	}
	if _, accepted := d.count(); accepted != 1 {
		t.Errorf("%d connections, want 1", accepted)
	}
}

func TestTransactionIDsWrap(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, time.Second)
	l.wire.(*tcpWire).id = 65530
	for i := range uint16(12) {
		if err := checkHolding(t, l.Unit(1), i, 2); err != nil {
			t.Fatal(err)
		}
	}
}

// Two goroutines break the contract; even so no answer goes to the wrong one.
func TestOneRequestAtATime(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, 5*time.Second)
	var all sync.WaitGroup
	for g := range byte(4) {
		u := l.Unit(g + 1)
		all.Go(func() {
			for i := range uint16(100) {
				dst := make([]uint16, 2)
				err := u.ReadHolding(t.Context(), i, dst)
				if want := truth(Holding, u.id, i); err != nil || dst[0] != want {
					t.Errorf("unit %d: got %v %v, want %d first", u.id, dst, err, want)
					return
				}
			}
		})
	}
	all.Wait()
}

// A device that ends idle connections costs no failed request.
func TestConnectionEndedWhileIdleIsNoFailure(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, time.Second)
	u := l.Unit(1)
	if err := checkHolding(t, u, 1, 2); err != nil {
		t.Fatal(err)
	}
	d.hangUp()
	w := l.wire.(*tcpWire)
	w.last = w.last.Add(-2 * idleCheck) // as if it had lain idle for so long
	waitFor(t, w.ended)
	if err := checkHolding(t, u, 2, 2); err != nil {
		t.Errorf("after the device hung up: %v", err)
	}
	if st := l.Stats(); st.Resets != 1 || st.Dials != 2 {
		t.Errorf("got %+v, want one reset and two dials", st)
	}
	w.last = w.last.Add(-2 * idleCheck)
	if err := checkHolding(t, u, 3, 2); err != nil {
		t.Error(err)
	}
	if st := l.Stats(); st.Dials != 2 {
		t.Errorf("an idle connection that lives was dialled again: %+v", st)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 200 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("did not come about within a second")
}

// A device with room for one client has room again right after a timeout.
func TestTimeoutFreesASingleClientDevice(t *testing.T) {
	ended := make(chan error, 1)
	d := newDevice(t)
	d.set(func(c *net.TCPConn, _ []byte) bool {
		_, err := c.Read(make([]byte, 1))
		ended <- err
		return false
	})
	l := newLine(t, d.addr, 100*time.Millisecond)
	if err := checkHolding(t, l.Unit(1), 0, 1); !errors.Is(err, drivers.ErrOffline) {
		t.Fatalf("got %v, want a timeout", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the device saw %v, want a reset", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("the device still holds the connection")
	}
}

func TestContextBoundsATransaction(t *testing.T) {
	d := newDevice(t)
	d.set(func(*net.TCPConn, []byte) bool { return true })
	l := newLine(t, d.addr, 10*time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := l.Unit(1).ReadHolding(ctx, 0, make([]uint16, 1))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v, want about 100ms", took)
	}
	if !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("got %v, want offline", err)
	}
	if err = l.Unit(1).ReadHolding(ctx, 0, make([]uint16, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	err = l.Unit(1).ReadHolding(cancelled, 0, make([]uint16, 1))
	if !errors.Is(err, context.Canceled) || errors.Is(err, drivers.ErrOffline) {
		t.Errorf("got %v, want cancelled and not offline", err)
	}
	if n, _ := d.count(); n != 1 {
		t.Errorf("%d requests, want 1: none after the context ended", n)
	}
}

func TestPausesAreKept(t *testing.T) {
	d := newDevice(t)
	l := NewTCP(d.addr, Options{PauseAfterConnect: 60 * time.Millisecond, PauseBetween: 30 * time.Millisecond})
	defer l.Close()
	start := time.Now()
	for i, want := range []time.Duration{60, 90, 120} {
		if err := checkHolding(t, l.Unit(1), 0, 1); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < want*time.Millisecond {
			t.Errorf("request %d was answered after %v, want %dms at least", i+1, took, want)
		}
	}
}

func TestClosedLineOpensAgain(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, time.Second)
	for range 3 {
		if err := checkHolding(t, l.Unit(1), 0, 1); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatalf("closing a closed line: %v", err)
		}
	}
}

func TestStatsCount(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, 100*time.Millisecond)
	u := l.Unit(1)
	for _, f := range []answer{
		good,
		func(c *net.TCPConn, req []byte) bool { _, err := c.Write(adu(req, 0x83, 6)); return err == nil },
		func(*net.TCPConn, []byte) bool { return true }, // deaf
		patch(3, 1), // doubt
		func(*net.TCPConn, []byte) bool { return false }, // closed
	} {
		d.set(f)
		_ = u.ReadHolding(t.Context(), 0, make([]uint16, 4))
	}
	got := l.Stats()
	if got.Busy < 100*time.Millisecond {
		t.Errorf("busy for %v, want the timeout at least", got.Busy)
	}
	got.Busy = 0
	want := Stats{
		Requests: 5, Exceptions: 1, Timeouts: 1, Dials: 3, Resets: 1, Doubts: 1,
		BytesOut: 5 * 12, BytesIn: 17 + 9 + 17,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A device may hang up just when the next request is under way. That costs a
// new connection, not a failure; a device that hangs up on every request does
// fail, and is asked no more than twice.
func TestConnectionEndedUnderTheRequestIsDialledOnce(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, time.Second)
	u := l.Unit(1)
	if err := checkHolding(t, u, 1, 2); err != nil {
		t.Fatal(err)
	}
	var hung atomic.Bool
	d.set(func(c *net.TCPConn, req []byte) bool {
		if hung.CompareAndSwap(false, true) {
			return false // ends the connection
		}
		return good(c, req)
	})
	if err := checkHolding(t, u, 2, 2); err != nil {
		t.Errorf("hung up once: %v", err)
	}
	d.set(func(*net.TCPConn, []byte) bool { return false })
	before, _ := d.count()
	if err := checkHolding(t, u, 3, 2); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("hangs up always: got %v, want offline", err)
	}
	if after, _ := d.count(); after-before != 2 {
		t.Errorf("asked %d times, want twice", after-before)
	}
}
