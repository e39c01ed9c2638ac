package sunspec

import (
	"fmt"
	"math"
	"strings"
)

// Type is a SunSpec point type. It fixes the number of registers, the sign and
// the bit pattern that says "unimplemented".
type Type uint8

// The point types that occur in the models used here.
const (
	Int16 Type = iota + 1
	Uint16
	Enum16
	Bits16
	Acc16
	Int32
	Uint32
	Enum32
	Bits32
	Acc32
	Int64
	Uint64
	Acc64
	Float32
	ScaleFactor
)

// String returns the name that the SunSpec model files use.
func (t Type) String() string {
	names := [...]string{"", "int16", "uint16", "enum16", "bitfield16", "acc16",
		"int32", "uint32", "enum32", "bitfield32", "acc32",
		"int64", "uint64", "acc64", "float32", "sunssf"}
	if int(t) >= len(names) {
		return fmt.Sprintf("type %d", t)
	}
	return names[t]
}

// Len returns how many registers a point of the type takes.
func (t Type) Len() int {
	switch t {
	case Int32, Uint32, Enum32, Bits32, Acc32, Float32:
		return 2
	case Int64, Uint64, Acc64:
		return 4
	default:
		return 1
	}
}

// Decode returns the unscaled number in the registers, high word first. It is
// not ok where they are too few or hold the type's "unimplemented" value.
func Decode(t Type, regs []uint16) (v float64, ok bool) {
	if len(regs) < t.Len() {
		return 0, false
	}
	var u uint64
	for _, r := range regs[:t.Len()] {
		u = u<<16 | uint64(r)
	}
	switch t {
	case Int16, ScaleFactor:
		return float64(int16(u)), u != 0x8000
	case Uint16, Enum16, Bits16:
		return float64(u), u != 0xFFFF
	case Int32:
		return float64(int32(u)), u != 0x8000_0000
	case Uint32, Enum32, Bits32:
		return float64(u), u != 0xFFFF_FFFF
	case Int64:
		return float64(int64(u)), u != 0x8000_0000_0000_0000
	case Uint64:
		return float64(u), u != math.MaxUint64
	case Acc16, Acc32, Acc64:
		return float64(u), u != 0
	case Float32:
		f := float64(math.Float32frombits(uint32(u)))
		return f, !math.IsNaN(f) && !math.IsInf(f, 0)
	default:
		return 0, false
	}
}

// limits returns the smallest and largest number that may be written as the
// type. The "unimplemented" patterns lie outside.
func (t Type) limits() (low, high float64) {
	switch t {
	case Int16, ScaleFactor:
		return -math.MaxInt16, math.MaxInt16
	case Uint16, Enum16, Bits16:
		return 0, math.MaxUint16 - 1
	case Int32:
		return -math.MaxInt32, math.MaxInt32
	case Uint32, Enum32, Bits32:
		return 0, math.MaxUint32 - 1
	case Float32:
		return -math.MaxFloat32, math.MaxFloat32
	default:
		return 0, 0
	}
}

// Encode returns the registers of an unscaled number: rounded, clamped to what
// the type holds, and never its "unimplemented" pattern. Accumulators and
// 64-bit points are read-only in every model used here and are refused.
func Encode(t Type, v float64) ([]uint16, error) {
	low, high := t.limits()
	if low == high || math.IsNaN(v) {
		return nil, fmt.Errorf("encode %v as %s: no such value", v, t)
	}
	v = math.Min(math.Max(v, low), high)
	if t == Float32 {
		u := math.Float32bits(float32(v))
		return []uint16{uint16(u >> 16), uint16(u)}, nil
	}
	u := uint64(int64(math.Round(v)))
	if t.Len() == 2 {
		return []uint16{uint16(u >> 16), uint16(u)}, nil
	}
	return []uint16{uint16(u)}, nil
}

// maxExponent bounds a scale factor: SunSpec allows -10 to 10.
const maxExponent = 10

// scale returns v x 10^exp. Dividing by a power of ten is exact where
// multiplying by its inverse is not (2305 x 0.1).
func scale(v float64, exp int) float64 {
	if exp < 0 {
		return v / math.Pow10(-exp)
	}
	return v * math.Pow10(exp)
}

// text decodes a SunSpec string: 8-bit characters, padded with NUL or spaces.
func text(regs []uint16) string {
	b := make([]byte, 0, 2*len(regs))
	for _, r := range regs {
		b = append(b, byte(r>>8), byte(r))
	}
	s, _, _ := strings.Cut(string(b), "\x00")
	printable := func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}
	return strings.TrimSpace(strings.Map(printable, s))
}
