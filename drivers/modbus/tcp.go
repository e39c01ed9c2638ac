package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	gb "github.com/goburrow/modbus"

	"nominald/drivers"
)

// idleCheck is how long a connection may lie idle before it is looked at
// ahead of use: devices end idle connections without a word (modbus.md 3).
const idleCheck = 20 * time.Millisecond

// tcpWire speaks Modbus TCP over one connection.
type tcpWire struct {
	addr   string
	opts   Options
	stats  *counters
	dialer net.Dialer

	pace
	conn *net.TCPConn // nil while closed
	raw  syscall.RawConn
	// endedUnread: the last attempt failed because a connection that had served
	// before was ended without a byte of reply.
	endedUnread bool

	id   uint16 // of the last request, counted over all units and connections
	sent uint64 // requests so far; bounds which ids can be ours
	buf  [2 * maxFrame]byte
}

func newTCPWire(addr string, opts Options, stats *counters) *tcpWire {
	return &tcpWire{addr: addr, opts: opts, stats: stats, dialer: keepAlive()}
}

// packager returns goburrow's TCP packager; its transporter half is not used.
func (w *tcpWire) packager(unit byte) gb.Packager {
	h := gb.NewTCPClientHandler(w.addr)
	h.SlaveId = unit
	return h
}

func (w *tcpWire) close() error {
	if w.conn == nil {
		return nil
	}
	err := w.conn.Close()
	w.conn, w.raw, w.last = nil, nil, time.Time{}
	return err
}

// drop ends the connection with a reset instead of a polite end, so that a
// device with room for one client has room again at once, and so that nothing
// still under way on it can ever be read.
func (w *tcpWire) drop() {
	if w.conn == nil {
		return
	}
	_ = w.conn.SetLinger(0) // best effort: the close below is what counts
	_ = w.close()
}

// exchange implements wire. A transaction id is given here, from one counter
// for the whole line: goburrow counts by unit, so that two units' replies
// could carry the same id.
//
// A connection that was used before may have been ended by the device while
// the request was under way. Then, and only then, the request is sent once
// more on a new one: nobody has read it, or at worst somebody has taken the
// same absolute value twice.
func (w *tcpWire) exchange(ctx context.Context, request []byte, t Timing) ([]byte, error) {
	used := w.conn
	reply, err := w.attempt(ctx, request, t)
	if err != nil && used != nil && w.endedUnread {
		reply, err = w.attempt(ctx, request, t)
	}
	return reply, err
}

// attempt sends the request once.
func (w *tcpWire) attempt(ctx context.Context, request []byte, t Timing) ([]byte, error) {
	w.endedUnread = false
	before := w.conn
	if err := w.ready(ctx, request[headerSize-1], t); err != nil {
		return nil, err
	}
	now := time.Now()
	deadline := now.Add(t.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	w.id++
	w.sent++
	putID(request, w.id)
	read := w.stats.bytesIn.Load()
	reply, err := w.roundTrip(request, deadline)
	ended := time.Now()
	w.done(ended, request[headerSize-1], t)
	w.took = ended.Sub(now)
	if err == nil {
		return reply, nil
	}
	if errors.Is(err, drivers.ErrRefused) {
		return nil, err // answered in order, see checkReply
	}
	w.endedUnread = before != nil && w.conn == before && read == w.stats.bytesIn.Load() && hungUp(err)
	w.drop()
	return nil, w.classify(ctx, err)
}

// hungUp tells whether the error is the other side's end of the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// roundTrip writes the request and reads until its reply is whole. Replies to
// earlier requests are dropped on the way: they come late, or twice.
func (w *tcpWire) roundTrip(request []byte, deadline time.Time) ([]byte, error) {
	if err := w.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	w.stats.requests.Add(1)
	n, err := w.conn.Write(request)
	w.stats.bytesOut.Add(uint64(n))
	if err != nil {
		return nil, err
	}
	have := 0
	for {
		n, err := w.conn.Read(w.buf[have:])
		w.stats.bytesIn.Add(uint64(n))
		have += n
		for {
			size, earlier, bad := frame(request, w.buf[:have], w.sent)
			if bad != nil {
				return nil, bad
			}
			if size == 0 {
				break
			}
			if !earlier {
				return w.accept(request, size, have)
			}
			w.stats.discarded.Add(1)
			have = copy(w.buf[:], w.buf[size:have])
		}
		if err != nil {
			return nil, err
		}
	}
}

// accept checks the reply of size bytes at the front of the buffer.
func (w *tcpWire) accept(request []byte, size, have int) ([]byte, error) {
	if have > size {
		return nil, fmt.Errorf("%w: %d bytes follow the reply", errDoubt, have-size)
	}
	reply := w.buf[:size:size]
	if err := checkReply(request[headerSize:], reply[headerSize:]); err != nil {
		return nil, err
	}
	if reply[headerSize]&0x80 != 0 {
		w.stats.exceptions.Add(1)
	}
	return reply, nil
}

// ready returns with an open connection on which the unit may be asked now.
func (w *tcpWire) ready(ctx context.Context, unit byte, t Timing) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.conn != nil && time.Since(w.last) >= idleCheck && w.ended() {
		w.stats.resets.Add(1)
		w.drop()
	}
	if w.conn == nil {
		if err := w.dial(ctx); err != nil {
			return err
		}
	}
	return wait(ctx, time.Until(w.due(unit, t)))
}

func (w *tcpWire) dial(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, w.opts.ConnectTimeout)
	defer cancel()
	conn, err := w.dialer.DialContext(short, "tcp", w.addr)
	if err != nil {
		w.stats.dialErrors.Add(1)
		return offline(ctx, err)
	}
	w.conn = conn.(*net.TCPConn) // what dialling "tcp" returns
	w.raw, err = w.conn.SyscallConn()
	if err != nil {
		w.drop()
		return offline(ctx, err)
	}
	w.stats.dials.Add(1)
	w.opened = time.Now()
	return nil
}

// ended tells whether the other side has closed the connection, without
// blocking and without taking bytes from it.
func (w *tcpWire) ended() bool { return ended(w.raw) }

func ended(raw syscall.RawConn) bool {
	gone := true
	err := raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = !(n > 0 || errors.Is(err, syscall.EAGAIN))
	})
	return gone || err != nil
}

// classify counts the error and makes it a drivers.ErrOffline.
func (w *tcpWire) classify(ctx context.Context, err error) error {
	w.stats.failed(err)
	if errors.Is(err, io.EOF) {
		err = errors.New("connection closed by the device")
	}
	return offline(ctx, err)
}

// offline wraps the error for callers that ask whether the device answers, and
// for those that ask whether it was their own context that ended.
func offline(ctx context.Context, err error) error {
	if c := ctx.Err(); c != nil {
		return fmt.Errorf("%w: %w (%w)", drivers.ErrOffline, err, c)
	}
	return fmt.Errorf("%w: %w", drivers.ErrOffline, err)
}
