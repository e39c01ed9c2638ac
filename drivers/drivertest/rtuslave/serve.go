package rtuslave

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// fifo is the most characters that reach the master at once: half of the
	// FIFO of a 16550 and its successors, at which drivers let it interrupt.
	fifo = 8
	// latency is what a real UART's driver lets pass between two deliveries:
	// below it characters come together, above it one by one. That makes
	// bursts of 1 at 9600 and 19200 baud, 2 at 38400 and 8 at 115200.
	latency = 800 * time.Microsecond
	// patience is the shortest silence that ends a frame without an end. A
	// pty's master may be interrupted for longer than t3.5.
	patience = 5 * time.Millisecond
	// spin is how long Options.Exact keeps the processor busy.
	spin = 100 * time.Microsecond
)

// served is a device and what holds it up. It is the goroutine's alone, the
// device excepted.
type served struct {
	device            Device
	freeAt, deafUntil time.Time
}

// chunk is what is put on the wire at one time.
type chunk struct {
	at    time.Time
	bytes []byte
	echo  bool
	of    *answered // nil for an echo
}

// answered is the answer that chunks are pieces of.
type answered struct {
	end   time.Time // when the last of them is due
	cut   bool      // it ends before its frame does
	reset bool      // hang up after it
}

// state is the line as its goroutine sees it.
type state struct {
	port port
	over bool

	rx      []byte    // of a request
	rxAt    time.Time // when its first byte was seen
	rxLast  time.Time // when the last bytes were seen
	rxWire  time.Time // when the last of them has passed the wire
	skip    bool      // nothing is a request before the next silence
	out     []chunk   // by time
	lastOut time.Time // when the last byte of an answer was sent
	begun   *answered // of which a piece is sent and another is still to come
	dumb    bool      // the stream ended within a frame
}

// serve is the line's goroutine.
func (l *Line) serve() {
	defer close(l.ended)
	if l.opts.Exact {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // default 50 µs; the thread ends with the line
	}
	buf := make([]byte, 4096)
	for !l.over {
		e := l.port.await(l.next())
		now := time.Now()
		if e.bytes {
			l.take(buf[:l.port.read(buf)], time.Now())
		}
		if e.caller {
			l.port.accept()
			l.fresh()
		}
		l.endFrame(now)
		l.send()
		if e.woken {
			l.work()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, f := range l.jobs {
		f()
	}
	l.port.close()
}

// work does what other goroutines asked for.
func (l *Line) work() {
	var b [8]byte
	_, _ = unix.Read(l.port.wake, b[:])
	l.mu.Lock()
	jobs := l.jobs
	l.jobs = nil
	l.mu.Unlock()
	for _, f := range jobs {
		f()
	}
}

// next is when something is due; the zero time where nothing is.
func (l *Line) next() time.Time {
	var at time.Time
	if len(l.out) > 0 {
		at = l.out[0].at
		if l.opts.Exact {
			at = at.Add(-spin)
		}
	}
	if len(l.rx) > 0 || l.skip {
		if end := l.rxLast.Add(max(patience, l.gap)); at.IsZero() || end.Before(at) {
			at = end
		}
	}
	return at
}

// take looks at bytes from the master.
func (l *Line) take(b []byte, now time.Time) {
	if len(b) == 0 {
		return
	}
	begin := now
	if l.rxWire.After(begin) {
		begin = l.rxWire
	}
	l.rxLast, l.rxWire = now, begin.Add(time.Duration(len(b))*l.char)
	if l.opts.Echo {
		l.transmit(begin, 0, slices.Clone(b), nil)
	}
	if l.port.pty && l.opts.Baud > 0 && l.port.speed() != l.opts.Baud {
		l.count(func(s *Stats) { s.WrongSpeed++ })
		l.skip = true
	}
	if l.skip {
		return
	}
	if len(l.rx) == 0 {
		l.rxAt = now
	}
	l.rx = append(l.rx, b...)
	for len(l.rx) > 0 && !l.skip && l.frame() {
	}
}

// frame takes a whole request off the front of what was received, and returns
// whether there was one.
func (l *Line) frame() bool {
	size := rtuSize(l.rx)
	if l.opts.Framing == TCP {
		size = mbapSize(l.rx)
	}
	if size <= 0 || len(l.rx) < size {
		return false
	}
	frame := l.rx[:size]
	l.rx = l.rx[size:]
	if l.opts.Framing == TCP {
		r := Request{At: l.rxAt, Unit: frame[6], id: binary.BigEndian.Uint16(frame)}
		r.parse(frame[mbap:])
		l.handle(r)
		return true
	}
	if !intact(frame) {
		l.broken()
		return false
	}
	l.request(frame)
	return true
}

// request handles an RTU frame whose CRC is right.
func (l *Line) request(frame []byte) {
	r := Request{At: l.rxAt, Unit: frame[0]}
	r.parse(frame[1 : len(frame)-2])
	l.handle(r)
}

// broken gives up on what is received until there is silence.
func (l *Line) broken() {
	l.count(func(s *Stats) { s.Broken++ })
	l.rx, l.skip = nil, true
}

// endFrame ends what has no end of its own when there is silence.
func (l *Line) endFrame(now time.Time) {
	if len(l.rx) == 0 && !l.skip || now.Sub(l.rxLast) < max(patience, l.gap) {
		return
	}
	if rest := l.rx; len(rest) > 0 {
		l.broken()
		if l.opts.Framing == RTU && len(rest) >= 4 && rtuSize(rest) < 0 && intact(rest) {
			l.count(func(s *Stats) { s.Broken-- })
			l.request(rest)
		}
	}
	l.rx, l.skip = nil, false
}

func (l *Line) count(change func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.stats)
}

// enter counts and logs a request, and returns what serves it.
func (l *Line) enter(r Request) (units []*served, fault func(Request) Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Requests++
	if !l.lastOut.IsZero() && r.At.Sub(l.lastOut) < l.gap {
		l.stats.TooSoon++
	}
	if slices.ContainsFunc(l.out, func(c chunk) bool { return !c.echo }) {
		l.stats.Overlaps++
	}
	if r.Write() {
		l.writes = append(l.writes, r)
	}
	if r.Unit == 0 && l.opts.Framing == RTU {
		for _, u := range l.units {
			units = append(units, u)
		}
		return units, nil
	}
	if u := l.units[r.Unit]; u != nil {
		units = append(units, u)
	}
	return units, l.fault
}

// handle answers a request.
func (l *Line) handle(r Request) {
	units, fault := l.enter(r)
	if r.Unit == 0 && l.opts.Framing == RTU { // a broadcast: nobody answers
		for _, u := range units {
			if r.Write() {
				answer(r, u.device)
			}
		}
		return
	}
	if len(units) == 0 {
		return
	}
	f := Fault{}
	if fault != nil {
		f = fault(r)
	}
	u, now := units[0], time.Now()
	if now.Before(u.deafUntil) || now.Before(u.freeAt) && !l.opts.Queue {
		l.count(func(s *Stats) { s.Lost++ })
		return
	}
	if f.Kind == Deaf {
		return
	}
	l.reply(r, u, f)
}

// promptWithin is how late a prompt answer may be: it has yet to cross the pty.
const promptWithin = 2 * time.Millisecond

// reply carries the request out and puts the answer on the wire, or what the
// fault leaves of it.
func (l *Line) reply(r Request, u *served, f Fault) {
	pdu := r.refusal(f.Code)
	if f.Kind != Exception {
		pdu = answer(r, u.device)
	}
	frame, check := l.wrap(r, f, f.spoiled(r, pdu))
	frame = f.mangled(frame, check)
	begin := l.rxWire.Add(l.gap + l.opts.Turnaround)
	if f.Prompt && (u.freeAt.After(begin) || time.Since(begin) > promptWithin) {
		f.Kind = Mute
	}
	if u.freeAt.After(begin) {
		begin = u.freeAt
	}
	if f.Kind == Late {
		begin = begin.Add(f.Delay)
	}
	between := time.Duration(0)
	if f.Kind == Dribble {
		between = f.Delay
	}
	if f.Kind == Mute {
		u.freeAt = begin
		return
	}
	of := &answered{reset: f.Kind == HangUp, cut: f.Kind == Short || f.Kind == Reboot}
	u.freeAt = l.transmit(begin, between, frame, of)
	l.count(func(s *Stats) { s.Answers++ })
	if f.Kind == Reboot || f.Kind == HangUp {
		u.deafUntil = u.freeAt.Add(f.Delay)
		if d, ok := u.device.(rebooter); ok && f.Kind == Reboot {
			d.Reboot()
		}
	}
}

// wrap frames a PDU, and returns where a byte of its check is.
func (l *Line) wrap(r Request, f Fault, pdu []byte) (frame []byte, check int) {
	unit := r.Unit
	if f.Kind == WrongUnit {
		unit ^= 1
	}
	if l.opts.Framing == TCP {
		frame = binary.BigEndian.AppendUint16(frame, r.id)
		frame = append(frame, 0, 0, 0, byte(len(pdu)+1), unit)
		return append(frame, pdu...), 1
	}
	frame = sealed(append(append(frame, unit), pdu...))
	return frame, len(frame) - 1
}

// transmit schedules bytes from a time on: each burst when its last character
// has passed the wire. It returns when the wire is free again.
func (l *Line) transmit(begin time.Time, between time.Duration, b []byte, of *answered) time.Time {
	pace := l.char + between
	burst := len(b)
	switch {
	case between > 0:
		burst = 1
	case l.char > 0:
		burst = min(max(int(latency/l.char), 1), fifo)
	}
	at := begin
	for len(b) > 0 {
		n := min(burst, len(b))
		at = at.Add(time.Duration(n) * pace)
		l.schedule(chunk{at: at, bytes: b[:n], echo: of == nil, of: of})
		b = b[n:]
	}
	if of != nil {
		of.end = at
	}
	return at
}

// schedule puts a chunk in its place, behind what is due at the same time.
func (l *Line) schedule(c chunk) {
	place, _ := slices.BinarySearchFunc(l.out, c.at, func(o chunk, t time.Time) int {
		if o.at.After(t) {
			return 1
		}
		return -1
	})
	l.out = slices.Insert(l.out, place, c)
}

// send puts on the wire what is due.
func (l *Line) send() {
	for len(l.out) > 0 {
		c := l.out[0]
		wait := time.Until(c.at)
		if wait > 0 && !(l.opts.Exact && wait <= spin) {
			return
		}
		for time.Now().Before(c.at) {
		}
		l.out = l.out[1:]
		if l.begun != nil && c.of != l.begun && l.opts.Framing == TCP {
			c.at = l.begun.end // a server does not send a frame within another
			l.schedule(c)
			continue
		}
		if c.of != nil {
			l.lastOut = time.Now() // before the master can know
		}
		if !l.dumb {
			l.port.write(c.bytes)
		}
		if c.of != nil {
			l.sent(c)
		}
	}
}

// sent notes that a piece of an answer was sent.
func (l *Line) sent(c chunk) {
	l.begun = c.of
	if c.at.Before(c.of.end) {
		return
	}
	l.begun = nil
	switch {
	case c.of.reset && !l.port.pty:
		l.port.hangUp(true)
		l.fresh()
	case c.of.cut && l.opts.Framing == TCP:
		// What follows half a frame would be read as the rest of it. The frames
		// of Modbus TCP have no check, so no server may, and none does, go on.
		l.dumb = true
	}
}

// fresh forgets what belonged to the last connection.
func (l *Line) fresh() {
	l.rx, l.skip, l.begun, l.dumb = nil, false, nil, false
}

func (l *Line) unplug() error {
	l.port.pulled = true
	l.out = nil
	l.fresh()
	var err error
	if l.port.pty {
		if err = os.Remove(l.path); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	l.port.hangUp(true)
	return err
}

func (l *Line) plug() error {
	if !l.port.pulled {
		return errors.New("the line is plugged in")
	}
	if l.port.pty {
		if err := l.port.openPty(l.path); err != nil {
			return err
		}
	}
	l.port.pulled = false
	return nil
}
