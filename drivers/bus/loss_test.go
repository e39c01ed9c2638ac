package bus

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nominald/drivers"
)

func TestCommandIsAppliedAgainWhenTheDeviceIsBack(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, time.Millisecond)
		b.run()
		p.Lease(lease(1000, time.Hour))
		b.at(2500 * time.Millisecond)
		f.die(true) // fails at 3 s and, after 2 s, at 5 s
		b.at(6 * time.Second)
		if s := p.Snapshot(); s.Online || s.Neutral || s.Lease == nil || s.Applied.PowerW != 1000 {
			t.Errorf("lost: %+v", s)
		}
		f.die(false)
		b.at(10 * time.Second)
		if got := f.times("apply"); len(got) != 2 || got[1] < 9*time.Second || got[1] > 9100*time.Millisecond {
			t.Errorf("applied at %v, want again right after it answered at 9 s", got)
		}
		if s := p.Snapshot(); !s.Online || s.Applied.PowerW != 1000 || s.LastError != "" {
			t.Errorf("back: %+v", s)
		}
		f.die(true)
		b.at(11500 * time.Millisecond)
		if s := p.Snapshot(); s.RetryAt.Sub(b.start).Round(time.Second) != 13*time.Second {
			t.Errorf("lost again at 11 s, left alone until %v, want 13 s", s.RetryAt.Sub(b.start))
		}
		b.left = "battery"
		b.end()
	})
}

func TestLostDeviceIsReleasedWhenItIsBack(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, time.Millisecond)
		b.run()
		p.Lease(lease(1000, 20*time.Second))
		b.at(2500 * time.Millisecond)
		f.die(true)
		b.at(time.Minute) // the lease is over
		if s := p.Snapshot(); s.Neutral || s.Lease != nil || len(f.times("release")) != 0 {
			t.Errorf("lost, the lease over: %+v after %s", s, b.calls())
		}
		f.die(false)
		b.at(5 * time.Minute)
		if s := p.Snapshot(); !s.Neutral || len(f.times("release")) != 1 || len(f.times("apply")) != 1 {
			t.Errorf("back: %+v after %s", s, b.calls())
		}
		b.end()
	})
}

// A device that was lost in a write is looked for when its quarantine ends,
// not when its next poll would be due.
func TestLossInAWriteIsProbedSoon(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Hour, 0)
		b.run()
		f.fails("apply", drivers.ErrOffline)
		b.at(10 * time.Second)
		p.Lease(lease(1000, time.Hour))
		b.at(11 * time.Second)
		f.fails("apply", nil)
		b.at(time.Minute)
		wantTimes(t, "read", f.times("read"), seconds(0, 12.2))
		wantTimes(t, "apply", f.times("apply")[:2], seconds(10, 10.2))
		b.end()
	})
}

// A release that is not answered is tried again and again, ever more slowly,
// and costs the others nothing else.
func TestReleaseIsRetriedUntilItSucceeds(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 0)
		_, other := b.add("meter", time.Second, 0)
		f.fails("release", drivers.ErrOffline)
		b.run()
		p.Neutral()
		b.at(30 * time.Second)
		wantTimes(t, "release", f.times("release"), seconds(0, 0.2, 2.2, 6.2, 12.2, 20.2))
		if n := len(other.times("read")); n != 31 {
			t.Errorf("the meter was read %d times in 30 s, want 31", n)
		}
		f.fails("release", nil)
		b.at(time.Minute)
		if !p.Snapshot().Neutral || len(f.times("release")) != 7 {
			t.Errorf("released at %v, want once more", f.times("release"))
		}
		b.end()
	})
}

func TestWrongDeviceIsNeverWrittenTo(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 0)
		f.fails("read", fmt.Errorf("serial number: %w", drivers.ErrWrongDevice))
		b.run()
		p.Lease(lease(1000, time.Minute))
		b.at(5 * time.Minute)
		if s := p.Snapshot(); s.Online || !strings.Contains(s.LastError, "not the configured device") {
			t.Errorf("snapshot %+v", s)
		}
		b.end()
		if strings.Contains(b.calls(), "apply") || strings.Contains(b.calls(), "release") {
			t.Errorf("written to: %s", b.calls())
		}
	})
}

func TestDryRunWritesNothing(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, time.Millisecond)
		b.run()
		b.at(time.Minute)
		f.die(true)
		b.at(2 * time.Minute)
		f.die(false)
		b.at(time.Hour)
		b.end()
		if strings.Contains(b.calls(), "apply") || strings.Contains(b.calls(), "release") || p.Snapshot().Writes != 0 {
			t.Error("a device was written to that nobody asked to write to")
		}
	})
}

func TestShutdownReleasesWhatWasCommanded(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		dead, deadFake := b.add("dead", time.Second, 5*time.Second)
		held, heldFake := b.add("held", time.Second, 10*time.Millisecond)
		late, lateFake := b.add("late", time.Second, 10*time.Millisecond)
		_, meter := b.add("meter", time.Second, 10*time.Millisecond)
		b.run()
		for _, p := range []*Port{dead, held} {
			p.Lease(lease(1000, time.Hour))
		}
		b.at(30 * time.Second)
		deadFake.die(true)
		b.at(39 * time.Second) // within its first pause or its second try
		heldFake.fails("release", drivers.ErrBusy)
		late.Neutral() // still in the mailbox, or just taken
		synctest.Wait()
		go func() {
			time.Sleep(time.Second)
			heldFake.fails("release", nil)
		}()
		b.left = "dead"
		if took := b.end(); took > shutdownLimit+5*time.Second {
			t.Errorf("the end took %v, want 10 s at most after the call under way", took)
		}
		if !heldFake.rests() || !held.Snapshot().Neutral || !lateFake.rests() {
			t.Errorf("not released: %s", b.calls())
		}
		if n := len(deadFake.times("release")); n < 2 {
			t.Errorf("the dead device, which may still discharge, was asked %d times, want again and again", n)
		}
		if strings.Index(b.calls(), "dead release") < strings.Index(b.calls(), "held release") {
			t.Errorf("the dead device kept the others waiting: %s", b.calls())
		}
		if len(meter.times("release")) != 0 {
			t.Error("the meter was released")
		}
	})
}

// With several dead devices the end still comes within 10 s, after the call
// that was under way, and each of those known to be lost gets its one try.
func TestShutdownIsBounded(t *testing.T) {
	for _, lost := range []bool{false, true} {
		shutDownDead(t, lost)
	}
}

func shutDownDead(t *testing.T, lost bool) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		var all []*fake
		for i := range 6 {
			p, f := b.add(fmt.Sprint("d", i), time.Minute, time.Millisecond)
			all = append(all, f)
			p.Neutral()
			p.Lease(lease(1, time.Hour))
		}
		b.run()
		b.at(10 * time.Second)
		for _, f := range all {
			f.slow(5 * time.Second)
			f.die(true)
		}
		if lost {
			b.at(10 * time.Minute)
		}
		b.left = "d0"
		if took := b.end(); took > shutdownLimit+5*time.Second {
			t.Errorf("the end took %v, want 10 s at most", took)
		}
		for _, f := range all {
			if lost && len(f.times("release")) == 0 {
				t.Errorf("%s was not asked, want each to get its share of the time", f.name)
			}
		}
	})
}

func TestChangesAreLoggedAndPollsAreNot(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		var out bytes.Buffer
		b.worker.log = slog.New(slog.NewTextHandler(&out, nil)).With("bus", "rs485")
		p, f := b.add("battery", time.Second, 0)
		b.run()
		p.Lease(lease(1, time.Hour))
		b.at(10 * time.Second)
		f.die(true)
		b.at(60 * time.Second)
		f.die(false)
		f.fails("apply", drivers.ErrRefused)
		b.at(10 * time.Minute)
		f.fails("apply", nil)
		b.at(11 * time.Minute)
		b.end()
		var got []string
		for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
			_, line, _ = strings.Cut(line, "msg=")
			got = append(got, line)
		}
		want := []string{
			`"device online" bus=rs485 device=battery`,
			`"device offline" bus=rs485 device=battery error="device does not answer" retry_in=2s`,
			`"device online" bus=rs485 device=battery`,
			`"command refused" bus=rs485 device=battery error="device refused the request" retry_in=30s`,
			`"command taken" bus=rs485 device=battery`,
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestDriverPanicIsNotSwallowed(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Run swallowed the panic of a driver")
		}
	}()
	w := New("gpio", nil, Options{})
	w.Attach("relay", nil, time.Second) // a nil device panics when read
	_ = w.Run(t.Context())
}

// A pulled adapter says nothing of the devices behind it: they are looked for
// every two seconds, however long it was away, and the log is told once.
func TestPulledLineIsLookedForAtTheSamePace(t *testing.T) {
	var told bytes.Buffer
	log := slog.New(slog.NewTextHandler(&told, nil))
	bubble(t, Options{Log: log}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 0)
		f.fails("read", fmt.Errorf("adapter gone: %w: %w", drivers.ErrOffline, drivers.ErrNoLine))
		b.run()
		b.at(10 * time.Minute)
		f.fails("read", nil)
		b.at(10*time.Minute + 2*time.Second)
		if !p.Snapshot().Online {
			t.Error("the line is back for 2 s, the device is not")
		}
		b.end()
		if n := strings.Count(told.String(), "device offline"); n != 1 {
			t.Errorf("told %d times that it is offline, want once", n)
		}
	})
}

// One lost frame is no lost device: the command is written again at once, and
// nobody is told that it was away.
func TestOneLostWriteIsWrittenAgainSoon(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 0)
		b.run()
		b.at(9500 * time.Millisecond)
		f.fails("apply", drivers.ErrOffline)
		p.Lease(lease(1000, time.Hour))
		b.at(9600 * time.Millisecond)
		if s := p.Snapshot(); !s.Online || s.LastError == "" || s.Failures != 1 {
			t.Errorf("after one lost write: %+v, want online, with the error", s)
		}
		f.fails("apply", nil)
		b.at(10 * time.Second)
		wantTimes(t, "apply", f.times("apply"), seconds(9.5, 9.7))
		if s := p.Snapshot(); !s.Online || s.Applied.PowerW != 1000 || s.LastError != "" {
			t.Errorf("written again: %+v", s)
		}
		b.end()
	})
}

// clinger is a device whose Release may wait.
type clinger struct{ *fake }

func (c clinger) LetGo(ctx context.Context) error {
	return c.call(ctx, op{what: "let go"})
}

// A relay within its least time off counts as released, and is let go at the
// end all the same: this program will not be there when the time is over.
func TestShutdownLetsGoOfWhatWouldWait(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		f := &fake{bench: b, name: "relay", err: map[string]error{}}
		p := b.worker.Attach("relay", clinger{f}, time.Second)
		b.run()
		p.Lease(lease(1000, 5*time.Second))
		b.at(20 * time.Second)
		if !p.Snapshot().Neutral || len(f.times("release")) != 1 {
			t.Fatalf("after the lease: %+v, %s", p.Snapshot(), b.calls())
		}
		b.end()
		if n := len(f.times("let go")); n != 1 {
			t.Errorf("let go %d times at the end, want once: %s", n, b.calls())
		}
	})
}
