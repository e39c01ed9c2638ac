package loadlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// minute is what was measured in one minute of UTC.
type minute struct {
	wns      float64 // energy in W x ns
	covered  int64   // ns, at most a minute
	min, max int32   // W
	doubtful bool
	gap      bool // a round said that nothing could be read
}

type hour struct {
	minutes [60]minute
	dirty   bool // has what the store does not
	merged  bool // has what the store has
}

func (m *minute) empty() bool { return m.covered == 0 && !m.gap }

// book adds a piece of load.
func (m *minute) book(watts int32, d time.Duration, doubtful bool) {
	m.merge(minute{wns: float64(watts) * float64(d), covered: int64(d), min: watts, max: watts, doubtful: doubtful})
}

// merge adds another part of the same minute. Where only one of them has a
// time that can be believed, the other is dropped. Parts that together exceed
// a minute overlap, after a small step of the clock: the mean is kept.
func (m *minute) merge(o minute) {
	gap := m.gap || o.gap
	switch {
	case o.covered == 0:
	case m.covered == 0, m.doubtful && !o.doubtful:
		*m = o
	case o.doubtful && !m.doubtful:
	default:
		m.wns += o.wns
		m.covered += o.covered
		m.min, m.max = min(m.min, o.min), max(m.max, o.max)
	}
	if m.covered > int64(time.Minute) {
		m.wns *= float64(time.Minute) / float64(m.covered)
		m.covered = int64(time.Minute)
	}
	m.gap = gap
}

// An hour in the store:
//
//	1 byte format | 8 bytes bitmap of the minutes that follow, little endian
//	a minute: 1 byte flags | uvarint ms covered, unless a whole minute
//	        | varint joules less those of the minute before
//	        | varint mean - min | varint max - mean, whole watts
//
// A minute of nothing but a gap is its flags alone.
const (
	hourFormat   = 1
	flagWhole    = 1
	flagDoubtful = 2
	flagGap      = 4
	flagNothing  = 8
	flagsValued  = flagWhole | flagDoubtful | flagGap // may come with a value
)

var errCodec = errors.New("stored hour of load can not be read")

func encodeHour(h *hour) []byte {
	out := make([]byte, 9, 512)
	out[0] = hourFormat
	var present uint64
	var last int64
	for i := range h.minutes {
		m := &h.minutes[i]
		ms := (m.covered + int64(time.Millisecond)/2) / int64(time.Millisecond)
		if ms == 0 {
			if m.gap {
				present |= 1 << i
				out = append(out, flagGap|flagNothing)
			}
			continue
		}
		present |= 1 << i
		flags := byte(0)
		if m.gap {
			flags |= flagGap
		}
		if m.doubtful {
			flags |= flagDoubtful
		}
		if ms == time.Minute.Milliseconds() {
			out = append(out, flags|flagWhole)
		} else {
			out = binary.AppendUvarint(append(out, flags), uint64(ms))
		}
		joules := int64(math.Round(m.wns / 1e9))
		mean := meanOf(joules, ms)
		out = binary.AppendVarint(out, joules-last)
		out = binary.AppendVarint(out, mean-int64(m.min))
		out = binary.AppendVarint(out, int64(m.max)-mean)
		last = joules
	}
	binary.LittleEndian.PutUint64(out[1:], present)
	return out
}

func meanOf(joules, ms int64) int64 { return joules * 1000 / ms }

// decodeHour reads a stored hour into h, which is empty.
func decodeHour(b []byte, h *hour) error {
	if len(b) < 9 || b[0] != hourFormat {
		return fmt.Errorf("%w: %d bytes, want format %d", errCodec, len(b), hourFormat)
	}
	present := binary.LittleEndian.Uint64(b[1:])
	if present>>60 != 0 {
		return fmt.Errorf("%w: more than 60 minutes", errCodec)
	}
	r := reader{b: b[9:]}
	var last int64
	for i := range h.minutes {
		if present&(1<<i) == 0 {
			continue
		}
		m := &h.minutes[i]
		flags := r.byte()
		m.gap = flags&flagGap != 0
		if flags == flagGap|flagNothing {
			continue
		}
		m.doubtful = flags&flagDoubtful != 0
		ms := uint64(time.Minute.Milliseconds())
		if flags&flagWhole == 0 {
			ms = r.uvarint()
		}
		joules := last + r.varint()
		if r.bad || flags&^flagsValued != 0 || ms == 0 || ms > 60_000 || joules > 1<<38 || joules < -1<<38 {
			return fmt.Errorf("%w: minute %d", errCodec, i)
		}
		mean := meanOf(joules, int64(ms))
		low, high := mean-r.varint(), mean+r.varint()
		if low < math.MinInt32 || high > math.MaxInt32 || low > high {
			return fmt.Errorf("%w: minute %d from %d to %d W", errCodec, i, low, high)
		}
		m.min, m.max = int32(low), int32(high)
		m.covered, last = int64(ms)*int64(time.Millisecond), joules
		// A few ms of load round to whole joules far from its mean.
		whole := float64(m.covered)
		m.wns = max(float64(m.min)*whole, min(float64(m.max)*whole, float64(joules)*1e9))
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: %d bytes left over", errCodec, len(r.b))
	}
	return nil
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
