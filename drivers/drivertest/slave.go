// Package drivertest is what every driver has to pass: a conformance suite over
// a real socket or a real seam, and a small Modbus TCP slave to run it against.
// The slave shares no code with the drivers, so that one misreading of the
// protocol can not hide in both.
package drivertest

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
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
	Silent    bool          // no answer at all
	Exception byte          // the exception code to answer with
	Delay     time.Duration // before the answer
	Drop      bool          // the connection is closed instead
	// Spoil returns what is sent instead of the frame, header included.
	Spoil func(frame []byte) []byte
}

// Slave is a Modbus TCP server with one device a unit id: an image, of which
// those registers exist that a test has set, or whatever Serve put there. It
// answers functions 1 to 6, 15 and 16. Its methods may be called at any time.
type Slave struct {
	listener net.Listener
	done     sync.WaitGroup
	ended    chan struct{}

	mu      sync.Mutex
	images  map[byte]*image
	devices map[byte]Device
	conns   []net.Conn
	fault   func(Request) Fault
	onWrite func(Request)
	log     []Request
}

// NewSlave starts a slave on a free loopback port; it ends with the test.
func NewSlave(t testing.TB) *Slave {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for the simulated device: %v", err)
	}
	s := &Slave{listener: l, ended: make(chan struct{}), images: map[byte]*image{}, devices: map[byte]Device{}}
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
	put(s.image(id).holding, addr, values)
}

// SetInput is Set for input registers.
func (s *Slave) SetInput(id byte, addr uint16, values ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put(s.image(id).input, addr, values)
}

// SetCoil gives coils a value, from addr on, and makes them exist.
func (s *Slave) SetCoil(id byte, addr uint16, values ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put(s.image(id).coils, addr, values)
}

// SetDiscrete is SetCoil for discrete inputs.
func (s *Slave) SetDiscrete(id byte, addr uint16, values ...uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put(s.image(id).discrete, addr, values)
}

// Serve has a device answer at a unit id, instead of the image there; nil gives
// the image back. The device has to allow use by several goroutines.
func (s *Slave) Serve(id byte, d Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.devices, id)
	if d != nil {
		s.devices[id] = d
	}
}

// Get returns n holding registers; those that do not exist read 0.
func (s *Slave) Get(id byte, addr uint16, n int) []uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]uint16, n)
	for i := range out {
		out[i] = s.image(id).holding[addr+uint16(i)]
	}
	return out
}

// Clear removes all registers of a unit.
func (s *Slave) Clear(id byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.images, id)
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

// image returns the image of a unit id. The caller holds the lock.
func (s *Slave) image(id byte) *image {
	i := s.images[id]
	if i == nil {
		i = newImage()
		s.images[id] = i
	}
	return i
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
	close(s.ended)
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
		reply, f := s.answer(head[6], pdu)
		if f.Delay > 0 {
			select {
			case <-s.ended:
				return
			case <-time.After(f.Delay):
			}
		}
		if f.Drop {
			return
		}
		if f.Silent {
			continue
		}
		binary.BigEndian.PutUint16(head[4:], uint16(len(reply)+1))
		frame := append(slices.Clone(head), reply...)
		if f.Spoil != nil {
			frame = f.Spoil(frame)
		}
		if _, err := c.Write(frame); err != nil {
			return
		}
	}
}

// answer logs a request, asks for faults and carries it out.
func (s *Slave) answer(id byte, pdu []byte) (reply []byte, f Fault) {
	req, err := parse(id, pdu)
	s.mu.Lock()
	fault, react := s.fault, s.onWrite
	if err == nil {
		s.log = append(s.log, req)
	}
	s.mu.Unlock()
	if err != nil {
		return refusal(pdu[0], err), Fault{}
	}
	if fault != nil {
		f = fault(req)
	}
	switch {
	case f.Silent || f.Drop:
		return nil, f
	case f.Exception != 0:
		return []byte{req.Function | 0x80, f.Exception}, f
	}
	s.mu.Lock()
	device := s.devices[id]
	if device == nil {
		reply = perform(s.image(id), req)
	}
	s.mu.Unlock()
	if device != nil {
		reply = perform(device, req)
	}
	if req.Values != nil && react != nil && reply[0] < 0x80 {
		react(req)
	}
	return reply, f
}
