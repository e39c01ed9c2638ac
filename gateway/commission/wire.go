package commission

import (
	"context"
	"sync"
	"time"

	"nominald/gateway/config"
)

// wire is one bus, or a relay's own lines. Whoever talks to a device on it holds
// its lock, so that there is one request at a time.
type wire struct {
	mu      sync.Mutex
	devices []*tested
}

const (
	// keepEvery is how old a device's last reading gets at most: a third of the
	// shortest watchdogs (5 to 15 s, modbus.md 5), which take any request for life.
	keepEvery = 2 * time.Second
	keepLook  = 100 * time.Millisecond // between two looks for what is due
	keepCall  = 2 * time.Second        // longest time of one reading: a test waits for the wire
	keepAgain = 10 * time.Second       // until a device that did not answer is read again
)

// wireOf returns the wire of a device, made at its first.
func wireOf(wires map[string]*wire, d config.Device) *wire {
	key := "bus " + d.Bus
	if d.GPIO != "" {
		key = "gpio " + d.Name
	}
	if wires[key] == nil {
		wires[key] = &wire{}
	}
	return wires[key]
}

// keepAll polls every device that answered and that no test has, until the
// returned function is called. It goes on while devices are released.
func (s *session) keepAll(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	seen := map[*wire]bool{}
	for _, d := range s.devices {
		if w := d.wire; !seen[w] {
			seen[w] = true
			all.Go(func() {
				for pause(ctx, keepLook) {
					w.keep(ctx, s.t.Call)
				}
			})
		}
	}
	return func() { cancel(); all.Wait() }
}

// keep reads the device that was not heard for longest, where one is due.
func (w *wire) keep(ctx context.Context, call time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due *tested
	for _, d := range w.devices {
		if d.alive && !d.busy && time.Since(d.heard) >= keepEvery && (due == nil || d.heard.Before(due.heard)) {
			due = d
		}
	}
	if due == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(call, keepCall))
	defer cancel()
	_, err := due.Driver.Read(ctx)
	due.heard = time.Now()
	if err != nil {
		due.heard = due.heard.Add(keepAgain - keepEvery)
	}
}

// claim takes a device for a test, or gives it back to be polled.
func (d *tested) claim(busy bool) {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	d.busy = busy
}

// lives has a device polled from now on.
func (d *tested) lives() {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	d.alive = true
}
