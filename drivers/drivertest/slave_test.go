package drivertest_test

import (
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"testing"
	"time"

	"nominald/drivers/drivertest"
)

// TestSlaveSpeaksTheProtocol compares frames byte by byte with those of the
// Modbus Application Protocol 1.1b3, chapter 6, behind a Modbus TCP header.
func TestSlaveSpeaksTheProtocol(t *testing.T) {
	s := drivertest.NewSlave(t)
	s.Set(17, 107, 0x022B, 0x0000, 0x0064)
	s.SetInput(17, 8, 0x000A)
	s.Set(17, 1, 0, 0)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, x := range []struct{ name, request, reply string }{
		{"read holding", "0001 0000 0006 11 03 006B 0003", "0001 0000 0009 11 03 06 022B 0000 0064"},
		{"read input", "0002 0000 0006 11 04 0008 0001", "0002 0000 0005 11 04 02 000A"},
		{"write single", "0003 0000 0006 11 06 0001 0003", "0003 0000 0006 11 06 0001 0003"},
		{"write multiple", "0004 0000 000B 11 10 0001 0002 04 000A 0102", "0004 0000 0006 11 10 0001 0002"},
		{"no such register", "0005 0000 0006 11 03 006B 0004", "0005 0000 0003 11 83 02"},
		{"no such function", "0006 0000 0006 11 01 0000 0001", "0006 0000 0003 11 81 01"},
	} {
		if _, err := c.Write(frame(t, x.request)); err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		want := frame(t, x.reply)
		got := make([]byte, len(want))
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: got %x, %v, want %x", x.name, got, err, want)
		}
	}
	if got := s.Get(17, 1, 2); got[0] != 0x000A || got[1] != 0x0102 {
		t.Errorf("written registers %x, want 000a 0102", got)
	}
	if got := s.Requests(); len(got) != 5 || len(got[3].Values) != 2 {
		t.Errorf("%d requests logged: %+v, want the 5 that were understood", len(got), got)
	}
}

func frame(t *testing.T, spaced string) []byte {
	t.Helper()
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(spaced), []byte(" "), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
