package gpio

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
)

// fakePin records what the hardware would see.
type fakePin struct {
	levels []bool
	closed int
	err    error
}

func (p *fakePin) Out(high bool) error {
	if p.err != nil {
		return p.err
	}
	p.levels = append(p.levels, high)
	return nil
}

func (p *fakePin) Close() error { p.closed++; return nil }

func (p *fakePin) level() bool { return p.levels[len(p.levels)-1] }

// bench is a relay with a line, a clock and a memory that outlives it.
type bench struct {
	pin     *fakePin
	openErr error
	now     time.Time
	kept    []byte
}

func newBench() *bench {
	return &bench{pin: &fakePin{}, now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
}

func (b *bench) Load() ([]byte, error)    { return b.kept, nil }
func (b *bench) Save(data []byte) error   { b.kept = data; return nil }
func (b *bench) pass(d time.Duration)     { b.now = b.now.Add(d) }
func (b *bench) open(string) (Pin, error) { return b.pin, b.openErr }

func (b *bench) relay(o Options) drivers.Device {
	o.Line, o.Now, o.Open, o.Remember = "GPIO17", func() time.Time { return b.now }, b.open, b
	return NewRelay(o)
}

func inhibit(t *testing.T, d drivers.Device) error {
	t.Helper()
	return d.Apply(context.Background(), drivers.Command{Inhibit: true}, time.Minute)
}

func read(t *testing.T, d drivers.Device) drivers.Reading {
	t.Helper()
	r, err := d.Read(context.Background())
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return r
}

func TestRelayConforms(t *testing.T) {
	for _, low := range []bool{false, true} {
		drivertest.Run(t, func(t *testing.T) *drivertest.Bench {
			b := newBench()
			return &drivertest.Bench{
				Device: b.relay(Options{ActiveLow: low}), Kind: drivers.Relay,
				Cases: []drivertest.Case{{Command: drivers.Command{Inhibit: true}, Want: 1}},
				Commanded: func() (float64, bool) {
					if b.pin.level() != low {
						return 1, true
					}
					return 0, false
				},
				Faults: []drivertest.FaultKind{drivertest.FaultSilent},
				Break: func(f drivertest.FaultKind) {
					b.pin.err, b.openErr = nil, nil
					if f != drivertest.FaultNone {
						b.pin.err, b.openErr = syscall.EIO, syscall.EIO
					}
				},
			}
		})
	}
}

func TestReleasedLevelComesFirst(t *testing.T) {
	for _, low := range []bool{false, true} {
		b := newBench()
		d := b.relay(Options{ActiveLow: low})
		if err := inhibit(t, d); err != nil {
			t.Fatal(err)
		}
		if len(b.pin.levels) != 2 || b.pin.levels[0] != low || b.pin.levels[1] == low {
			t.Errorf("active low %v: levels %v, want released first, then energised", low, b.pin.levels)
		}
	}
}

func TestReleaseWaitsForMinOff(t *testing.T) {
	b := newBench()
	d := b.relay(Options{MinOff: 5 * time.Minute})
	if err := inhibit(t, d); err != nil {
		t.Fatal(err)
	}
	b.pass(4 * time.Minute)
	if err := d.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r := read(t, d); !r.Inhibited || !b.pin.level() || !strings.Contains(r.State, "min_off") {
		t.Errorf("after 4 min: reading %+v, level %v, want still off", r, b.pin.level())
	}
	b.pass(time.Minute)
	if r := read(t, d); r.Inhibited || b.pin.level() {
		t.Errorf("after 5 min: reading %+v, level %v, want released", r, b.pin.level())
	}
}

func TestMaxOffEndsAndRests(t *testing.T) {
	b := newBench()
	d := b.relay(Options{MaxOff: 30 * time.Minute})
	for range 30 {
		if err := inhibit(t, d); err != nil {
			t.Fatal(err)
		}
		b.pass(time.Minute)
	}
	if err := inhibit(t, d); !errors.Is(err, drivers.ErrRefused) || b.pin.level() {
		t.Fatalf("after 30 min: error %v, level %v, want refused and released", err, b.pin.level())
	}
	for range 29 {
		b.pass(time.Minute)
		if err := inhibit(t, d); !errors.Is(err, drivers.ErrRefused) {
			t.Fatalf("while resting: error %v, want refused", err)
		}
	}
	b.pass(time.Minute)
	if err := inhibit(t, d); err != nil || !b.pin.level() {
		t.Errorf("rested: error %v, level %v, want off again", err, b.pin.level())
	}
}

func TestMaxOffOutlivesARestart(t *testing.T) {
	b := newBench()
	if err := inhibit(t, b.relay(Options{MaxOff: 10 * time.Minute})); err != nil {
		t.Fatal(err)
	}
	b.pass(10 * time.Minute)
	d := b.relay(Options{MaxOff: 10 * time.Minute})
	if err := inhibit(t, d); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("after the restart: error %v, want refused: the load was off for max_off", err)
	}
}

func TestLeaseEndsWithoutRenewal(t *testing.T) {
	b := newBench()
	d := b.relay(Options{})
	if err := inhibit(t, d); err != nil {
		t.Fatal(err)
	}
	b.pass(time.Minute)
	if r := read(t, d); r.Inhibited || b.pin.level() {
		t.Errorf("after the lease: reading %+v, level %v, want released", r, b.pin.level())
	}
}

func TestFailedLineIsClosedAndOpenedAgain(t *testing.T) {
	b := newBench()
	d := b.relay(Options{})
	read(t, d)
	b.pin.err = syscall.EIO
	if err := inhibit(t, d); !errors.Is(err, drivers.ErrOffline) || b.pin.closed != 1 {
		t.Errorf("error %v, closed %d times, want offline and closed once", err, b.pin.closed)
	}
	b.pin.err, b.pin.levels = nil, nil
	if err := inhibit(t, d); err != nil || len(b.pin.levels) != 2 || b.pin.levels[0] || !b.pin.levels[1] {
		t.Errorf("mended: error %v, levels %v, want released first, then energised", err, b.pin.levels)
	}
}

func TestOpenErrorsNameTheRemedy(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.EBUSY, "another program holds the line"},
		{syscall.EACCES, "group of /dev/gpiochip"},
		{errNoChip, "enable GPIO"},
		{errors.New("no line of that name"), "gpioinfo lists all"},
	} {
		b := newBench()
		b.openErr = c.err
		_, err := b.relay(Options{}).Read(context.Background())
		if !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("open fails with %v: error %q, want %q", c.err, err, c.want)
		}
	}
}

func TestRealLine(t *testing.T) {
	chips, err := filepath.Glob("/dev/gpiochip*")
	if err != nil {
		t.Fatal(err)
	}
	if len(chips) == 0 {
		_, err := NewRelay(Options{Line: "GPIO17"}).Read(context.Background())
		if !errors.Is(err, drivers.ErrOffline) || !errors.Is(err, errNoChip) {
			t.Fatalf("without a chip: error %v, want %v", err, errNoChip)
		}
		t.Skip("this machine has no GPIO chip; on one with the gpio-sim module set NOMINALD_TEST_GPIO to a free line")
	}
	name := os.Getenv("NOMINALD_TEST_GPIO")
	if name == "" {
		t.Skip("NOMINALD_TEST_GPIO names no line that may be switched")
	}
	d := NewRelay(Options{Line: name})
	if err := inhibit(t, d); err != nil {
		t.Fatal(err)
	}
	if err := d.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(0, &st); err != nil {
		t.Errorf("file descriptor 0 after opening a line: %v", err)
	}
}

// countingPin counts writes.
type countingPin struct{ outs int }

func (p *countingPin) Out(bool) error { p.outs++; return nil }
func (p *countingPin) Close() error   { return nil }

func TestPassiveRelayIsFoundAndNeverDriven(t *testing.T) {
	pin := &countingPin{}
	d := NewRelay(Options{Line: "GPIO17", Passive: true, Open: func(string) (Pin, error) { return pin, nil }})
	if _, err := d.Read(t.Context()); err != nil {
		t.Errorf("read: %v", err)
	}
	if err := d.Apply(t.Context(), drivers.Command{Inhibit: true}, time.Minute); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("apply: %v, want refused", err)
	}
	if err := d.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
	if pin.outs != 0 {
		t.Errorf("the line was driven %d times", pin.outs)
	}
}
