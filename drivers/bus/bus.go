// Package bus owns wires. A Worker is the one goroutine that talks on a wire:
// it polls the devices attached to it, applies the commands that it was lent,
// renews them before the device falls back by itself, and releases each device
// when its lease has run out, whatever became of whoever lent it.
//
// It knows no protocol: devices are drivers.Device, a wire is an io.Closer.
package bus

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"nominald/drivers"
)

// Options are the times of a worker. Zero values take the defaults.
type Options struct {
	// Fallback is how long a device shall hold a command that is not renewed.
	// It is renewed at half of that. Default 30 s.
	Fallback time.Duration
	// Timeout bounds each call of a device's methods. Default 5 s.
	Timeout time.Duration
	// Log gets changes of state. Default none.
	Log *slog.Logger
}

// The defaults of Options.
const (
	DefaultFallback = 30 * time.Second
	DefaultTimeout  = 5 * time.Second
)

// The paces of the loop.
const (
	// quarantineStep and quarantineMost pace a device that does not answer:
	// a step more after each failure in a row.
	quarantineStep = 2 * time.Second
	quarantineMost = 5 * time.Minute
	// Tries of lost devices that are not answered take one part in probeShare of
	// the wire's time, after a burst of that length: a device that was missed
	// once is looked for at once, and many dead ones do not fill the wire.
	probeShare = 10
	probeBurst = 3 * time.Second
	// probeWait is how long a lost device stands back for devices that are due.
	probeWait = 10 * time.Second
	// slipPause lies between a write that was not answered and the second try.
	slipPause = 200 * time.Millisecond
	// refusedPause is how long a refused command waits before it is tried
	// again unchanged.
	refusedPause = 30 * time.Second
	// busyStep and busyMost pace a device that says it is busy; doubling.
	busyStep = 250 * time.Millisecond
	busyMost = 8 * time.Second
	// heartbeat is the longest that the loop sleeps, so that Progress tells a
	// quiet bus from a stuck one.
	heartbeat = 2 * time.Second
	// shutdownLimit bounds all releases at the end together (design.md 2.3).
	shutdownLimit = 10 * time.Second
	// shutdownPause lies between two tries to release at the end.
	shutdownPause = 250 * time.Millisecond
)

// Worker owns one wire and the devices on it.
type Worker struct {
	name     string
	line     io.Closer // nil where there is nothing to close
	opts     Options
	log      *slog.Logger
	ports    []*Port
	wake     chan struct{} // capacity 1: somebody posted
	born     time.Time
	progress atomic.Int64 // nanoseconds since born, 0 before Run
	load     load
	writes   int       // in a row, see next
	missed   bool      // the last step was not answered
	pausing  bool      // the last step was with a device that answers, and there was no sleep since
	paid     time.Time // until when the tries of lost devices have used their share
}

// New returns a worker for the named bus. line is closed when Run ends; it may
// be nil, as for GPIO.
func New(name string, line io.Closer, opts Options) *Worker {
	if opts.Fallback <= 0 {
		opts.Fallback = DefaultFallback
	}
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Worker{
		name: name, line: line, opts: opts,
		log:  log.With("bus", name),
		wake: make(chan struct{}, 1),
		born: time.Now().UTC(),
	}
}

// Attach adds a device that is read once every so often. Call it before Run.
func (w *Worker) Attach(name string, d drivers.Device, every time.Duration) *Port {
	p := &Port{worker: w, name: name, device: d, every: max(every, time.Millisecond)}
	p.log = w.log.With("device", name)
	p.publish()
	w.ports = append(w.ports, p)
	return p
}

// Progress returns when the loop last came round; the zero time before Run. It
// advances while the loop lives, even when every device is dead.
func (w *Worker) Progress() time.Time {
	ns := w.progress.Load()
	if ns == 0 {
		return time.Time{}
	}
	return w.born.Add(time.Duration(ns)) // monotonic, whatever the wall clock does
}

// Name returns the bus's name in the config.
func (w *Worker) Name() string { return w.name }

// Line returns the wire that the worker was made for; nil for GPIO.
func (w *Worker) Line() io.Closer { return w.line }

// Load returns the part of the last minute that the wire was in use, 0 to 1:
// talking, or waiting for an answer.
func (w *Worker) Load() float64 { return w.load.share(time.Now()) }

func (w *Worker) stamp() { w.progress.Store(int64(max(1, time.Since(w.born)))) }

// String names the worker as logs and errors do.
func (w *Worker) String() string { return "bus " + w.name }

// Run owns the wire until the context ends. Then it releases every device that
// it was told to write to and that is not known to be neutral, within 10 s in
// all, and closes the wire. It returns an error that names the devices that
// were left with a command, else nil. A device it was never told to write to is
// never written to.
func (w *Worker) Run(ctx context.Context) error {
	now := time.Now()
	for _, p := range w.ports {
		p.due = now
	}
	for {
		w.stamp()
		w.collect(time.Now())
		if ctx.Err() != nil {
			break
		}
		if w.step(ctx, time.Now()) {
			continue
		}
		w.sleep(ctx)
	}
	err := w.shutdown(ctx)
	if w.line != nil {
		if err := w.line.Close(); err != nil {
			w.log.Warn("close", "error", err)
		}
	}
	return err
}
