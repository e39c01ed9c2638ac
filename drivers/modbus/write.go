package modbus

import (
	"context"
	"encoding/binary"
	"fmt"

	gb "github.com/goburrow/modbus"
)

// WriteRegister writes one holding register (FC6).
func (u *Unit) WriteRegister(ctx context.Context, addr, v uint16) error {
	return u.write(ctx, Holding, addr, 1, 1, func() error {
		_, err := u.client.WriteSingleRegister(addr, v)
		return err
	})
}

// WriteRegisters writes 1 to MaxWrite holding registers in one request (FC16).
func (u *Unit) WriteRegisters(ctx context.Context, addr uint16, vs []uint16) error {
	return u.write(ctx, Holding, addr, len(vs), MaxWrite, func() error {
		raw := make([]byte, 0, 2*len(vs))
		for _, v := range vs {
			raw = binary.BigEndian.AppendUint16(raw, v)
		}
		_, err := u.client.WriteMultipleRegisters(addr, uint16(len(vs)), raw)
		return err
	})
}

// WriteCoil switches one coil (FC5).
func (u *Unit) WriteCoil(ctx context.Context, addr uint16, on bool) error {
	return u.write(ctx, Coil, addr, 1, 1, func() error {
		v := uint16(0)
		if on {
			v = 0xFF00
		}
		_, err := u.client.WriteSingleCoil(addr, v)
		return err
	})
}

// WriteCoils switches 1 to MaxCoils coils in one request (FC15).
func (u *Unit) WriteCoils(ctx context.Context, addr uint16, on []bool) error {
	return u.write(ctx, Coil, addr, len(on), MaxCoils, func() error {
		raw := make([]byte, (len(on)+7)/8)
		for i, v := range on {
			if v {
				raw[i/8] |= 1 << (i % 8)
			}
		}
		_, err := u.client.WriteMultipleCoils(addr, uint16(len(on)), raw)
		return err
	})
}

// Write writes by function code: 5 one coil, with the raw value (0xFF00 on, 0
// off, or a maker's own); 6 one register; 15 several coils, where any value
// but 0 is on; 16 several registers.
func (u *Unit) Write(ctx context.Context, function byte, addr uint16, values []uint16) error {
	switch function {
	case 5:
		return u.writeRawCoil(ctx, addr, values)
	case 6:
		if len(values) != 1 {
			return u.fail("write", Holding, addr, len(values), fmt.Errorf("function 6 writes one register, not %d", len(values)))
		}
		return u.WriteRegister(ctx, addr, values[0])
	case 15:
		on := make([]bool, len(values))
		for i, v := range values {
			on[i] = v != 0
		}
		return u.WriteCoils(ctx, addr, on)
	case 16:
		return u.WriteRegisters(ctx, addr, values)
	}
	return fmt.Errorf("%s unit %d: write with function %d, accepted are 5, 6, 15 and 16", u.line, u.id, function)
}

// writeRawCoil sends function 5 with a value that goburrow's client may not
// know: relay boards toggle and pulse with values of their own (modbus.md 5.5).
func (u *Unit) writeRawCoil(ctx context.Context, addr uint16, values []uint16) error {
	return u.write(ctx, Coil, addr, len(values), 1, func() error {
		data := binary.BigEndian.AppendUint16(make([]byte, 0, 4), addr)
		data = binary.BigEndian.AppendUint16(data, values[0])
		return u.send(&gb.ProtocolDataUnit{FunctionCode: 5, Data: data})
	})
}

// send does for one PDU what goburrow's client does for those it knows. The
// wire has checked that the reply repeats address and value.
func (u *Unit) send(pdu *gb.ProtocolDataUnit) error {
	request, err := u.packager.Encode(pdu)
	if err != nil {
		return err
	}
	reply, err := sender{u.line}.Send(request)
	if err != nil {
		return err
	}
	if err := u.packager.Verify(request, reply); err != nil {
		return err
	}
	answer, err := u.packager.Decode(reply)
	if err != nil {
		return err
	}
	if answer.FunctionCode != pdu.FunctionCode {
		return &gb.ModbusError{FunctionCode: answer.FunctionCode, ExceptionCode: answer.Data[0]}
	}
	return nil
}

func (u *Unit) write(ctx context.Context, t Table, addr uint16, n, most int, send func() error) error {
	err := u.line.ids.check(u.id, true)
	if err == nil {
		err = inside(addr, n, most)
	}
	if err == nil && !u.mayWrite(t, addr, n) {
		err = ErrNotAllowed
	}
	if err == nil {
		err = u.line.transact(ctx, u, send)
	}
	return u.fail("write", t, addr, n, err)
}

// mayWrite tells whether each of the n addresses is in an allowed range.
func (u *Unit) mayWrite(t Table, addr uint16, n int) bool {
	for i := range n {
		if !u.allows(t, addr+uint16(i)) {
			return false
		}
	}
	return true
}

func (u *Unit) allows(t Table, addr uint16) bool {
	for _, r := range u.allowed {
		if r.Table == t && r.First <= addr && addr <= r.Last {
			return true
		}
	}
	return false
}
