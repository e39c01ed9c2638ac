package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// tcpLink carries RTU frames over a TCP connection.
type tcpLink struct {
	addr   string
	opts   Options
	dialer net.Dialer

	conn *net.TCPConn // nil while closed
	raw  syscall.RawConn

	into []byte // of the read that peek serves
	n    int
	err  error
	peek func(fd uintptr) // made once, so that a read allocates nothing
}

func newTCPLink(addr string, opts Options) *tcpLink {
	l := &tcpLink{addr: addr, opts: opts, dialer: keepAlive()}
	l.peek = func(fd uintptr) {
		l.n, _, l.err = syscall.Recvfrom(int(fd), l.into, syscall.MSG_DONTWAIT)
	}
	return l
}

// open implements link. In doubt the connection is already closed.
func (l *tcpLink) open(ctx context.Context, _ bool) (bool, error) {
	if l.conn != nil {
		return false, nil
	}
	short, cancel := context.WithTimeout(ctx, l.opts.ConnectTimeout)
	defer cancel()
	conn, err := l.dialer.DialContext(short, "tcp", l.addr)
	if err != nil {
		return false, err
	}
	l.conn = conn.(*net.TCPConn) // what dialling "tcp" returns
	if l.raw, err = l.conn.SyscallConn(); err != nil {
		_ = l.close()
		return false, err
	}
	return true, nil
}

// read implements link. What is there already is taken without a deadline,
// for after one has passed the connection would not give it.
func (l *tcpLink) read(p []byte, until time.Time) (int, error) {
	l.into = p
	err := l.raw.Control(l.peek)
	l.into = nil
	switch {
	case err != nil:
		return 0, hungUpBy(err)
	case l.n > 0:
		return l.n, nil
	case l.err == nil:
		return 0, hungUpBy(io.EOF)
	case !errors.Is(l.err, syscall.EAGAIN) && !errors.Is(l.err, syscall.EINTR):
		return 0, hungUpBy(l.err)
	case !until.After(time.Now()):
		return 0, os.ErrDeadlineExceeded
	}
	if err := l.conn.SetReadDeadline(until); err != nil {
		return 0, hungUpBy(err)
	}
	n, err := l.conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = hungUpBy(err)
	}
	return n, err
}

func (l *tcpLink) write(p []byte, until time.Time) error {
	if err := l.conn.SetWriteDeadline(until); err != nil {
		return hungUpBy(err)
	}
	_, err := l.conn.Write(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = hungUpBy(err)
	}
	return err
}

// close ends the connection with a reset, see tcpWire.drop.
func (l *tcpLink) close() error {
	if l.conn == nil {
		return nil
	}
	_ = l.conn.SetLinger(0) // best effort: the close below is what counts
	err := l.conn.Close()
	l.conn, l.raw = nil, nil
	return err
}

// hungUpBy says that the connection can not be used any more.
func hungUpBy(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("connection closed by the device server (%w)", errGone)
	}
	return fmt.Errorf("connection lost: %w (%w)", err, errGone)
}

// keepAlive returns a dialer whose connections are watched: a half-open one
// blocks a single-client device until its own idle timeout, so both ends shall
// notice soon (modbus.md 3).
func keepAlive() net.Dialer {
	return net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3,
	}}
}
