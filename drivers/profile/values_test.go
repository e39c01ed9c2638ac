package profile

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Every number that a type holds goes out and comes back as it was, in either
// word order.
func TestNumbersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(types()).Draw(t, "type")
		low, high := span(typ)
		var v float64
		switch {
		case typ == "f32" || typ == "f32sw":
			v = float64(rapid.Float32Range(float32(low), float32(high)).Draw(t, "v"))
		case isFloat(typ):
			v = rapid.Float64Range(low, high).Draw(t, "v")
		default: // whole numbers that a float64 holds
			v = math.Trunc(rapid.Float64Range(math.Max(low, -1<<53), math.Min(high, 1<<53)).Draw(t, "v"))
		}
		regs, err := encode(typ, v)
		if err != nil {
			t.Fatal(err)
		}
		if len(regs) != width(typ) {
			t.Fatalf("%s in %d registers", typ, len(regs))
		}
		if got, ok := number(typ, bits(typ, regs)); !ok || got != v {
			t.Fatalf("%s: %g becomes % x becomes %g", typ, v, regs, got)
		}
	})
}

func TestNumbersThatDoNotFit(t *testing.T) {
	for _, typ := range types() {
		low, high := span(typ)
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), low*2 - 1, high*2 + 1} {
			if regs, err := encode(typ, v); err == nil {
				t.Errorf("%s takes %g as % x", typ, v, regs)
			}
		}
		for _, v := range []float64{low, high} {
			if _, err := encode(typ, v); err != nil {
				t.Errorf("%s does not take %g: %v", typ, v, err)
			}
		}
	}
}

// A decimal scale is exact: 0.1 of 3 is what people write as 0.3.
func TestScalesAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := float64(rapid.IntRange(-1_000_000, 1_000_000).Draw(t, "raw"))
		n := rapid.SampledFrom([]float64{2, 10, 50, 100, 1000, 10000}).Draw(t, "n")
		sign := rapid.SampledFrom([]float64{1, -1}).Draw(t, "sign")
		scale := sign / n
		if got, want := scaled(raw, scale), raw/(sign*n); got != want {
			t.Fatalf("%g x %g = %g, want %g", raw, scale, got, want)
		}
		if got := unscaled(scaled(raw, scale), scale); math.Round(got) != raw {
			t.Fatalf("%g there and back is %g", raw, got)
		}
	})
}

func TestBitsOfAPoint(t *testing.T) {
	low, high := 0.0, 10.0
	for _, c := range []struct {
		point Point
		regs  []uint16
		v     float64
		raw   uint64
		ok    bool
	}{
		{Point{Type: "u16", Mask: 0x0F00, Shift: 8, Scale: 1}, []uint16{0xABCD}, 11, 11, true},
		{Point{Type: "u32", Shift: 16, Scale: 1}, []uint16{7, 9}, 7, 7, true},
		{Point{Type: "u16", Mask: 4, Scale: 1}, []uint16{6}, 4, 4, true},
		{Point{Type: "s16", Scale: -1}, []uint16{0xFFFF}, 1, 0xFFFF, true},
		{Point{Type: "s16", Scale: 1, Unset: []uint64{0x8000}}, []uint16{0x8000}, 0, 0x8000, false},
		{Point{Type: "f32", Scale: 1}, []uint16{0x7FC0, 0}, 0, 0x7FC00000, false},
		{Point{Type: "u64", Scale: 1}, []uint16{0, 1, 0, 0}, 1 << 32, 1 << 32, true},
		{Point{Type: "u64sw", Scale: 1}, []uint16{0, 0, 1, 0}, 1 << 32, 1 << 32, true},
		{Point{Type: "bit", Scale: 1}, []uint16{1}, 1, 1, true},
		{Point{Type: "u16", Scale: 1, Min: &low, Max: &high}, []uint16{11}, 11, 11, false},
	} {
		v, raw, ok := c.point.value(c.regs)
		if ok != c.ok || raw != c.raw || ok && v != c.v {
			t.Errorf("%+v of % x: %g, %#x, %v; want %g, %#x, %v", c.point, c.regs, v, raw, ok, c.v, c.raw, c.ok)
		}
	}
}
