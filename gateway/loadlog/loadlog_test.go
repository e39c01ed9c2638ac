package loadlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"nominald/gateway/store"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, _, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func query(t testing.TB, l *Log, from, to time.Time, step time.Duration) []Row {
	t.Helper()
	var rows []Row
	if err := l.Query(from, to, step, func(r Row) error { rows = append(rows, r); return nil }); err != nil {
		t.Fatal(err)
	}
	sorted := slices.IsSortedFunc(rows, func(a, b Row) int {
		if c := a.T.Compare(b.T); c != 0 {
			return c
		}
		if a.Channel < b.Channel {
			return -1
		}
		return 1
	})
	if !sorted {
		t.Errorf("rows out of order: %v", rows)
	}
	return rows
}

// feed adds a sample a second for [from, to).
func feed(l *Log, name string, from, to time.Time, q Quality, watts func(time.Time) float64) {
	for at := from; at.Before(to); at = at.Add(time.Second) {
		l.Add(at, name, watts(at), q)
	}
}

func flat(w float64) func(time.Time) float64 { return func(time.Time) float64 { return w } }

func flush(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(1, math.Abs(a), math.Abs(b)) }

func TestMinutesSurviveARestartInMidMinute(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	l := New(Options{Store: s})
	feed(l, Site, noon, noon.Add(81*time.Second), Measured, flat(1000)) // books up to 12:01:20
	flush(t, l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l = New(Options{Store: openStore(t, dir)})
	feed(l, Site, noon.Add(100*time.Second), noon.Add(181*time.Second), Measured, flat(-500))
	check := func(when string) {
		rows := query(t, l, noon, noon.Add(3*time.Minute), time.Minute)
		if len(rows) != 3 {
			t.Fatalf("%s: %+v", when, rows)
		}
		if r := rows[0]; r.MeanW != 1000 || r.Quality != Measured || r.Coverage != 1 || !near(r.Wh, 1000.0/60) {
			t.Errorf("%s: before: %+v", when, r)
		}
		// 20 s at 1 kW, 20 s down, 20 s at -500 W.
		if r := rows[1]; !near(r.Wh, 10000.0/3600) || r.Quality != Partial || !near(r.Coverage, 40.0/60) || r.MinW != -500 || r.MaxW != 1000 {
			t.Errorf("%s: across the restart: %+v", when, r)
		}
		if r := rows[2]; r.MeanW != -500 || r.Quality != Measured {
			t.Errorf("%s: after: %+v", when, r)
		}
	}
	check("before the flush")
	flush(t, l)
	check("after the flush")
	flush(t, l) // a second flush of the same hour must not count twice
	l.Add(noon.Add(181*time.Second), Site, -500, Measured)
	flush(t, l)
	check("after two more")
}

func TestGapsAreGaps(t *testing.T) {
	l := New(Options{Store: openStore(t, t.TempDir())})
	feed(l, "battery", noon, noon.Add(30*time.Second), Measured, flat(3600))
	// Silence, then a round that could not read, for a whole minute.
	feed(l, "battery", noon.Add(60*time.Second), noon.Add(120*time.Second), Gap, flat(9999))
	feed(l, "battery", noon.Add(180*time.Second), noon.Add(182*time.Second), Measured, flat(math.NaN()))
	flush(t, l)
	rows := query(t, l, noon, noon.Add(time.Hour), time.Minute)
	if len(rows) != 3 {
		t.Fatalf("%+v", rows)
	}
	// 29 s and the last sample held for 5 s: 34 s.
	if r := rows[0]; r.Quality != Partial || !near(r.Coverage, 34.0/60) || !near(r.Wh, 34) {
		t.Errorf("held: %+v", r)
	}
	if r := rows[1]; r.Quality != Gap || r.Coverage != 0 || r.Wh != 0 || !r.T.Equal(noon.Add(time.Minute)) {
		t.Errorf("gap: %+v", r)
	}
	if r := rows[2]; r.Quality != Gap || !r.T.Equal(noon.Add(3*time.Minute)) {
		t.Errorf("NaN: %+v", r)
	}
	quarter := query(t, l, noon, noon.Add(time.Hour), 15*time.Minute)
	if len(quarter) != 1 || !near(quarter[0].Wh, 34) || quarter[0].MaxW != 3600 || quarter[0].MinW != 3600 || quarter[0].Quality != Partial {
		t.Errorf("quarter: %+v", quarter)
	}
}

func TestDoubtfulTimeNeverReplacesTrusted(t *testing.T) {
	l := New(Options{Store: openStore(t, t.TempDir())})
	feed(l, Site, noon, noon.Add(61*time.Second), Measured, flat(1000))
	flush(t, l)
	// The clock steps back an hour and is not believed; then it is again.
	feed(l, Site, noon, noon.Add(121*time.Second), ClockDoubtful, flat(7000))
	flush(t, l)
	rows := query(t, l, noon, noon.Add(2*time.Minute), time.Minute)
	if len(rows) != 2 || rows[0].MeanW != 1000 || rows[0].Quality != Measured || rows[1].MeanW != 7000 || rows[1].Quality != ClockDoubtful {
		t.Errorf("doubtful after trusted: %+v", rows)
	}
	if r := query(t, l, noon, noon.Add(time.Second), time.Second); len(r) != 1 || r[0].MeanW != 1000 {
		t.Errorf("seconds: %+v", r)
	}
	feed(l, Site, noon.Add(time.Minute), noon.Add(121*time.Second), Measured, flat(2000))
	flush(t, l)
	if rows = query(t, l, noon, noon.Add(2*time.Minute), time.Minute); rows[1].MeanW != 2000 || rows[1].Quality != Measured {
		t.Errorf("trusted after doubtful: %+v", rows)
	}
	if all := query(t, l, noon, noon.Add(2*time.Minute), 2*time.Minute); len(all) != 1 || !near(all[0].Wh, 50) {
		t.Errorf("two minutes: %+v", all)
	}
}

func TestSecondsOfTheLastQuarter(t *testing.T) {
	l := New(Options{Store: openStore(t, t.TempDir()), Channels: []string{"z", "a"}})
	ramp := func(at time.Time) float64 { return at.Sub(noon).Seconds() }
	feed(l, "z", noon, noon.Add(30*time.Minute), Measured, ramp)
	feed(l, "a", noon.Add(29*time.Minute), noon.Add(30*time.Minute), Measured, flat(5))
	rows := query(t, l, noon, noon.Add(time.Hour), time.Second)
	if len(rows) != 900+60 || rows[0].MeanW != 900 || rows[len(rows)-1].MeanW != 1799 || rows[len(rows)-2].Channel != "a" {
		t.Errorf("%d rows, first %+v, last %+v", len(rows), rows[0], rows[len(rows)-1])
	}
	// Steps of seconds are sums of the same seconds.
	fives := query(t, l, noon, noon.Add(time.Hour), 5*time.Second)
	if len(fives) != 180+12 || fives[0].MeanW != 902 || fives[0].MinW != 900 || fives[0].MaxW != 904 || !near(fives[0].Wh, 4510.0/3600) || fives[0].Quality != Measured {
		t.Errorf("5 s: %d rows, first %+v", len(fives), fives[0])
	}
	if half := query(t, l, noon, noon.Add(time.Hour), 90*time.Second); len(half) != 10+1 || !near(half[0].MeanW, 944.5) {
		t.Errorf("90 s: %d rows, first %+v", len(half), half[0])
	}
	for _, step := range []time.Duration{0, 1500 * time.Millisecond, -time.Minute} {
		if err := l.Query(noon, noon.Add(time.Hour), step, func(Row) error { return nil }); err == nil {
			t.Errorf("step %v accepted", step)
		}
	}
	stop := errors.New("reader gone")
	for _, step := range []time.Duration{time.Second, time.Minute} {
		if err := l.Query(noon, noon.Add(time.Hour), step, func(Row) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("step %v: %v", step, err)
		}
	}
}

func TestMeanFromMemoryAndFromMinutes(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	l := New(Options{Store: s})
	end := noon.Add(time.Hour)
	feed(l, Site, noon, end.Add(time.Second), Measured, func(at time.Time) float64 {
		if at.Before(noon.Add(50 * time.Minute)) {
			return 1000
		}
		return 2000
	})
	for _, c := range []struct {
		from time.Duration
		want float64
	}{{10 * time.Minute, 2000}, {14 * time.Minute, (4*1000 + 10*2000) / 14.0}, {time.Hour, (50*1000 + 10*2000) / 60.0}, {30 * time.Second, 2000}, {10*time.Minute + 30*time.Second, (0.5*1000 + 10*2000) / 10.5}} {
		mean, coverage, err := l.Mean(Site, end.Add(-c.from), end)
		if err != nil || !near(mean, c.want) || !near(coverage, 1) {
			t.Errorf("last %v: %v W covered %v %v, want %v W", c.from, mean, coverage, err, c.want)
		}
	}
	flush(t, l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// After a restart there is no memory, and the last minute asked for is dark.
	l = New(Options{Store: openStore(t, dir)})
	l.Add(end.Add(time.Minute), Site, 5000, Measured)
	mean, coverage, err := l.Mean(Site, end.Add(-29*time.Minute), end.Add(time.Minute))
	if want := (19*1000 + 10*2000) / 29.0; err != nil || !near(mean, want) || !near(coverage, 29.0/30) {
		t.Errorf("after restart: %v W covered %v %v, want %v W", mean, coverage, err, want)
	}
	if _, coverage, err := l.Mean("unknown", noon, end); err != nil || coverage != 0 {
		t.Errorf("unknown channel: covered %v %v", coverage, err)
	}
	if _, _, err := l.Mean(Site, end, end); err == nil {
		t.Error("empty range accepted")
	}
}

// TestPartitionsSumToTheWhole: whatever was added, in whatever order, the
// energy of a day is the sum of any cut of it at minutes, for any step, before
// and after flushing.
func TestPartitionsSumToTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mem := newMemory()
		l := New(Options{Store: mem})
		at := noon
		for range rapid.IntRange(1, 300).Draw(rt, "n") {
			gap := rapid.OneOf(rapid.IntRange(100, 2000), rapid.IntRange(-400_000, 4_000_000)).Draw(rt, "ms")
			at = at.Add(time.Duration(gap) * time.Millisecond)
			l.Add(at, rapid.SampledFrom([]string{Site, "battery"}).Draw(rt, "channel"), rapid.Float64Range(-1e6, 1e6).Draw(rt, "w"),
				rapid.SampledFrom([]Quality{Measured, Measured, Gap, ClockDoubtful}).Draw(rt, "q"))
			if rapid.IntRange(0, 20).Draw(rt, "flush") == 0 {
				flush(t, l)
			}
		}
		from, to := noon.Add(-48*time.Hour), at.Add(time.Hour).Truncate(time.Minute)
		sum := func(from, to time.Time, step time.Duration) (wh float64) {
			for _, r := range query(t, l, from, to, step) {
				if r.Coverage < 0 || r.Coverage > 1+1e-9 || r.MinW-1 > r.MeanW || r.MeanW > r.MaxW+1 {
					rt.Fatalf("impossible row %+v", r)
				}
				wh += r.Wh
			}
			return wh
		}
		whole := sum(from, to, 24*time.Hour)
		total, start := 0.0, from
		for start.Before(to) {
			end := start.Add(time.Duration(rapid.IntRange(1, 3000).Draw(rt, "minutes")) * time.Minute)
			if end.After(to) {
				end = to
			}
			total += sum(start, end, rapid.SampledFrom([]time.Duration{time.Minute, 15 * time.Minute, time.Hour}).Draw(rt, "step"))
			start = end
		}
		// Stored quarters are whole joules, the minutes in memory are not yet.
		if math.Abs(whole-total) > 0.01+1e-6*math.Abs(whole) {
			rt.Fatalf("parts sum to %v Wh, the whole is %v Wh", total, whole)
		}
		flush(t, l)
		l = New(Options{Store: mem}) // whole joules in the store
		if stored := sum(from, to, time.Hour); math.Abs(stored-whole) > 0.5+1e-6*math.Abs(whole) {
			rt.Fatalf("stored %v Wh, had %v Wh", stored, whole)
		}
	})
}

// memory is a store that can be told to refuse.
type memory struct {
	rows     map[string][]byte // of the hours
	quarters map[string][]byte
	refuse   error
	bytes    int
}

func newMemory() *memory {
	return &memory{rows: map[string][]byte{}, quarters: map[string][]byte{}}
}

func (m *memory) of(name string) map[string][]byte {
	if strings.HasPrefix(name, quarterBucket) {
		return m.quarters
	}
	return m.rows
}

func (m *memory) AppendRows(bucket string, rows map[string][]byte) error {
	if m.refuse != nil {
		return m.refuse
	}
	for k, v := range rows {
		m.of(bucket)[k] = v
		m.bytes += len(v)
	}
	return nil
}

func (m *memory) Range(bucket, from, to string, fn func(string, []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(m.of(bucket))) {
		if k >= from && (k < to || to == "") {
			if err := fn(k, m.of(bucket)[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) DropBefore(bucket, key string) (n int, err error) {
	for k := range m.of(bucket) {
		if k < key {
			delete(m.of(bucket), k)
			n++
		}
	}
	return n, m.refuse
}

func TestStoreThatRefusesLosesNothingForTwoDays(t *testing.T) {
	mem := newMemory()
	mem.refuse = errors.New("disk full")
	l := New(Options{Store: mem})
	at := noon
	for range 60 {
		feed(l, Site, at, at.Add(2*time.Minute), Measured, flat(600))
		if err := l.Flush(); !errors.Is(err, mem.refuse) || !errors.Is(l.Err(), mem.refuse) {
			t.Fatal(err)
		}
		at = at.Add(time.Hour)
	}
	if l.LostHours() != 60-maxHours || len(l.channels[Site].hours) != maxHours {
		t.Errorf("lost %d, kept %d", l.LostHours(), len(l.channels[Site].hours))
	}
	mem.refuse = nil
	flush(t, l)
	if len(mem.rows) != maxHours || len(l.channels[Site].hours) != keepHours || l.Err() != nil {
		t.Errorf("stored %d, in memory %d, err %v", len(mem.rows), len(l.channels[Site].hours), l.Err())
	}
}

func TestRunFlushesAndWritesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := newMemory()
		mem.rows[hourKey(1, Site)] = []byte{1, 0, 0, 0, 0, 0, 0, 0, 0}
		l := New(Options{Store: mem, Retain: 24 * time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		start := time.Now()
		for range 150 {
			l.Add(time.Now(), Site, 1000, Measured)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if p := l.Progress().Sub(start); p != 2*flushEvery {
			t.Errorf("progress at %v", p)
		}
		if _, old := mem.rows[hourKey(1, Site)]; old {
			t.Error("row past its retention is still there")
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		l = New(Options{Store: mem})
		rows := query(t, l, start.Add(-time.Minute), time.Now().Add(time.Minute), time.Hour)
		if len(rows) != 1 || !near(rows[0].Wh, 149*1000/3600.0) {
			t.Errorf("stored %+v", rows)
		}
	})
}

func TestClockYearsAheadDropsNothing(t *testing.T) {
	mem := newMemory()
	l := New(Options{Store: mem, Retain: 24 * time.Hour})
	feed(l, Site, noon, noon.Add(2*time.Minute), Measured, flat(1))
	feed(l, Site, noon.AddDate(30, 0, 0), noon.AddDate(30, 0, 0).Add(time.Minute), ClockDoubtful, flat(1))
	flush(t, l)
	if err := l.drop(); err != nil {
		t.Fatal(err)
	}
	if _, ok := mem.rows[hourKey(noon.Unix()/3600, Site)]; !ok {
		t.Error("a doubtful clock emptied the log")
	}
}

// TestBytesPerDay holds what the package comment promises for 20 channels.
func TestBytesPerDay(t *testing.T) {
	mem := newMemory()
	l := New(Options{Store: mem})
	noise := uint32(1)
	for at := noon; at.Before(noon.Add(2 * time.Hour)); at = at.Add(time.Second) {
		for ch := range 20 {
			noise = noise*1664525 + 1013904223
			l.Add(at, fmt.Sprintf("device-%02d", ch), 2000+float64(noise>>22), Measured)
		}
	}
	flush(t, l)
	perDay := 0
	for k, v := range mem.rows {
		perDay += (len(k) + len(v) + 16 + 5) * 12 // 16: bbolt's element, 5: the store's header
	}
	for k, v := range mem.quarters {
		perDay += len(k) + 16 + 5 + (len(v)-1-dayBitmap)*12
	}
	t.Logf("%d bytes a day", perDay)
	if perDay > 270_000 {
		t.Errorf("%d bytes a day, want at most 270000", perDay)
	}
}

func FuzzDecodeHour(f *testing.F) {
	var h hour
	f.Add(encodeHour(&h))
	h.minutes[0].book(1500, time.Minute, false)
	h.minutes[1].book(-20, 3*time.Second, true)
	h.minutes[59].gap = true
	f.Add(encodeHour(&h))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again hour
		if decodeHour(b, &h) != nil {
			return
		}
		if err := decodeHour(encodeHour(&h), &again); err != nil {
			t.Fatalf("what was read can not be written: %v", err)
		}
		for i := range h.minutes {
			a, b := h.minutes[i], again.minutes[i]
			if math.Abs(a.wns-b.wns) > 1e9 { // a joule, by rounding
				t.Errorf("minute %d: energy %v became %v", i, a.wns, b.wns)
			}
			a.wns, b.wns = 0, 0
			if a != b {
				t.Errorf("minute %d: %+v became %+v", i, a, b)
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	l := New(Options{Store: newMemory(), Channels: []string{Site}})
	at := noon
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(time.Millisecond)
		l.Add(at, Site, 1234, Measured)
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	l := New(Options{Store: newMemory(), Channels: []string{Site}})
	at := noon
	l.Add(at, Site, 1, Measured)
	if n := testing.AllocsPerRun(1000, func() {
		at = at.Add(time.Second)
		l.Add(at, Site, 1234, Measured)
	}); n != 0 {
		t.Errorf("%v allocations a sample", n)
	}
}
