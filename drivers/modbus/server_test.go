package modbus

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"
)

// truth is what every register of the test servers holds. It differs from
// address to address, unit to unit and table to table, so that a value under
// the wrong name is seen as wrong.
func truth(t Table, unit byte, addr uint16) uint16 {
	return addr*40503 + uint16(unit)*257 + uint16(t)*7919
}

func truthBit(t Table, unit byte, addr uint16) bool {
	return truth(t, unit, addr)%3 == 0
}

// goodReply answers a request as a correct device does.
func goodReply(req []byte) []byte {
	unit, fc := req[6], req[7]
	addr, arg := binary.BigEndian.Uint16(req[8:]), binary.BigEndian.Uint16(req[10:])
	switch fc {
	case 1, 2:
		bits := make([]byte, (int(arg)+7)/8)
		for i := range int(arg) {
			if truthBit(bitTable(fc), unit, addr+uint16(i)) {
				bits[i/8] |= 1 << (i % 8)
			}
		}
		return adu(req, append([]byte{fc, byte(len(bits))}, bits...)...)
	case 3, 4:
		pdu := []byte{fc, byte(2 * arg)}
		for i := range arg {
			pdu = binary.BigEndian.AppendUint16(pdu, truth(Table(fc-2), unit, addr+i))
		}
		return adu(req, pdu...)
	}
	return adu(req, req[7:12]...)
}

// adu frames a PDU as the reply to req.
func adu(req []byte, pdu ...byte) []byte {
	out := append([]byte{req[0], req[1], 0, 0, 0, 0, req[6]}, pdu...)
	binary.BigEndian.PutUint16(out[4:], uint16(len(pdu)+1))
	return out
}

// device is a raw TCP server whose answers the test chooses.
type device struct {
	t    *testing.T
	addr string

	mu       sync.Mutex
	answer   answer
	requests [][]byte
	accepted int
	conns    []net.Conn
}

// answer writes whatever it wants to the connection, and returns false to have
// it closed.
type answer func(c *net.TCPConn, req []byte) bool

func good(c *net.TCPConn, req []byte) bool {
	_, err := c.Write(goodReply(req))
	return err == nil
}

func deafTCP(*net.TCPConn, []byte) bool { return true }

func newDevice(t *testing.T) *device {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, addr: ln.Addr().String(), answer: good}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.accepted++
			d.conns = append(d.conns, c)
			d.mu.Unlock()
			all.Go(func() { d.serve(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		d.hangUp()
		all.Wait()
	})
	return d
}

func (d *device) serve(c *net.TCPConn) {
	defer c.Close()
	buf := make([]byte, 300)
	for {
		n, err := c.Read(buf) // a request is one segment on loopback
		if err != nil {
			return
		}
		req := append([]byte(nil), buf[:n]...)
		d.mu.Lock()
		d.requests = append(d.requests, req)
		f := d.answer
		d.mu.Unlock()
		if !f(c, req) {
			return
		}
	}
}

// set chooses how the next requests are answered.
func (d *device) set(f answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = f
}

// hangUp ends every connection.
func (d *device) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
}

func (d *device) count() (requests, accepted int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.requests), d.accepted
}

func (d *device) lastRequest() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests[len(d.requests)-1]
}

// checkHolding reads holding registers; a value that is not the truth ends the
// test, an error is returned.
func checkHolding(t *testing.T, u *Unit, addr uint16, n int) error {
	t.Helper()
	dst := make([]uint16, n)
	if err := u.ReadHolding(t.Context(), addr, dst); err != nil {
		for i, v := range dst {
			if v != 0 {
				t.Fatalf("register %d was written (%d) though the read failed: %v", int(addr)+i, v, err)
			}
		}
		return err
	}
	for i, got := range dst {
		if want := truth(Holding, u.id, addr+uint16(i)); got != want {
			t.Fatalf("unit %d register %d: got %d, want %d", u.id, int(addr)+i, got, want)
		}
	}
	return nil
}

// newLine returns a line that is closed with the test.
func newLine(t *testing.T, addr string, timeout time.Duration) *Line {
	t.Helper()
	l := NewTCP(addr, Options{Timeout: timeout})
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// bitTable returns the table that FC1 or FC2 reads.
func bitTable(fc byte) Table {
	if fc == 1 {
		return Coil
	}
	return Discrete
}
