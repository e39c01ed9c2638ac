package dispatch

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRowOverlapRank(t *testing.T) {
	base := Record{Timeslot: award(event2)}
	change := func(f func(*Timeslot)) Record { return Record{Timeslot: with(award(event2), f)} }
	for name, c := range map[string]struct {
		first, second Record
		kw1, kw2      float64
	}{
		"priority before all": {change(func(t *Timeslot) { t.Priority, t.Voluntary = 1, true }), base, 1, 9},
		"committed before voluntary": {
			base, change(func(t *Timeslot) { t.Voluntary = true }), 1, 9},
		"larger target": {base, change(func(t *Timeslot) { t.Start = noon }), 9, 1},
		"all there is":  {base, change(func(t *Timeslot) { t.Start = noon }), math.Inf(1), 1e9},
		"earlier start": {change(func(t *Timeslot) { t.Start = noon }), base, 5, 5},
		"id":            {change(func(t *Timeslot) { t.EventID = event1 }), base, 5, 5},
		"unknown power": {base, change(func(t *Timeslot) { t.Start = noon }), 0, math.NaN()},
	} {
		if !Outranks(c.first, c.second, c.kw1, c.kw2) || Outranks(c.second, c.first, c.kw2, c.kw1) {
			t.Errorf("%s: the order is not first, second", name)
		}
	}
}

func TestOutranksIsAStrictTotalOrder(t *testing.T) {
	watts := rapid.SampledFrom([]float64{0, 1000, 8000, math.Inf(1), math.NaN()})
	record := rapid.Custom(func(t *rapid.T) Record {
		return Record{Timeslot: Timeslot{
			Priority:  rapid.IntRange(1, 3).Draw(t, "priority"),
			Voluntary: rapid.Bool().Draw(t, "voluntary"),
			Start:     at(time.Duration(rapid.IntRange(0, 2).Draw(t, "start")) * time.Hour),
		}}
	})
	rapid.Check(t, func(t *rapid.T) {
		r := [3]Record{record.Draw(t, "a"), record.Draw(t, "b"), record.Draw(t, "c")}
		r[0].EventID, r[1].EventID, r[2].EventID = event1, event2, event3
		w := [3]float64{watts.Draw(t, "wa"), watts.Draw(t, "wb"), watts.Draw(t, "wc")}
		over := func(i, j int) bool { return Outranks(r[i], r[j], w[i], w[j]) }
		for i := range 3 {
			if over(i, i) {
				t.Fatalf("%d outranks itself", i)
			}
			for j := range 3 {
				if i != j && over(i, j) == over(j, i) {
					t.Fatalf("%d and %d do not rank", i, j)
				}
				for k := range 3 {
					if over(i, j) && over(j, k) && !over(i, k) {
						t.Fatalf("not transitive: %d %d %d", i, j, k)
					}
				}
			}
		}
	})
}

func TestRankSortsWithoutTouchingItsInput(t *testing.T) {
	low := Record{Timeslot: with(award(event1), func(t *Timeslot) { t.Priority = 5 })}
	high := Record{Timeslot: award(event2)}
	in := []Record{low, high}
	out := Rank(in, func(r *Record) float64 { return *r.EnergyKW * 1000 })
	if out[0].EventID != event2 || out[1].EventID != event1 || in[0].EventID != event1 {
		t.Errorf("got %s, %s; input starts with %s", out[0].EventID, out[1].EventID, in[0].EventID)
	}
}
