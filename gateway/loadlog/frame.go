package loadlog

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The body of a frame is what each channel measured since the last flush:
//
//	a channel: uvarint length of the name | name | 1 byte: 1 if counters follow
//	         | the counters: varint Unix time | varint imported, varint exported Wh
//	         | uvarint runs | a run: varint Unix time of its first second | its block
//
// A day's file repeats the same channels, an hour of one channel at a time.
var errFrame = errors.New("seconds of load can not be read")

// counters are a meter's own energy counters at a time.
type counters struct {
	at                 int64
	importWh, exportWh int64
}

// batch is what one channel adds to a frame.
type batch struct {
	name     string
	runs     [][]second
	counters *counters
}

// runsOf splits seconds, in the order in which they came, into runs that rise,
// stay within one hour and are not longer than a block.
func runsOf(seconds []second) [][]second {
	var runs [][]second
	first := 0
	for i := range seconds {
		if i == first {
			continue
		}
		s, start := seconds[i].at, seconds[first].at
		if s <= seconds[i-1].at || s/3600 != start/3600 || s-start >= maxSpan {
			runs = append(runs, seconds[first:i])
			first = i
		}
	}
	if first < len(seconds) {
		runs = append(runs, seconds[first:])
	}
	return runs
}

func appendBatch(out []byte, b batch) []byte {
	out = append(binary.AppendUvarint(out, uint64(len(b.name))), b.name...)
	if c := b.counters; c != nil {
		out = binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(append(out, 1), c.at), c.importWh), c.exportWh)
	} else {
		out = append(out, 0)
	}
	out = binary.AppendUvarint(out, uint64(len(b.runs)))
	for _, run := range b.runs {
		out = appendBlock(binary.AppendVarint(out, run[0].at), run)
	}
	return out
}

// maxName is the longest name of a channel; the config allows less.
const maxName = 256

// decodeBatches calls fn for each channel of a body.
func decodeBatches(body []byte, fn func(batch)) error {
	r := reader{b: body}
	for len(r.b) > 0 {
		length := r.uvarint()
		if r.bad || length > min(maxName, uint64(len(r.b))) {
			return fmt.Errorf("%w: a name of %d bytes", errFrame, length)
		}
		b := batch{name: string(r.b[:length])}
		r.b = r.b[length:]
		if r.byte() == 1 {
			b.counters = &counters{r.varint(), r.varint(), r.varint()}
		}
		runs := r.uvarint()
		for range runs {
			start := r.varint()
			if r.bad || start < 0 {
				return fmt.Errorf("%w: %s: a run that begins at %d", errFrame, b.name, start)
			}
			var run []second
			rest, err := decodeBlock(r.b, start, func(s second) { run = append(run, s) })
			if err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			r.b = rest
			if len(run) > 0 {
				b.runs = append(b.runs, run)
			}
		}
		if r.bad {
			return fmt.Errorf("%w: %s is cut short", errFrame, b.name)
		}
		fn(b)
	}
	return nil
}
