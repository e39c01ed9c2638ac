package notify

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// listen is systemd's end: a real unix datagram socket.
func listen(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("WATCHDOG_PID", "")
	return conn
}

// next returns the next message, or "" when none comes within wait.
func next(t *testing.T, conn *net.UnixConn, wait time.Duration) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestMessages(t *testing.T) {
	conn := listen(t)
	n := New(nil)
	for _, c := range []struct {
		send func() error
		want string
	}{
		{n.Ready, "READY=1"},
		{n.Stopping, "STOPPING=1"},
		{func() error { return n.Status("following event, 5 kW\nWATCHDOG=1") }, "STATUS=following event, 5 kW WATCHDOG=1"},
	} {
		if err := c.send(); err != nil {
			t.Fatal(err)
		}
		if got := next(t, conn, time.Second); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestWithoutSystemdNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	n := New(nil)
	if err := errors.Join(n.Ready(), n.Status("x"), n.Stopping()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := n.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestSocketGoneIsAnError(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := New(nil).Ready(); err == nil {
		t.Error("no error")
	}
}

func TestWatchdogThatCanNotBeReadIsAnError(t *testing.T) {
	listen(t)
	t.Setenv("WATCHDOG_USEC", "soon")
	if err := New(nil).Run(t.Context()); err == nil {
		t.Error("no error")
	}
}

// TestPingCeasesWhenOnePartHangs with real time and a real socket: watchdog
// 300 ms, so a ping each 100 ms.
func TestPingCeasesWhenOnePartHangs(t *testing.T) {
	conn := listen(t)
	t.Setenv("WATCHDOG_USEC", "300000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var good, hung atomic.Int64
	var mu sync.Mutex
	var reports [][]Stall
	n := New(func(s []Stall) {
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, s)
	})
	n.Register("round", func() time.Time { return time.Unix(0, good.Add(1)) }, 250*time.Millisecond)
	var hang atomic.Bool
	n.Register("poll", func() time.Time {
		if !hang.Load() {
			hung.Add(1)
		}
		return time.Unix(0, hung.Load())
	}, 250*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	for range 3 {
		if got := next(t, conn, 2*time.Second); got != "WATCHDOG=1" {
			t.Fatalf("got %q", got)
		}
	}
	hang.Store(true)
	deadline := time.Now().Add(5 * time.Second)
	for len(n.Stalls()) == 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	for next(t, conn, time.Millisecond) != "" { // what was sent before
	}
	if got := next(t, conn, 400*time.Millisecond); got != "" {
		t.Errorf("pinged with a hung part: %q", got)
	}
	if s := n.Stalls(); len(s) != 1 || s[0].Name != "poll" || s[0].Idle <= s[0].Limit {
		t.Errorf("stalls %+v", s)
	}
	hang.Store(false)
	if got := next(t, conn, 2*time.Second); got != "WATCHDOG=1" {
		t.Errorf("no ping after it went on: %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(reports) != 2 || len(reports[0]) != 1 || reports[0][0].Name != "poll" || len(reports[1]) != 0 {
		t.Errorf("reports %+v", reports)
	}
}

// TestStallIsSeenInTime runs an hour in a bubble: each part's own limit counts,
// and a stamp that stands in the future or the past is as good as any.
func TestStallIsSeenInTime(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var stalledAt []time.Duration
		n := New(func([]Stall) { stalledAt = append(stalledAt, time.Since(start)) })
		// A wall clock an hour ahead, then an hour behind.
		n.Register("round", func() time.Time {
			at := time.Now().Round(0).Add(time.Hour)
			if time.Since(start) > 30*time.Minute {
				at = at.Add(-2 * time.Hour)
			}
			return at
		}, 5*time.Second)
		n.Register("poll", func() time.Time { return start }, 10*time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(stalledAt) != 1 || stalledAt[0] <= 10*time.Minute || stalledAt[0] > 10*time.Minute+2*time.Second {
			t.Errorf("stalled at %v, want once, just after 10m", stalledAt)
		}
	})
}
