package registers

import (
	"math"
)

// A layout lists the types of a SunSpec model's points in their order, one
// letter a point, a number repeating it. Offsets and types are those of the
// alliance's model files; a test compares them where the files are at hand.
//
//	u uint16, enum16, bitfield16   s int16        f scale factor   p pad
//	U uint32, bitfield32           S int32        a acc32
//	L uint64                       t string of 8 registers
type layout string

// The models that the simulated devices carry, from the point after ID and L.
const (
	layoutCommon     layout = "t2 t2 t t t2 u p"
	layoutInverter   layout = "u4 f u6 f s f u f s f s f s f a f u f u f s f s4 f u2 U6"
	layoutNameplate  layout = "u u f u f s4 f u f s4 f u f u f u f u f p"
	layoutStorage    layout = "u10 s2 u4 f8"
	layoutMeter      layout = "s4 f s8 f s f s4 f s4 f s4 f s4 f a8 f a8 f a16 f U"
	layoutMeasure    layout = "u4 U2 s5 u2 U L4 s6 s5 u2 L4 s5 u2 L4 s5 u2 L4 u U f10 t4"
	layoutCapacity   layout = "u21 U u u19 f7"
	layoutControls   layout = "u2 U2 u2 U2 u4 U2 u2 S2 s2 u U2 u3 S2 s2 u U2 u4 f6 u8"
	layoutStorageCap layout = "u5 f2"
	layoutBattery    layout = "u12 U u8 U5 u10 s u2 s u s u2 f12"
)

// The raw values that say "not implemented" (modbus.md 4).
const (
	nanU16 uint16 = 0xFFFF
	nanS16 uint16 = 0x8000
	nanSF  uint16 = 0x8000
)

// kinds returns the letter of each register of the layout; the second and
// later registers of a point are '.'.
func (l layout) kinds() []byte {
	var out []byte
	var letter byte
	repeat := 0
	flush := func() {
		for range max(repeat, 1) {
			if letter != 0 {
				out = append(out, letter)
				for range size(letter) - 1 {
					out = append(out, '.')
				}
			}
		}
		letter, repeat = 0, 0
	}
	for _, c := range []byte(l) {
		switch {
		case c == ' ':
		case c >= '0' && c <= '9':
			repeat = 10*repeat + int(c-'0')
		default:
			flush()
			letter = c
		}
	}
	flush()
	return out
}

// size returns how many registers a point takes.
func size(letter byte) int {
	switch letter {
	case 'U', 'S', 'a':
		return 2
	case 'L':
		return 4
	case 't':
		return 8
	}
	return 1
}

// blank returns the registers of a point that is not implemented.
func blank(letter byte) []uint16 {
	switch letter {
	case 's', 'f', 'p':
		return []uint16{nanS16}
	case 'u':
		return []uint16{nanU16}
	case 'U':
		return []uint16{nanU16, nanU16}
	case 'S':
		return []uint16{nanS16, 0}
	case 'L':
		return []uint16{nanU16, nanU16, nanU16, nanU16}
	}
	return make([]uint16, size(letter)) // accumulators and strings: zero
}

// model is one SunSpec model with its registers, ID and L included, so that
// indices are the offsets of modbus.md 4.
type model struct {
	id       uint16
	kinds    []byte // of each register
	reg      []uint16
	writable map[int]bool
}

// newModel returns a model in which nothing is implemented.
func newModel(id uint16, l layout) *model {
	kinds := append([]byte("uu"), l.kinds()...)
	m := &model{id: id, kinds: kinds, writable: map[int]bool{}}
	for _, k := range kinds {
		if k != '.' {
			m.reg = append(m.reg, blank(k)...)
		}
	}
	m.reg[0], m.reg[1] = id, uint16(len(kinds)-2)
	return m
}

// allow marks points as writable by their offsets.
func (m *model) allow(offsets ...int) {
	for _, o := range offsets {
		for i := range size(m.kinds[o]) {
			m.writable[o+i] = true
		}
	}
}

// erase makes a point read as not implemented.
func (m *model) erase(off int) {
	if off >= 2 && off < len(m.kinds) && m.kinds[off] != '.' {
		copy(m.reg[off:], blank(m.kinds[off]))
	}
}

func (m *model) setScale(off, exponent int) { m.reg[off] = uint16(int16(exponent)) }

// scale returns ten to the power of a scale factor.
func (m *model) scale(off int) float64 { return math.Pow10(int(int16(m.reg[off]))) }

// setScaled stores v in the point at off by its scale factor at sf, cut to
// what the type holds without meaning "not implemented".
func (m *model) setScaled(off, sf int, v float64) {
	raw := math.Round(v / m.scale(sf))
	switch m.kinds[off] {
	case 's':
		m.reg[off] = uint16(int16(clamp(raw, -math.MaxInt16, math.MaxInt16)))
	case 'u':
		m.reg[off] = uint16(clamp(raw, 0, math.MaxUint16-1))
	case 'U':
		m.setU32(off, uint32(clamp(raw, 0, math.MaxUint32-1)))
	case 'S':
		m.setU32(off, uint32(int32(clamp(raw, -math.MaxInt32, math.MaxInt32))))
	case 'a': // accumulators roll over
		m.setU32(off, uint32(uint64(math.Max(0, raw))))
	case 'L':
		n := uint64(math.Max(0, raw))
		m.setU32(off, uint32(n>>32))
		m.setU32(off+2, uint32(n))
	}
}

func clamp(v, low, high float64) float64 { return math.Max(low, math.Min(high, v)) }

func (m *model) setU32(off int, v uint32) {
	m.reg[off], m.reg[off+1] = uint16(v>>16), uint16(v)
}

func (m *model) u32(off int) uint32 { return uint32(m.reg[off])<<16 | uint32(m.reg[off+1]) }

// scaled returns the number at off by its scale factor at sf.
func (m *model) scaled(off, sf int) float64 {
	raw := 0.0
	switch m.kinds[off] {
	case 's':
		raw = float64(int16(m.reg[off]))
	case 'u':
		raw = float64(m.reg[off])
	case 'S':
		raw = float64(int32(m.u32(off)))
	case 'U':
		raw = float64(m.u32(off))
	}
	return raw * m.scale(sf)
}

// setText stores a string in n registers, padded with NUL.
func (m *model) setText(off, n int, s string) {
	b := make([]byte, 2*n)
	copy(b, s)
	for i := range n {
		m.reg[off+i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
}
