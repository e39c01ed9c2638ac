package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	gb "github.com/goburrow/modbus"
)

// Table is one of the four address spaces of a unit.
type Table byte

// The tables.
const (
	Holding Table = iota + 1
	Input
	Coil
	Discrete
)

// String names the table as errors do.
func (t Table) String() string {
	switch t {
	case Holding:
		return "holding registers"
	case Input:
		return "input registers"
	case Coil:
		return "coils"
	case Discrete:
		return "discrete inputs"
	}
	return fmt.Sprintf("table %d", byte(t))
}

// Range is a closed interval of addresses, as they go on the wire (from 0).
type Range struct {
	Table       Table
	First, Last uint16
}

// The most that one request may carry (Modbus Application Protocol 1.1b3,
// chapter 6: a PDU has 253 bytes).
const (
	MaxRead  = 125  // registers
	MaxWrite = 123  // registers
	MaxBits  = 2000 // coils or discrete inputs
	MaxCoils = 1968 // coils in one write
)

// Unit is one unit id on a line. Its methods are called by one goroutine, the
// one that owns the line. Every method either does all it says or returns an
// error; a destination is written only on success.
type Unit struct {
	line     *Line
	id       byte
	packager gb.Packager
	client   gb.Client
	tally    *tally
	timing   Timing
	allowed  []Range

	answers bool   // it answered the last request, be it by an exception
	slips   uint64 // reads that were asked again
}

// ID returns the unit id.
func (u *Unit) ID() byte { return u.id }

// Allow adds ranges that may be written. At first nothing may: a profile names
// its writable registers, and a slip in a driver can not reach the others,
// some of which wear out a device's flash (modbus.md 8).
func (u *Unit) Allow(ranges ...Range) { u.allowed = append(u.allowed, ranges...) }

// SetAllowed replaces the ranges that may be written.
func (u *Unit) SetAllowed(ranges ...Range) { u.allowed = slices.Clone(ranges) }

// SetTiming sets what this unit needs where it differs from its line.
func (u *Unit) SetTiming(t Timing) { u.timing = t.over(u.line.opts) }

// Stats returns the counts of this unit id, which other Units may share.
func (u *Unit) Stats() UnitStats { return u.tally.snapshot(u.id) }

// ReadHolding reads len(dst) holding registers (FC3), 1 to MaxRead.
func (u *Unit) ReadHolding(ctx context.Context, addr uint16, dst []uint16) error {
	return u.readWords(ctx, Holding, addr, dst)
}

// ReadInput reads len(dst) input registers (FC4), 1 to MaxRead.
func (u *Unit) ReadInput(ctx context.Context, addr uint16, dst []uint16) error {
	return u.readWords(ctx, Input, addr, dst)
}

// ReadCoils reads len(dst) coils (FC1), 1 to MaxBits.
func (u *Unit) ReadCoils(ctx context.Context, addr uint16, dst []bool) error {
	return u.readBits(ctx, Coil, addr, dst)
}

// ReadDiscrete reads len(dst) discrete inputs (FC2), 1 to MaxBits.
func (u *Unit) ReadDiscrete(ctx context.Context, addr uint16, dst []bool) error {
	return u.readBits(ctx, Discrete, addr, dst)
}

// Read reads len(dst) values by function code: 1 coils, 2 discrete inputs (0
// or 1 each), 3 holding registers, 4 input registers.
func (u *Unit) Read(ctx context.Context, function byte, addr uint16, dst []uint16) error {
	switch function {
	case 1, 2:
		t := Coil
		if function == 2 {
			t = Discrete
		}
		bits := make([]bool, len(dst))
		if err := u.readBits(ctx, t, addr, bits); err != nil {
			return err
		}
		for i, on := range bits {
			dst[i] = 0
			if on {
				dst[i] = 1
			}
		}
		return nil
	case 3:
		return u.readWords(ctx, Holding, addr, dst)
	case 4:
		return u.readWords(ctx, Input, addr, dst)
	}
	return fmt.Errorf("%s unit %d: read with function %d, accepted are 1 to 4", u.line, u.id, function)
}

func (u *Unit) readWords(ctx context.Context, t Table, addr uint16, dst []uint16) error {
	if err := u.mayRead(addr, len(dst), MaxRead); err != nil {
		return u.fail("read", t, addr, len(dst), err)
	}
	read := u.client.ReadHoldingRegisters
	if t == Input {
		read = u.client.ReadInputRegisters
	}
	err := u.ask(ctx, func() error {
		raw, err := read(addr, uint16(len(dst)))
		if err != nil {
			return err
		}
		for i := range dst { // the wire checked that raw holds 2 bytes for each
			dst[i] = binary.BigEndian.Uint16(raw[2*i:])
		}
		return nil
	})
	return u.fail("read", t, addr, len(dst), err)
}

func (u *Unit) readBits(ctx context.Context, t Table, addr uint16, dst []bool) error {
	if err := u.mayRead(addr, len(dst), MaxBits); err != nil {
		return u.fail("read", t, addr, len(dst), err)
	}
	read := u.client.ReadCoils
	if t == Discrete {
		read = u.client.ReadDiscreteInputs
	}
	err := u.ask(ctx, func() error {
		raw, err := read(addr, uint16(len(dst)))
		if err != nil {
			return err
		}
		for i := range dst { // the wire checked that raw holds a bit for each
			dst[i] = raw[i/8]>>(i%8)&1 == 1
		}
		return nil
	})
	return u.fail("read", t, addr, len(dst), err)
}

// ask reads, and where the line's options say so asks once more.
func (u *Unit) ask(ctx context.Context, send func() error) error {
	err := u.line.transact(ctx, u, send)
	lost := errors.Is(err, errDoubt) || errors.Is(err, os.ErrDeadlineExceeded)
	if lost && u.answers && u.line.opts.AskAgain && ctx.Err() == nil {
		u.slips++
		err = u.line.transact(ctx, u, send)
	}
	u.answers = err == nil || errors.As(err, new(*gb.ModbusError))
	return err
}

// mayRead checks a read before anything is sent.
func (u *Unit) mayRead(addr uint16, n, most int) error {
	if err := u.line.ids.check(u.id, false); err != nil {
		return err
	}
	return inside(addr, n, most)
}

// inside checks a count against the most a request carries and the end of the
// address space.
func inside(addr uint16, n, most int) error {
	if n < 1 || n > most {
		return fmt.Errorf("count %d, accepted are 1 to %d", n, most)
	}
	if int(addr)+n > 1<<16 {
		return fmt.Errorf("count %d reaches beyond address 65535", n)
	}
	return nil
}

// fail says what was tried, and makes goburrow's exceptions our own.
func (u *Unit) fail(verb string, t Table, addr uint16, n int, err error) error {
	if err == nil {
		return nil
	}
	if e := (*gb.ModbusError)(nil); errors.As(err, &e) {
		err = &Exception{Function: e.FunctionCode &^ 0x80, Code: e.ExceptionCode}
	}
	return fmt.Errorf("%s unit %d: %s %s %d+%d: %w", u.line, u.id, verb, t, addr, n, err)
}
