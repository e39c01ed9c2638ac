package gpio

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nominald/drivers"
)

func chipPaths(t *testing.T) []string {
	t.Helper()
	chips, err := filepath.Glob("/dev/gpiochip*")
	if err != nil {
		t.Fatal(err)
	}
	return chips
}

// pump is the two contacts of SG-Ready as the heat pump sees them: the trace of
// all states "contact 1:contact 2" that it passed through.
type pump struct {
	now    time.Time
	low    bool
	closed map[string]bool
	states []string
	broken string // the line that fails
}

func newPump(low bool) *pump {
	return &pump{now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), low: low, closed: map[string]bool{}}
}

type pumpPin struct {
	p    *pump
	line string
}

func (p *pump) open(line string) (Pin, error) { return pumpPin{p, line}, nil }

func (c pumpPin) Out(high bool) error {
	if c.p.broken == c.line {
		return syscall.EIO
	}
	c.p.closed[c.line] = high != c.p.low
	s := "0:0"
	switch one, two := c.p.closed["one"], c.p.closed["two"]; {
	case one && two:
		s = "1:1"
	case one:
		s = "1:0"
	case two:
		s = "0:1"
	}
	if n := len(c.p.states); n == 0 || c.p.states[n-1] != s {
		c.p.states = append(c.p.states, s)
	}
	return nil
}

func (c pumpPin) Close() error { return nil }

func (p *pump) device(o Options) drivers.Device {
	o.Line, o.Second, o.Wiring, o.ActiveLow, o.Open = "one", "two", SGReady, p.low, p.open
	o.Now = func() time.Time { return p.now }
	return NewRelay(o)
}

// TestHeatPumpIsBlockedAndLetGo: whatever is commanded, the pump is only ever
// told 0:0 and 1:0, each for as long as it has to stand.
func TestHeatPumpIsBlockedAndLetGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPump(rapid.Bool().Draw(t, "active low"))
		d := p.device(Options{MinOff: 10 * time.Minute, MinOn: 10 * time.Minute, MaxOff: 2 * time.Hour})
		var changed, began time.Time
		was := "0:0"
		for range rapid.IntRange(1, 300).Draw(t, "rounds") {
			p.now = p.now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "s")) * time.Second)
			switch rapid.IntRange(0, 2).Draw(t, "do") {
			case 0:
				if err := d.Apply(t.Context(), drivers.Command{Inhibit: true}, time.Minute); err != nil && !errors.Is(err, drivers.ErrRefused) {
					t.Fatal(err)
				}
			case 1:
				if err := d.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			r, err := d.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			is := p.states[len(p.states)-1]
			if r.Inhibited != (is == "1:0") {
				t.Fatalf("reading says inhibited %v, the pump is at %s", r.Inhibited, is)
			}
			if is != was {
				if !changed.IsZero() && p.now.Sub(changed) < 10*time.Minute {
					t.Fatalf("%s stood for %v only", was, p.now.Sub(changed))
				}
				was, changed = is, p.now
				began = p.now
			}
			if is == "1:0" && p.now.Sub(began) > 2*time.Hour+400*time.Second {
				t.Fatalf("blocked for %v", p.now.Sub(began))
			}
		}
		for _, s := range p.states {
			if s == "1:1" || s == "0:1" {
				t.Fatalf("states %v: contact 2 was closed", p.states)
			}
		}
	})
}

func TestHeatPumpIsNotBlockedWhileItsSecondContactIsUnsure(t *testing.T) {
	p := newPump(false)
	d := p.device(Options{})
	p.closed["two"] = true // as a program before may have left it
	if err := inhibit(t, d); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.states, " "); got != "0:0 1:0" {
		t.Errorf("states %q, want contact 2 opened first", got)
	}
	p.broken = "two"
	_, err := d.Read(context.Background())
	if !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "write GPIO line two") {
		t.Errorf("contact 2 fails: %v, want an error that names its line", err)
	}
	if p.closed["one"] {
		t.Error("contact 1 is still closed, though nobody knows of contact 2")
	}
}

// TestStageIsOffUntilItIsAllowed: released is off, and after a start it stays so
// for min_off, whatever was before.
func TestStageIsOffUntilItIsAllowed(t *testing.T) {
	for _, low := range []bool{false, true} {
		b := newBench()
		o := Options{Wiring: Stage, ActiveLow: low, MinOff: 5 * time.Minute, MaxOff: time.Hour}
		d := b.relay(o)
		if r := read(t, d); !r.Inhibited || b.pin.level() != low || !strings.Contains(r.State, "stage off for 5m0s more") {
			t.Errorf("active low %v: at the start %+v, level %v", low, r, b.pin.level())
		}
		b.pass(5 * time.Minute)
		if r := read(t, d); r.Inhibited || b.pin.level() == low || r.State != "stage allowed" {
			t.Errorf("active low %v: after min_off %+v, level %v", low, r, b.pin.level())
		}
		if err := inhibit(t, d); err != nil || b.pin.level() != low {
			t.Errorf("active low %v: inhibited: %v, level %v", low, err, b.pin.level())
		}
		b.pass(time.Minute) // the lease ends, and the program is restarted
		d = b.relay(o)
		if r := read(t, d); !strings.Contains(r.State, "stage off for 4m0s more") {
			t.Errorf("active low %v: after a restart %+v, want the rest of min_off", low, r)
		}
	}
}

func TestMinOnOutlivesARestart(t *testing.T) {
	b := newBench()
	o := Options{MinOn: 5 * time.Minute}
	d := b.relay(o)
	if err := inhibit(t, d); err != nil {
		t.Fatal(err)
	}
	if err := d.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.pass(time.Minute)
	err := inhibit(t, b.relay(o))
	if !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "4m0s more (min_on)") {
		t.Errorf("after the restart: %v, want refused for the rest of min_on", err)
	}
	b.pass(4 * time.Minute)
	if err := inhibit(t, b.relay(o)); err != nil {
		t.Errorf("after min_on: %v", err)
	}
}

// lineInfo is struct gpio_v2_line_info as a kernel fills it.
func lineInfo(consumer string, flags uint64) []byte {
	info := make([]byte, lineInfoSize)
	copy(info, "GPIO17")
	copy(info[lineInfoUser:], consumer)
	binary.NativeEndian.PutUint32(info[lineInfoOffset:], 17)
	binary.NativeEndian.PutUint64(info[lineInfoFlags:], flags)
	return info
}

func TestBusyLineNamesWhoHoldsIt(t *testing.T) {
	for _, c := range []struct {
		info []byte
		want string
	}{
		{lineInfo("fan@812", lineInfoUsed), "fan@812"},
		{lineInfo("", lineInfoUsed), ""},
		{lineInfo("stale", 0), ""},
		{lineInfo(strings.Repeat("x", 32), lineInfoUsed), strings.Repeat("x", 32)},
		{lineInfo("a\x1b[2J", lineInfoUsed), "a [2J"},
		{nil, ""},
	} {
		if got := consumerIn(c.info); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	b := newBench()
	b.openErr = &heldError{"fan@812", syscall.EBUSY}
	_, err := b.relay(Options{}).Read(context.Background())
	if !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "it is held by fan@812") {
		t.Errorf("got %v, want the name of who holds the line", err)
	}
}

func FuzzConsumer(f *testing.F) {
	f.Add(lineInfo("fan@812", lineInfoUsed))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, info []byte) {
		if got := consumerIn(info); len(got) > 4*32 || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' }) {
			t.Errorf("consumer %q", got)
		}
	})
}

// touchyPin fails, and says whether it was written to once more before it was
// closed.
type touchyPin struct{ writes *int }

func (p touchyPin) Out(bool) error { *p.writes++; return syscall.EBUSY }
func (p touchyPin) Close() error   { return nil }

// Where a request failed, a second write goes to file descriptor 0 (modbus.md 6,
// trap 3).
func TestFailedLineIsNotWrittenToAgain(t *testing.T) {
	writes := 0
	d := NewRelay(Options{Line: "GPIO17", Open: func(string) (Pin, error) { return touchyPin{&writes}, nil }})
	if _, err := d.Read(t.Context()); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("error %v, want offline", err)
	}
	if writes != 1 {
		t.Errorf("%d writes, want none after the one that failed", writes)
	}
}

// What the version before min_on has stored is still worth its time.
func TestTimesOfAnEarlierVersionLoad(t *testing.T) {
	b := newBench()
	b.kept = []byte(`{"off":1500000000000,"resting":false,"since":"2026-07-01T11:35:00Z","at":"2026-07-01T12:00:00Z"}`)
	d := b.relay(Options{MinOff: time.Minute, MinOn: 5 * time.Minute, MaxOff: 30 * time.Minute})
	b.pass(2 * time.Minute)
	if r := read(t, d); r.Inhibited {
		t.Errorf("reading %+v, want the load allowed", r)
	}
	if err := inhibit(t, d); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("error %v, want it to run for min_on first", err)
	}
	b.pass(5 * time.Minute)
	if err := inhibit(t, d); err != nil {
		t.Errorf("after min_on: %v", err)
	}
	b.pass(9 * time.Minute) // 27 min used up, 5 min given back: 8 min are left
	if r := read(t, d); r.Inhibited {
		t.Errorf("reading %+v, want max_off to count what was stored", r)
	}
}

// A program that ends lets go within min_off too, as the kernel would.
func TestProgramThatEndsLetsGoAtOnce(t *testing.T) {
	p := newPump(true)
	d := p.device(Options{MinOff: time.Hour})
	if err := d.Apply(t.Context(), drivers.Command{Inhibit: true}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := d.Release(t.Context()); err != nil || !p.closed["one"] {
		t.Errorf("released within min_off: %v, closed %v; want it to stay", err, p.closed)
	}
	if err := d.(*relay).LetGo(t.Context()); err != nil || p.closed["one"] {
		t.Errorf("let go: %v, closed %v; want it open", err, p.closed)
	}
	p.broken = "one"
	if err := d.(*relay).LetGo(t.Context()); err == nil {
		t.Error("let go over a line that fails, and no error")
	}
}
