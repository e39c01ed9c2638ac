// Package rtuslave is a simulated serial line with Modbus devices on it: a
// pseudo terminal behind a path of its own, as an RS-485 adapter has one. It
// paces its bytes at the baud rate, hears only a master that has set the same
// rate, may echo, be pulled and plugged again, and spoil any answer. The same
// devices and faults are served over TCP too, framed as RTU or as Modbus TCP.
//
// It shares no code with the drivers that it is there to test, and does not
// import testing, so that a simulator may use it. The wire is that of the
// Modbus serial line specification 1.02; modbus.md 1 and 2 are the short form.
package rtuslave

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Device is one simulated device behind a unit id. It is called by the line's
// goroutine. An error with a method ExceptionCode() byte is answered as that
// exception, any other as 4.
type Device interface {
	// Read returns count values; function is 1 to 4, bits are 0 and 1.
	Read(function byte, addr, count uint16) ([]uint16, error)
	// Write takes values; function is 5 (the raw value), 6, 15 (bits) or 16.
	Write(function byte, addr uint16, values []uint16) error
}

// Framing is how requests and answers are wrapped.
type Framing byte

// The framings: RTU with its CRC, and the header of Modbus TCP.
const (
	RTU Framing = iota
	TCP
)

// Options are the properties of a line.
type Options struct {
	// Baud is the rate of the line; 0 is no pacing, at which any rate is heard.
	Baud int
	// Bits is the length of a character: 11 (8E1, 8O1, 8N2), the default, or 10
	// (8N1). A pty has no parity to check.
	Bits int
	// Echo has the line return what the master sends, as a two-wire adapter
	// does that does not mute its own receiver.
	Echo bool
	// Turnaround is what each device needs to answer, beyond t3.5.
	Turnaround time.Duration
	// Queue keeps requests that reach a unit which is still busy with another,
	// and answers them in order, as a device server does. Else they are lost.
	Queue bool
	// Framing is for Listen; a pty carries RTU.
	Framing Framing
	// Exact keeps a processor busy for the last 100 µs before each byte that is
	// due, so that a benchmark of the master does not measure the slave's sleep.
	Exact bool
}

// Stats counts what happened on a line.
type Stats struct {
	Requests   uint64 // well-formed, whoever they were for
	Answers    uint64 // sent, spoiled ones included
	Broken     uint64 // frames with a wrong CRC or without an end
	WrongSpeed uint64 // reads of bytes at a rate that is not the line's
	TooSoon    uint64 // requests that began within t3.5 of the last byte of an answer
	Overlaps   uint64 // requests that came while an answer was still to come
	Lost       uint64 // requests to a unit that was still busy or restarting
}

// Line is one simulated line. Its methods may be called at any time.
type Line struct {
	opts Options
	path string        // the link to a pty's slave side, or host:port
	char time.Duration // one character, 0 unpaced
	gap  time.Duration // t3.5

	ended chan struct{}
	state // the goroutine's alone

	mu     sync.Mutex
	units  map[byte]*served
	fault  func(Request) Fault
	stats  Stats
	writes []Request
	jobs   []func() // for the goroutine
	closed bool
}

// Open makes a line of a pseudo terminal and a symbolic link to it at path,
// and serves it until Close.
func Open(path string, o Options) (*Line, error) {
	l := newLine(path, o)
	l.opts.Framing, l.port.pty = RTU, true
	return l.start(func() error { return l.port.openPty(path) })
}

// Listen serves the same over TCP on a loopback address, until Close. There is
// one connection: a new one ends the old.
func Listen(addr string, o Options) (*Line, error) {
	l := newLine(addr, o)
	return l.start(func() error {
		bound, err := l.port.openTCP(addr)
		l.path = bound
		return err
	})
}

func newLine(path string, o Options) *Line {
	l := &Line{opts: o, path: path, units: map[byte]*served{}, ended: make(chan struct{})}
	l.port = port{wake: -1, conn: -1, listen: -1}
	if o.Bits == 0 {
		l.opts.Bits = 11
	}
	if o.Baud > 0 {
		l.char = time.Duration(l.opts.Bits) * time.Second / time.Duration(o.Baud)
		l.gap = silence(o.Baud, l.char)
	}
	return l
}

// silence is t3.5 (Modbus serial line specification 1.02, 2.5.1.1).
func silence(baud int, char time.Duration) time.Duration {
	if baud > 19200 {
		return 1750 * time.Microsecond
	}
	return 7 * char / 2
}

func (l *Line) start(open func() error) (*Line, error) {
	var err error
	if l.port.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := open(); err != nil {
		unix.Close(l.port.wake)
		return nil, err
	}
	go l.serve()
	return l, nil
}

// Path is the link to the line's device, or the host:port of Listen.
func (l *Line) Path() string { return l.path }

// Attach puts a device behind a unit id, in place of any other; nil removes it.
func (l *Line) Attach(unit byte, d Device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d == nil {
		delete(l.units, unit)
		return
	}
	l.units[unit] = &served{device: d}
}

// Break has fault decide about every request to an attached unit from now on;
// nil mends the line. It is called by the line's goroutine.
func (l *Line) Break(fault func(Request) Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// FaultNext spoils the next requests to attached units, one by one.
func (l *Line) FaultNext(faults ...Fault) {
	l.Break(func(Request) Fault {
		if len(faults) == 0 {
			return Fault{}
		}
		f := faults[0]
		faults = faults[1:]
		return f
	})
}

// Stats returns the counts since the line was made.
func (l *Line) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Writes returns every well-formed write since the last call, whoever it was
// for and whatever became of it.
func (l *Line) Writes() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.writes
	l.writes = nil
	return all
}

// Unplug pulls the adapter: the link is gone and whoever has the line open is
// hung up on. Answers under way are lost. Over TCP the connection is reset and
// callers wait.
func (l *Line) Unplug() error {
	var err error
	l.do(func() { err = l.unplug() })
	return err
}

// Plug puts an unplugged adapter back: another pty behind the same path.
func (l *Line) Plug() error {
	var err error
	l.do(func() { err = l.plug() })
	return err
}

// Close ends the line and removes its link. It returns when nothing of it runs
// any more.
func (l *Line) Close() error {
	var err error
	l.do(func() {
		if !l.port.pulled {
			err = l.unplug()
		}
		l.over = true
	})
	<-l.ended
	return err
}

// do has the goroutine call f, and waits for it. After Close nothing is called.
func (l *Line) do(f func()) {
	done := make(chan struct{})
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.jobs = append(l.jobs, func() { f(); close(done) })
	// Written under the lock: the goroutine closes the descriptor under it.
	_, _ = unix.Write(l.port.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	l.mu.Unlock()
	<-done
}
