package loadlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// minute is what was measured in one minute of UTC, or in one quarter of an hour.
type minute struct {
	wns       float64 // energy in W x ns, measured or recovered
	covered   int64   // ns of it
	recovered int64   // ns of covered that a meter's counter bridged
	min, max  int32   // W
	doubtful  bool
	gap       bool    // a round said that nothing could be read
	guessWns  float64 // energy of what is only estimated, W x ns
	guessed   int64   // ns of it, beside covered
}

type hour struct {
	minutes [60]minute
	dirty   bool // has what the store does not
	merged  bool // has what the store has
}

func (m *minute) empty() bool { return m.covered == 0 && m.guessed == 0 && !m.gap }

// book adds a piece of load.
func (m *minute) book(watts int32, d time.Duration, doubtful bool) {
	m.merge(minute{wns: float64(watts) * float64(d), covered: int64(d), min: watts, max: watts, doubtful: doubtful})
}

// guess adds a piece of load that was estimated.
func (m *minute) guess(watts int32, d time.Duration) {
	m.guessWns += float64(watts) * float64(d)
	m.guessed += int64(d)
	m.bound(time.Minute)
}

// bridge fills what is missing of a minute with the power that a counter says.
func (m *minute) bridge(powerW float64, missing time.Duration) {
	watts := int32(math.Round(powerW))
	if m.covered == 0 {
		m.min, m.max = watts, watts
	}
	m.min, m.max = min(m.min, watts), max(m.max, watts)
	m.wns += powerW * float64(missing)
	m.covered += int64(missing)
	m.recovered += int64(missing)
	m.guessWns, m.guessed = 0, 0 // what was a guess is known now
	m.bound(time.Minute)
}

// merge adds another part of the same minute. Where only one of them has a
// time that can be believed, the other is dropped. Parts that together exceed
// a minute overlap, after a small step of the clock: the mean is kept.
func (m *minute) merge(o minute) {
	gap, guessWns, guessed := m.gap || o.gap, m.guessWns+o.guessWns, m.guessed+o.guessed
	switch {
	case o.covered == 0:
	case m.covered == 0, m.doubtful && !o.doubtful:
		*m = o
	case o.doubtful && !m.doubtful:
	default:
		m.add(o)
	}
	m.gap, m.guessWns, m.guessed = gap, guessWns, guessed
	m.bound(time.Minute)
}

// add sums two stretches of time.
func (m *minute) add(o minute) {
	if o.covered > 0 {
		if m.covered == 0 {
			m.min, m.max = o.min, o.max
		}
		m.min, m.max = min(m.min, o.min), max(m.max, o.max)
	}
	m.wns, m.covered, m.recovered = m.wns+o.wns, m.covered+o.covered, m.recovered+o.recovered
	m.guessWns, m.guessed = m.guessWns+o.guessWns, m.guessed+o.guessed
	m.doubtful, m.gap = m.doubtful || o.doubtful, m.gap || o.gap
}

// bound keeps a minute from being longer than it is: measured time goes before
// what is only estimated.
func (m *minute) bound(length time.Duration) {
	if over := float64(m.covered) / float64(length); over > 1 {
		m.wns /= over
		m.recovered = int64(float64(m.recovered) / over)
		m.covered = int64(length)
	}
	if room := int64(length) - m.covered; m.guessed > room {
		m.guessWns *= float64(room) / float64(m.guessed)
		m.guessed = room
	}
}

// An hour of minutes in the store, and a day of quarters of an hour:
//
//	1 byte format | bitmap of the cells that follow, little endian
//	a cell: 1 byte flags | uvarint ms covered, unless whole
//	      | varint joules less those of the cell before
//	      | varint mean - min | varint max - mean, whole watts
//	      | flagRecovered: uvarint ms | flagGuessed: uvarint ms | varint joules
//
// A cell of nothing but a gap is its flags alone; one with flagNothing has none
// of the first four values.
const (
	hourFormat    = 1
	flagWhole     = 1
	flagDoubtful  = 2
	flagGap       = 4
	flagNothing   = 8
	flagRecovered = 16
	flagGuessed   = 32
)

var errCodec = errors.New("stored load can not be read")

func encodeHour(h *hour) []byte { return encodeCells(h.minutes[:], time.Minute, 8) }

// decodeHour reads a stored hour into h, which is empty.
func decodeHour(b []byte, h *hour) error { return decodeCells(b, h.minutes[:], time.Minute, 8) }

// encodeCells encodes cells of one length behind a bitmap of so many bytes.
func encodeCells(cells []minute, length time.Duration, bitmap int) []byte {
	out := make([]byte, 1+bitmap, 512)
	out[0] = hourFormat
	var last int64
	for i := range cells {
		m := &cells[i]
		covered, guessed := msOf(m.covered), msOf(m.guessed)
		if covered == 0 && guessed == 0 && !m.gap {
			continue
		}
		out[1+i/8] |= 1 << (i % 8)
		out, last = appendCell(out, m, covered == length.Milliseconds(), last)
	}
	return out
}

func msOf(ns int64) int64 { return (ns + int64(time.Millisecond)/2) / int64(time.Millisecond) }

func (m *minute) flags(whole bool) byte {
	var flags byte
	for _, f := range []struct {
		on   bool
		flag byte
	}{{whole, flagWhole}, {m.doubtful && msOf(m.covered) > 0, flagDoubtful}, {m.gap, flagGap}, {msOf(m.covered) == 0, flagNothing},
		{msOf(m.recovered) > 0, flagRecovered}, {msOf(m.guessed) > 0, flagGuessed}} {
		if f.on {
			flags |= f.flag
		}
	}
	return flags
}

func appendCell(out []byte, m *minute, whole bool, last int64) ([]byte, int64) {
	flags := m.flags(whole)
	out = append(out, flags)
	if flags&flagNothing == 0 {
		covered := msOf(m.covered)
		if !whole {
			out = binary.AppendUvarint(out, uint64(covered))
		}
		joules := int64(math.Round(m.wns / 1e9))
		mean := meanOf(joules, covered)
		out = binary.AppendVarint(out, joules-last)
		out = binary.AppendVarint(out, mean-int64(m.min))
		out = binary.AppendVarint(out, int64(m.max)-mean)
		last = joules
	}
	if flags&flagRecovered != 0 {
		out = binary.AppendUvarint(out, uint64(msOf(m.recovered)))
	}
	if flags&flagGuessed != 0 {
		out = binary.AppendUvarint(out, uint64(msOf(m.guessed)))
		out = binary.AppendVarint(out, int64(math.Round(m.guessWns/1e9)))
	}
	return out, last
}

func meanOf(joules, ms int64) int64 { return joules * 1000 / ms }

// decodeCells reads stored cells into empty ones.
func decodeCells(b []byte, cells []minute, length time.Duration, bitmap int) error {
	if len(b) < 1+bitmap || b[0] != hourFormat {
		return fmt.Errorf("%w: %d bytes, want format %d", errCodec, len(b), hourFormat)
	}
	present := b[1 : 1+bitmap]
	r := reader{b: b[1+bitmap:]}
	var last int64
	for i := range 8 * bitmap {
		if present[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		if i >= len(cells) {
			return fmt.Errorf("%w: more than %d cells", errCodec, len(cells))
		}
		var err error
		if last, err = r.cell(&cells[i], length, last); err != nil {
			return fmt.Errorf("%w: cell %d", err, i)
		}
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: %d bytes left over", errCodec, len(r.b))
	}
	return nil
}

// cell reads one cell.
func (r *reader) cell(m *minute, length time.Duration, last int64) (int64, error) {
	const known = flagWhole | flagDoubtful | flagGap | flagNothing | flagRecovered | flagGuessed
	flags := r.byte()
	m.gap, m.doubtful = flags&flagGap != 0, flags&flagDoubtful != 0
	if flags&^known != 0 ||
		flags&flagNothing != 0 && (flags&(flagWhole|flagRecovered|flagDoubtful) != 0 || flags&(flagGap|flagGuessed) == 0) {
		return 0, fmt.Errorf("%w: flags %d", errCodec, flags)
	}
	if flags&flagNothing == 0 {
		var err error
		if last, err = r.value(m, flags&flagWhole != 0, length, last); err != nil {
			return 0, err
		}
	}
	if flags&flagRecovered != 0 {
		ms := r.uvarint()
		if ms > uint64(msOf(m.covered)) {
			return 0, fmt.Errorf("%w: recovered for %d ms", errCodec, ms)
		}
		m.recovered = int64(ms) * int64(time.Millisecond)
	}
	if flags&flagGuessed != 0 {
		ms, joules := r.uvarint(), r.varint()
		if ms == 0 || ms > uint64(length.Milliseconds()) || joules > maxJoules || joules < -maxJoules {
			return 0, fmt.Errorf("%w: estimated %d J for %d ms", errCodec, joules, ms)
		}
		m.guessed, m.guessWns = int64(ms)*int64(time.Millisecond), float64(joules)*1e9
	}
	if r.bad {
		return 0, fmt.Errorf("%w: cut short", errCodec)
	}
	return last, nil
}

// maxJoules is beyond what any site draws in a quarter of an hour: 2^31 W.
const maxJoules = 1 << 41

// value reads energy, least and most of a cell.
func (r *reader) value(m *minute, whole bool, length time.Duration, last int64) (int64, error) {
	ms := uint64(length.Milliseconds())
	if !whole {
		ms = r.uvarint()
	}
	joules := last + r.varint()
	if r.bad || ms == 0 || ms > uint64(length.Milliseconds()) || joules > maxJoules || joules < -maxJoules {
		return 0, fmt.Errorf("%w: %d J in %d ms", errCodec, joules, ms)
	}
	mean := meanOf(joules, int64(ms))
	low, high := mean-r.varint(), mean+r.varint()
	if low < math.MinInt32 || high > math.MaxInt32 || low > high {
		return 0, fmt.Errorf("%w: from %d to %d W", errCodec, low, high)
	}
	m.min, m.max = int32(low), int32(high)
	m.covered = int64(ms) * int64(time.Millisecond)
	// A few ms of load round to whole joules far from its mean.
	covered := float64(m.covered)
	m.wns = max(float64(m.min)*covered, min(float64(m.max)*covered, float64(joules)*1e9))
	return joules, nil
}

// reader reads until something is wrong, then reads zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return v * uint64(r.skip(n))
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	return v * r.skip(n)
}

// skip moves on; it returns 0 where there was nothing to read, else 1.
func (r *reader) skip(n int) int64 {
	if n <= 0 {
		r.bad = true
		r.b = nil
		return 0
	}
	r.b = r.b[n:]
	return 1
}
