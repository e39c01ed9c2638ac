package modbustcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// shelf is a unit with 200 registers that keep what is written.
type shelf struct {
	mu  sync.Mutex
	reg [200]uint16
}

func (s *shelf) Read(_ byte, addr, count uint16) ([]uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(addr)+int(count) > len(s.reg) {
		return nil, IllegalAddress
	}
	return append([]uint16(nil), s.reg[addr:addr+count]...), nil
}

func (s *shelf) Write(_ byte, addr uint16, values []uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(addr)+len(values) > len(s.reg) {
		return IllegalAddress
	}
	copy(s.reg[addr:], values)
	return nil
}

// start serves two shelves at units 1 and 7 and returns the hooks of unit 1.
func start(t *testing.T) (addr string, faults *Faults) {
	t.Helper()
	s := NewServer()
	faults, err := s.Add(1, &shelf{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(7, &shelf{}); err != nil {
		t.Fatal(err)
	}
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("serve does not end")
		}
	})
	return ln.Addr().String(), faults
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func frame(transaction uint16, unit byte, pdu ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, transaction)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(pdu)+1))
	return append(append(b, unit), pdu...)
}

// ask sends bytes and returns one answer.
func ask(t *testing.T, c net.Conn, request []byte) []byte {
	t.Helper()
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	answer, err := readFrame(c)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestReadsAndWritesOverASocket(t *testing.T) {
	addr, faults := start(t)
	c := dial(t, addr)
	for _, tt := range []struct {
		name      string
		ask, want []byte
	}{
		{"write single", frame(1, 1, 6, 0, 5, 0x12, 0x34), frame(1, 1, 6, 0, 5, 0x12, 0x34)},
		{"write multiple", frame(2, 1, 16, 0, 6, 0, 2, 4, 1, 2, 3, 4), frame(2, 1, 16, 0, 6, 0, 2)},
		{"read holding", frame(3, 1, 3, 0, 5, 0, 3), frame(3, 1, 3, 6, 0x12, 0x34, 1, 2, 3, 4)},
		{"read input", frame(4, 1, 4, 0, 5, 0, 1), frame(4, 1, 4, 2, 0x12, 0x34)},
		{"the other unit has its own", frame(5, 7, 3, 0, 5, 0, 1), frame(5, 7, 3, 2, 0, 0)},
		{"address", frame(6, 1, 3, 0, 199, 0, 2), frame(6, 1, 0x83, 2)},
		{"address of a write", frame(7, 1, 6, 0, 200, 0, 2), frame(7, 1, 0x86, 2)},
		{"function", frame(8, 1, 43, 14, 1, 0), frame(8, 1, 0xAB, 1)},
		{"126 registers", frame(9, 1, 3, 0, 0, 0, 126), frame(9, 1, 0x83, 3)},
		{"no registers", frame(10, 1, 3, 0, 0, 0, 0), frame(10, 1, 0x83, 3)},
		{"byte count", frame(11, 1, 16, 0, 6, 0, 2, 3, 1, 2, 3), frame(11, 1, 0x90, 3)},
		{"short read", frame(12, 1, 3, 0), frame(12, 1, 0x83, 3)},
		{"long write", frame(13, 1, 6, 0, 5, 1, 1, 1), frame(13, 1, 0x86, 3)},
	} {
		if got := ask(t, c, tt.ask); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: % x, want % x", tt.name, got, tt.want)
		}
	}
	if got := faults.Writes(); got != 2 {
		t.Errorf("%d writes accepted, want 2", got)
	}
}

func TestSplitAndJoinedFramesAreTakenApart(t *testing.T) {
	addr, _ := start(t)
	c := dial(t, addr)
	two := append(frame(1, 1, 3, 0, 0, 0, 1), frame(2, 1, 3, 0, 0, 0, 2)...)
	for _, b := range two {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	for want := byte(1); want <= 2; want++ {
		got, err := readFrame(c)
		if err != nil || got[1] != want {
			t.Fatalf("answer %d: % x, %v", want, got, err)
		}
	}
}

func TestNonsenseEndsTheConnectionAndNoOther(t *testing.T) {
	addr, _ := start(t)
	other := dial(t, addr)
	for _, b := range [][]byte{
		{0, 1, 0, 9, 0, 6, 1, 3, 0, 0, 0, 1},    // protocol id
		{0, 1, 0, 0, 0, 1, 1},                   // length too small
		{0, 1, 0, 0, 0xFF, 0xFF, 1, 3, 0},       // length too large
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n"), // another protocol
	} {
		c := dial(t, addr)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("% x was answered", b)
		} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			t.Errorf("% x: the connection stays open", b)
		}
	}
	if got := ask(t, other, frame(9, 1, 3, 0, 0, 0, 1)); got[1] != 9 {
		t.Errorf("another client got % x", got)
	}
}

func TestFaultsAtRunTime(t *testing.T) {
	addr, faults := start(t)
	c := dial(t, addr)
	read := frame(1, 1, 3, 0, 5, 0, 1)
	silent := func(what string) {
		t.Helper()
		if _, err := c.Write(read); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: answered", what)
		}
		c.SetReadDeadline(time.Now().Add(3 * time.Second))
	}
	faults.SetOffline(true)
	silent("offline")
	faults.SetOffline(false)
	if got := ask(t, c, read); !bytes.Equal(got, frame(1, 1, 3, 2, 0, 0)) {
		t.Errorf("back again: % x", got)
	}
	faults.SetException(DeviceBusy)
	if got := ask(t, c, read); !bytes.Equal(got, frame(1, 1, 0x83, 6)) {
		t.Errorf("busy: % x", got)
	}
	faults.SetException(0)
	faults.SetStuck(true)
	ask(t, c, read)
	ask(t, c, frame(2, 1, 6, 0, 5, 0, 99))
	if got := ask(t, c, read); !bytes.Equal(got, frame(1, 1, 3, 2, 0, 0)) {
		t.Errorf("stuck: % x", got)
	}
	faults.SetStuck(false)
	if got := ask(t, c, read); !bytes.Equal(got, frame(1, 1, 3, 2, 0, 99)) {
		t.Errorf("no longer stuck: % x", got)
	}
	faults.SetSlow(60 * time.Millisecond)
	before := time.Now()
	ask(t, c, read)
	if d := time.Since(before); d < 60*time.Millisecond {
		t.Errorf("slow: answered after %s", d)
	}
	if _, err := c.Write(frame(3, 99, 3, 0, 0, 0, 1)); err != nil {
		t.Fatal(err)
	}
	faults.SetSlow(0)
	if got := ask(t, c, frame(4, 1, 3, 0, 0, 0, 1)); got[1] != 4 {
		t.Errorf("an unknown unit was answered: % x", got)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	addr, _ := start(t)
	for range maxConns {
		ask(t, dial(t, addr), frame(1, 1, 3, 0, 0, 0, 1))
	}
	c := dial(t, addr)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			t.Errorf("connection %d is served", maxConns+1)
		}
	}
}

func TestOnlyLoopbackIsServed(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:502", "[::]:0", "example.net:502", "127.0.0.1"} {
		if ln, err := Listen(addr); err == nil {
			ln.Close()
			t.Errorf("%s: listens", addr)
		}
	}
	if err := CheckLoopback("localhost:502"); err != nil {
		t.Error(err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(frame(1, 1, 3, 0, 5, 0, 3))
	f.Add(frame(2, 1, 16, 0, 6, 0, 2, 4, 1, 2, 3, 4))
	f.Add(frame(3, 1, 6, 0, 5, 0x12, 0x34))
	f.Add(frame(4, 1, 43))
	f.Add(frame(5, 1, 16, 0, 6, 0, 123, 246))
	f.Add([]byte{0, 1, 0, 0, 0, 0, 1})
	s := NewServer()
	if _, err := s.Add(1, &shelf{}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err := readFrame(bytes.NewReader(b))
		if err == nil && len(whole) > len(b) {
			t.Fatalf("%d bytes read of %d", len(whole), len(b))
		}
		answer, err := s.handle(context.Background(), b)
		if err != nil || answer == nil {
			return
		}
		back, err := readFrame(bytes.NewReader(answer))
		if err != nil || !bytes.Equal(back, answer) {
			t.Fatalf("answer % x is not one frame: %v", answer, err)
		}
		if !bytes.Equal(answer[:4], b[:4]) || answer[6] != b[6] || answer[7]&0x7F != b[7]&0x7F {
			t.Fatalf("answer % x does not belong to % x", answer, b)
		}
		req, err := ParseRequest(b)
		if err == nil && answer[7] == req.Function && req.Values == nil && int(answer[8]) != 2*int(req.Count) {
			t.Fatalf("%d registers asked, %d bytes given", req.Count, answer[8])
		}
	})
}
