package drivertest

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The most registers and bits of one request (Modbus Application Protocol
// 1.1b3, chapter 6).
const (
	mostRegisters = 125
	mostBits      = 2000
)

// parse reads a request PDU. An error is the exception to answer with.
func parse(id byte, pdu []byte) (Request, error) {
	if len(pdu) < 5 {
		return Request{}, illegalFunction
	}
	req := Request{Unit: id, Function: pdu[0], Addr: binary.BigEndian.Uint16(pdu[1:])}
	second := binary.BigEndian.Uint16(pdu[3:])
	switch req.Function {
	case 1, 2, 3, 4:
		req.Count = int(second)
		return req, nil
	case 5, 6:
		req.Count, req.Values = 1, []uint16{second}
		return req, nil
	case 15, 16:
		req.Count = int(second)
		size := 2 * req.Count
		if req.Function == 15 {
			size = (req.Count + 7) / 8
		}
		if len(pdu) != 6+size || int(pdu[5]) != size || req.Count == 0 {
			return Request{}, illegalFunction
		}
		for i := range req.Count {
			if req.Function == 15 {
				req.Values = append(req.Values, uint16(pdu[6+i/8]>>(i%8)&1))
			} else {
				req.Values = append(req.Values, binary.BigEndian.Uint16(pdu[6+2*i:]))
			}
		}
		return req, nil
	}
	return Request{}, illegalFunction
}

// perform has a device carry out a request and returns the reply's PDU.
func perform(d Device, req Request) []byte {
	if req.Values != nil {
		if err := d.Write(req.Function, req.Addr, req.Values); err != nil {
			return refusal(req.Function, err)
		}
		reply := binary.BigEndian.AppendUint16([]byte{req.Function}, req.Addr)
		if req.Function == 5 || req.Function == 6 {
			return binary.BigEndian.AppendUint16(reply, req.Values[0])
		}
		return binary.BigEndian.AppendUint16(reply, uint16(req.Count))
	}
	most := mostRegisters
	if req.Function <= 2 {
		most = mostBits
	}
	if req.Count < 1 || req.Count > most {
		return refusal(req.Function, illegalValue)
	}
	values, err := d.Read(req.Function, req.Addr, uint16(req.Count))
	if err == nil && len(values) != req.Count {
		err = fmt.Errorf("%d values for %d asked", len(values), req.Count)
	}
	if err != nil {
		return refusal(req.Function, err)
	}
	return reading(req.Function, values)
}

// reading is the reply to a read.
func reading(function byte, values []uint16) []byte {
	if function > 2 {
		reply := []byte{function, byte(2 * len(values))}
		for _, v := range values {
			reply = binary.BigEndian.AppendUint16(reply, v)
		}
		return reply
	}
	bits := make([]byte, (len(values)+7)/8)
	for i, v := range values {
		bits[i/8] |= byte(v&1) << (i % 8)
	}
	return append([]byte{function, byte(len(bits))}, bits...)
}

func refusal(function byte, err error) []byte {
	code := byte(4) // device failure
	if e, ok := errors.AsType[interface {
		error
		ExceptionCode() byte
	}](err); ok {
		code = e.ExceptionCode()
	}
	return []byte{function | 0x80, code}
}
