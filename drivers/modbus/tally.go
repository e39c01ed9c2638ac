package modbus

import (
	"errors"
	"math/bits"
	"os"
	"sync/atomic"
	"time"

	gb "github.com/goburrow/modbus"
)

// UnitStats counts what happened with one unit of a line.
type UnitStats struct {
	Unit       byte
	Requests   uint64 // transactions asked for
	Exceptions uint64 // well-formed refusals
	Timeouts   uint64 // no whole reply in time
	Doubts     uint64 // replies that did not provably answer the request
	Other      uint64 // the line could not be opened, the context ended, ...
	// Latency of the answered requests: from the first byte sent to the last
	// one received. Percentiles are exact to 7 %.
	P50, P90, P99, Max time.Duration
}

// The histogram has eight classes an octave, from 16 µs to over an hour.
const (
	finest  = 4 // bits: a class is never narrower than 2 µs
	classes = 8 * 29
)

// tally is the live form of UnitStats: written by the line's owner, read by
// anybody.
type tally struct {
	requests, exceptions, timeouts, doubts, other atomic.Uint64
	longest                                       atomic.Int64
	latency                                       [classes]atomic.Uint32
}

// count enters one transaction; took is how long the device took to answer.
func (t *tally) count(err error, took time.Duration) {
	t.requests.Add(1)
	if e := (*gb.ModbusError)(nil); errors.As(err, &e) {
		t.exceptions.Add(1)
		err = nil
	}
	switch {
	case err == nil:
		t.latency[class(took)].Add(1)
		if int64(took) > t.longest.Load() { // one writer
			t.longest.Store(int64(took))
		}
	case errors.Is(err, errDoubt):
		t.doubts.Add(1)
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.timeouts.Add(1)
	default:
		t.other.Add(1)
	}
}

// class returns the class of a duration: its octave and the three bits below
// the leading one.
func class(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 1<<finest))
	octave := bits.Len64(us) - 1
	return min(8*(octave-finest)+int(us>>(octave-3)&7), classes-1)
}

// middle returns the duration in the middle of a class.
func middle(class int) time.Duration {
	width := time.Microsecond << (class/8 + finest) / 8
	return time.Duration(8+class%8)*width + width/2
}

func (t *tally) snapshot(unit byte) UnitStats {
	s := UnitStats{
		Unit:       unit,
		Requests:   t.requests.Load(),
		Exceptions: t.exceptions.Load(),
		Timeouts:   t.timeouts.Load(),
		Doubts:     t.doubts.Load(),
		Other:      t.other.Load(),
		Max:        time.Duration(t.longest.Load()),
	}
	var counts [classes]uint64
	total := uint64(0)
	for i := range counts {
		counts[i] = uint64(t.latency[i].Load())
		total += counts[i]
	}
	s.P50 = percentile(&counts, total, 50, s.Max)
	s.P90 = percentile(&counts, total, 90, s.Max)
	s.P99 = percentile(&counts, total, 99, s.Max)
	return s
}

// percentile returns the duration that p percent of the counts do not exceed.
func percentile(counts *[classes]uint64, total, p uint64, longest time.Duration) time.Duration {
	if total == 0 {
		return 0
	}
	need, seen := (total*p+99)/100, uint64(0)
	for i, n := range counts {
		if seen += n; seen >= need {
			return min(middle(i), longest)
		}
	}
	return longest
}
