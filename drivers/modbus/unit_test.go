package modbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nominald/drivers"
)

func TestReadsEveryTable(t *testing.T) {
	d := newDevice(t)
	u := newLine(t, d.addr, time.Second).Unit(7)
	for _, n := range []int{1, 2, 20, MaxRead} {
		in := make([]uint16, n)
		if err := u.ReadInput(t.Context(), 40, in); err != nil {
			t.Fatal(err)
		}
		for i, got := range in {
			if want := truth(Input, 7, 40+uint16(i)); got != want {
				t.Fatalf("input register %d: got %d, want %d", 40+i, got, want)
			}
		}
		if err := checkHolding(t, u, uint16(65536-n), n); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, 7, 8, 9, MaxBits} {
		for table, read := range map[Table]func(context.Context, uint16, []bool) error{Coil: u.ReadCoils, Discrete: u.ReadDiscrete} {
			bits := make([]bool, n)
			if err := read(t.Context(), 5, bits); err != nil {
				t.Fatal(err)
			}
			for i, got := range bits {
				if want := truthBit(table, 7, 5+uint16(i)); got != want {
					t.Fatalf("%s %d of %d: got %t, want %t", table, 5+i, n, got, want)
				}
			}
		}
	}
}

func TestCountsOutOfRangeSendNothing(t *testing.T) {
	d := newDevice(t)
	u := newLine(t, d.addr, time.Second).Unit(1)
	u.Allow(Range{Holding, 0, 65535}, Range{Coil, 0, 65535})
	ctx := t.Context()
	for name, err := range map[string]error{
		"no registers":   u.ReadHolding(ctx, 0, nil),
		"126 registers":  u.ReadInput(ctx, 0, make([]uint16, 126)),
		"beyond the end": u.ReadHolding(ctx, 65535, make([]uint16, 2)),
		"no bits":        u.ReadCoils(ctx, 0, nil),
		"2001 bits":      u.ReadDiscrete(ctx, 0, make([]bool, 2001)),
		"no values":      u.WriteRegisters(ctx, 0, nil),
		"124 values":     u.WriteRegisters(ctx, 0, make([]uint16, 124)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if n, _ := d.count(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestWritesAreFramedAsTheStandardSays(t *testing.T) {
	d := newDevice(t)
	u := newLine(t, d.addr, time.Second).Unit(9)
	u.Allow(Range{Holding, 0x10, 0x13}, Range{Coil, 3, 3})
	for _, c := range []struct {
		do   func() error
		want []byte // from the unit id on
	}{
		{func() error { return u.WriteRegister(t.Context(), 0x10, 0xABCD) }, []byte{9, 6, 0, 0x10, 0xAB, 0xCD}},
		{func() error { return u.WriteRegisters(t.Context(), 0x11, []uint16{1, 0x203}) }, []byte{9, 16, 0, 0x11, 0, 2, 4, 0, 1, 2, 3}},
		{func() error { return u.WriteCoil(t.Context(), 3, true) }, []byte{9, 5, 0, 3, 0xFF, 0}},
		{func() error { return u.WriteCoil(t.Context(), 3, false) }, []byte{9, 5, 0, 3, 0, 0}},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if got := d.lastRequest()[6:]; !bytes.Equal(got, c.want) {
			t.Errorf("sent % x, want % x", got, c.want)
		}
	}
}

func TestWriteOutsideTheAllowListSendsNothing(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, time.Second)
	u, strict := l.Unit(1), l.Unit(1)
	u.Allow(Range{Holding, 10, 11}, Range{Holding, 12, 12})
	u.Allow(Range{Coil, 5, 5})
	ctx := t.Context()
	for name, err := range map[string]error{
		"nothing allowed":  strict.WriteRegister(ctx, 10, 1),
		"below":            u.WriteRegister(ctx, 9, 1),
		"above":            u.WriteRegister(ctx, 13, 1),
		"reaches beyond":   u.WriteRegisters(ctx, 11, []uint16{1, 2, 3}),
		"starts before":    u.WriteRegisters(ctx, 9, []uint16{1, 2}),
		"another table":    u.WriteCoil(ctx, 10, true),
		"another coil":     u.WriteCoil(ctx, 6, true),
		"a coil's address": u.WriteRegister(ctx, 5, 1),
	} {
		if !errors.Is(err, ErrNotAllowed) || !errors.Is(err, drivers.ErrRefused) {
			t.Errorf("%s: got %v, want ErrNotAllowed", name, err)
		}
	}
	if n, _ := d.count(); n != 0 {
		t.Fatalf("%d requests were sent", n)
	}
	if err := u.WriteRegisters(ctx, 10, []uint16{1, 2, 3}); err != nil {
		t.Errorf("over two adjoining ranges: %v", err)
	}
}

func TestEchoOfAWriteIsChecked(t *testing.T) {
	d := newDevice(t)
	l := newLine(t, d.addr, time.Second)
	u := l.Unit(1)
	u.Allow(Range{Holding, 0, 100}, Range{Coil, 0, 100})
	single := func() error { return u.WriteRegister(t.Context(), 50, 0x1234) }
	many := func() error { return u.WriteRegisters(t.Context(), 50, []uint16{1, 2}) }
	coil := func() error { return u.WriteCoil(t.Context(), 50, true) }
	for _, c := range []struct {
		name string
		do   func() error
		at   int
		is   error
	}{
		{"register, address", single, 9, drivers.ErrOffline},
		{"register, clamped value", single, 11, drivers.ErrRefused},
		{"registers, address", many, 9, drivers.ErrOffline},
		{"registers, quantity", many, 11, drivers.ErrOffline},
		{"coil, address", coil, 9, drivers.ErrOffline},
		{"coil, state", coil, 10, drivers.ErrRefused},
	} {
		d.set(patch(c.at, 1))
		if err := c.do(); !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.is)
		}
		d.set(good)
		if err := c.do(); err != nil {
			t.Errorf("%s: the next write: %v", c.name, err)
		}
	}
}

func TestExceptionsAreSorted(t *testing.T) {
	d := newDevice(t)
	u := newLine(t, d.addr, time.Second).Unit(1)
	for code, want := range map[byte]error{
		1: drivers.ErrRefused, 2: drivers.ErrRefused, 3: drivers.ErrRefused, 4: drivers.ErrRefused,
		5: drivers.ErrBusy, 6: drivers.ErrBusy, 7: drivers.ErrRefused, 8: drivers.ErrRefused,
		9: drivers.ErrRefused, 10: drivers.ErrRefused, 11: drivers.ErrOffline, 0x80: drivers.ErrRefused,
	} {
		d.set(func(c *net.TCPConn, req []byte) bool {
			_, err := c.Write(adu(req, req[7]|0x80, code))
			return err == nil
		})
		err := u.ReadInput(t.Context(), 7, make([]uint16, 2))
		for _, s := range []error{drivers.ErrRefused, drivers.ErrBusy, drivers.ErrOffline} {
			if is := errors.Is(err, s); is != (s == want) {
				t.Errorf("exception %d: %q is %t", code, s, is)
			}
		}
		said := fmt.Sprintf("%s unit 1: read input registers 7+2: exception %d to function 4: ", d.addr, code)
		if !strings.HasPrefix(err.Error(), said) || strings.HasSuffix(err.Error(), ": ") {
			t.Errorf("got %q, want it to begin with %q and to name the exception", err, said)
		}
	}
	if _, accepted := d.count(); accepted != 1 {
		t.Errorf("%d connections, want 1: an exception is an answer in order", accepted)
	}
}

// A unit that answered before is asked once more where the reply is lost or
// spoiled; a dead one costs one timeout at a time.
func TestLostReadIsAskedAgain(t *testing.T) {
	d := newDevice(t)
	l := NewTCP(d.addr, Options{Timeout: faultTimeout, AskAgain: true})
	defer l.Close()
	u := l.Unit(1)
	must(t, checkHolding(t, u, 1, 4))
	var dropped atomic.Int32
	d.set(func(c *net.TCPConn, req []byte) bool {
		if dropped.Add(1) == 1 {
			return true // not a word
		}
		_, err := c.Write(goodReply(req))
		return err == nil
	})
	before := u.Connects()
	must(t, checkHolding(t, u, 10, 4))
	if dropped.Load() != 2 || u.Connects() == before {
		t.Errorf("asked %d times, want twice; and what was written there is in doubt (%d, %d)", dropped.Load(), before, u.Connects())
	}
	d.set(func(*net.TCPConn, []byte) bool { dropped.Add(1); return true })
	for _, want := range []int32{2, 1, 1} {
		dropped.Store(0)
		if err := checkHolding(t, u, 10, 4); !errors.Is(err, drivers.ErrOffline) || dropped.Load() != want {
			t.Errorf("silent: asked %d times and %v, want %d and offline", dropped.Load(), err, want)
		}
	}
}
