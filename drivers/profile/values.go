package profile

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// types are the words for how a value lies in its registers.
func types() []string {
	return []string{"u16", "s16", "u32", "s32", "f32", "u32sw", "s32sw", "f32sw"}
}

func validType(t string) bool { return slices.Contains(types(), t) }

func validTable(t string) bool { return t == "" || t == "holding" || t == "input" }

// width is how many registers a type takes.
func width(t string) int {
	if t == "u16" || t == "s16" {
		return 1
	}
	return 2
}

// bits joins the registers of a value.
func bits(t string, regs []uint16) uint32 {
	if width(t) == 1 {
		return uint32(regs[0])
	}
	if len(t) > 3 { // ...sw: low word first
		return uint32(regs[1])<<16 | uint32(regs[0])
	}
	return uint32(regs[0])<<16 | uint32(regs[1])
}

// decode returns the unscaled number; not ok where there is none.
func decode(t string, regs []uint16) (float64, bool) {
	if len(regs) < width(t) {
		return 0, false
	}
	u := bits(t, regs)
	switch t[:3] {
	case "s16":
		return float64(int16(u)), true
	case "s32":
		return float64(int32(u)), true
	case "f32":
		f := float64(math.Float32frombits(u))
		return f, !math.IsNaN(f) && !math.IsInf(f, 0)
	default:
		return float64(u), true
	}
}

// encode returns the registers of an unscaled number. A number that the type
// does not hold is an error: a clamped set-point would be another command.
func encode(t string, v float64) ([]uint16, error) {
	low, high := 0.0, float64(math.MaxUint16)
	switch t[:3] {
	case "s16":
		low, high = math.MinInt16, math.MaxInt16
	case "u32":
		high = math.MaxUint32
	case "s32":
		low, high = math.MinInt32, math.MaxInt32
	case "f32":
		low, high = -math.MaxFloat32, math.MaxFloat32
	}
	if !(v >= low && v <= high) {
		return nil, fmt.Errorf("%g does not fit %s", v, t)
	}
	u := uint32(int64(math.Round(v)))
	if t[:3] == "f32" {
		u = math.Float32bits(float32(v))
	}
	if width(t) == 1 {
		return []uint16{uint16(u)}, nil
	}
	if len(t) > 3 {
		return []uint16{uint16(u), uint16(u >> 16)}, nil
	}
	return []uint16{uint16(u >> 16), uint16(u)}, nil
}

// value returns a point in its unit. It is unknown where the device says so or
// the value is not plausible.
func (pt Point) value(regs []uint16) (v float64, raw uint64, ok bool) {
	v, ok = decode(pt.Type, regs)
	if !ok {
		return 0, 0, false
	}
	raw = uint64(bits(pt.Type, regs))
	if slices.Contains(pt.Unset, raw) {
		return 0, raw, false
	}
	if pt.Mask != 0 {
		raw &= pt.Mask
		v = float64(raw)
	}
	v = scaled(v, pt.Scale)
	if (pt.Min != nil && v < *pt.Min) || (pt.Max != nil && v > *pt.Max) {
		return v, raw, false
	}
	return v, raw, true
}

// scaled returns v x scale. A scale of 1/n divides by n, which is exact where
// multiplying by 0.1 is not.
func scaled(v, scale float64) float64 {
	if n := math.Round(1 / scale); scale > 0 && scale < 1 && math.Abs(n*scale-1) < 1e-9 {
		return v / n
	}
	return v * scale
}

// readRaw reads the registers of one value.
func readRaw(ctx context.Context, r Registers, table string, addr uint16, t string) ([]uint16, error) {
	regs := make([]uint16, width(t))
	read := r.ReadHolding
	if table == "input" {
		read = r.ReadInput
	}
	if err := read(ctx, addr, regs); err != nil {
		return nil, err
	}
	return regs, nil
}

// limits are the accepted values in the register's unit.
func (r Register) limits() (low, high float64) {
	low, high = math.Inf(-1), math.Inf(1)
	if r.Min != nil {
		low = *r.Min
	}
	if r.Max != nil {
		high = *r.Max
	}
	return low, high
}
