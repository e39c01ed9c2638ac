package bus

import (
	"strings"
	"testing"
	"time"

	"nominald/drivers"
)

func TestPeriodDoesNotDrift(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("meter", time.Second, 150*time.Millisecond)
		if s := p.Snapshot(); s.Tried || s.Online || s.Polls != 0 {
			t.Errorf("before Run: %+v", s)
		}
		b.run()
		b.at(4500 * time.Millisecond)
		wantTimes(t, "read", f.times("read"), seconds(0, 1, 2, 3, 4))
		s := p.Snapshot()
		if !s.Online || !s.Tried || s.Polls != 5 || s.Failures != 0 || s.RoundTrip != 150*time.Millisecond ||
			s.Reading.PowerW.V != 42 || s.Description.Model != "meter" || s.LastError != "" ||
			!s.LastSeen.Equal(b.start.Add(4150*time.Millisecond)) {
			t.Errorf("snapshot %+v", s)
		}
		if p.Name() != "meter" || b.worker.String() != "bus rs485" {
			t.Errorf("names %q, %q", p.Name(), b.worker)
		}
		b.end()
	})
}

// A wire that can not carry all polls is shared: no device is read twice while
// another one waits.
func TestOverloadedWireIsShared(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		var devices []*fake
		for _, name := range []string{"a", "b", "c"} {
			_, f := b.add(name, time.Second, 700*time.Millisecond)
			devices = append(devices, f)
		}
		_, slow := b.add("slow", 10*time.Second, 700*time.Millisecond)
		b.run()
		b.at(100 * time.Second)
		calls := strings.Split(b.calls(), ", ")
		for i := 1; i < len(calls); i++ {
			if calls[i] == calls[i-1] {
				t.Fatalf("%s twice in a row", calls[i])
			}
		}
		for _, f := range devices {
			if n := len(f.times("read")); n < 41 || n > 47 {
				t.Errorf("%s was read %d times in 100 s of 143 reads, want a fair share", f.name, n)
			}
		}
		if n := len(slow.times("read")); n != 10 {
			t.Errorf("slow was read %d times in 100 s, want 10", n)
		}
		b.end()
	})
}

// A poll that was held up comes once, and then back on its grid.
func TestLatePollIsNotRepeated(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		_, f := b.add("meter", time.Second, 0)
		_, hog := b.add("hog", time.Hour, 3400*time.Millisecond)
		b.run()
		b.at(6 * time.Second)
		wantTimes(t, "read", f.times("read"), seconds(0, 3.4, 4, 5, 6))
		wantTimes(t, "hog read", hog.times("read"), seconds(0))
		b.end()
	})
}

func TestQuarantinePace(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, time.Second)
		f.die(true)
		b.run()
		b.at(33 * time.Second)
		// A try takes 1 s, then the pauses are 2, 4, 6, 8 s.
		wantTimes(t, "read", f.times("read"), seconds(0, 3, 8, 15, 24))
		s := p.Snapshot()
		if s.Online || !s.Tried || s.Failures != 5 || !strings.Contains(s.LastError, "does not answer") ||
			!s.RetryAt.Equal(b.start.Add(35*time.Second)) || !s.LastSeen.IsZero() {
			t.Errorf("snapshot %+v", s)
		}
		b.at(48 * time.Hour)
		at := f.times("read")
		if gap := at[len(at)-1] - at[len(at)-2]; gap != 5*time.Minute+time.Second {
			t.Errorf("after two days the tries are %v apart, want 5 min and the try", gap)
		}
		f.die(false)
		time.Sleep(6 * time.Minute)
		if s := p.Snapshot(); !s.Online || s.LastError != "" || !s.RetryAt.IsZero() {
			t.Errorf("after it came back: %+v", s)
		}
		b.end()
	})
}

// A device with a long period is not left unseen for that long after a loss.
func TestQuarantineEndsBeforeALongPeriod(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		_, f := b.add("battery", time.Hour, 0)
		b.run()
		f.die(true)
		b.at(time.Hour + time.Second)
		f.die(false)
		b.at(2*time.Hour + time.Second)
		wantTimes(t, "read", f.times("read"), seconds(0, 3600, 3602, 7200))
		b.end()
	})
}

func TestOneDeadOfFiveCostsTheOthersNoPeriod(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		var alive []*fake
		for _, name := range []string{"a", "b", "dead", "c", "d"} {
			_, f := b.add(name, 2*time.Second, 50*time.Millisecond)
			if name == "dead" {
				f.cost = time.Second
				f.die(true)
				continue
			}
			alive = append(alive, f)
		}
		b.run()
		b.at(10*time.Minute + 1900*time.Millisecond)
		for _, f := range alive {
			at := f.times("read")
			if len(at) != 301 {
				t.Errorf("%s was read %d times in 10 min, want 301", f.name, len(at))
			}
			for i, d := range at {
				late := d - time.Duration(i)*2*time.Second
				if late > 1200*time.Millisecond { // one timeout and the others' reads
					t.Fatalf("%s: read %d came %v late", f.name, i, late)
				}
			}
		}
		b.end()
	})
}

func TestRefusedReadIsNotOffline(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("meter", 2*time.Second, 0)
		f.fails("read", drivers.ErrRefused)
		b.run()
		b.at(9 * time.Second)
		wantTimes(t, "read", f.times("read"), seconds(0, 2, 4, 6, 8))
		if s := p.Snapshot(); !s.Online || s.LastError == "" || s.Failures != 5 || !s.Reading.At.IsZero() {
			t.Errorf("snapshot %+v", s)
		}
		f.fails("read", nil)
		b.at(11 * time.Second)
		if s := p.Snapshot(); s.LastError != "" || s.Reading.At.IsZero() {
			t.Errorf("after it took the request: %+v", s)
		}
		b.end()
	})
}

func TestBusyReadIsRepeatedSoonAndSlowsDown(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("meter", 10*time.Second, 0)
		f.fails("read", drivers.ErrBusy)
		b.run()
		b.at(40 * time.Second)
		wantTimes(t, "read", f.times("read"), seconds(0, .25, .75, 1.75, 3.75, 7.75, 15.75, 23.75, 31.75, 39.75))
		if s := p.Snapshot(); !s.Online {
			t.Errorf("snapshot %+v", s)
		}
		f.fails("read", nil)
		b.at(65 * time.Second)
		wantTimes(t, "read", f.times("read")[10:], seconds(47.75, 50, 60))
		b.end()
	})
}

func TestProgressAdvancesWhateverTheDevicesDo(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		_, f := b.add("a", time.Second, 5*time.Second)
		f.die(true)
		b.add("quiet", time.Hour, 0)
		if !b.worker.Progress().IsZero() {
			t.Error("progress before Run")
		}
		b.run()
		for s := range 600 {
			b.at(time.Duration(s) * time.Second)
			if age := time.Since(b.worker.Progress()); age > 5*time.Second {
				t.Fatalf("after %d s the last progress is %v old", s, age)
			}
		}
		b.end()
	})
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		b.run()
		b.at(time.Minute)
		if age := time.Since(b.worker.Progress()); age > heartbeat {
			t.Errorf("an empty bus: the last progress is %v old", age)
		}
		b.end()
	})
}
