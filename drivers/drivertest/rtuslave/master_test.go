package rtuslave

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bank is a device whose registers hold their address and whose bits its last bit.
type bank struct {
	mu      sync.Mutex
	written []uint16
	reboots atomic.Int32
	err     error
}

func (b *bank) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *bank) wrote() []uint16 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written
}

func (b *bank) Read(function byte, addr, count uint16) ([]uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	values := make([]uint16, count)
	for i := range values {
		if values[i] = addr + uint16(i); function < 3 {
			values[i] %= 2
		}
	}
	return values, nil
}

func (b *bank) Write(_ byte, _ uint16, values []uint16) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.written = append(b.written, values...)
	return b.err
}

func (b *bank) Reboot() { b.reboots.Add(1) }

// code is an exception as a device gives it.
type code byte

func (c code) Error() string       { return fmt.Sprintf("exception %d", byte(c)) }
func (c code) ExceptionCode() byte { return byte(c) }

// open makes a line in a directory of the test, with a bank as unit 1.
func open(t *testing.T, o Options) (*Line, *bank) {
	t.Helper()
	l, err := Open(filepath.Join(t.TempDir(), "usb-adapter"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	b := &bank{}
	l.Attach(1, b)
	return l, b
}

// master is the other end of a line: bytes out, bytes in.
type master struct {
	t *testing.T
	f *os.File
	c net.Conn
}

// dialPty opens the line's path raw, at a rate.
func dialPty(t *testing.T, l *Line, baud uint32) *master {
	t.Helper()
	fd, err := unix.Open(l.Path(), unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := &master{t: t, f: os.NewFile(uintptr(fd), l.Path())}
	t.Cleanup(func() { _ = m.f.Close() })
	m.rate(baud)
	return m
}

// rate sets the baud rate, as B9600 and so on or any other.
func (m *master) rate(baud uint32) {
	m.t.Helper()
	raw, err := m.f.SyscallConn()
	if err != nil {
		m.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		s := unix.Termios{Cflag: unix.BOTHER | unix.CS8 | unix.CREAD | unix.CLOCAL, Ispeed: baud, Ospeed: baud}
		s.Cc[unix.VMIN] = 1 // 0 would make a read of nothing look like the end
		if err := unix.IoctlSetTermios(int(fd), unix.TCSETS2, &s); err != nil {
			m.t.Error(err)
		}
	})
}

func dialTCP(t *testing.T, l *Line) *master {
	t.Helper()
	c, err := net.Dial("tcp", l.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &master{t: t, c: c}
}

func (m *master) send(frame ...byte) {
	m.t.Helper()
	var err error
	if m.c != nil {
		_, err = m.c.Write(frame)
	} else {
		_, err = m.f.Write(frame)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// receive returns what comes before the line is silent for so long, and
// whether it was ended by the other side.
func (m *master) receive(silent time.Duration) (got []byte, ended bool) {
	buf := make([]byte, 512)
	for {
		var n int
		var err error
		if m.c != nil {
			_ = m.c.SetReadDeadline(time.Now().Add(silent))
			n, err = m.c.Read(buf)
		} else {
			_ = m.f.SetReadDeadline(time.Now().Add(silent))
			n, err = m.f.Read(buf)
		}
		got = append(got, buf[:n]...)
		if err != nil {
			return got, !os.IsTimeout(err)
		}
	}
}

// want checks what comes within 60 ms of silence.
func (m *master) want(what string, want ...byte) {
	m.t.Helper()
	// A busy machine answers late: silence counts once all that is due has come.
	got, ended := m.receive(60 * time.Millisecond)
	for until := time.Now().Add(3 * time.Second); len(got) < len(want) && !ended && time.Now().Before(until); {
		var more []byte
		more, ended = m.receive(60 * time.Millisecond)
		got = append(got, more...)
	}
	if !bytes.Equal(got, want) {
		m.t.Errorf("%s: got % x, want % x", what, got, want)
	}
}
