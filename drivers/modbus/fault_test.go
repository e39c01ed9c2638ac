package modbus

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"nominald/drivers"
)

// faultTimeout is the transaction timeout of the fault tests: short enough for
// many of them, long enough for a busy test machine to answer in time.
const faultTimeout = 400 * time.Millisecond

// fault is a way in which a device, or the network to it, goes wrong.
type fault struct {
	name   string
	answer answer
	ok     bool  // the request succeeds nevertheless
	is     error // else: what the error wraps
	code   byte  // else: the exception that it is
}

// raw answers with the good reply after a change to it.
func raw(change func(reply []byte) []byte) answer {
	return func(c *net.TCPConn, req []byte) bool {
		_, err := c.Write(change(goodReply(req)))
		return err == nil
	}
}

// patch answers with the good reply, one byte of it changed.
func patch(at int, by byte) answer {
	return raw(func(r []byte) []byte { r[at] += by; return r })
}

// length answers with the good reply under another length field.
func length(n uint16) answer {
	return raw(func(r []byte) []byte { binary.BigEndian.PutUint16(r[4:], n); return r })
}

// registers answers with n registers, in a frame that is right in itself.
func registers(n int) answer {
	return func(c *net.TCPConn, req []byte) bool {
		pdu := append([]byte{req[7], byte(2 * n)}, make([]byte, 2*n)...)
		_, err := c.Write(adu(req, pdu...))
		return err == nil
	}
}

// pieces writes the frame cut at every so many bytes.
func pieces(c *net.TCPConn, frame []byte, size int, gap time.Duration) bool {
	for len(frame) > 0 {
		n := min(size, len(frame))
		if _, err := c.Write(frame[:n]); err != nil {
			return false
		}
		frame = frame[n:]
		time.Sleep(gap)
	}
	return true
}

// past changes a frame's transaction id to one that lies n requests back.
func past(frame []byte, n uint16) []byte {
	binary.BigEndian.PutUint16(frame, binary.BigEndian.Uint16(frame)-n)
	return frame
}

// wrong returns a reply in good order that carries other registers' values.
func wrong(req []byte) []byte {
	other := append([]byte(nil), req...)
	binary.BigEndian.PutUint16(other[8:], binary.BigEndian.Uint16(req[8:])+1)
	return goodReply(other)
}

func reset(c *net.TCPConn) bool {
	_ = c.SetLinger(0)
	return false
}

func silentFaults() []fault {
	off := drivers.ErrOffline
	return []fault{
		{name: "deaf", is: off, answer: func(*net.TCPConn, []byte) bool { return true }},
		{name: "slow", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			time.Sleep(faultTimeout * 11 / 10)
			return good(c, req)
		}},
		{name: "only the previous reply", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			_, err := c.Write(past(wrong(req), 1))
			return err == nil
		}},
		{name: "half a frame", is: off, answer: raw(func(r []byte) []byte { return r[:11] })},
		{name: "half a header", is: off, answer: raw(func(r []byte) []byte { return r[:5] })},
		{name: "length one too long", is: off, answer: length(3 + 2*4 + 1)},
		{name: "drip slower than the timeout", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			return pieces(c, goodReply(req), 1, faultTimeout/10)
		}},
	}
}

func quickFaults() []fault {
	off := drivers.ErrOffline
	return []fault{
		{name: "next transaction", is: off, answer: patch(1, 1)},
		{name: "far transaction", is: off, answer: patch(0, 0x40)},
		{name: "protocol", is: off, answer: patch(3, 1)},
		{name: "unit", is: off, answer: patch(6, 1)},
		{name: "function of another table", is: off, answer: patch(7, 1)},
		{name: "function of a write", is: off, answer: patch(7, 3)},
		{name: "exception to another function", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			_, err := c.Write(adu(req, 0x84, 2))
			return err == nil
		}},
		{name: "exception without code", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			_, err := c.Write(adu(req, 0x83))
			return err == nil
		}},
		{name: "exception too long", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			_, err := c.Write(adu(req, 0x83, 2, 2))
			return err == nil
		}},
		{name: "byte count less", is: off, answer: patch(8, 0xFE)},
		{name: "byte count more", is: off, answer: patch(8, 2)},
		{name: "fewer registers", is: off, answer: registers(3)},
		{name: "more registers", is: off, answer: registers(5)},
		{name: "no registers", is: off, answer: registers(0)},
		{name: "length 0", is: off, answer: length(0)},
		{name: "length 1", is: off, answer: length(1)},
		{name: "length 2", is: off, answer: length(2)},
		{name: "length 255", is: off, answer: length(255)},
		{name: "length 65535", is: off, answer: length(65535)},
		{name: "length too short", is: off, answer: length(3 + 2*4 - 2)},
		{name: "glued twice", is: off, answer: raw(func(r []byte) []byte { return append(r, r...) })},
		{name: "one byte more", is: off, answer: raw(func(r []byte) []byte { return append(r, 0) })},
		{name: "truncated, then closed", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			_, _ = c.Write(goodReply(req)[:12])
			return false
		}},
		{name: "closed at once", is: off, answer: func(*net.TCPConn, []byte) bool { return false }},
		{name: "reset at once", is: off, answer: func(c *net.TCPConn, _ []byte) bool { return reset(c) }},
		{name: "reset in a frame", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			_, _ = c.Write(goodReply(req)[:12])
			return reset(c)
		}},
		{name: "noise", is: off, answer: func(c *net.TCPConn, req []byte) bool {
			r := rand.New(rand.NewPCG(uint64(req[1]), 7))
			noise := make([]byte, 64)
			for i := range noise {
				noise[i] = byte(r.Uint32())
			}
			noise[2] = 1 // a protocol id that is not 0, in case the rest were a frame
			_, err := c.Write(noise)
			return err == nil
		}},
	}
}

// oddFaults are the oddities that are in order.
func oddFaults() []fault {
	exception := func(size int, code byte) answer {
		return func(c *net.TCPConn, req []byte) bool {
			return pieces(c, adu(req, req[7]|0x80, code), size, time.Millisecond)
		}
	}
	return []fault{
		{name: "one byte at a time", ok: true, answer: func(c *net.TCPConn, req []byte) bool {
			return pieces(c, goodReply(req), 1, time.Millisecond)
		}},
		{name: "header and body apart", ok: true, answer: func(c *net.TCPConn, req []byte) bool {
			return pieces(c, goodReply(req), headerSize, time.Millisecond)
		}},
		{name: "previous reply glued in front", ok: true, answer: func(c *net.TCPConn, req []byte) bool {
			_, err := c.Write(append(past(wrong(req), 1), goodReply(req)...))
			return err == nil
		}},
		{name: "three late replies first", ok: true, answer: func(c *net.TCPConn, req []byte) bool {
			for n := uint16(3); n > 0; n-- {
				_, _ = c.Write(past(wrong(req), n))
				time.Sleep(time.Millisecond)
			}
			return good(c, req)
		}},
		{name: "exception", code: 2, answer: exception(99, 2)},
		{name: "exception split", code: 4, answer: exception(8, 4)},
		{name: "exception byte by byte", code: 11, answer: exception(1, 11)},
		{name: "vendor exception", code: 0x80, answer: exception(99, 0x80)},
	}
}

func TestNoFaultIsTakenForAValue(t *testing.T) {
	for _, f := range append(append(silentFaults(), quickFaults()...), oddFaults()...) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			d := newDevice(t)
			l := newLine(t, d.addr, faultTimeout)
			one, two := l.Unit(1), l.Unit(2)
			for i := range uint16(5) { // so that late replies exist
				if err := checkHolding(t, one, 100+i, 4); err != nil {
					t.Fatal(err)
				}
			}
			d.set(f.answer)
			f.check(t, checkHolding(t, one, 200, 4))
			d.set(good)
			for i, u := range []*Unit{two, one, two} {
				if err := checkHolding(t, u, 300+uint16(i), 4); err != nil {
					t.Fatalf("request %d after the fault: %v", i+1, err)
				}
			}
		})
	}
}

func (f fault) check(t *testing.T, err error) {
	t.Helper()
	if f.ok {
		if err != nil {
			t.Fatalf("got %v, want the values", err)
		}
		return
	}
	if f.is != nil && !errors.Is(err, f.is) {
		t.Fatalf("got error %v, want one that is %q", err, f.is)
	}
	e := (*Exception)(nil)
	if is := errors.As(err, &e); is != (f.code != 0) {
		t.Fatalf("got %v, an exception: %t, want %t", err, is, !is)
	}
	if f.code != 0 && (e.Code != f.code || e.Function != 3) {
		t.Fatalf("got exception %+v, want code %d of function 3", e, f.code)
	}
}

// A gateway keeps a late reply and hands it to whoever is connected when it
// comes: on our next connection, in front of the next reply.
func TestLateReplyIsNotAnotherRegister(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, faultTimeout)
	u := l.Unit(1)
	var (
		mu   sync.Mutex // each connection has a goroutine
		late []byte
	)
	behind := func(c *net.TCPConn, req []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		held := late
		late = goodReply(req)
		if held == nil {
			return true
		}
		_, err := c.Write(slices.Concat(held, late))
		return err == nil
	}
	if err := checkHolding(t, u, 1, 4); err != nil {
		t.Fatal(err)
	}
	d.set(behind)
	if err := checkHolding(t, u, 10, 4); !errors.Is(err, drivers.ErrOffline) {
		t.Fatalf("got %v, want a timeout", err)
	}
	for i := range uint16(20) {
		if err := checkHolding(t, u, 11+i, 4); err != nil {
			t.Fatalf("request %d with the previous reply in front: %v", i, err)
		}
	}
	if got := l.Stats().Discarded; got != 20 {
		t.Errorf("discarded %d late replies, want 20", got)
	}
}

// Thousands of transactions with a fault of any kind, seeded: never a value
// under a wrong name, and always a good value once the device is good.
func TestRandomFaultsNeverMisattribute(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2026, 1))
	faults := append(quickFaults(), oddFaults()...)
	d := newDevice(t)
	l := newLine(t, d.addr, 10*time.Second)
	units := []*Unit{l.Unit(1), l.Unit(2), l.Unit(247)}
	failed := 0
	for i := range 3000 {
		f := fault{name: "good", answer: good, ok: true}
		if rnd.IntN(3) > 0 {
			f = faults[rnd.IntN(len(faults))]
		}
		d.set(f.answer)
		err := checkHolding(t, units[rnd.IntN(len(units))], uint16(rnd.IntN(60000)), 4)
		if i < 4 && f.ok {
			continue // there were no three earlier requests yet to be late
		}
		if f.check(t, err); err != nil {
			failed++
		}
	}
	st := l.Stats()
	t.Logf("%d of 3000 failed as they should: %+v", failed, st)
	if failed < 750 || st.Timeouts > 0 {
		t.Errorf("failed %d, timeouts %d: the faults did not bite, or bit in another way", failed, st.Timeouts)
	}
}

// A black hole swallows the SYN: the dial ends with the connect timeout.
func TestBlackHoleEndsWithConnectTimeout(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	addr := fullListener(t, fd)
	l := NewTCP(addr, Options{Timeout: time.Second, ConnectTimeout: 150 * time.Millisecond})
	defer l.Close()
	start := time.Now()
	err = l.Unit(1).ReadHolding(t.Context(), 0, make([]uint16, 2))
	if took := time.Since(start); !errors.Is(err, drivers.ErrOffline) || took < 100*time.Millisecond || took > 2*time.Second {
		t.Fatalf("after %v: %v, want no answer after 150ms", took, err)
	}
	if st := l.Stats(); st.DialErrors != 1 || st.Requests != 0 {
		t.Errorf("got %+v, want one dial error and no request", st)
	}
}

// fullListener makes fd a listener whose queue is full, so that the kernel
// drops further SYNs.
func fullListener(t *testing.T, fd int) string {
	t.Helper()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in := name.(*syscall.SockaddrInet4)
	addr := (&net.TCPAddr{IP: in.Addr[:], Port: in.Port}).String()
	for {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

func TestNobodyListensIsOffline(t *testing.T) {
	l := newLine(t, "127.0.0.1:1", faultTimeout)
	if err := checkHolding(t, l.Unit(1), 0, 1); !errors.Is(err, drivers.ErrOffline) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want offline by connection refused", err)
	}
}
