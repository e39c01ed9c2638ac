package loadlog

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// truth is what a channel really drew in a second.
func truth(name string, at time.Time) float64 {
	rnd := rand.New(rand.NewPCG(uint64(at.Unix()), uint64(len(name))))
	base := 1000 + 500*math.Sin(float64(at.Unix())/3000)
	if at.Unix()/400%5 == 0 {
		base += 2200
	}
	return 10 * math.Round((base+20*rnd.NormFloat64())/10)
}

// live feeds seconds as the control round does and writes as Run does.
func live(t testing.TB, l *Log, from, to time.Time, names ...string) {
	t.Helper()
	next := from.Add(flushEvery)
	for at := from; at.Before(to); at = at.Add(time.Second) {
		for _, name := range names {
			l.Add(at, name, truth(name, at), Measured)
		}
		if !at.Before(next) {
			next = at.Add(flushEvery)
			if err := l.Turn(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func openLog(t testing.TB, s Store, dir string) *Log {
	t.Helper()
	l, err := Open(Options{Store: s, Dir: dir, Retain: 400 * 24 * time.Hour, KeepFine: 30 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// checkSeconds compares every second that a log gives with the truth and
// returns how many there were.
func checkSeconds(t testing.TB, l *Log, from, to time.Time) (n int) {
	t.Helper()
	for _, r := range query(t, l, from, to, time.Second) {
		n++
		good := false
		for back := range hold / time.Second { // a sample holds on
			good = good || r.MeanW == truth(r.Channel, r.T.Add(-back*time.Second))
		}
		if !good {
			t.Fatalf("%s at %s: %v W, was %v W", r.Channel, r.T.Format(time.TimeOnly), r.MeanW, truth(r.Channel, r.T))
		}
	}
	return n
}

// A process that is killed loses at most what it measured since the last write,
// 55 s; seconds, minutes and quarters agree afterwards.
func TestKilledLogLosesAtMostAMinute(t *testing.T) {
	for _, length := range []time.Duration{30 * time.Second, 20 * time.Minute, time.Hour + 50*time.Second, 2*time.Hour + 40*time.Minute} {
		t.Run(length.String(), func(t *testing.T) {
			dir, mem := t.TempDir(), newMemory()
			end := noon.Add(length)
			live(t, openLog(t, mem, dir), noon, end, Site, "battery") // and no more: it is killed
			l := openLog(t, mem, dir)
			got := checkSeconds(t, l, noon.Add(-time.Hour), end)
			if lost := 2*int(length/time.Second) - got; lost > 2*60 || lost < 0 {
				t.Errorf("%d of %d seconds lost", lost, 2*int(length/time.Second))
			}
			flush(t, l)
			for _, step := range []time.Duration{time.Minute, quarter} {
				var wh, covered, want float64
				for _, r := range query(t, l, noon, end, step) {
					if r.Channel == Site {
						wh, covered = wh+r.Wh, covered+r.Coverage*step.Seconds()
					}
				}
				for at := noon; at.Before(noon.Add(time.Duration(covered) * time.Second)); at = at.Add(time.Second) {
					want += truth(Site, at) / 3600
				}
				if length > time.Minute && (math.Abs(wh-want) > 0.005*want || length.Seconds()-covered > 62) {
					t.Errorf("step %v: %.1f Wh in %.0f s, were %.1f Wh", step, wh, covered, want)
				}
			}
		})
	}
}

// Killed again and again at any moment: nothing is booked twice.
func TestKilledAgainAndAgain(t *testing.T) {
	dir, mem := t.TempDir(), newMemory()
	rnd := rand.New(rand.NewPCG(3, 4))
	at := noon
	for at.Before(noon.Add(5 * time.Hour)) {
		l := openLog(t, mem, dir)
		next := at.Add(time.Duration(rnd.IntN(1200)) * time.Second)
		live(t, l, at, next, Site)
		if rnd.IntN(4) == 0 {
			flush(t, l)
		}
		_ = l.Close()
		at = next
	}
	l := openLog(t, mem, dir)
	checkSeconds(t, l, noon, at)
	checkMinutes(t, l, noon, at)
}

// checkMinutes compares every minute with what it may be.
func checkMinutes(t testing.TB, l *Log, from, to time.Time) {
	t.Helper()
	for _, r := range query(t, l, from, to, time.Minute) {
		low, high := math.Inf(1), 0.0
		for s := r.T.Add(-hold); s.Before(r.T.Add(time.Minute)); s = s.Add(time.Second) {
			low, high = min(low, truth(r.Channel, s)), max(high, truth(r.Channel, s))
		}
		if r.Coverage > 1+1e-9 || r.MeanW < low-1 || r.MeanW > high+1 || r.MinW < low || r.MaxW > high {
			t.Errorf("%+v, was between %v and %v W", r, low, high)
		}
	}
}

// Whatever becomes of the files, a log opens, and no second that it gives is
// wrong; what can not be read is counted.
func TestDamagedSecondsAreNeverServed(t *testing.T) {
	dir, mem := t.TempDir(), newMemory()
	end := noon.Add(2*time.Hour + 30*time.Minute)
	live(t, openLog(t, mem, dir), noon, end, Site, "battery", "wallbox")
	files := map[string][]byte{}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(paths) != 2 {
		t.Fatalf("%q, %v", paths, err)
	}
	for _, p := range paths {
		if files[p], err = os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	shortest := math.MaxInt
	for range 200 {
		for p, content := range files {
			bad := append([]byte(nil), content...)
			if rnd.IntN(4) == 0 {
				bad = bad[:rnd.IntN(len(bad))]
			}
			for range 1 + rnd.IntN(4) {
				if len(bad) < 1024 {
					continue
				}
				sector := bad[512*rnd.IntN(len(bad)/512):][:512]
				for i := range sector {
					sector[i] = byte(rnd.Uint32())
				}
			}
			if err := os.WriteFile(p, bad, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Open(Options{Store: mem, Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		shortest = min(shortest, checkSeconds(t, l, noon, end))
		_ = l.Close()
	}
	if shortest == math.MaxInt || shortest >= 3*9000 {
		t.Errorf("nothing was lost: %d", shortest)
	}
}

// refusing is a ring's file that fails when told to.
type refusing struct {
	ringFile
	err error
}

func (r *refusing) WriteAt(b []byte, at int64) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.ringFile.WriteAt(b, at)
}

// A card that refuses for a while costs nothing, as long as memory holds it.
func TestRingThatRefuses(t *testing.T) {
	dir, mem := t.TempDir(), newMemory()
	l := openLog(t, mem, dir)
	card := &refusing{ringFile: l.archive.wal.file, err: errors.New("no space left")}
	l.archive.wal.file = card
	for at := noon; at.Before(noon.Add(30 * time.Minute)); at = at.Add(time.Second) {
		l.Add(at, Site, truth(Site, at), Measured)
		if at.Unix()%55 == 0 {
			if err := l.Turn(); !errors.Is(err, card.err) || !errors.Is(l.Err(), card.err) {
				t.Fatal(err)
			}
		}
	}
	card.err = nil
	flush(t, l)
	l = openLog(t, mem, dir)
	if n := checkSeconds(t, l, noon, noon.Add(30*time.Minute)); n != 1800 {
		t.Errorf("%d of 1800 seconds", n)
	}
	if lost, bad := l.LostSeconds(); lost != 0 || bad != 0 {
		t.Errorf("lost %d, unreadable %d", lost, bad)
	}
}

// Days' files that can not be written keep neither minutes nor later seconds: the
// ring holds them until they can.
func TestDaysThatRefuse(t *testing.T) {
	dir, mem := t.TempDir(), newMemory()
	l := openLog(t, mem, dir)
	inTheWay := l.archive.days.path(dayOf(noon.Unix() / 3600))
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := noon; at.Before(noon.Add(150 * time.Minute)); at = at.Add(time.Second) {
		l.Add(at, Site, truth(Site, at), Measured)
		if at.Unix()%55 == 0 && l.Turn() != nil {
			refused++
		}
	}
	if refused == 0 || l.Err() == nil || len(mem.rows) < 3 {
		t.Errorf("%d turns refused, %v, %d hours stored", refused, l.Err(), len(mem.rows))
	}
	l = openLog(t, mem, dir) // killed
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	flush(t, l)
	if n := checkSeconds(t, l, noon, noon.Add(150*time.Minute)); n < 9000-60 {
		t.Errorf("%d of 9000 seconds", n)
	}
	checkMinutes(t, l, noon, noon.Add(150*time.Minute))
}

// Days past their retention go, but for the hours around events.
func TestSecondsPastTheirRetention(t *testing.T) {
	dir, mem := t.TempDir(), newMemory()
	kept := noon.Unix()/3600 + 1
	l, err := Open(Options{Store: mem, Dir: dir, KeepFine: 30 * 24 * time.Hour, KeepHours: func() (map[int64]bool, error) { return map[int64]bool{kept: true}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	live(t, l, noon, noon.Add(3*time.Hour), Site)
	flush(t, l)
	other := noon.AddDate(0, 0, 2)
	live(t, l, other, other.Add(time.Hour), Site)
	flush(t, l)
	l.Add(noon.AddDate(0, 0, 40), Site, 1, Measured)
	flush(t, l)
	if err := l.dropSeconds(); err != nil {
		t.Fatal(err)
	}
	if n := checkSeconds(t, l, noon, noon.Add(3*time.Hour)); n < 3600 || n > 3610 {
		t.Errorf("%d seconds of the day with an event", n)
	}
	if n := checkSeconds(t, l, other, other.Add(2*time.Hour)); n != 0 {
		t.Errorf("%d seconds of the day without", n)
	}
}

// The year's quarters are what the minutes sum up to, and come in a moment.
func TestQuartersAgreeWithMinutes(t *testing.T) {
	mem := newMemory()
	l := New(Options{Store: mem})
	for at := noon; at.Before(noon.Add(70 * time.Hour)); at = at.Add(3 * time.Second) {
		l.Add(at, Site, truth(Site, at), Measured)
		if at.Unix()%1800 == 0 {
			flush(t, l)
		}
	}
	flush(t, l)
	sums := map[int64]float64{}
	for _, r := range query(t, l, noon, noon.Add(71*time.Hour), time.Minute) {
		sums[r.T.Truncate(quarter).Unix()] += r.Wh
	}
	for _, step := range []time.Duration{quarter, time.Hour, 24 * time.Hour} {
		n, all, want := 0, 0.0, 0.0
		for _, r := range query(t, l, noon, noon.Add(71*time.Hour), step) {
			n, all = n+1, all+r.Wh
			if step == quarter && math.Abs(r.Wh-sums[r.T.Unix()]) > 0.01 {
				t.Errorf("%s: %v Wh, the minutes say %v", r.T, r.Wh, sums[r.T.Unix()])
			}
		}
		for _, wh := range sums {
			want += wh
		}
		if n < 3 || math.Abs(all-want) > 0.1 {
			t.Errorf("step %v: %d rows, %v Wh, want %v", step, n, all, want)
		}
	}
}

// What a meter counted while nobody read it is known afterwards, also across a
// restart; what was not counted stays a gap.
func TestCountersBridgeGaps(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			dir, mem := t.TempDir(), newMemory()
			l := openLog(t, mem, dir)
			wh := 1000.0
			run := func(from, to time.Time) {
				for at := from; at.Before(to); at = at.Add(time.Second) {
					wh += 2400.0 / 3600
					l.Add(at, Site, 2400, Measured)
					l.Count(at, Site, math.Floor(wh), 0)
				}
			}
			gapEnd := noon.Add(15*time.Minute + 150*time.Minute)
			run(noon, noon.Add(15*time.Minute))
			flush(t, l)
			if restart {
				_ = l.Close()
				l = openLog(t, mem, dir)
			}
			wh += 600 * 2.5 // the mean of the gap is another
			run(gapEnd, gapEnd.Add(5*time.Minute))
			flush(t, l)
			rows := query(t, l, noon, gapEnd.Add(5*time.Minute), quarter)
			for _, r := range rows {
				switch in := r.T.Sub(noon); {
				case in < 15*time.Minute:
					if r.Quality != Measured || math.Abs(r.MeanW-2400) > 3 { // a restart may lose the last second
						t.Errorf("before: %+v", r)
					}
				case in < 165*time.Minute:
					if r.Quality != Recovered || math.Abs(r.MeanW-600) > 15 || r.Coverage < 0.99 {
						t.Errorf("in the gap: %+v", r)
					}
				}
			}
			if len(rows) != 12 {
				t.Errorf("%d rows", len(rows))
			}
		})
	}
}

// Of a gap of more than an hour the energy is known and not when it was drawn:
// its hours are no measure of what the site draws, and its edges still are.
func TestMeanLeavesLongGapsOut(t *testing.T) {
	for gap, want := range map[time.Duration]float64{45 * time.Minute: 1, time.Hour: 1, 75 * time.Minute: 0, 150 * time.Minute: 0, 30 * time.Hour: 0} {
		t.Run(gap.String(), func(t *testing.T) {
			dir, mem := t.TempDir(), newMemory()
			l := openLog(t, mem, dir)
			wh := 1000.0
			run := func(from, to time.Time) {
				for at := from; at.Before(to); at = at.Add(time.Second) {
					wh += 2400.0 / 3600
					l.Add(at, Site, 2400, Measured)
					l.Count(at, Site, math.Floor(wh), 0)
				}
			}
			from, to := noon.Add(10*time.Minute), noon.Add(10*time.Minute+gap)
			run(noon, from)
			wh += 600 * gap.Hours()
			run(to, to.Add(20*time.Minute))
			flush(t, l)
			for at := from; at.Before(to); at = at.Add(15 * time.Minute) { // in parts as in the whole
				end := earliest(at.Add(15*time.Minute), to)
				mean, coverage, err := l.Mean(Site, at, end)
				if err != nil || math.Abs(coverage-want) > 0.07 || want > 0 && math.Abs(mean-600) > 15 {
					t.Errorf("%v: mean %v W of %v, %v, want %v of it", at.Sub(noon), mean, coverage, err, want)
				}
			}
			if mean, coverage, err := l.Mean(Site, noon, from); err != nil || math.Abs(mean-2400) > 5 || coverage < 0.99 {
				t.Errorf("before: %v W of %v, %v", mean, coverage, err)
			}
			if rows := query(t, l, from, to, time.Minute); len(rows) < int(gap.Minutes())-1 || rows[1].Quality != Recovered {
				t.Errorf("the rows must stay: %d of them", len(rows))
			}
		})
	}
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// A coarse counter says nothing of a short gap, and one that was reset says
// nothing at all.
func TestCountersThatSayNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		step, jump float64
		gap        time.Duration
	}{"coarse": {1000, 1000, 10 * time.Minute}, "reset": {1, -900, time.Hour}, "absurd": {1, 1e12, time.Hour}} {
		t.Run(name, func(t *testing.T) {
			l := New(Options{Store: newMemory()})
			run := func(from time.Time, base float64) {
				for i := range 600 {
					l.Add(from.Add(time.Duration(i)*time.Second), Site, 6000, Measured)
					l.Count(from.Add(time.Duration(i)*time.Second), Site, base+tc.step*math.Floor(float64(i)/600), 0)
					l.Count(from.Add(time.Duration(i)*time.Second), Site, base+tc.step*math.Floor(float64(i)/500), 0)
				}
			}
			run(noon, 5000)
			after := noon.Add(10*time.Minute + tc.gap)
			run(after, 5000+tc.step+tc.jump)
			flush(t, l)
			for _, r := range query(t, l, noon.Add(11*time.Minute), after, time.Minute) {
				t.Errorf("filled: %+v", r)
			}
		})
	}
}
