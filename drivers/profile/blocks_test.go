package profile_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"nominald/drivers/profile"
)

// drawn is a profile with a few points at random places, whose points avoid its
// holes.
func drawn(t *rapid.T) *profile.Profile {
	p := &profile.Profile{
		MaxRegisters:  rapid.IntRange(4, 12).Draw(t, "max_registers"),
		MaxGap:        rapid.IntRange(0, 4).Draw(t, "max_gap"),
		OnePerRequest: rapid.IntRange(0, 5).Draw(t, "one") == 0,
	}
	for range rapid.IntRange(0, 2).Draw(t, "holes") {
		from := rapid.Uint16Range(0, 30).Draw(t, "hole")
		p.Holes = append(p.Holes, [2]uint16{from, from + rapid.Uint16Range(0, 2).Draw(t, "length")})
	}
	for range rapid.IntRange(1, 8).Draw(t, "points") {
		pt := profile.Point{
			Name:    fmt.Sprint("p", len(p.Points)),
			Table:   rapid.SampledFrom([]string{"holding", "holding", "input"}).Draw(t, "table"),
			Address: rapid.Uint16Range(0, 30).Draw(t, "address"),
			Type:    rapid.SampledFrom([]string{"u16", "s32", "f64"}).Draw(t, "type"),
		}
		free := func(h [2]uint16) bool { return pt.Address > h[1] || pt.Address+wide(pt)-1 < h[0] }
		if !slices.ContainsFunc(p.Holes, func(h [2]uint16) bool { return !free(h) }) {
			p.Points = append(p.Points, pt)
		}
	}
	return p
}

func wide(pt profile.Point) uint16 {
	return map[string]uint16{"u16": 1, "s32": 2, "f64": 4}[pt.Type]
}

// readable tells whether one request may read all the points, straight from the
// words of the format.
func readable(p *profile.Profile, points []profile.Point) bool {
	first, end := 1<<16, 0
	listed := map[int]bool{}
	for _, pt := range points {
		if pt.Table != points[0].Table {
			return false
		}
		if p.OnePerRequest && (pt.Address != points[0].Address || wide(pt) != wide(points[0])) {
			return false
		}
		first, end = min(first, int(pt.Address)), max(end, int(pt.Address+wide(pt)))
		for i := range wide(pt) {
			listed[int(pt.Address+i)] = true
		}
	}
	gap := 0
	for a := first; a < end; a++ {
		if gap++; listed[a] {
			gap = 0
		}
		if gap > p.MaxGap || slices.ContainsFunc(p.Holes, func(h [2]uint16) bool { return a >= int(h[0]) && a <= int(h[1]) }) {
			return false
		}
	}
	return end-first <= p.MaxRegisters
}

// fewest is the smallest number of requests, by trying every way to share the
// points out.
func fewest(p *profile.Profile, points []profile.Point, groups [][]profile.Point, best int) int {
	if len(groups) >= best {
		return best
	}
	if len(points) == 0 {
		for _, g := range groups {
			if !readable(p, g) {
				return best
			}
		}
		return len(groups)
	}
	for i, g := range groups {
		groups[i] = append(slices.Clone(g), points[0])
		best = fewest(p, points[1:], groups, best)
		groups[i] = g
	}
	return fewest(p, points[1:], append(groups, []profile.Point{points[0]}), best)
}

func TestRequestsAreTheFewestThatCoverEveryPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawn(t)
		requests := p.Requests(1)
		seen := map[string]bool{}
		for _, r := range requests {
			var served []profile.Point
			for _, name := range r.Points {
				i := slices.IndexFunc(p.Points, func(pt profile.Point) bool { return pt.Name == name })
				pt := p.Points[i]
				served, seen[name] = append(served, pt), true
				if pt.Address < r.Address || int(pt.Address+wide(pt)) > int(r.Address)+r.Count {
					t.Fatalf("%+v does not hold the whole of %+v", r, pt)
				}
			}
			if !readable(p, served) {
				t.Fatalf("%+v: max_registers %d, max_gap %d, holes %v, one %v do not allow %+v", r, p.MaxRegisters, p.MaxGap, p.Holes, p.OnePerRequest, served)
			}
		}
		if len(seen) != len(p.Points) {
			t.Fatalf("%d of %d points are read", len(seen), len(p.Points))
		}
		if want := fewest(p, p.Points, nil, len(p.Points)+1); len(p.Points) > 0 && len(requests) != want {
			t.Fatalf("%d requests for %+v, %d are enough", len(requests), p.Points, want)
		}
	})
}

func TestSlowAndOptionalPointsAreReadApart(t *testing.T) {
	p := &profile.Profile{MaxRegisters: 125, MaxGap: 10, Channels: 3, Points: []profile.Point{
		{Name: "power", Table: "holding", Address: 10, Stride: 100, Type: "s32"},
		{Name: "energy", Table: "holding", Address: 12, Stride: 100, Type: "u32", Slow: true},
		{Name: "state", Table: "holding", Address: 14, Stride: 100, Type: "u16"},
		{Name: "room", Table: "holding", Address: 15, Stride: 100, Type: "u16", Optional: true},
	}}
	got := fmt.Sprint(p.Requests(3))
	if want := "[{3 210 5 [power state] false false} {3 215 1 [room] false true} {3 212 2 [energy] true true}]"; got != want {
		t.Errorf("requests %s, want %s", got, want)
	}
}
