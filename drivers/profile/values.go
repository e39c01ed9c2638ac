package profile

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The tables, and the type of a coil or discrete input.
const (
	tableHolding  = "holding"
	tableInput    = "input"
	tableCoil     = "coil"
	tableDiscrete = "discrete"
	typeBit       = "bit"
	typeText      = "text"
)

func tables() []string { return []string{tableHolding, tableInput, tableCoil, tableDiscrete} }

// types are the words for how a value lies in its registers.
func types() []string {
	return []string{"u16", "s16", "u32", "s32", "f32", "u64", "s64", "f64",
		"u32sw", "s32sw", "f32sw", "u64sw", "s64sw", "f64sw", typeBit}
}

// readFunction is the Modbus function that reads a table.
func readFunction(table string) byte {
	switch table {
	case tableCoil:
		return 1
	case tableDiscrete:
		return 2
	case tableInput:
		return 4
	default:
		return 3
	}
}

// width is how many registers a type takes.
func width(t string) int {
	switch {
	case strings.Contains(t, "64"):
		return 4
	case strings.Contains(t, "32"):
		return 2
	default:
		return 1
	}
}

// bits joins the registers of a value.
func bits(t string, regs []uint16) uint64 {
	var u uint64
	for i := range width(t) {
		r := regs[i]
		if strings.HasSuffix(t, "sw") { // low word first
			r = regs[width(t)-1-i]
		}
		u = u<<16 | uint64(r)
	}
	return u
}

// number returns the unscaled number that the bits of a type mean; not ok where
// there is none.
func number(t string, u uint64) (float64, bool) {
	f := float64(u)
	switch strings.TrimSuffix(t, "sw") {
	case "s16":
		return float64(int16(u)), true
	case "s32":
		return float64(int32(u)), true
	case "s64":
		return float64(int64(u)), true
	case "f32":
		f = float64(math.Float32frombits(uint32(u)))
	case "f64":
		f = math.Float64frombits(u)
	}
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

// encode returns the registers of an unscaled number. A number that the type
// does not hold is an error: a clamped set-point would be another command.
func encode(t string, v float64) ([]uint16, error) {
	low, high := span(t)
	whole := math.Round(v)
	if isFloat(t) {
		whole = v
	}
	if !(whole >= low && whole <= high) {
		return nil, fmt.Errorf("%g does not fit %s", v, t)
	}
	var u uint64
	switch strings.TrimSuffix(t, "sw") {
	case "f32":
		u = uint64(math.Float32bits(float32(v)))
	case "f64":
		u = math.Float64bits(v)
	case "u64":
		u = uint64(whole)
	default:
		u = uint64(int64(whole))
	}
	regs := make([]uint16, width(t))
	for i := range regs {
		at := len(regs) - 1 - i
		if strings.HasSuffix(t, "sw") {
			at = i
		}
		regs[at] = uint16(u >> (16 * i))
	}
	return regs, nil
}

func isFloat(t string) bool { return strings.HasPrefix(t, "f") }

// span is the smallest and the largest number that a type holds. Those of 64
// bits end where a float64 still is the integer next to the limit.
func span(t string) (low, high float64) {
	switch strings.TrimSuffix(t, "sw") {
	case typeBit:
		return 0, 1
	case "s16":
		return math.MinInt16, math.MaxInt16
	case "u32":
		return 0, math.MaxUint32
	case "s32":
		return math.MinInt32, math.MaxInt32
	case "f32":
		return -math.MaxFloat32, math.MaxFloat32
	case "u64":
		return 0, math.Nextafter(1<<64, 0)
	case "s64":
		return math.MinInt64, math.Nextafter(1<<63, 0)
	case "f64":
		return -math.MaxFloat64, math.MaxFloat64
	default:
		return 0, math.MaxUint16
	}
}

// value returns a point in its unit. It is unknown where the device says so or
// the value is not plausible.
func (pt Point) value(regs []uint16) (v float64, raw uint64, ok bool) {
	raw = bits(pt.Type, regs)
	if slices.Contains(pt.Unset, raw) {
		return 0, raw, false
	}
	if pt.Mask != 0 || pt.Shift != 0 {
		mask := pt.Mask
		if mask == 0 {
			mask = math.MaxUint64
		}
		raw = raw & mask >> pt.Shift
		v, ok = float64(raw), true
	} else {
		v, ok = number(pt.Type, raw)
	}
	v = scaled(v, pt.Scale)
	if !ok || (pt.Min != nil && v < *pt.Min) || (pt.Max != nil && v > *pt.Max) {
		return v, raw, false
	}
	return v, raw, true
}

// scaled returns v x scale. A scale of 1/n divides by n, which is exact where
// multiplying by 0.1 is not.
func scaled(v, scale float64) float64 {
	if n, ok := inverse(scale); ok {
		return v / n
	}
	return v * scale
}

// unscaled is the inverse of scaled.
func unscaled(v, scale float64) float64 {
	if n, ok := inverse(scale); ok {
		return v * n
	}
	return v / scale
}

// inverse returns n where the scale is 1/n or -1/n for a whole number above 1.
func inverse(scale float64) (n float64, ok bool) {
	n = math.Round(1 / scale)
	return n, math.Abs(scale) < 1 && math.Abs(n*scale-1) < 1e-9
}

// constant returns the number that a step's value is, decimal or 0x...
func constant(s string) (float64, bool) {
	if i, err := strconv.ParseInt(s, 0, 64); err == nil {
		return float64(i), true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// limits are the accepted values in the register's unit: those of the profile,
// or what the type holds.
func (r Register) limits() (low, high float64) {
	low, high = span(r.Type)
	if r.Raw {
		low, high = span("u16")
	}
	low, high = scaled(low, r.Scale), scaled(high, r.Scale)
	if low > high {
		low, high = high, low
	}
	if r.Min != nil {
		low = *r.Min
	}
	if r.Max != nil {
		high = *r.Max
	}
	return low, high
}
