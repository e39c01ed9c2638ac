// Package drivertest is what every driver has to pass: a conformance suite over
// a real socket or a real seam, and a small Modbus TCP slave to run it against.
// The slave shares no code with the drivers, so that one misreading of the
// protocol can not hide in both.
package drivertest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// Request is one request as the slave received it.
type Request struct {
	Unit     byte
	Function byte
	Addr     uint16
	Count    int      // registers read or written
	Values   []uint16 // of a write
}

// Fault is how the slave treats a request instead of answering it. The zero
// value answers.
type Fault struct {
	Silent    bool // no answer at all
	Exception byte // the exception code to answer with
}

// Slave is a Modbus TCP server with one register image a unit id. It answers
// functions 3, 4, 6 and 16. A register exists where a test has set it; any
// other address is exception 2. Its methods may be called at any time.
type Slave struct {
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	units   map[byte]*unit
	conns   []net.Conn
	fault   func(Request) Fault
	onWrite func(Request)
	log     []Request
}

type unit struct{ holding, input map[uint16]uint16 }

// NewSlave starts a slave on a free loopback port; it ends with the test.
func NewSlave(t testing.TB) *Slave {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for the simulated device: %v", err)
	}
	s := &Slave{listener: l, units: map[byte]*unit{}}
	s.done.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

// Addr is the slave's host:port.
func (s *Slave) Addr() string { return s.listener.Addr().String() }

// Set gives holding registers a value, from addr on, and makes them exist.
func (s *Slave) Set(id byte, addr uint16, values ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put(s.unit(id).holding, addr, values)
}

// SetInput is Set for input registers.
func (s *Slave) SetInput(id byte, addr uint16, values ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put(s.unit(id).input, addr, values)
}

// Get returns n holding registers; those that do not exist read 0.
func (s *Slave) Get(id byte, addr uint16, n int) []uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]uint16, n)
	for i := range out {
		out[i] = s.unit(id).holding[addr+uint16(i)]
	}
	return out
}

// Clear removes all registers of a unit.
func (s *Slave) Clear(id byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.units, id)
}

// Break has fault decide about every request from now on; nil mends the slave.
func (s *Slave) Break(fault func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// OnWrite has react called after every write that the slave took, so that a
// test can play the device's reaction with Set. Nil ends that.
func (s *Slave) OnWrite(react func(Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onWrite = react
}

// Requests returns all requests since the last call, faulty ones included.
func (s *Slave) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

func put(regs map[uint16]uint16, addr uint16, values []uint16) {
	for i, v := range values {
		regs[addr+uint16(i)] = v
	}
}

// unit returns the image of a unit id. The caller holds the lock.
func (s *Slave) unit(id byte) *unit {
	u := s.units[id]
	if u == nil {
		u = &unit{map[uint16]uint16{}, map[uint16]uint16{}}
		s.units[id] = u
	}
	return u
}

func (s *Slave) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		s.done.Go(func() { s.serve(c) })
	}
}

func (s *Slave) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

// serve answers one connection until it breaks. A frame is transaction id,
// protocol id, length and unit id, then the PDU (Modbus Messaging on TCP/IP
// 1.0b, 3.1.3).
func (s *Slave) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	head := make([]byte, 7)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(head[4:]))
		if n < 2 || n > 254 {
			return
		}
		pdu := make([]byte, n-1)
		if _, err := io.ReadFull(c, pdu); err != nil {
			return
		}
		reply, silent := s.answer(head[6], pdu)
		if silent {
			continue
		}
		binary.BigEndian.PutUint16(head[4:], uint16(len(reply)+1))
		if _, err := c.Write(append(slices.Clone(head), reply...)); err != nil {
			return
		}
	}
}

// answer logs a request, asks for faults and carries it out.
func (s *Slave) answer(id byte, pdu []byte) (reply []byte, silent bool) {
	req, err := parse(id, pdu)
	s.mu.Lock()
	fault, react := s.fault, s.onWrite
	if err == nil {
		s.log = append(s.log, req)
	}
	s.mu.Unlock()
	if err != nil {
		return []byte{pdu[0] | 0x80, 1}, false
	}
	if fault != nil {
		f := fault(req)
		if f.Silent {
			return nil, true
		}
		if f.Exception != 0 {
			return []byte{req.Function | 0x80, f.Exception}, false
		}
	}
	s.mu.Lock()
	reply = s.unit(id).perform(req)
	s.mu.Unlock()
	if req.Values != nil && react != nil && reply[0] < 0x80 {
		react(req)
	}
	return reply, false
}

// parse reads a request PDU of function 3, 4, 6 or 16.
func parse(id byte, pdu []byte) (Request, error) {
	bad := errors.New("not a request this slave knows")
	if len(pdu) < 5 {
		return Request{}, bad
	}
	req := Request{Unit: id, Function: pdu[0], Addr: binary.BigEndian.Uint16(pdu[1:])}
	second := binary.BigEndian.Uint16(pdu[3:])
	switch req.Function {
	case 3, 4:
		req.Count = int(second)
		return req, nil
	case 6:
		req.Count, req.Values = 1, []uint16{second}
		return req, nil
	case 16:
		req.Count = int(second)
		if len(pdu) != 6+2*req.Count || int(pdu[5]) != 2*req.Count || req.Count == 0 {
			return Request{}, bad
		}
		for i := range req.Count {
			req.Values = append(req.Values, binary.BigEndian.Uint16(pdu[6+2*i:]))
		}
		return req, nil
	}
	return Request{}, bad
}

// perform carries out a request and returns the reply's PDU.
func (u *unit) perform(req Request) []byte {
	regs := u.holding
	if req.Function == 4 {
		regs = u.input
	}
	if req.Count < 1 || req.Count > 125 {
		return []byte{req.Function | 0x80, 3}
	}
	for i := range req.Count {
		if _, ok := regs[req.Addr+uint16(i)]; !ok || int(req.Addr)+i > 65535 {
			return []byte{req.Function | 0x80, 2}
		}
	}
	if req.Values != nil {
		put(regs, req.Addr, req.Values)
		reply := binary.BigEndian.AppendUint16([]byte{req.Function}, req.Addr)
		if req.Function == 6 {
			return binary.BigEndian.AppendUint16(reply, req.Values[0])
		}
		return binary.BigEndian.AppendUint16(reply, uint16(req.Count))
	}
	reply := []byte{req.Function, byte(2 * req.Count)}
	for i := range req.Count {
		reply = binary.BigEndian.AppendUint16(reply, regs[req.Addr+uint16(i)])
	}
	return reply
}
