package bus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nominald/drivers"
)

// op is one call that a fake device got.
type op struct {
	at    time.Duration // since the bench started
	what  string        // read, apply, release
	cmd   drivers.Command
	valid time.Duration
}

// fake is a device of which the test decides how it answers. It keeps what was
// done to it. Unlike a real one it may be looked at from the test's goroutine.
type fake struct {
	drivers.Device // nil: a method that the worker should not know panics
	bench          *bench
	name           string

	mu   sync.Mutex
	cost time.Duration // of each call
	err  map[string]error
	dead bool // does not answer within the context
	ops  []op

	follows drivers.Command
	resting bool
	until   time.Time // the device's own fallback timer
}

// call takes the time and gives the error that the test chose.
func (f *fake) call(ctx context.Context, o op) error {
	f.mu.Lock()
	o.at = time.Since(f.bench.start)
	f.ops = append(f.ops, o)
	cost, err, dead := f.cost, f.err[o.what], f.dead
	f.mu.Unlock()
	f.bench.note(f.name + " " + o.what)
	if d, ok := ctx.Deadline(); !ok || time.Until(d) > 5*time.Second {
		return fmt.Errorf("deadline %v: every call shall have one within 5 s", d)
	}
	if dead {
		time.Sleep(min(cost, time.Until(deadline(ctx))))
		return drivers.ErrOffline
	}
	time.Sleep(cost)
	return err
}

func deadline(ctx context.Context) time.Time { d, _ := ctx.Deadline(); return d }

func (f *fake) Read(ctx context.Context) (drivers.Reading, error) {
	if err := f.call(ctx, op{what: "read"}); err != nil {
		return drivers.Reading{}, err
	}
	return drivers.Reading{At: time.Now().UTC(), PowerW: drivers.Some(42)}, nil
}

func (f *fake) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	err := f.call(ctx, op{what: "apply", cmd: c, valid: valid})
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.follows, f.resting, f.until = c, false, time.Now().Add(valid)
	}
	return err
}

func (f *fake) Release(ctx context.Context) error {
	err := f.call(ctx, op{what: "release"})
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.follows, f.resting = drivers.Command{}, true
	}
	return err
}

func (f *fake) Describe() drivers.Description { return drivers.Description{Model: f.name} }

// fails makes one kind of call fail from now on; nil makes it work again.
func (f *fake) fails(what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err[what] = err
}

func (f *fake) die(dead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = dead
}

func (f *fake) slow(cost time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cost = cost
}

// rests tells whether it was released last.
func (f *fake) rests() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resting
}

// times returns when the calls of one kind came.
func (f *fake) times(what string) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var at []time.Duration
	for _, o := range f.ops {
		if o.what == what {
			at = append(at, o.at)
		}
	}
	return at
}

// commands returns the power of each applied command, in order.
func (f *fake) commands() []float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var w []float64
	for _, o := range f.ops {
		if o.what == "apply" {
			w = append(w, o.cmd.PowerW)
		}
	}
	return w
}

// validities returns for how long each command was applied, in order.
func (f *fake) validities() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var valid []time.Duration
	for _, o := range f.ops {
		if o.what == "apply" {
			valid = append(valid, o.valid)
		}
	}
	return valid
}

// bench is a worker with fake devices under a synthetic clock.
type bench struct {
	left   string // a device that is left with its command at the end
	t      *testing.T
	worker *Worker
	start  time.Time
	stop   context.CancelFunc
	ended  chan error
	closed int

	mu    sync.Mutex
	order []string
}

// Close counts: the bench is the worker's line.
func (b *bench) Close() error { b.closed++; return nil }

func (b *bench) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.order = append(b.order, s)
}

// calls returns what was called on all devices, in order, as "name what".
func (b *bench) calls() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.order, ", ")
}

func newBench(t *testing.T, opts Options) *bench {
	b := &bench{t: t, start: time.Now(), ended: make(chan error, 1)}
	b.worker = New("rs485", b, opts)
	return b
}

func (b *bench) add(name string, every, cost time.Duration) (*Port, *fake) {
	f := &fake{bench: b, name: name, cost: cost, err: map[string]error{}}
	return b.worker.Attach(name, f, every), f
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.stop = cancel
	go func() { b.ended <- b.worker.Run(ctx) }()
	synctest.Wait()
}

// end stops the worker and returns how long it took to end.
func (b *bench) end() time.Duration {
	b.t.Helper()
	start := time.Now()
	b.stop()
	err := <-b.ended
	if got := fmt.Sprint(err); b.left == "" && err != nil || !strings.Contains(got, b.left) {
		b.t.Errorf("Run returned %v, want it to name %q as left with a command", err, b.left)
	}
	if b.closed != 1 {
		b.t.Errorf("the line was closed %d times, want once", b.closed)
	}
	return time.Since(start)
}

// at sleeps until so long after the bench's start.
func (b *bench) at(d time.Duration) {
	time.Sleep(time.Until(b.start.Add(d)))
	synctest.Wait()
}

// lease is a power command for so long from now.
func lease(w float64, d time.Duration) drivers.Lease {
	return drivers.Lease{Command: drivers.Command{PowerW: w}, Until: time.Now().Add(d)}
}

func seconds(s ...float64) []time.Duration {
	d := make([]time.Duration, len(s))
	for i, v := range s {
		d[i] = time.Duration(v * float64(time.Second))
	}
	return d
}

func wantTimes(t *testing.T, what string, got, want []time.Duration) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s at %v, want %v", what, got, want)
	}
}

// bubble runs the test under a synthetic clock.
func bubble(t *testing.T, opts Options, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newBench(t, opts)) })
}
