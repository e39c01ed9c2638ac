package loadlog

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// failer is a test or a property.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func decodeAll(t failer, b []byte, start int64) []second {
	t.Helper()
	var got []second
	rest, err := decodeBlock(b, start, func(s second) { got = append(got, s) })
	if err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes left over", err, len(rest))
	}
	return got
}

// What goes in comes out, whatever it is.
func TestBlocksRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 1<<32).Draw(t, "start")
		scale := rapid.SampledFrom([]int32{1, 1, 10, 100, 1000}).Draw(t, "scale")
		var want []second
		for at := range int64(rapid.IntRange(1, maxSpan).Draw(t, "span")) {
			s := second{at: start + at, doubtful: rapid.IntRange(0, 9).Draw(t, "doubt") == 0}
			switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
			case kind == 0 && len(want) > 0:
				continue
			case kind == 1:
				s.gap = true
			case kind == 2:
				s.watts = rapid.Int32().Draw(t, "any")
			default:
				s.watts = scale * rapid.Int32Range(-1000, 1000).Draw(t, "watts")
			}
			want = append(want, s)
		}
		got := decodeAll(t, appendBlock(nil, want), start)
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func FuzzDecodeBlock(f *testing.F) {
	f.Add(appendBlock(nil, []second{{at: 5, watts: 100}, {at: 6, watts: -4000}, {at: 9, gap: true}}))
	f.Add(appendBlock(nil, []second{{at: 5, watts: math.MinInt32, doubtful: true}, {at: 6, watts: math.MaxInt32}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got []second
		rest, err := decodeBlock(b, 7, func(s second) { got = append(got, s) })
		if err != nil || len(got) == 0 {
			return
		}
		if len(rest) > len(b) || got[len(got)-1].at-got[0].at >= maxSpan {
			t.Fatalf("%d bytes of %d left, %v", len(rest), len(b), got)
		}
		if again := decodeAll(t, appendBlock(nil, got), got[0].at); !slices.Equal(again, got) {
			t.Fatalf("%v becomes %v", got, again)
		}
	})
}

// A home's load takes about a byte a second: noise of half a percent, steps of
// ten watts, an appliance now and then.
func TestSecondsOfAHomeAreSmall(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	bytes, n, base := 0, 0, 800.0
	for range 100 {
		var run []second
		for at := range int64(55) {
			if rnd.IntN(300) == 0 {
				base = 500 + 3000*rnd.Float64()
			}
			run = append(run, second{at: at, watts: int32(10 * math.Round(base*(1+0.005*rnd.NormFloat64())/10))})
		}
		bytes += len(appendBlock(nil, run))
		n += len(run)
	}
	if per := float64(bytes) / float64(n); per > 1 {
		t.Errorf("%.2f B a sample", per)
	}
}
