// Package modbus is the gateway's Modbus master: one Line for each wire or TCP
// endpoint, one Unit for each device on it. It is the only package that
// imports goburrow/modbus, whose client and packagers it uses, and replaces
// goburrow's transporters by its own: those hand out the answer to one request
// as the answer to the next after a late reply (modbus.md 1).
//
// The promise to drivers: a register's value is returned only when the reply
// provably answers this very request. Whatever is doubtful is an error that
// wraps drivers.ErrOffline, and the connection it came from is thrown away.
package modbus

import (
	"context"
	"sync"
	"time"

	gb "github.com/goburrow/modbus"
)

// Options are the times of a line. Zero values take the defaults.
type Options struct {
	// Timeout is the longest that one transaction may last from the first byte
	// of the request to the last of the reply. Default 1 s.
	Timeout time.Duration
	// ConnectTimeout is the longest that opening may last. Default Timeout.
	ConnectTimeout time.Duration
	// PauseAfterConnect is kept between opening and the first request; Huawei
	// inverters drop what comes in the first 1-2 s (modbus.md 3). Default 0.
	PauseAfterConnect time.Duration
	// PauseBetween is kept between a reply and the next request; slow devices
	// want 50-200 ms (modbus.md 8). Default 0.
	PauseBetween time.Duration
}

// DefaultTimeout bounds a transaction where Options do not say otherwise:
// gateways and heat pumps may take up to 1 s to turn around (modbus.md 2).
const DefaultTimeout = time.Second

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = o.Timeout
	}
	return o
}

// wire carries one request at a time to whatever listens at its other end. TCP
// frames and RTU frames differ; the register client above them does not.
type wire interface {
	// packager makes the frames for one unit id.
	packager(unit byte) gb.Packager
	// exchange sends the frame and returns the reply that answers it, valid
	// until the next call. It checks everything that can be checked.
	exchange(ctx context.Context, request []byte) (reply []byte, err error)
	close() error
}

// Line is one wire: a TCP endpoint with one connection, on which at most one
// request is outstanding. It opens on the first request, and again on the
// first one after an error. It is keyed by host and port, never by unit id: a
// gateway's units share the one serial line behind it.
type Line struct {
	name  string
	wire  wire
	stats *counters

	mu  sync.Mutex      // held for a transaction, so that two can not interleave
	ctx context.Context // of the transaction; goburrow's interfaces carry none
}

// NewTCP returns the line to a Modbus TCP endpoint, "host:port". Nothing is
// opened before the first request.
func NewTCP(addr string, opts Options) *Line {
	stats := &counters{}
	return &Line{name: addr, wire: newTCPWire(addr, opts.withDefaults(), stats), stats: stats}
}

// String names the line as errors do.
func (l *Line) String() string { return l.name }

// Unit returns a client for one unit id. Two devices that share a unit id each
// take their own, with their own allow-list.
func (l *Line) Unit(id byte) *Unit {
	u := &Unit{line: l, id: id}
	u.client = gb.NewClient2(l.wire.packager(id), sender{l})
	return u
}

// Close closes the connection. A later request opens it again.
func (l *Line) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wire.close()
}

// Stats returns the counts since the line was made.
func (l *Line) Stats() Stats { return l.stats.snapshot() }

// sender hands goburrow's client the line as its transporter.
type sender struct{ line *Line }

// Send implements goburrow's Transporter. The line is locked by the Unit.
func (s sender) Send(request []byte) ([]byte, error) {
	return s.line.wire.exchange(s.line.ctx, request)
}

// transact runs one transaction: send calls goburrow's client, which calls
// sender.Send once.
func (l *Line) transact(ctx context.Context, send func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx = ctx
	err := send()
	l.ctx = nil
	return err
}
