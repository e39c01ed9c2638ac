package drivertest_test

import (
	"bytes"
	"encoding/hex"
	"errors"
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
	s.SetCoil(17, 0x13, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1)
	s.SetCoil(17, 0xAC, 0)
	s.SetDiscrete(17, 0xC4, 1, 0, 1)
	s.Serve(19, counting{})
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
		{"no such function", "0006 0000 0006 11 08 0000 0001", "0006 0000 0003 11 88 01"},
		{"read coils", "0007 0000 0006 11 01 0013 0013", "0007 0000 0006 11 01 03 CD6B05"},
		{"read discrete", "0008 0000 0006 11 02 00C4 0003", "0008 0000 0004 11 02 01 05"},
		{"write single coil", "0009 0000 0006 11 05 00AC FF00", "0009 0000 0006 11 05 00AC FF00"},
		{"write a coil to neither", "000A 0000 0006 11 05 00AC 1234", "000A 0000 0003 11 85 03"},
		{"write multiple coils", "000B 0000 0009 11 0F 0013 000A 02 CD01", "000B 0000 0006 11 0F 0013 000A"},
		{"no such coil", "000C 0000 0006 11 01 0000 0001", "000C 0000 0003 11 81 02"},
		{"bits of a unit without", "000D 0000 0006 12 01 0000 0001", "000D 0000 0003 12 81 01"},
		{"a device of its own", "000E 0000 0006 13 03 0000 0002", "000E 0000 0007 13 03 04 0000 0001"},
		{"its refusal", "000F 0000 0006 13 06 0000 0002", "000F 0000 0003 13 86 04"},
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
	if got := s.Requests(); len(got) != 14 || len(got[3].Values) != 2 {
		t.Errorf("%d requests logged: %+v, want the 14 that were understood", len(got), got)
	}
}

// counting is a device whose registers hold their addresses, and that fails at
// writes.
type counting struct{}

func (counting) Read(_ byte, addr, count uint16) ([]uint16, error) {
	out := make([]uint16, count)
	for i := range out {
		out[i] = addr + uint16(i)
	}
	return out, nil
}

func (counting) Write(byte, uint16, []uint16) error { return errors.New("broken") }

func frame(t *testing.T, spaced string) []byte {
	t.Helper()
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(spaced), []byte(" "), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
