package modbus

import "sync/atomic"

// Stats counts what happened on a line.
type Stats struct {
	Requests   uint64 // frames sent
	Exceptions uint64 // well-formed refusals
	Timeouts   uint64 // no whole reply in time
	Dials      uint64 // connections opened
	DialErrors uint64 // connections that could not be opened
	Resets     uint64 // connections the other side ended
	Doubts     uint64 // replies that did not provably answer the request
	Discarded  uint64 // late replies to earlier requests, dropped
	BytesOut   uint64
	BytesIn    uint64
}

// counters are the live form of Stats: written by the line's owner, read by
// anybody.
type counters struct {
	requests, exceptions, timeouts, dials, dialErrors atomic.Uint64
	resets, doubts, discarded, bytesOut, bytesIn      atomic.Uint64
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
		BytesOut:   c.bytesOut.Load(),
		BytesIn:    c.bytesIn.Load(),
	}
}
