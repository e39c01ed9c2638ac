package bus

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// crowd adds living devices of one period and cost, and dead ones whose tries
// take a timeout each.
func (b *bench) crowd(living int, every, cost time.Duration, dead int, timeout time.Duration) (alive, lost []*fake) {
	for i := range living {
		_, f := b.add(fmt.Sprint("alive", i), every, cost)
		alive = append(alive, f)
	}
	for i := range dead {
		_, f := b.add(fmt.Sprint("dead", i), every, timeout)
		f.die(true)
		lost = append(lost, f)
	}
	return alive, lost
}

// reads returns how often the least read of them was read.
func reads(all []*fake) int {
	least := math.MaxInt
	for _, f := range all {
		least = min(least, len(f.times("read")))
	}
	return least
}

// A line of 32 units of which 3 are dead, with little time to spare: the
// living keep their period.
func TestThreeDeadOf32CostTheLivingNoPeriod(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		alive, dead := b.crowd(29, 2*time.Second, 30*time.Millisecond, 3, time.Second)
		b.run()
		b.at(10 * time.Minute)
		if n := reads(alive); n < 290 {
			t.Errorf("a living device was read %d times in 10 min, want 300 and 290 at least", n)
		}
		if n := reads(dead); n < 5 {
			t.Errorf("a dead device was tried %d times in 10 min, want to have it looked for", n)
		}
		b.end()
	})
}

// The same at a period that leaves less time than a try takes: the tries lie
// at the begin of the pauses, and no reading is left out for them.
func TestTriesLieWhereTheyAreInTheWayLeast(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		alive, dead := b.crowd(29, time.Second, 19*time.Millisecond, 3, 600*time.Millisecond)
		b.run()
		b.at(10 * time.Second)
		before, tries := reads(alive), reads(dead)
		b.at(100*time.Second + 900*time.Millisecond)
		if n := reads(alive) - before; n < 90 {
			t.Errorf("a living device was read %d times in 90 s, want 90", n)
		}
		if n := reads(dead) - tries; n < 4 {
			t.Errorf("a dead device was tried %d times in 90 s, want 4 at least: none is preferred", n)
		}
		b.end()
	})
}

// Where each try costs as long as a living device's period, somebody is due
// after each: no two tries in a row, from the first round on.
func TestNoTwoTriesInARowWhileSomebodyIsDue(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		alive, _ := b.crowd(3, time.Second, 20*time.Millisecond, 6, time.Second)
		b.run()
		b.at(10 * time.Minute)
		calls := strings.Split(b.calls(), ", ")
		for i := 1; i < len(calls); i++ {
			if strings.HasPrefix(calls[i], "dead") && strings.HasPrefix(calls[i-1], "dead") {
				t.Fatalf("call %d: %s after %s", i, calls[i], calls[i-1])
			}
		}
		if n := reads(alive); n < 540 {
			t.Errorf("a living device was read %d times in 600 s, want 540 at least: six dead take a tenth", n)
		}
		b.end()
	})
}

// Ten dead devices on a wire that the living use to four fifths: their tries
// take a tenth of the time, not all that is left.
func TestManyDeadTakeATenthOfTheWire(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		alive, dead := b.crowd(8, time.Second, 100*time.Millisecond, 10, time.Second)
		b.run()
		b.at(time.Minute)
		before, tries := reads(alive), 0
		b.at(4 * time.Minute)
		if n := reads(alive) - before; n < 158 {
			t.Errorf("a living device was read %d times in 3 min, want 180 less a tenth", n)
		}
		for _, f := range dead {
			for _, at := range f.times("read") {
				if at > time.Minute {
					tries++
				}
			}
		}
		if tries < 10 || tries > 20 {
			t.Errorf("the dead were tried %d times of a second each in 3 min, want about 18", tries)
		}
		b.end()
	})
}

// The share of the lost does not slow down the search for a single one.
func TestSingleLostDeviceIsLookedForAtItsOwnPace(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		_, dead := b.crowd(4, time.Second, 10*time.Millisecond, 1, time.Second)
		b.run()
		b.at(200 * time.Second)
		for i, want := range seconds(0, 3, 8, 15, 24, 35, 48, 63, 80, 99, 120, 143, 168, 195) {
			got := dead[0].times("read")
			if i >= len(got) || got[i] < want || got[i] > want+500*time.Millisecond {
				t.Fatalf("tried at %v, want try %d at %v", got, i, want)
			}
		}
		b.end()
	})
}

// A wire without time to spare still finds a lost device that is back.
func TestLostDeviceIsFoundOnAnOverloadedWire(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		alive, dead := b.crowd(3, time.Second, 700*time.Millisecond, 2, time.Second)
		b.run()
		b.at(time.Minute)
		before := reads(alive)
		for _, f := range dead {
			f.slow(10 * time.Millisecond)
			f.die(false)
		}
		b.at(5 * time.Minute)
		for _, f := range dead {
			if n := len(f.times("read")); n < 60 {
				t.Errorf("%s is back since 4 min and was read %d times", f.name, n)
			}
		}
		if before < 22 {
			t.Errorf("in the minute with two dead a living device was read %d times, want its share, 28, less a tenth and the burst", before)
		}
		b.end()
	})
}

// Where nothing answers, nobody is to be spared.
func TestAllDeadAreTriedAtTheirOwnPace(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		_, dead := b.crowd(0, 0, 0, 4, time.Second)
		b.run()
		b.at(time.Minute)
		if n := reads(dead); n < 5 {
			t.Errorf("tried %d times in a minute, want 5 at least", n)
		}
		b.end()
	})
}

func TestLoadIsThatOfTheLastMinute(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		want := func(when time.Duration, share float64) {
			t.Helper()
			b.at(when)
			if got := b.worker.Load(); math.Abs(got-share) > 0.02 {
				t.Errorf("after %v the load is %.3f, want %.3f", when, got, share)
			}
		}
		_, f := b.add("meter", time.Second, 250*time.Millisecond)
		if b.worker.Load() != 0 {
			t.Error("load before Run")
		}
		b.run()
		want(7900*time.Millisecond, 0.253)
		want(5*time.Minute, 0.25)
		f.slow(500 * time.Millisecond)
		want(5*time.Minute+30*time.Second, 0.375)
		want(7*time.Minute, 0.5)
		f.fails("read", nil)
		f.slow(0)
		want(9*time.Minute, 0)
		b.end()
	})
}

func TestLongCallCountsInEverySlotItReachesOver(t *testing.T) {
	var l load
	start := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	l.add(start, start.Add(12*time.Second))
	if got := l.share(start.Add(24 * time.Second)); math.Abs(got-0.5) > 1e-9 {
		t.Errorf("12 of 24 s is %g", got)
	}
	if got := l.share(start.Add(67 * time.Second)); math.Abs(got-2.0/57) > 1e-9 {
		t.Errorf("of 57 s to 67 s 2 s were busy, got a share of %g", got)
	}
	l.add(start.Add(time.Hour), start.Add(time.Hour+time.Second))
	if got := l.share(start.Add(time.Hour + 2*time.Second)); math.Abs(got-1.0/57) > 1e-9 {
		t.Errorf("1 s of 57 s, got %g", got)
	}
}
