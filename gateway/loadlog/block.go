package loadlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// A block is what one channel measured second by second, in whole watts:
//
//	1 byte flags | uvarint seconds that it spans (n, at most maxSpan)
//	| unless flagAll: bitmap of the seconds with a value (n bits)
//	| flagGaps: bitmap of the seconds in which nothing could be read
//	| flagDoubts: bitmap of the seconds whose time is not to be believed
//	| 1 byte scale (a power of ten that divides every value) | varint first value
//	| 1 byte width of a difference in bits | uvarint number of exceptions
//	| the differences, zigzag, packed | the exceptions: uvarint place, uvarint zigzag
//
// An appliance that switches makes one large difference in a minute of small
// ones: those are kept as exceptions, so that the others stay narrow. A meter
// that shows tens of watts costs a third less by its scale.
const (
	blockAll    = 1 // each second has a value
	blockGaps   = 2
	blockDoubts = 4

	// maxSpan is the longest block in seconds: two flushes.
	maxSpan = 120
	// exceptionBits is about what an exception costs.
	exceptionBits = 24
)

var errBlock = errors.New("block of seconds can not be read")

// second is one second of a channel.
type second struct {
	at       int64 // Unix time
	watts    int32
	doubtful bool
	gap      bool // nothing could be read
}

// appendBlock encodes seconds that rise from the first, all within maxSpan.
func appendBlock(out []byte, seconds []second) []byte {
	start := seconds[0].at
	n := int(seconds[len(seconds)-1].at-start) + 1
	size := (n + 7) / 8
	var present, gaps, doubts [maxSpan / 8]byte
	values := make([]int64, 0, len(seconds))
	flags := byte(0)
	for _, s := range seconds {
		i := int(s.at - start)
		if s.doubtful {
			doubts[i/8] |= 1 << (i % 8)
			flags |= blockDoubts
		}
		if s.gap {
			gaps[i/8] |= 1 << (i % 8)
			flags |= blockGaps
			continue
		}
		present[i/8] |= 1 << (i % 8)
		values = append(values, int64(s.watts))
	}
	if len(values) == n {
		flags |= blockAll
	}
	out = binary.AppendUvarint(append(out, flags), uint64(n))
	for _, part := range []struct {
		on  bool
		set *[maxSpan / 8]byte
	}{{flags&blockAll == 0, &present}, {flags&blockGaps != 0, &gaps}, {flags&blockDoubts != 0, &doubts}} {
		if part.on {
			out = append(out, part.set[:size]...)
		}
	}
	return appendValues(out, values)
}

// appendValues encodes the values of a block; there may be none.
func appendValues(out []byte, values []int64) []byte {
	if len(values) == 0 {
		return out
	}
	scale := scaleOf(values)
	factor := powerOfTen(scale)
	out = binary.AppendVarint(append(out, scale), values[0]/factor)
	deltas := make([]uint64, len(values)-1)
	var counts [65]int // of differences by their width
	for i := range deltas {
		d := values[i+1]/factor - values[i]/factor
		deltas[i] = uint64(d<<1) ^ uint64(d>>63)
		counts[bits.Len64(deltas[i])]++
	}
	width, exceptions := bestWidth(&counts, len(deltas))
	out = binary.AppendUvarint(append(out, byte(width)), uint64(exceptions))
	out = packBits(out, deltas, width)
	for i, d := range deltas {
		if bits.Len64(d) > width {
			out = binary.AppendUvarint(binary.AppendUvarint(out, uint64(i)), d)
		}
	}
	return out
}

// bestWidth is the width that costs least, and how many differences exceed it.
func bestWidth(counts *[65]int, n int) (width, exceptions int) {
	least, beyond := 64*n+1, 0
	for w := 33; w >= 0; w-- { // a difference of two int32 takes 33 bits, 34 zigzag
		beyond += counts[w+1]
		if cost := w*n + exceptionBits*beyond; cost < least {
			least, width, exceptions = cost, w, beyond
		}
	}
	return width, exceptions
}

// packBits appends width bits of each; what is wider is written as zero.
func packBits(out []byte, deltas []uint64, width int) []byte {
	var word uint64
	filled := 0
	for _, d := range deltas {
		if bits.Len64(d) > width {
			d = 0
		}
		word |= d << filled
		for filled += width; filled >= 8; filled -= 8 {
			out = append(out, byte(word))
			word >>= 8
		}
	}
	if filled > 0 {
		out = append(out, byte(word))
	}
	return out
}

// scaleOf is the largest power of ten, up to 1000, that divides every value.
func scaleOf(values []int64) byte {
	scale := byte(3)
	for _, v := range values {
		for scale > 0 && v%powerOfTen(scale) != 0 {
			scale--
		}
	}
	return scale
}

func powerOfTen(scale byte) int64 { return [...]int64{1, 10, 100, 1000}[scale] }

// decodeBlock calls fn for each second of a block that starts at start, and
// returns what follows the block.
func decodeBlock(b []byte, start int64, fn func(second)) ([]byte, error) {
	r := reader{b: b}
	flags, n := r.byte(), int(r.uvarint())
	if r.bad || flags > blockAll|blockGaps|blockDoubts || n < 1 || n > maxSpan {
		return nil, fmt.Errorf("%w: flags %d, %d seconds", errBlock, flags, n)
	}
	size := (n + 7) / 8
	present, gaps, doubts := r.bitmap(size, flags&blockAll == 0), r.bitmap(size, flags&blockGaps != 0), r.bitmap(size, flags&blockDoubts != 0)
	count := n
	if flags&blockAll == 0 {
		count = 0
		for i := range n {
			count += int(bit(present, i))
		}
	}
	values, err := r.values(count)
	if err != nil {
		return nil, err
	}
	next := 0
	for i := range n {
		s := second{at: start + int64(i), doubtful: bit(doubts, i) == 1}
		switch {
		case flags&blockAll != 0 || bit(present, i) == 1:
			s.watts = values[next]
			next++
		case bit(gaps, i) == 1:
			s.gap = true
		default:
			continue
		}
		fn(s)
	}
	return r.b, nil
}

// bit is a bit of a bitmap, 0 where there is no bitmap.
func bit(set []byte, i int) byte {
	if set == nil {
		return 0
	}
	return set[i/8] >> (i % 8) & 1
}

// bitmap reads one where there is one.
func (r *reader) bitmap(size int, there bool) []byte {
	if !there {
		return nil
	}
	if len(r.b) < size {
		r.bad = true
		return make([]byte, size)
	}
	set := r.b[:size]
	r.b = r.b[size:]
	return set
}

// values reads count values of a block.
func (r *reader) values(count int) ([]int32, error) {
	if count == 0 {
		if r.bad {
			return nil, fmt.Errorf("%w: cut short", errBlock)
		}
		return nil, nil
	}
	scale, first, width, exceptions := r.byte(), r.varint(), int(r.byte()), r.uvarint()
	packed := ((count-1)*width + 7) / 8
	if r.bad || scale > 3 || width > 34 || exceptions > uint64(count-1) || len(r.b) < packed {
		return nil, fmt.Errorf("%w: scale %d, width %d, %d exceptions", errBlock, scale, width, exceptions)
	}
	deltas := unpackBits(r.b[:packed], count-1, width)
	r.b = r.b[packed:]
	for range exceptions {
		at, d := r.uvarint(), r.uvarint()
		if r.bad || at >= uint64(len(deltas)) {
			return nil, fmt.Errorf("%w: exception at %d of %d", errBlock, at, len(deltas))
		}
		deltas[at] = d
	}
	values := make([]int32, count)
	factor, v := powerOfTen(scale), first
	for i := range values {
		if i > 0 {
			d := deltas[i-1]
			v += int64(d>>1) ^ -int64(d&1)
		}
		if v > 1<<31 || v < -1<<31 || int64(int32(v*factor)) != v*factor {
			return nil, fmt.Errorf("%w: a value of %d times %d W", errBlock, v, factor)
		}
		values[i] = int32(v * factor)
	}
	return values, nil
}

func unpackBits(b []byte, count, width int) []uint64 {
	out := make([]uint64, count)
	var word uint64
	filled, next := 0, 0
	for i := range out {
		for filled < width {
			word |= uint64(b[next]) << filled
			next++
			filled += 8
		}
		out[i] = word & (1<<width - 1)
		word >>= width
		filled -= width
	}
	return out
}
