package twin

import (
	"math"
	"strconv"
	"strings"
)

// layout is how a number lies in registers, read from the word for its type.
// This reading of the schema is the twin's own: the interpreter's is not used,
// so that a slip in one shows as a difference.
type layout struct {
	words                  int // registers, or 1 for a bit
	signed, real, lowFirst bool
}

func layoutOf(kind string) layout {
	if kind == "bit" {
		return layout{words: 1}
	}
	name, low := strings.CutSuffix(kind, "sw")
	if name == "" {
		return layout{words: 1}
	}
	size, err := strconv.Atoi(name[1:])
	if err != nil || size < 16 {
		size = 16
	}
	return layout{words: size / 16, signed: name[0] == 's', real: name[0] == 'f', lowFirst: low}
}

// split returns the registers of a raw value.
func (l layout) split(raw uint64) []uint16 {
	regs := make([]uint16, l.words)
	for i := range regs {
		at := l.words - 1 - i
		if l.lowFirst {
			at = i
		}
		regs[at] = uint16(raw >> (16 * i))
	}
	return regs
}

// join is the inverse of split.
func (l layout) join(regs []uint16) uint64 {
	raw := uint64(0)
	for i, r := range regs {
		shift := len(regs) - 1 - i
		if l.lowFirst {
			shift = i
		}
		raw |= uint64(r) << (16 * shift)
	}
	return raw
}

// number reads a raw value; NaN is no number.
func (l layout) number(raw uint64) float64 {
	unused := 64 - 16*l.words
	switch {
	case l.real && l.words == 2:
		return float64(math.Float32frombits(uint32(raw)))
	case l.real:
		return math.Float64frombits(raw)
	case l.signed:
		return float64(int64(raw<<unused) >> unused)
	}
	return float64(raw)
}

// raw returns the nearest value that the type holds; not ok where the number
// is beyond it.
func (l layout) raw(v float64) (uint64, bool) {
	bits := 16 * l.words
	switch {
	case math.IsNaN(v):
		return 0, false
	case l.real && l.words == 2:
		return uint64(math.Float32bits(float32(v))), math.Abs(v) <= math.MaxFloat32
	case l.real:
		return math.Float64bits(v), true
	}
	v = math.Round(v)
	low, high := 0.0, math.Ldexp(1, bits)
	if l.signed {
		low, high = -math.Ldexp(1, bits-1), math.Ldexp(1, bits-1)
	}
	if v < low || v >= high {
		return 0, false
	}
	if v < 0 {
		return uint64(int64(v)) & (math.MaxUint64 >> (64 - bits)), true
	}
	return uint64(v), true
}

// most is the largest number that the type holds.
func (l layout) most() float64 {
	switch {
	case l.real && l.words == 2:
		return math.MaxFloat32
	case l.real:
		return math.MaxFloat64
	case l.signed:
		return math.Ldexp(1, 16*l.words-1) - 1
	}
	return math.Ldexp(1, 16*l.words) - 1
}
