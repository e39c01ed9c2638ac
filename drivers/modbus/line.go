// Package modbus is the gateway's Modbus master: one Line for each wire or TCP
// endpoint, one Unit for each device on it. Three framings: Modbus TCP, RTU on
// a serial line, and RTU over TCP as serial device servers speak it. It is the
// only package that imports goburrow/modbus, whose client and packagers it
// uses, and replaces goburrow's transporters by its own: those hand out the
// answer to one request as the answer to the next after a late reply
// (modbus.md 1).
//
// The promise to drivers: a register's value is returned only when the reply
// provably answers this very request. Whatever is doubtful is an error that
// wraps drivers.ErrOffline. Over TCP the connection it came from is thrown
// away; an RTU reply names neither request nor address, see ledger for how a
// late one is kept from the next request.
package modbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	gb "github.com/goburrow/modbus"
)

// Options are the times of a line. Zero values take the defaults.
type Options struct {
	// Timeout is the longest that one transaction may last from the first byte
	// of the request to the last of the reply. On a serial line the time that
	// both take on the wire comes on top. Default 1 s.
	Timeout time.Duration
	// ConnectTimeout is the longest that opening may last. Default Timeout.
	ConnectTimeout time.Duration
	// PauseAfterConnect is kept between opening and the first request; Huawei
	// inverters drop what comes in the first 1-2 s (modbus.md 3). Default 0.
	PauseAfterConnect time.Duration
	// PauseBetween is kept between a reply and the next request; slow devices
	// want 50-200 ms (modbus.md 8). Default 0, and on a serial line 3.5
	// characters of silence.
	PauseBetween time.Duration
	// AskAgain: a read that is lost or spoiled is asked once more of a unit that
	// answered the time before, for single frames are lost on any serial line. A
	// unit that dies then costs two timeouts once, and one at a time after that.
	AskAgain bool
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
	exchange(ctx context.Context, request []byte, t Timing) (reply []byte, err error)
	// latency is how long the last exchange took, without pauses before it.
	latency() time.Duration
	close() error
}

// Line is one wire: a serial port, or a TCP endpoint with one connection, on
// which at most one request is outstanding. It opens on the first request, and
// again on a later one after an error. It is keyed by device path or by host
// and port, never by unit id: a gateway's units share the one serial line
// behind it.
type Line struct {
	name  string
	opts  Options
	ids   unitRule
	wire  wire
	stats *counters

	mu     sync.Mutex      // held for a transaction, so that two can not interleave
	ctx    context.Context // of the transaction; goburrow's interfaces carry none
	timing Timing          // of the transaction's unit

	known sync.Mutex // guards units
	units map[byte]*tally
}

// NewTCP returns the line to a Modbus TCP endpoint, "host:port". Nothing is
// opened before the first request.
func NewTCP(addr string, opts Options) *Line {
	opts, stats := opts.withDefaults(), &counters{}
	return makeLine(addr, opts, anyUnit, newTCPWire(addr, opts, stats), stats)
}

// NewRTUOverTCP returns the line behind a serial device server that passes RTU
// frames on as they are, "host:port". Nothing is opened before the first
// request. Timeout bounds the whole transaction, its time on the serial line
// included, for the server does not tell its speed.
func NewRTUOverTCP(addr string, opts Options) *Line {
	opts, stats := opts.withDefaults(), &counters{}
	w := newRTUWire(newTCPLink(addr, opts), rtuTimes{}, stats)
	w.reopens = true
	return makeLine(addr, opts, broadcastUnit, w, stats)
}

// NewSerial returns the line at a serial port. Nothing is opened before the
// first request.
func NewSerial(s Serial, opts Options) *Line {
	s, opts, stats := s.withDefaults(), opts.withDefaults(), &counters{}
	w := newRTUWire(newSerialPort(s), s.times(), stats)
	if s.Echo {
		w.echo, w.mustEcho = echoes, true
		stats.echo.Store(true)
	}
	return makeLine(s.Path, opts, serialUnit, w, stats)
}

func makeLine(name string, opts Options, ids unitRule, w wire, stats *counters) *Line {
	return &Line{name: name, opts: opts, ids: ids, wire: w, stats: stats, units: map[byte]*tally{}}
}

// String names the line as errors do, and says when it echoes.
func (l *Line) String() string {
	if l.stats.echo.Load() {
		return l.name + " (echoes)"
	}
	return l.name
}

// Unit returns a client for one unit id. Two devices that share a unit id each
// take their own, with their own allow-list.
func (l *Line) Unit(id byte) *Unit {
	l.known.Lock()
	defer l.known.Unlock()
	t := l.units[id]
	if t == nil {
		t = &tally{}
		l.units[id] = t
	}
	u := &Unit{line: l, id: id, packager: l.wire.packager(id), tally: t, timing: Timing{}.over(l.opts)}
	u.client = gb.NewClient2(u.packager, sender{l})
	return u
}

// Close closes the connection or gives the port back. A later request opens it
// again.
func (l *Line) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wire.close()
}

// Stats returns the counts since the line was made.
func (l *Line) Stats() Stats { return l.stats.snapshot() }

// Units returns the counts of each unit id that was asked for, in order.
func (l *Line) Units() []UnitStats {
	l.known.Lock()
	defer l.known.Unlock()
	out := make([]UnitStats, 0, len(l.units))
	for id, t := range l.units {
		out = append(out, t.snapshot(id))
	}
	slices.SortFunc(out, func(a, b UnitStats) int { return int(a.Unit) - int(b.Unit) })
	return out
}

// sender hands goburrow's client the line as its transporter.
type sender struct{ line *Line }

// Send implements goburrow's Transporter. The line is locked by the Unit.
func (s sender) Send(request []byte) ([]byte, error) {
	return s.line.wire.exchange(s.line.ctx, request, s.line.timing)
}

// transact runs one transaction: send calls goburrow's client, which calls
// sender.Send once.
func (l *Line) transact(ctx context.Context, u *Unit, send func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	start := time.Now()
	l.ctx, l.timing = ctx, u.timing
	err := send()
	l.ctx = nil
	u.tally.count(err, l.wire.latency())
	l.stats.busy.Add(uint64(time.Since(start)))
	return err
}

// unitRule is which unit ids a line knows.
type unitRule byte

const (
	anyUnit       unitRule = iota // Modbus TCP: 0 and 255 are ordinary (modbus.md 3)
	broadcastUnit                 // RTU over TCP: 0 is for all and gets no reply
	serialUnit                    // serial: 0 is for all, 248-255 are reserved
)

// check tells whether the unit can be read or written on such a line.
func (r unitRule) check(unit byte, write bool) error {
	if unit == 0 && r != anyUnit && !write {
		return errors.New("unit 0 is for writes to all units at once; nobody answers a read of it")
	}
	if unit > 247 && r == serialUnit {
		return fmt.Errorf("unit %d on a serial line, accepted are 1 to 247, and 0 for writes to all", unit)
	}
	return nil
}
