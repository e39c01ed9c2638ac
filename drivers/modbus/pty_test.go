package modbus

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rtuAnswer does what it likes with a request: write sends bytes on the line.
// It runs on the slave's one goroutine, so a slave that sleeps is as deaf as a
// real one, and what it was sent meanwhile waits for it in the driver's buffer.
type rtuAnswer func(write func([]byte), request []byte)

// slave is everything at the other end of an RTU link, whose answers the test
// chooses: on a pty behind a symlink, as a USB adapter is, or behind a socket.
type slave struct {
	t    *testing.T
	path string // of the symlink, or host:port

	mu       sync.Mutex
	answer   rtuAnswer
	always   []byte // written instead of an answer; set before the first request
	requests [][]byte
	port     *os.File // the pty's master
	all      sync.WaitGroup
}

// rtuGood answers as a correct device does.
func rtuGood(write func([]byte), request []byte) { write(rtuReply(request)) }

func rtuDeaf(func([]byte), []byte) {}

// rtuReply is the reply in order. It is made from the one of the TCP tests.
func rtuReply(request []byte) []byte {
	tcp := append([]byte{0, 0, 0, 0, 0, 0}, request[:len(request)-2]...)
	return seal(goodReply(tcp)[6:])
}

// seal adds the CRC, computed another way than the product does.
func seal(frame []byte) []byte {
	crc := uint16(0xFFFF)
	for i := range 8 * len(frame) {
		bit := uint16(frame[i/8]>>(i%8)) & 1
		if (crc^bit)&1 != 0 {
			crc = crc>>1 ^ 0xA001
		} else {
			crc >>= 1
		}
	}
	return append(slices.Clone(frame), byte(crc), byte(crc>>8))
}

func newSlave(t *testing.T) *slave {
	t.Helper()
	s := &slave{t: t, path: filepath.Join(t.TempDir(), "usb-adapter"), answer: rtuGood}
	s.plug()
	t.Cleanup(func() {
		s.unplug()
		s.all.Wait()
	})
	return s
}

// plug makes a new pty and points the path at it.
func (s *slave) plug() {
	s.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	number := 0
	if cerr := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	}); cerr != nil || err != nil {
		s.t.Fatal(cerr, err)
	}
	_ = os.Remove(s.path)
	if err := os.Symlink(fmt.Sprintf("/dev/pts/%d", number), s.path); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.port = master
	s.mu.Unlock()
	s.all.Go(func() { s.serve(master.Read, master.Write, func(f func()) { f() }) })
}

// unplug takes the pty away, and the path with it.
func (s *slave) unplug() {
	_ = os.Remove(s.path)
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.port.Close()
}

// newSocketSlave is the same behind a serial device server: one slave, which
// is busy with one request at a time and whose replies go to whoever is
// connected when they come.
func newSocketSlave(t *testing.T) *slave {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &slave{t: t, path: ln.Addr().String(), answer: rtuGood}
	var mu sync.Mutex
	work := make(chan func(), 1000) // in the order in which requests came
	s.all.Go(func() {
		for f := range work {
			f()
		}
	})
	var conns []net.Conn
	var readers sync.WaitGroup
	latest := func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return conns[len(conns)-1].Write(b)
	}
	readers.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			readers.Go(func() { s.serve(c.Read, latest, func(f func()) { work <- f }) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		readers.Wait()
		close(work)
		s.all.Wait()
	})
	return s
}

// serve frames requests and has each answered. A pty whose slave side is
// closed reads EIO until it is opened.
func (s *slave) serve(read, write func([]byte) (int, error), do func(func())) {
	buf, have := make([]byte, 1024), 0
	for {
		n, err := read(buf[have:])
		if err != nil {
			if pe := (*os.PathError)(nil); asPath(err, &pe) && pe.Err == unix.EIO {
				time.Sleep(time.Millisecond)
				continue
			}
			return
		}
		for have += n; have >= 8; {
			size := requestSize(buf[:have])
			if have < size {
				break
			}
			if s.always != nil {
				have = copy(buf, buf[size:have])
				_, _ = write(s.always)
				continue
			}
			request := slices.Clone(buf[:size])
			have = copy(buf, buf[size:have])
			s.mu.Lock()
			s.requests = append(s.requests, request)
			f := s.answer
			s.mu.Unlock()
			do(func() { f(func(b []byte) { _, _ = write(b) }, request) })
		}
	}
}

func asPath(err error, to **os.PathError) bool {
	pe, ok := err.(*os.PathError)
	*to = pe
	return ok
}

func requestSize(b []byte) int {
	if b[1] >= 15 {
		return 9 + int(b[6])
	}
	return 8
}

func (s *slave) set(f rtuAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// seen returns the requests so far.
func (s *slave) seen() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// line returns a fast line to the slave's pty.
func (s *slave) line(timeout time.Duration) *Line {
	l := NewSerial(Serial{Path: s.path, Baud: 115200, Format: "8E1"}, Options{Timeout: timeout})
	s.t.Cleanup(func() { _ = l.Close() })
	return l
}

// socketLine returns a line to the slave's socket.
func (s *slave) socketLine(timeout time.Duration) *Line {
	l := NewRTUOverTCP(s.path, Options{Timeout: timeout})
	s.t.Cleanup(func() { _ = l.Close() })
	return l
}
