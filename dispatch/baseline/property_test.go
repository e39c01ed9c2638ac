package baseline

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawn is an event somewhere in 2026 and a load that changes by the hour, from
// 1000 to 2000 W.
type drawn struct {
	p    Params
	zone *time.Location
	ev   Event
	seed uint64
}

func draw(t *rapid.T, z *time.Location) drawn {
	d := drawn{zone: z, p: rapid.SampledFrom(Presets()).Draw(t, "preset"), seed: rapid.Uint64().Draw(t, "seed")}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, z).Add(time.Duration(rapid.IntRange(90*24*4, 450*24*4).Draw(t, "quarter")) * Interval)
	d.ev = Event{Start: start, End: start.Add(time.Duration(rapid.IntRange(1, 32).Draw(t, "quarters")) * Interval)}
	d.ev.Known = start.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "known")) * time.Hour)
	if rapid.Bool().Draw(t, "events") {
		d.ev.IsEventDay = func(noon time.Time) bool { return noon.YearDay()%11 == 0 }
	}
	return d
}

// load is 1000 to 2000 W by the hour, other for each seed.
func (d *drawn) load(at time.Time) float64 {
	x := (uint64(at.Unix()/3600) + d.seed) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	return 1000 + float64(x*0xbf58476d1ce4e5b9>>40)/float64(1<<24)*1000
}

func (d *drawn) compute(t *rapid.T, w func(time.Time) float64) *Estimate {
	e, err := Compute(d.p, d.zone, d.ev, loads{w: w})
	if err != nil {
		t.Fatalf("%s, %v to %v: %v", d.p.Name, d.ev.Start, d.ev.End, err)
	}
	if !e.At(d.ev.Start).OK || !e.At(d.ev.End.Add(-time.Second)).OK {
		t.Fatalf("%s: %d intervals from %v do not cover %v to %v", d.p.Name, len(e.W), e.Start, d.ev.Start, d.ev.End)
	}
	return e
}

func TestPropertiesOfEveryPreset(t *testing.T) {
	z := zone(t)
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(1, math.Abs(a), math.Abs(b)) }
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, z)
		level := rapid.Float64Range(1, 1e5).Draw(t, "level")
		for _, w := range d.compute(t, func(time.Time) float64 { return level }).W {
			if want := level; !d.p.OfDevice() && !near(w, want) || d.p.OfDevice() && w != 0 {
				t.Fatalf("%s: a load of %v W all the time gives %v", d.p.Name, level, w)
			}
		}
		e := d.compute(t, d.load)
		if a := d.p.Adjust; a.Kind == Multiply && (e.Factor < a.Low || e.Factor > a.High) {
			t.Fatalf("%s: factor %v beyond %v to %v", d.p.Name, e.Factor, a.Low, a.High)
		}
		times := rapid.Float64Range(0.1, 10).Draw(t, "times")
		scaled := d.compute(t, func(at time.Time) float64 { return times * d.load(at) })
		for i, w := range scaled.W {
			if !near(w, times*e.W[i]) {
				t.Fatalf("%s: a history %v times as large gives %v, want %v", d.p.Name, times, w, times*e.W[i])
			}
		}
		if d.p.Adjust.Kind == Multiply || d.p.OfDevice() {
			return
		}
		shift := rapid.Float64Range(0, 5000).Draw(t, "shift")
		shifted := d.compute(t, func(at time.Time) float64 { return d.load(at) + shift })
		for i, w := range shifted.W {
			if !near(w, e.W[i]+shift) {
				t.Fatalf("%s: %v W more all the time give %v, want %v", d.p.Name, shift, w, e.W[i]+shift)
			}
		}
	})
}

// Nothing that was drawn after Known is asked for, and of the event itself
// nothing ever.
func TestNothingAfterKnownIsUsed(t *testing.T) {
	z := zone(t)
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t, z)
		d.ev.Known = d.ev.Known.Add(-20 * time.Hour) // before the start as well
		d.ev.End = d.ev.Start.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "hours")) * time.Hour)
		h := watched{of: d.load, asked: func(from, to time.Time) {
			if to.After(d.ev.Known) || to.After(d.ev.Start) && from.Before(d.ev.End) {
				t.Fatalf("%s: asks for %v to %v, known to %v, event from %v to %v", d.p.Name, from, to, d.ev.Known, d.ev.Start, d.ev.End)
			}
		}}
		// The error of too little is right where hardly anything is known.
		_, _ = Compute(d.p, z, d.ev, h)
	})
}

// watched is a history that tells what it is asked for.
type watched struct {
	of    func(time.Time) float64
	asked func(from, to time.Time)
}

func (w watched) MeanW(from, to time.Time) (float64, float64, error) {
	w.asked(from, to)
	return loads{w: w.of}.MeanW(from, to)
}

// A huge or a missing load on the event day brings factors to their limits.
func TestEveryFactorHasItsLimits(t *testing.T) {
	z := zone(t)
	for _, p := range Presets() {
		if p.Adjust.Kind != Multiply {
			continue
		}
		for today, want := range map[float64]float64{1e6: p.Adjust.High, 1: p.Adjust.Low} {
			h := of(z, func(l time.Time) float64 {
				if l.Month() == time.July && l.Day() == 21 {
					return today
				}
				return 1000
			})
			e, err := Compute(p, z, event(z), h)
			if err != nil {
				t.Fatal(err)
			}
			if e.Factor != want || !e.Clamped {
				t.Errorf("%s: %v W on the day: factor %v, clamped %v; want %v, clamped", p.Name, today, e.Factor, e.Clamped, want)
			}
		}
	}
}
