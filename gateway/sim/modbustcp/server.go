package modbustcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Unit is one device behind a unit id. Its methods return an Exception to be
// answered; any other error is answered as a device failure.
type Unit interface {
	// Read returns count registers; function is ReadHolding or ReadInput.
	Read(function byte, addr, count uint16) ([]uint16, error)
	// Write stores registers; function is WriteSingle or WriteMultiple.
	Write(function byte, addr uint16, values []uint16) error
}

// Locked is a unit whose requests wait for a lock: physics that moves behind its
// registers is kept still meanwhile.
func Locked(mu *sync.Mutex, u Unit) Unit { return locked{mu, u} }

type locked struct {
	mu   *sync.Mutex
	unit Unit
}

func (l locked) Read(function byte, addr, count uint16) ([]uint16, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unit.Read(function, addr, count)
}

func (l locked) Write(function byte, addr uint16, values []uint16) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unit.Write(function, addr, values)
}

const (
	maxConns = 16
	// idleClose is when a silent connection is dropped, as Alfen and others do
	// after 60 s (modbus.md 5.2).
	idleClose    = 60 * time.Second
	writeTimeout = 5 * time.Second
)

// Server serves units on one endpoint. Units are added before it serves.
type Server struct {
	units map[byte]*served

	mu    sync.Mutex
	conns map[net.Conn]bool
	ended bool
}

type served struct {
	unit   Unit
	faults Faults
}

// NewServer returns a server without units.
func NewServer() *Server {
	return &Server{units: map[byte]*served{}, conns: map[net.Conn]bool{}}
}

// Add puts a unit behind an id and returns the hooks to break it with.
func (s *Server) Add(id byte, u Unit) (*Faults, error) {
	if _, ok := s.units[id]; ok {
		return nil, fmt.Errorf("unit %d: already there; give each device of a bus its own unit id", id)
	}
	s.units[id] = &served{unit: u}
	return &s.units[id].faults, nil
}

// Listen opens a listener on a loopback address and refuses any other.
func Listen(addr string) (net.Listener, error) {
	if err := CheckLoopback(addr); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for modbus: %w", err)
	}
	return ln, nil
}

// CheckLoopback returns an error unless host:port names this machine alone.
func CheckLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("address %q: not a loopback address; simulated devices are served on 127.0.0.0/8, ::1 or localhost", addr)
}

// Serve answers on a loopback listener until ctx ends, closes the listener and
// all connections, and returns when nothing of it runs any more.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	stop := context.AfterFunc(ctx, func() { s.shutdown(ln) })
	defer stop()
	defer s.shutdown(ln)
	if err := CheckLoopback(ln.Addr().String()); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			s.shutdown(ln)
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
		if !s.enter(conn) {
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer s.leave(conn)
			s.serveConn(ctx, conn)
		})
	}
}

func (s *Server) enter(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.conns) >= maxConns {
		return false
	}
	s.conns[c] = true
	return true
}

func (s *Server) leave(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) shutdown(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	ln.Close()
	for c := range s.conns {
		c.Close()
	}
}

// Drop closes all open connections, as a device does that restarts. New ones
// are accepted.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// serveConn answers one client. What ends a connection is the client's or the
// network's doing and of no interest to the simulation.
func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	for {
		if conn.SetReadDeadline(time.Now().Add(idleClose)) != nil {
			return
		}
		frame, err := readFrame(conn)
		if err != nil {
			return
		}
		answer, err := s.handle(ctx, frame)
		if err != nil {
			return
		}
		if answer == nil {
			continue
		}
		if conn.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// handle returns the answer to a frame, nil where a device keeps silent, and
// an error where the connection shall be closed.
func (s *Server) handle(ctx context.Context, frame []byte) ([]byte, error) {
	req, parseErr := ParseRequest(frame)
	var e Exception
	if parseErr != nil && !errors.As(parseErr, &e) {
		return nil, parseErr
	}
	target, ok := s.units[req.Unit]
	if !ok {
		return nil, nil // as pymodbus and most devices do: silence
	}
	offline, slow, forced := target.faults.begin()
	if slow > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(slow):
		}
	}
	switch {
	case offline:
		return nil, nil
	case parseErr != nil:
		return req.refused(e), nil
	case forced != 0:
		return req.refused(forced), nil
	}
	return target.answer(req), nil
}

// answer asks the device.
func (t *served) answer(req Request) []byte {
	if req.Function == ReadHolding || req.Function == ReadInput {
		regs, err := t.unit.Read(req.Function, req.Addr, req.Count)
		if err == nil && len(regs) == int(req.Count) {
			return req.values(t.faults.keep(block{req.Function, req.Addr, req.Count}, regs))
		}
		return req.refused(exceptionOf(err))
	}
	if err := t.unit.Write(req.Function, req.Addr, req.Values); err != nil {
		return req.refused(exceptionOf(err))
	}
	t.faults.wrote()
	return req.written()
}

func exceptionOf(err error) Exception {
	var e interface{ ExceptionCode() byte }
	if errors.As(err, &e) {
		return Exception(e.ExceptionCode())
	}
	return DeviceFailure
}
