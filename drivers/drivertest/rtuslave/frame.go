package rtuslave

import (
	"encoding/binary"
	"time"
)

// Request is one well-formed request as the line carried it.
type Request struct {
	At       time.Time // when its first byte was seen
	Unit     byte
	Function byte
	Addr     uint16
	Count    uint16   // registers or bits
	Values   []uint16 // of a write: registers, bits as 0 and 1, or function 5's raw value

	id  uint16 // transaction of Modbus TCP
	bad byte   // exception for a request that breaks the standard's limits
}

// Write tells whether the request is a write.
func (r Request) Write() bool {
	switch r.Function {
	case 5, 6, 15, 16:
		return true
	}
	return false
}

const (
	mbap      = 7   // header of Modbus TCP: transaction, protocol, length, unit
	maxFrame  = 260 // the longest frame of either framing
	exception = 0x80
)

// crc16 is the CRC of the Modbus serial line specification 1.02, 2.5.1.2,
// computed bit by bit; it goes on the wire low byte first.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, v := range b {
		crc ^= uint16(v)
		for range 8 {
			odd := crc&1 == 1
			crc >>= 1
			if odd {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

// sealed returns the bytes with their CRC behind them.
func sealed(b []byte) []byte { return binary.LittleEndian.AppendUint16(b, crc16(b)) }

// intact tells whether a frame ends with its CRC.
func intact(b []byte) bool {
	n := len(b) - 2
	return n >= 2 && binary.LittleEndian.Uint16(b[n:]) == crc16(b[:n])
}

// rtuSize returns the size of the request that begins with these bytes: 0
// while that can not be said, -1 where only silence ends it.
func rtuSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case 1, 2, 3, 4, 5, 6:
		return 8
	case 15, 16:
		if len(b) < 7 {
			return 0
		}
		return 9 + int(b[6])
	}
	return -1
}

// mbapSize is rtuSize for Modbus TCP.
func mbapSize(b []byte) int {
	if len(b) < mbap {
		return 0
	}
	if n := int(binary.BigEndian.Uint16(b[4:])); n >= 2 && n <= maxFrame-mbap+1 {
		return mbap - 1 + n
	}
	return -1
}

// parse reads a PDU into the request. What the standard forbids is left for
// answer to refuse.
func (r *Request) parse(pdu []byte) {
	r.Function = pdu[0]
	if len(pdu) < 5 {
		r.bad = 1
		return
	}
	r.Addr = binary.BigEndian.Uint16(pdu[1:])
	r.Count = binary.BigEndian.Uint16(pdu[3:])
	most, single := uint16(0), false
	switch r.Function {
	case 1, 2:
		most = 2000
	case 3, 4:
		most = 125
	case 5, 6:
		r.Values, r.Count, most, single = []uint16{r.Count}, 1, 1, true
	case 15:
		most = 1968
	case 16:
		most = 123
	default:
		r.bad = 1
		return
	}
	switch {
	case r.Count < 1 || r.Count > most:
		r.bad = 3
	case int(r.Addr)+int(r.Count) > 1<<16:
		r.bad = 2
	case r.Write() && !single:
		r.parseValues(pdu[5:])
	}
}

// parseValues reads the byte count and the data of functions 15 and 16.
func (r *Request) parseValues(b []byte) {
	want := 2 * int(r.Count)
	if r.Function == 15 {
		want = (int(r.Count) + 7) / 8
	}
	if len(b) != 1+want || int(b[0]) != want {
		r.bad = 3
		return
	}
	for i := range int(r.Count) {
		if r.Function == 15 {
			r.Values = append(r.Values, uint16(b[1+i/8]>>(i%8)&1))
			continue
		}
		r.Values = append(r.Values, binary.BigEndian.Uint16(b[1+2*i:]))
	}
}

// refusal is the PDU of an exception.
func (r Request) refusal(code byte) []byte { return []byte{r.Function | exception, code} }

// data is the PDU that answers a read.
func (r Request) data(values []uint16) []byte {
	if r.Function > 2 {
		pdu := []byte{r.Function, byte(2 * len(values))}
		for _, v := range values {
			pdu = binary.BigEndian.AppendUint16(pdu, v)
		}
		return pdu
	}
	n := (len(values) + 7) / 8
	pdu := make([]byte, 2+n)
	pdu[0], pdu[1] = r.Function, byte(n)
	for i, v := range values {
		if v != 0 {
			pdu[2+i/8] |= 1 << (i % 8)
		}
	}
	return pdu
}

// written is the PDU that answers a write: the address, and the value of a
// single one or the quantity.
func (r Request) written() []byte {
	second := r.Count
	if r.Function < 15 {
		second = r.Values[0]
	}
	pdu := binary.BigEndian.AppendUint16([]byte{r.Function}, r.Addr)
	return binary.BigEndian.AppendUint16(pdu, second)
}
