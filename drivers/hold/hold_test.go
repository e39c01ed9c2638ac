package hold_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"nominald/drivers/hold"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func TestMinOffKeepsTheLoadOff(t *testing.T) {
	l := hold.Limits{MinOff: 5 * time.Minute}
	var u hold.Usage
	u.Switched(start, true)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{time.Second, true}, {5*time.Minute - 1, true}, {5 * time.Minute, false}} {
		if got := u.Decide(start.Add(c.after), true, false, l); got != c.want {
			t.Errorf("%v after the inhibit began, released: held %v, want %v", c.after, got, c.want)
		}
	}
}

func TestMinOnKeepsTheLoadOn(t *testing.T) {
	l := hold.Limits{MinOn: 5 * time.Minute}
	var u hold.Usage
	if !u.Decide(start, false, true, l) {
		t.Error("refused, though nothing is known of an inhibit before")
	}
	u.Switched(start, true)
	u.Switched(start.Add(time.Minute), false)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{time.Second, false}, {5*time.Minute - 1, false}, {5 * time.Minute, true}} {
		now := start.Add(time.Minute + c.after)
		if got := u.Decide(now, false, true, l); got != c.want || got == (u.Refusal(now, l) != "") {
			t.Errorf("%v after it was allowed: held %v, want %v; refusal %q", c.after, got, c.want, u.Refusal(now, l))
		}
	}
	// A restart in mid-inhibit: the driver let go, and counts from now.
	u.Switched(start.Add(10*time.Minute), true)
	now := start.Add(20 * time.Minute)
	if r := u.Recall(now, l); r.OnFor(now, l) != l.MinOn {
		t.Errorf("after a restart in mid-inhibit: allowed for %v more, want %v", r.OnFor(now, l), l.MinOn)
	}
}

// A clock that is set back must not keep a load off, or on, for longer.
func TestClockSetBackProlongsNothing(t *testing.T) {
	l := hold.Limits{MinOff: time.Minute, MinOn: time.Minute, MaxOff: time.Hour}
	for _, held := range []bool{true, false} {
		var u hold.Usage
		u.Switched(start, held)
		back := start.Add(-24 * time.Hour)
		u.Count(back, held, l)
		if u.OffFor(back, l) > l.MinOff || u.OnFor(back, l) > l.MinOn {
			t.Errorf("held %v: off for %v more, on for %v more", held, u.OffFor(back, l), u.OnFor(back, l))
		}
	}
}

func TestMaxOffRestsAsLong(t *testing.T) {
	l := hold.Limits{MaxOff: 30 * time.Minute}
	var u hold.Usage
	u.Count(start, true, l)
	u.Count(start.Add(29*time.Minute), true, l)
	if !u.Decide(start.Add(29*time.Minute), true, true, l) {
		t.Error("29 min: let go, want held")
	}
	u.Count(start.Add(30*time.Minute), true, l)
	if u.Decide(start.Add(30*time.Minute), true, true, l) {
		t.Error("30 min: held, want let go")
	}
	u.Count(start.Add(59*time.Minute), false, l)
	if u.Decide(start.Add(59*time.Minute), false, true, l) {
		t.Error("after 29 min of rest: held, want allowed")
	}
	u.Count(start.Add(60*time.Minute), false, l)
	if !u.Decide(start.Add(60*time.Minute), false, true, l) {
		t.Error("after 30 min of rest: allowed, want held")
	}
}

func TestRestartCountsAsHeldOff(t *testing.T) {
	l := hold.Limits{MaxOff: 30 * time.Minute}
	u := hold.Usage{Off: 10 * time.Minute, Since: start.Add(-10 * time.Minute), At: start}
	if got := u.Recall(start.Add(5*time.Minute), l); got.Off != 15*time.Minute || !got.Since.IsZero() {
		t.Errorf("recalled %+v, want 15 min off and no running inhibit", got)
	}
}

// However a load is commanded, it is never held off for longer than MaxOff, nor
// (unless MaxOff ends first) shorter than MinOff.
func TestLimitsHoldForAnyCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := hold.Limits{MinOff: time.Duration(rapid.IntRange(0, 300).Draw(t, "min")) * time.Second}
		l.MaxOff = l.MinOff + time.Duration(rapid.IntRange(1, 900).Draw(t, "more"))*time.Second
		var u hold.Usage
		held, began, now := false, start, start
		for _, wanted := range rapid.SliceOfN(rapid.Bool(), 1, 200).Draw(t, "wanted") {
			now = now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "s")) * time.Second)
			u.Count(now, held, l)
			on := u.Decide(now, held, wanted, l)
			if held && now.Sub(began) > l.MaxOff+time.Minute {
				t.Fatalf("held for %v, max_off %v", now.Sub(began), l.MaxOff)
			}
			if held && !on && now.Sub(began) < l.MinOff {
				t.Fatalf("let go after %v, min_off %v", now.Sub(began), l.MinOff)
			}
			if on != held {
				u.Switched(now, on)
				held, began = on, now
			}
		}
	})
}
