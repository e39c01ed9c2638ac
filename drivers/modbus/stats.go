package modbus

import (
	"errors"
	"os"
	"sync/atomic"
	"time"
)

// Stats counts what happened on a line.
type Stats struct {
	Requests   uint64 // frames sent
	Exceptions uint64 // well-formed refusals
	Timeouts   uint64 // no whole reply in time
	Dials      uint64 // connections or ports opened
	DialErrors uint64 // connections or ports that could not be opened
	Resets     uint64 // connections the other side ended, adapters that went away
	Doubts     uint64 // replies that did not provably answer the request
	Discarded  uint64 // late replies to earlier requests, dropped
	Resyncs    uint64 // requests sent only to settle what a unit still owes
	BytesOut   uint64
	BytesIn    uint64
	// Busy is how long transactions held the line, pauses included. The bus
	// load is its growth over the time in which it grew.
	Busy time.Duration
	// Echo tells that the line gives back what is sent on it, as half-duplex
	// adapters do.
	Echo bool
}

// counters are the live form of Stats: written by the line's owner, read by
// anybody.
type counters struct {
	requests, exceptions, timeouts, dials, dialErrors           atomic.Uint64
	resets, doubts, discarded, resyncs, bytesOut, bytesIn, busy atomic.Uint64
	echo                                                        atomic.Bool
}

// failed counts a request that got no answer to trust, by what went wrong.
func (c *counters) failed(err error) {
	switch {
	case errors.Is(err, errDoubt):
		c.doubts.Add(1)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.timeouts.Add(1)
	default:
		c.resets.Add(1)
	}
}

func (c *counters) snapshot() Stats {
	return Stats{
		Requests:   c.requests.Load(),
		Exceptions: c.exceptions.Load(),
		Timeouts:   c.timeouts.Load(),
		Dials:      c.dials.Load(),
		DialErrors: c.dialErrors.Load(),
		Resets:     c.resets.Load(),
		Doubts:     c.doubts.Load(),
		Discarded:  c.discarded.Load(),
		Resyncs:    c.resyncs.Load(),
		BytesOut:   c.bytesOut.Load(),
		BytesIn:    c.bytesIn.Load(),
		Busy:       time.Duration(c.busy.Load()),
		Echo:       c.echo.Load(),
	}
}
