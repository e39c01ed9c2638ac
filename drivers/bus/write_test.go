package bus

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
)

func TestPendingWriteOvertakesReads(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		var ports []*Port
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			p, _ := b.add(name, 10*time.Second, 200*time.Millisecond)
			ports = append(ports, p)
		}
		b.run()
		b.at(10*time.Second + 100*time.Millisecond) // in the read of a
		ports[4].Lease(lease(500, time.Minute))
		b.at(10*time.Second + 300*time.Millisecond) // in the write to e
		ports[3].Neutral()
		b.at(12 * time.Second)
		want := "a read, e apply, d release, b read, c read, d read, e read"
		if got := b.calls(); !strings.HasSuffix(got, want) {
			t.Errorf("got %s\nwant it to end with %s", got, want)
		}
		b.end()
	})
}

func TestNewestCommandWins(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Hour, time.Second)
		b.run()
		p.Neutral()
		for w := range 5 {
			p.Lease(lease(float64(w), time.Hour)) // all while the first read runs
		}
		b.at(5 * time.Second)
		if got := f.commands(); !slices.Equal(got, []float64{4}) {
			t.Errorf("applied %v, want only the last, 4", got)
		}
		p.Lease(lease(5, time.Hour))
		p.Neutral()
		b.at(10 * time.Second)
		if s := p.Snapshot(); !s.Neutral || s.Lease != nil || len(f.times("apply")) != 1 || len(f.times("release")) != 1 {
			t.Errorf("after lease and neutral: %s", b.calls())
		}
		b.end()
	})
}

func TestRenewedAtHalfOfTheFallback(t *testing.T) {
	bubble(t, Options{Fallback: 20 * time.Second}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 10*time.Millisecond)
		b.run()
		for s := range 60 {
			b.at(time.Duration(s) * time.Second)
			p.Lease(lease(1000, 5*time.Second)) // the control round's cadence
		}
		at := f.times("apply")
		if len(at) != 6 {
			t.Fatalf("applied at %v, want 6 times in a minute", at)
		}
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 10*time.Second || gap > 10100*time.Millisecond {
				t.Errorf("renewed after %v, want 10 s", gap)
			}
		}
		if valid := f.validities(); slices.Min(valid) != 20*time.Second || slices.Max(valid) != 20*time.Second {
			t.Errorf("applied for %v, want 20 s each time", valid)
		}
		s := p.Snapshot()
		if s.Lease == nil || s.Applied.PowerW != 1000 || s.Neutral || s.Writes != 6 || time.Since(s.AppliedAt) > 10*time.Second {
			t.Errorf("snapshot %+v", s)
		}
		p.Lease(lease(1200, 5*time.Second))
		b.at(59*time.Second + 100*time.Millisecond)
		if got := f.commands(); got[len(got)-1] != 1200 {
			t.Errorf("applied %v, want the changed command at once", got)
		}
		b.end()
	})
}

// The device's timer starts when the command reaches it, which may be long
// before it answers: renewals count from the begin of a write.
func TestRenewalCountsFromTheBeginOfAWrite(t *testing.T) {
	bubble(t, Options{Fallback: 8 * time.Second}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Hour, 3*time.Second)
		b.run()
		p.Lease(lease(1000, time.Hour))
		b.at(17 * time.Second)
		wantTimes(t, "apply", f.times("apply"), seconds(3, 7, 11, 15))
		if s := p.Snapshot(); !s.AppliedAt.Equal(b.start.Add(11 * time.Second)) {
			t.Errorf("applied at %v, want 11 s", s.AppliedAt.Sub(b.start))
		}
		b.end()
	})
}

// Of several pending commands the one that has waited longest goes first, and
// a device whose command changes all the time does not overtake.
func TestLongestWaitingCommandGoesFirst(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		first, _ := b.add("first", time.Hour, time.Second)
		second, _ := b.add("second", time.Hour, time.Second)
		third, _ := b.add("third", time.Hour, time.Second)
		b.run()
		b.at(10 * time.Second)
		first.Lease(lease(1, time.Hour))
		b.at(10200 * time.Millisecond) // in the write to first
		second.Lease(lease(2, time.Hour))
		b.at(10400 * time.Millisecond)
		first.Lease(lease(3, time.Hour))
		b.at(10600 * time.Millisecond)
		second.Lease(lease(4, time.Hour)) // changed, and keeps its place
		b.at(10800 * time.Millisecond)
		third.Lease(lease(5, time.Hour))
		b.at(11500 * time.Millisecond) // in the write to second
		first.Lease(lease(6, time.Hour))
		b.at(12500 * time.Millisecond) // in the second write to first
		second.Lease(lease(7, time.Hour))
		third.Lease(lease(8, time.Hour)) // changed after second, waits since before
		b.at(20 * time.Second)
		want := "first apply, second apply, first apply, third apply, second apply"
		if got := b.calls(); !strings.HasSuffix(got, want) {
			t.Errorf("got %s\nwant it to end with %s", got, want)
		}
		b.end()
	})
}

func TestLeaseLapsesIntoRelease(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Minute, 0)
		b.run()
		b.at(time.Second)
		p.Lease(lease(1000, 9500*time.Millisecond))
		b.at(10 * time.Second)
		if s := p.Snapshot(); s.Lease == nil || s.Neutral || f.rests() {
			t.Errorf("in the lease: %+v", s)
		}
		b.at(time.Hour)
		wantTimes(t, "apply", f.times("apply"), seconds(1))
		wantTimes(t, "release", f.times("release"), seconds(10.5))
		if s := p.Snapshot(); s.Lease != nil || !s.Neutral || !s.AppliedAt.IsZero() || s.Applied != (drivers.Command{}) {
			t.Errorf("after the lease: %+v", s)
		}
		p.Lease(lease(1000, -time.Second)) // over before it began
		b.at(2 * time.Hour)
		if len(f.times("apply")) != 1 || len(f.times("release")) != 1 {
			t.Errorf("a lease of the past was followed: %s", b.calls())
		}
		b.end()
	})
}

func TestFirstNeutralReleasesOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 0)
		b.run()
		if p.Snapshot().Neutral {
			t.Error("neutral is known before anything was done")
		}
		for s := range 100 {
			b.at(time.Duration(s) * time.Second)
			p.Neutral()
		}
		wantTimes(t, "release", f.times("release"), seconds(0))
		if !p.Snapshot().Neutral {
			t.Error("neutral is not known after the release")
		}
		if took := b.end(); took != 0 || len(f.times("release")) != 1 {
			t.Errorf("at the end, after %v: %d releases, want 1", took, len(f.times("release")))
		}
	})
}

func TestNotANumberIsNoCommand(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 0)
		b.run()
		for _, v := range []float64{math.NaN(), math.Inf(1)} {
			p.Lease(lease(v, time.Hour))
			time.Sleep(time.Second)
		}
		if len(f.times("apply")) != 0 || !p.Snapshot().Neutral {
			t.Errorf("got %s, want a release and nothing applied", b.calls())
		}
		b.end()
	})
}

func TestRefusedCommandWaits(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 0)
		f.fails("apply", drivers.ErrRefused)
		b.run()
		p.Lease(lease(1000, time.Hour))
		b.at(70 * time.Second)
		wantTimes(t, "apply", f.times("apply"), seconds(0, 30, 60))
		s := p.Snapshot()
		if !s.Online || s.LastError == "" || s.Neutral || s.Failures != 3 || !s.AppliedAt.IsZero() {
			t.Errorf("snapshot %+v", s)
		}
		p.Lease(lease(900, time.Hour))
		b.at(71 * time.Second)
		wantTimes(t, "apply", f.times("apply")[3:], seconds(70))
		f.fails("apply", nil)
		b.at(101 * time.Second)
		if s := p.Snapshot(); s.Applied.PowerW != 900 || s.LastError != "" {
			t.Errorf("after it took the command: %+v", s)
		}
		f.fails("release", drivers.ErrRefused)
		p.Neutral()
		b.at(125 * time.Second)
		wantTimes(t, "release", f.times("release"), seconds(101, 103, 107, 113, 121))
		b.left = "battery"
		b.end()
	})
}

func TestBusyDeviceIsAskedAgainSoon(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Minute, 0)
		f.fails("apply", drivers.ErrBusy)
		b.run()
		p.Lease(lease(1000, time.Hour))
		b.at(1500 * time.Millisecond)
		f.fails("apply", nil)
		b.at(10 * time.Second)
		wantTimes(t, "apply", f.times("apply"), seconds(0, .25, .75, 1.75))
		if s := p.Snapshot(); s.Applied.PowerW != 1000 || !s.Online || s.LastError != "" {
			t.Errorf("snapshot %+v", s)
		}
		b.end()
	})
}

// Commands that change with every write leave room for readings.
func TestWritesDoNotStarveReads(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 500*time.Millisecond)
		_, meter := b.add("meter", time.Second, 100*time.Millisecond)
		b.run()
		for i := range 600 {
			b.at(time.Duration(i) * 100 * time.Millisecond)
			p.Lease(lease(float64(i), time.Hour))
		}
		if n := len(meter.times("read")); n < 10 {
			t.Errorf("the meter was read %d times in a minute", n)
		}
		if n := len(f.times("apply")); n < 80 {
			t.Errorf("%d commands were applied in a minute of 500 ms writes", n)
		}
		b.end()
	})
}
