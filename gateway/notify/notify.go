// Package notify tells systemd how the daemon is: ready, stopping, what it is
// doing, and that it is alive. It is the one door to go-systemd.
//
// The watchdog is pinged only while every registered part of the program makes
// progress: a process whose control round hangs is restarted, though its other
// goroutines are well. A part makes progress when its stamp changes; how old
// the stamp says it is does not count, so a step of the wall clock neither
// hides a stuck part nor condemns a good one. Without NOTIFY_SOCKET everything
// here does nothing, successfully.
package notify

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// checkEvery is how often stamps are looked at where the watchdog's own period
// is longer or absent; a stall is seen this much late at most.
const checkEvery = time.Second

// Stall is a part of the program that has made no progress within its limit.
type Stall struct {
	Name  string
	Idle  time.Duration // since its stamp last changed
	Limit time.Duration
}

// Notifier speaks to systemd. Register every source before Run.
type Notifier struct {
	changed func(stalls []Stall)
	mu      sync.Mutex
	sources []*source
	stalls  []Stall
}

type source struct {
	name    string
	last    func() time.Time
	limit   time.Duration
	stamp   time.Time
	changed time.Time // monotonic: when stamp was last seen to change
}

// New returns a notifier. changed, which may be nil, is called from Run when
// the set of stalled parts changes, with the new set in order of registration.
func New(changed func(stalls []Stall)) *Notifier {
	return &Notifier{changed: changed}
}

// Register adds a part of the program that must go on: last returns a stamp
// that changes with each round, limit is the longest time it may stand still.
// The time until its first round counts from the start of Run.
func (n *Notifier) Register(name string, last func() time.Time, limit time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sources = append(n.sources, &source{name: name, last: last, limit: limit})
}

// Ready says that the daemon serves and all its tasks run.
func (n *Notifier) Ready() error { return send(daemon.SdNotifyReady) }

// Stopping says that the daemon is on its way out.
func (n *Notifier) Stopping() error { return send(daemon.SdNotifyStopping) }

// Status sets the one line that systemctl status shows.
func (n *Notifier) Status(line string) error {
	// A newline would begin another assignment of the protocol (sd_notify(3)).
	clean := []byte(line)
	for i, c := range clean {
		if c < ' ' {
			clean[i] = ' '
		}
	}
	return send("STATUS=" + string(clean))
}

func send(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify systemd %q: %w", state, err)
	}
	return nil
}

// Stalls returns the parts that make no progress, as of the last look.
func (n *Notifier) Stalls() []Stall {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.stalls)
}

// Run looks at the sources until ctx ends and pings systemd at a third of its
// watchdog time while none is stalled. It returns nil when ctx ends; an error
// means that the environment asks for a watchdog in a way that can not be read.
func (n *Notifier) Run(ctx context.Context) error {
	timeout, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read watchdog settings WATCHDOG_USEC and WATCHDOG_PID: %w", err)
	}
	period := timeout / 3
	look := checkEvery
	if period > 0 {
		look = min(look, period)
	}
	start := time.Now()
	n.begin(start)
	ticks := time.NewTicker(look)
	defer ticks.Stop()
	lastPing := start.Add(-period)
	for {
		now := time.Now()
		stalled := n.inspect(now)
		if period > 0 && !stalled && now.Sub(lastPing) >= period {
			// A ping that can not be sent must not end the daemon: systemd
			// draws its own conclusion, and the next one may arrive.
			if err := send(daemon.SdNotifyWatchdog); err == nil {
				lastPing = now
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

func (n *Notifier) begin(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sources {
		s.stamp, s.changed = s.last(), now
	}
}

// inspect looks at each source and reports whether any is stalled.
func (n *Notifier) inspect(now time.Time) bool {
	n.mu.Lock()
	var stalls []Stall
	for _, s := range n.sources {
		if stamp := s.last(); !stamp.Equal(s.stamp) {
			s.stamp, s.changed = stamp, now
		}
		if idle := now.Sub(s.changed); idle > s.limit {
			stalls = append(stalls, Stall{Name: s.name, Idle: idle, Limit: s.limit})
		}
	}
	differs := !slices.EqualFunc(n.stalls, stalls, func(a, b Stall) bool { return a.Name == b.Name })
	n.stalls = stalls
	n.mu.Unlock()
	if differs && n.changed != nil {
		n.changed(slices.Clone(stalls))
	}
	return len(stalls) > 0
}
