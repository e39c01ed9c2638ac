package modbus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	gb "github.com/goburrow/modbus"

	"nominald/drivers"
)

// link is what RTU frames travel on.
type link interface {
	// open opens it where it is not, and tells whether it did. doubt says that
	// the last request failed, so that what is open may not be the right thing.
	open(ctx context.Context, doubt bool) (fresh bool, err error)
	// read returns what has come, or waits until the time for the first byte.
	// Then it returns os.ErrDeadlineExceeded. errGone says that it hung up.
	read(p []byte, until time.Time) (int, error)
	// write sends all of it, until the time at the latest.
	write(p []byte, until time.Time) error
	close() error
}

// errGone: the other end of the link hung up.
var errGone = errors.New("gone")

// rtuTimes are the times of a serial line. All are zero where it is not known.
type rtuTimes struct {
	char time.Duration // one character on the wire
	gap  time.Duration // silence before a request, t3.5
}

const (
	// quiet ends a frame that is not the answer, or t3.5 where that is longer.
	// USB adapters hold received bytes back for up to 16 ms (modbus.md 2).
	quiet = 20 * time.Millisecond
	// babble is how long a line may go on without being asked, beyond the time
	// of the longest frame, before it is given up for this request.
	babble = 400 * time.Millisecond
	// echoPatience is how long silence must last to tell that there is no echo.
	// That comes at once, but for a USB adapter's 16 ms and a busy machine.
	echoPatience = 100 * time.Millisecond
	// broadcastHold is how long units may take to carry out a broadcast, which
	// none of them answers (modbus.md 1: 100-200 ms).
	broadcastHold = 150 * time.Millisecond
)

// echoState is whether the line gives back what is sent on it.
type echoState byte

const (
	echoUnknown echoState = iota
	noEcho
	echoes
)

// rtuWire speaks RTU frames over a serial line or a TCP connection.
type rtuWire struct {
	link  link
	times rtuTimes
	stats *counters
	// reopens: after any failure the link is closed, as a TCP connection is.
	reopens  bool
	mustEcho bool // the config says that the line echoes

	pace
	ledger ledger
	echo   echoState
	heard  time.Time // when the last byte was on the line, ours included
	failed bool      // the last request did

	buf   [2 * rtuMost]byte
	asked [8]byte // a probe's request
}

func newRTUWire(l link, times rtuTimes, stats *counters) *rtuWire {
	return &rtuWire{link: l, times: times, stats: stats}
}

// packager returns goburrow's RTU packager; its transporter half, which would
// open a port, is not used.
func (w *rtuWire) packager(unit byte) gb.Packager {
	h := gb.NewRTUClientHandler("")
	h.SlaveId = unit
	return h
}

func (w *rtuWire) close() error {
	w.last = time.Time{}
	return w.link.close()
}

// exchange implements wire. Where the answer could be mistaken for a reply
// that is owed, or for the line's own echo, a probe goes first.
func (w *rtuWire) exchange(ctx context.Context, request []byte, t Timing) ([]byte, error) {
	if err := w.ready(ctx, request[0], t); err != nil {
		return nil, err
	}
	if request[0] == 0 {
		return w.broadcast(ctx, request, t)
	}
	d := w.ledger.of(request[0], time.Now())
	owes := d.collide(request)
	if !owes && (w.echo != echoUnknown || !looksAnswered(request)) {
		return w.attempt(ctx, request, t, false)
	}
	function, n := d.probe(request)
	if owes && !reading(request) && d.deaf() {
		function = 0
	}
	if function == 0 && reading(request) || d.full() {
		return nil, offline(ctx, fmt.Errorf("the unit still owes a reply to function %d and can not be asked what tells it apart; asked again after %s",
			request[1], time.Until(d.freed()).Round(time.Millisecond)))
	}
	if function != 0 {
		probe := probeFrame(w.asked[:], request[0], function, uint16(request[2])<<8|uint16(request[3]), n)
		w.stats.resyncs.Add(1)
		_, err := w.attempt(ctx, probe, t, true)
		if err != nil && (owes || w.echo != noEcho || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return nil, err
		}
		if err := w.ready(ctx, request[0], t); err != nil {
			return nil, err
		}
	}
	return w.attempt(ctx, request, t, false)
}

// attempt sends the request once on a ready line.
func (w *rtuWire) attempt(ctx context.Context, request []byte, t Timing, probe bool) ([]byte, error) {
	now := time.Now()
	full := now.Add(t.Timeout + w.times.char*time.Duration(len(request)+answerSize(request)))
	deadline := full
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	before := w.stats.bytesIn.Load()
	reply, err := w.roundTrip(request, now, deadline)
	ended := time.Now()
	w.done(ended, request[0], t)
	w.took = ended.Sub(now)
	w.failed = err != nil && !errors.Is(err, drivers.ErrRefused)
	sure := false
	if !w.failed {
		sure = w.ledger.of(request[0], ended).settle(request[1]) && (w.echo != echoUnknown || !looksAnswered(request))
	}
	nothing := errors.Is(err, os.ErrDeadlineExceeded) && w.stats.bytesIn.Load() == before
	if !sure {
		w.ledger.owe(request, probe && nothing, ended, (lateLimit-1)*t.Timeout)
	}
	if w.failed && deadline.Before(full) {
		w.hold = full // the caller was in a hurry; the unit is answering all the same
	}
	switch {
	case sure, probe && !w.failed:
		return reply, err
	case !w.failed: // a write that had to go out though no probe could go before it
		err = fmt.Errorf("%w: the write went out, but what came may be its echo or acknowledge an earlier one", errDoubt)
	}
	if nothing && w.echo == echoUnknown && deadline.Sub(now) >= echoPatience {
		w.echo = noEcho // an echo comes whatever the unit does
	}
	return nil, w.classify(ctx, err)
}

// roundTrip writes the request and reads until its reply is whole.
func (w *rtuWire) roundTrip(request []byte, now, deadline time.Time) ([]byte, error) {
	w.stats.requests.Add(1)
	w.heard = now.Add(w.times.char * time.Duration(len(request)))
	if err := w.link.write(request, deadline); err != nil {
		return nil, err
	}
	w.stats.bytesOut.Add(uint64(len(request)))
	in := intake{wire: w, request: request, echo: w.echo == echoes}
	for {
		until := deadline
		if settles := w.heard.Add(max(quiet, w.times.gap)); !in.silent && in.unclear() && settles.Before(deadline) {
			until = settles
		}
		n, err := w.link.read(w.buf[in.have:], until)
		if n > 0 {
			w.heard = time.Now()
			w.stats.bytesIn.Add(uint64(n))
		}
		in.have += n
		in.silent = n == 0
		if err != nil && (until == deadline || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return nil, in.ended(err)
		}
		if reply, err := in.take(); reply != nil || err != nil {
			return reply, err
		}
		if w.heard.After(deadline) { // bytes without an end
			return nil, in.ended(os.ErrDeadlineExceeded)
		}
	}
}

// broadcast sends a write that nobody answers.
func (w *rtuWire) broadcast(ctx context.Context, request []byte, t Timing) ([]byte, error) {
	now := time.Now()
	w.stats.requests.Add(1)
	if err := w.link.write(request, now.Add(t.Timeout)); err != nil {
		w.failed = true
		return nil, w.classify(ctx, err)
	}
	w.stats.bytesOut.Add(uint64(len(request)))
	w.heard = now.Add(w.times.char * time.Duration(len(request)))
	w.hold = w.heard.Add(broadcastHold)
	w.done(now, 0, t)
	w.took = w.heard.Sub(now)
	return copyOfRequest(w.buf[:], request), nil
}

// ready returns with an open, silent line on which the unit may be asked now.
func (w *rtuWire) ready(ctx context.Context, unit byte, t Timing) error {
	for again := w.reopens; ; again = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		fresh, err := w.link.open(ctx, w.failed)
		if err != nil {
			if !errors.Is(err, errGone) && !errors.Is(err, errHeld) { // then nothing was tried
				w.stats.dialErrors.Add(1)
			}
			return offline(ctx, err)
		}
		if fresh {
			w.stats.dials.Add(1)
			w.opened, w.last, w.heard, w.failed = time.Now(), time.Time{}, time.Now(), false
			if !w.mustEcho {
				w.echo = echoUnknown
				w.stats.echo.Store(false)
			}
		}
		if err := wait(ctx, time.Until(w.due(unit, t))); err != nil {
			return err
		}
		err = w.hush()
		if err == nil {
			return nil
		}
		if !again || !errors.Is(err, errGone) {
			return w.classify(ctx, err)
		}
		w.stats.resets.Add(1)
		_ = w.close() // it ended while idle; nothing has been asked on it
	}
}

// hush waits until nothing has come for the gap before a request, and drops
// what does come.
func (w *rtuWire) hush() error {
	patience := babble + rtuMost*w.times.char
	limit, total, have := time.Now().Add(patience), 0, 0
	for {
		n, err := w.link.read(w.buf[have:], w.heard.Add(w.times.gap))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		w.heard = time.Now()
		w.stats.bytesIn.Add(uint64(n))
		total += n
		have = w.discard(have + n)
		if w.heard.After(limit) {
			return fmt.Errorf("%w: the line is never silent, %d bytes in %s without a request", errDoubt, total, patience.Round(time.Millisecond))
		}
	}
}

// discard counts the whole frames in the buffer, and keeps what may become one.
func (w *rtuWire) discard(have int) int {
	b := w.buf[:have]
	for len(b) > 0 {
		size := replySize(b)
		if size == 0 || size > len(b) {
			break
		}
		if size < 0 || !sealed(b[:size]) {
			size = 1
		} else {
			w.stats.discarded.Add(1)
			w.ledger.of(b[0], w.heard).owesFrame(b[:size])
		}
		b = b[size:]
	}
	if len(b) >= rtuMost {
		b = b[:0]
	}
	return copy(w.buf[:], b)
}

// classify counts the error, makes it a drivers.ErrOffline, and closes what
// can not be used any more.
func (w *rtuWire) classify(ctx context.Context, err error) error {
	w.stats.failed(err)
	if w.reopens || errors.Is(err, errGone) {
		_ = w.close() // the error that counts is the one above
	}
	return offline(ctx, err)
}
