package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var t0 = time.Date(2026, 11, 26, 17, 0, 0, 0, time.UTC)

func sample(i int) string {
	return fmt.Sprintf(`{"round":%d,"devices":["battery","wallbox"],"power_w":%d}`, i, 3000+i%7)
}

// fill writes n lines, one a second from start, in blocks of sixty.
func fill(t *testing.T, w *Writer, start time.Time, n int) {
	t.Helper()
	for i := range n {
		if err := w.Append(start.Add(time.Duration(i)*time.Second), []byte(sample(i))); err != nil {
			t.Fatal(err)
		}
		if i%60 == 59 {
			flush(t, w)
		}
	}
	flush(t, w)
}

func flush(t *testing.T, w *Writer) {
	t.Helper()
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// read returns the lines of a time and what had to be left out.
func read(t *testing.T, dir string, from, to time.Time) (lines []string, damages []Damage) {
	t.Helper()
	err := Read(dir, from, to, func(_ time.Time, line []byte) error {
		lines = append(lines, string(line))
		return nil
	}, func(d Damage) { damages = append(damages, d) })
	if err != nil {
		t.Fatal(err)
	}
	return lines, damages
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	all, err := segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range all {
		out = append(out, s.name)
	}
	return out
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store", "journal")
	start := t0.Add(59*time.Minute + 30*time.Second)
	fill(t, NewWriter(Options{Dir: dir}), start, 600)
	if got := names(t, dir); !slices.Equal(got, []string{"20261126T17.nj", "20261126T18.nj"}) {
		t.Errorf("segments %v", got)
	}
	lines, damages := read(t, dir, time.Time{}, time.Time{})
	if len(lines) != 600 || len(damages) != 0 {
		t.Fatalf("%d lines, damages %v", len(lines), damages)
	}
	for i, line := range lines {
		if line != sample(i) {
			t.Fatalf("line %d is %s", i, line)
		}
	}
	lines, _ = read(t, dir, start.Add(25*time.Second), start.Add(90*time.Second))
	if len(lines) != 65 || lines[0] != sample(25) {
		t.Errorf("%d lines of 65 s, the first is %v", len(lines), lines[:1])
	}
	first, last, err := Kept(dir)
	if err != nil || !first.Equal(start) || !last.Equal(start.Add(599*time.Second)) {
		t.Errorf("kept from %v to %v, %v", first, last, err)
	}
}

func TestFindTakesTheNewestAtOrBefore(t *testing.T) {
	dir := t.TempDir()
	start := t0.Add(59 * time.Minute) // over the end of an hour
	fill(t, NewWriter(Options{Dir: dir}), start, 120)
	for _, c := range []struct {
		at   time.Duration
		want int // -1: none
	}{
		{-time.Second, -1}, {0, 0}, {59*time.Second + 500*time.Millisecond, 59}, {60 * time.Second, 60},
		{119 * time.Second, 119}, {239 * time.Second, 119}, {240 * time.Second, -1}, {24 * time.Hour, -1},
	} {
		line, when, err := Find(dir, start.Add(c.at), 2*time.Minute, func(d Damage) { t.Error(d) })
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.want >= 0 {
			want = sample(c.want)
		}
		if string(line) != want || (c.want >= 0 && !when.Equal(start.Add(time.Duration(c.want)*time.Second))) {
			t.Errorf("at %v: found %q of %v, want %q", c.at, line, when, want)
		}
	}
}

func TestAClockThatWasSetBack(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(Options{Dir: dir})
	for i, at := range []time.Duration{0, 10, 5, -3600, 11} {
		if err := w.Append(t0.Add(at*time.Second), []byte(sample(i))); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, w)
	if got := names(t, dir); !slices.Equal(got, []string{"20261126T16.nj", "20261126T17.nj"}) {
		t.Errorf("segments %v", got)
	}
	lines, damages := read(t, dir, time.Time{}, time.Time{})
	if want := []string{sample(3), sample(0), sample(1), sample(2), sample(4)}; !slices.Equal(lines, want) || len(damages) > 0 {
		t.Errorf("read %v, %v", lines, damages)
	}
	line, _, err := Find(dir, t0.Add(10*time.Second), time.Minute, func(d Damage) { t.Error(d) })
	if err != nil || string(line) != sample(1) {
		t.Errorf("found %s, %v", line, err)
	}
}

func TestNoJournalIsAnEmptyOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if lines, damages := read(t, dir, t0, t0.Add(time.Hour)); len(lines)+len(damages) > 0 {
		t.Errorf("read %v, %v", lines, damages)
	}
	if first, last, err := Kept(dir); !first.IsZero() || !last.IsZero() || err != nil {
		t.Errorf("kept %v to %v, %v", first, last, err)
	}
	flush(t, NewWriter(Options{Dir: dir})) // nothing to write
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made for nothing")
	}
}

// change rewrites a segment.
func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, how(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamageCostsOneBlock(t *testing.T) {
	garbage := []byte("garbage " + strings.Repeat("x", 200))
	for name, c := range map[string]struct {
		how  func(raw []byte, second int) []byte
		lost []int // blocks, of four
		why  string
	}{
		"a bit of the payload": {func(raw []byte, second int) []byte { raw[second+headerSize+20] ^= 4; return raw }, []int{1}, "checksum"},
		"a bit of the length":  {func(raw []byte, second int) []byte { raw[second+8] ^= 1; return raw }, []int{1}, "checksum"},
		"a huge length":        {func(raw []byte, second int) []byte { raw[second+10] = 0x10; return raw }, []int{1}, "cut off"},
		"a bit of the time":    {func(raw []byte, second int) []byte { raw[second+16] ^= 1; return raw }, []int{1}, "checksum"},
		"a bit of the magic":   {func(raw []byte, second int) []byte { raw[second] ^= 1; return raw }, []int{1}, "no block begins here"},
		"zeros from a power cut": {func(raw []byte, second int) []byte {
			clear(raw[second : second+headerSize+10])
			return raw
		}, []int{1}, "no block begins here"},
		"the file is cut off":        {func(raw []byte, _ int) []byte { return raw[:len(raw)-5] }, []int{3}, "cut off"},
		"cut off in a header":        {func(raw []byte, second int) []byte { return raw[:second+7] }, []int{1, 2, 3}, "cut off"},
		"garbage at the begin":       {func(raw []byte, _ int) []byte { return append(slices.Clone(garbage), raw...) }, nil, "no block begins here"},
		"garbage between":            {func(raw []byte, second int) []byte { return slices.Insert(raw, second, garbage...) }, nil, "no block begins here"},
		"a magic inside a block":     {func(raw []byte, second int) []byte { copy(raw[second+headerSize+8:], magic); return raw }, []int{1}, "checksum"},
		"a block is cut and goes on": {func(raw []byte, second int) []byte { return slices.Delete(raw, second+50, second+70) }, []int{1}, "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := NewWriter(Options{Dir: dir})
			fill(t, w, t0, 240)
			path := filepath.Join(dir, segmentOf(t0))
			second := 0
			change(t, path, func(raw []byte) []byte {
				second = headerSize + int(raw[8]) + int(raw[9])<<8
				return c.how(raw, second)
			})
			lines, damages := read(t, dir, time.Time{}, time.Time{})
			var want []string
			for i := range 240 {
				if !slices.Contains(c.lost, i/60) {
					want = append(want, sample(i))
				}
			}
			if !slices.Equal(lines, want) {
				t.Errorf("%d lines, want %d", len(lines), len(want))
			}
			if len(damages) == 0 || !strings.Contains(damages[0].String(), c.why) || damages[0].Segment != segmentOf(t0) {
				t.Errorf("damages %v, want %q", damages, c.why)
			}
			// Writing goes on behind the damage.
			fill(t, w, t0.Add(10*time.Minute), 1)
			if lines, _ := read(t, dir, t0.Add(10*time.Minute), time.Time{}); !slices.Equal(lines, []string{sample(0)}) {
				t.Errorf("after the damage: %v", lines)
			}
		})
	}
}

func TestOnlyTheNewestStays(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "20261126T17.txt")
	if err := os.WriteFile(other, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w := NewWriter(Options{Dir: dir, MaxBytes: 3000})
	for h := range 24 {
		fill(t, w, t0.Add(time.Duration(h)*time.Hour), 120)
		all, err := segments(dir)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, s := range all {
			total += s.size
		}
		if total > 3000 || all[len(all)-1].name != segmentOf(t0.Add(time.Duration(h)*time.Hour)) {
			t.Fatalf("hour %d: %d bytes in %v", h, total, all)
		}
	}
	if n := len(names(t, dir)); n < 2 {
		t.Errorf("%d segments left: the test does not test", n)
	}
	// A segment that alone is too large makes room for its own newest block.
	small := NewWriter(Options{Dir: t.TempDir(), MaxBytes: 900})
	fill(t, small, t0, 600)
	if lines, damages := read(t, small.opts.Dir, time.Time{}, time.Time{}); len(lines) == 0 || lines[len(lines)-1] != sample(599) || len(damages) > 0 {
		t.Errorf("%d lines, damages %v", len(lines), damages)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a file that is not the journal's: %v", err)
	}
}

func TestAgeCountsFromATimeThatIsSure(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(Options{Dir: dir, MaxAge: 2 * time.Hour})
	for h := range 5 {
		fill(t, w, t0.Add(time.Duration(h)*time.Hour), 1)
	}
	if err := w.Expire(time.Time{}); err != nil || len(names(t, dir)) != 5 {
		t.Errorf("without a sure time: %v, %v", names(t, dir), err)
	}
	if err := w.Expire(t0.Add(4*time.Hour + time.Minute)); err != nil || !slices.Equal(names(t, dir), []string{"20261126T19.nj", "20261126T20.nj", "20261126T21.nj"}) {
		t.Errorf("left %v, %v", names(t, dir), err)
	}
}

func TestDiskFullCostsLinesOnly(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(Options{Dir: dir})
	for h := range 3 {
		fill(t, w, t0.Add(time.Duration(h)*time.Hour), 10)
	}
	var full int
	w.write = func(path string, block []byte) error {
		if full > 0 {
			full--
			return fmt.Errorf("write %s: %w", path, unix.ENOSPC)
		}
		return appendBlock(path, block)
	}
	at := t0.Add(3 * time.Hour)
	full = 1 // one hour less makes room
	fill(t, w, at, 10)
	if got := names(t, dir); !slices.Equal(got, []string{"20261126T18.nj", "20261126T19.nj", "20261126T20.nj"}) || w.Lost() != 0 {
		t.Errorf("segments %v, lost %d", got, w.Lost())
	}
	full = 2 // others took that room, too
	if err := w.Append(at.Add(time.Minute), []byte(sample(0))); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "1 rounds are not kept") || w.Lost() != 1 {
		t.Errorf("error %v, lost %d", err, w.Lost())
	}
	fill(t, w, at.Add(2*time.Minute), 10)
	if lines, damages := read(t, dir, at, time.Time{}); len(lines) != 20 || len(damages) > 0 {
		t.Errorf("%d lines, damages %v", len(lines), damages)
	}
}

func TestWhatCanNotBeALine(t *testing.T) {
	w := NewWriter(Options{Dir: t.TempDir()})
	for _, line := range [][]byte{[]byte("two\nlines"), make([]byte, MaxLine+1)} {
		if err := w.Append(t0, line); err == nil {
			t.Errorf("a line of %d bytes was taken", len(line))
		}
	}
	long := []byte(`"` + strings.Repeat("y", MaxLine-2) + `"`)
	for i := range 4 { // over the size of a block
		if err := w.Append(t0.Add(time.Duration(i)), long); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, w)
	if lines, damages := read(t, w.opts.Dir, time.Time{}, time.Time{}); len(lines) != 4 || len(lines[3]) != MaxLine || len(damages) > 0 || w.Lost() != 2 {
		t.Errorf("%d lines, damages %v, lost %d", len(lines), damages, w.Lost())
	}
}

func TestReadingStopsWhenAsked(t *testing.T) {
	dir := t.TempDir()
	fill(t, NewWriter(Options{Dir: dir}), t0, 10)
	stop, n := errors.New("reader gone"), 0
	err := Read(dir, t0, time.Time{}, func(time.Time, []byte) error { n++; return stop }, func(Damage) {})
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("%d lines, %v", n, err)
	}
}

// FuzzSegment reads any bytes as a segment: no panic, no endless loop, every
// byte is part of a good block or said to be damaged, and a block that was
// added behind them is found.
func FuzzSegment(f *testing.F) {
	w := NewWriter(Options{Dir: f.TempDir()})
	var block []byte
	w.write = func(_ string, b []byte) error { block = slices.Clone(b); return nil }
	for i := range 3 {
		if err := w.Append(t0.Add(time.Duration(i)*time.Second), []byte(sample(i))); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		f.Fatal(err)
	}
	// A block that is whole and holds what no writer makes.
	odd := append(make([]byte, headerSize), "not deflated"...)
	seal(odd, t0, t0)
	for _, seed := range [][]byte{nil, block, block[:len(block)-3], append([]byte(magic+magic), block...), odd, slices.Concat(odd, block, block[9:], block)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = slices.Concat(raw, block)
		var covered int64
		var last []byte
		s := scanner{r: bytes.NewReader(raw), size: int64(len(raw)),
			block: func(at int64, h header, payload []byte) error {
				covered += int64(headerSize) + int64(h.length)
				last = raw[at : at+int64(headerSize+len(payload))]
				err := unpack(payload, window{minTime, maxTime}, func(time.Time, []byte) error { return nil })
				if err != nil && !errors.Is(err, errUnpack) {
					t.Error(err)
				}
				return nil
			},
			damaged: func(from, to int64, _ string) { covered += to - from }}
		if err := s.run(); err != nil || covered != int64(len(raw)) || !bytes.Equal(last, block) {
			t.Fatalf("%d of %d bytes accounted for, the last block has %d bytes, %v", covered, len(raw), len(last), err)
		}
	})
}
