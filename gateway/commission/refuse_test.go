package commission_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nominald/gateway/commission"
	"nominald/gateway/sim"
)

// untouched checks that nobody wrote to the battery: the truth knows a command.
func (b *bench) refuses(want string) {
	b.t.Helper()
	_, err := b.run(b.t.Context(), b.options("battery"))
	if err == nil || !strings.Contains(err.Error(), want) {
		b.t.Errorf("got %v, want an error with %q", err, want)
	}
	b.neutral()
}

func (b *bench) award(start time.Time, d time.Duration) {
	slot := sim.ExampleSlot(start, d)
	slot.MeterID = testMeter
	b.leap.Add(slot)
}

func TestRefusesDuringATimeslot(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	b.award(time.Now().Add(-time.Minute), time.Hour)
	b.refuses("runs until")
}

func TestRefusesWhenATimeslotBeginsBeforeTheEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	b.award(time.Now().Add(20*time.Second), time.Hour)
	b.refuses("a timeslot is near")
}

func TestATimeslotTomorrowIsNoReason(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	b.award(time.Now().Add(24*time.Hour), time.Hour)
	s := b.mustRun(b.options("room"))
	b.verdict(s, "room", "set-point", commission.Passed, "")
}

func TestRefusesWhileStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	dir := filepath.Join(b.dir, "store")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stopped.json"), []byte(`{"by":"the owner"}`), 0o640); err != nil {
		t.Fatal(err)
	}
	b.refuses("stopped (by the owner)")
}

func TestAnUnknownDeviceIsToldTheNearest(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	_, err := b.run(t.Context(), b.options("batery"))
	if err == nil || !strings.Contains(err.Error(), "did you mean battery?") {
		t.Errorf("got %v", err)
	}
}

// Ctrl-C in the middle of the discharge: the battery is neutral at once, and
// the sheet says what was not done.
func TestCtrlCReleasesAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ctrlC := errors.New("ctrl-c")
	o := b.options("battery")
	o.For = time.Minute
	go func() {
		for b.site.Truth().Devices["battery"].PowerW < 500 {
			time.Sleep(10 * time.Millisecond)
			if ctx.Err() != nil {
				return
			}
		}
		cancel(ctrlC)
	}()
	s, err := b.run(ctx, o)
	ended := time.Now()
	if err != nil {
		t.Fatal(err)
	}
	b.neutral()
	if context.Cause(ctx) != ctrlC || s.Good() || !strings.Contains(s.Interrupted, "ctrl-c") {
		t.Errorf("the sheet says %q, good %v", s.Interrupted, s.Good())
	}
	if took := ended.Sub(s.Ended); took > 2*time.Second {
		t.Errorf("released %v after the interruption", took)
	}
	if len(s.Restored) != 1 || s.Restored[0].Problem != "" {
		t.Errorf("restored %+v", s.Restored)
	}
}

// A panic in the middle must not leave a battery discharging either.
func TestAPanicReleasesToo(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	o := b.options("battery")
	tell := o.Tell
	o.Tell = func(line string) {
		tell(line)
		if strings.Contains(line, "discharges") {
			panic("a slip in the test itself")
		}
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		b.run(t.Context(), o)
	}()
	b.neutral()
	if !b.said("released battery") {
		t.Error("nothing was said of the release")
	}
}

func TestWithoutAPIAndScheduleNobodyKnows(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{noAPI: true})
	c := b.open()
	if !strings.Contains(c.Unsure, "nobody knows whether a timeslot is near") {
		t.Errorf("unsure: %q", c.Unsure)
	}
	// While it is open it holds the store, as the running gateway would.
	if _, err := b.run(t.Context(), b.options()); err == nil || !strings.Contains(err.Error(), "systemctl stop nominald") {
		t.Errorf("a second one got %v", err)
	}
}
