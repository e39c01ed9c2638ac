// Package modbustcp is a small Modbus TCP server for simulated devices. It
// shares no code with the drivers that it is there to test. It listens on
// loopback addresses only: what it serves is not meant for a network.
//
// The wire is that of the Modbus Application Protocol 1.1b3 and the Messaging
// on TCP/IP Implementation Guide 1.0b; modbus.md 3 is the short form.
package modbustcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The function codes that the server answers.
const (
	ReadHolding   byte = 3
	ReadInput     byte = 4
	WriteSingle   byte = 6
	WriteMultiple byte = 16
)

const (
	headerLen  = 7   // MBAP: transaction, protocol, length, unit
	maxLength  = 254 // unit and PDU, the largest value of the length field
	maxReads   = 125 // registers in one read
	maxWrites  = 123 // registers in one write
	replyFlag  = 0x80
	singlePDU  = 5 // function, address, value or quantity
	multiStart = 6 // function, address, quantity, byte count
)

// Exception is a Modbus exception code; as an error it is what a device
// answers with.
type Exception byte

// The exceptions that devices answer with (modbus.md 3).
const (
	IllegalFunction Exception = 1
	IllegalAddress  Exception = 2
	IllegalValue    Exception = 3
	DeviceFailure   Exception = 4
	DeviceBusy      Exception = 6
)

// Error names the exception.
func (e Exception) Error() string { return fmt.Sprintf("modbus exception %d", byte(e)) }

// ExceptionCode is the code on the wire.
func (e Exception) ExceptionCode() byte { return byte(e) }

// errFrame marks bytes that are not Modbus TCP: the connection has no future.
var errFrame = errors.New("not a modbus tcp frame")

// Request is one request as it came.
type Request struct {
	Transaction uint16
	Unit        byte
	Function    byte
	Addr        uint16
	Count       uint16   // registers
	Values      []uint16 // of a write
}

// readFrame reads one frame whole, header included.
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, headerLen, headerLen+maxLength-1)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	length := binary.BigEndian.Uint16(frame[4:])
	if length < 2 || length > maxLength {
		return nil, fmt.Errorf("length field %d: %w", length, errFrame)
	}
	frame = frame[:headerLen+int(length)-1]
	if _, err := io.ReadFull(r, frame[headerLen:]); err != nil {
		return nil, fmt.Errorf("read %d bytes of pdu: %w", length-1, err)
	}
	return frame, nil
}

// ParseRequest reads a frame. An error that is an Exception goes back to the
// client, in which case transaction, unit and function are valid; any other
// ends the connection.
func ParseRequest(frame []byte) (Request, error) {
	if len(frame) < headerLen+1 {
		return Request{}, fmt.Errorf("%d bytes: %w", len(frame), errFrame)
	}
	if p := binary.BigEndian.Uint16(frame[2:]); p != 0 {
		return Request{}, fmt.Errorf("protocol id %d: %w", p, errFrame)
	}
	if l := int(binary.BigEndian.Uint16(frame[4:])); l != len(frame)-headerLen+1 {
		return Request{}, fmt.Errorf("length field %d of %d bytes: %w", l, len(frame), errFrame)
	}
	req := Request{
		Transaction: binary.BigEndian.Uint16(frame),
		Unit:        frame[6],
		Function:    frame[headerLen],
	}
	return req, req.parse(frame[headerLen:])
}

// parse reads the PDU of a request whose header is known.
func (r *Request) parse(pdu []byte) error {
	switch r.Function {
	case ReadHolding, ReadInput, WriteSingle, WriteMultiple:
	default:
		return IllegalFunction
	}
	if len(pdu) < singlePDU {
		return IllegalValue
	}
	r.Addr = binary.BigEndian.Uint16(pdu[1:])
	second := binary.BigEndian.Uint16(pdu[3:])
	switch r.Function {
	case WriteSingle:
		r.Count, r.Values = 1, []uint16{second}
		return exactly(pdu, singlePDU)
	case WriteMultiple:
		r.Count = second
		return r.parseValues(pdu)
	}
	r.Count = second
	if r.Count == 0 || r.Count > maxReads {
		return IllegalValue
	}
	return exactly(pdu, singlePDU)
}

func (r *Request) parseValues(pdu []byte) error {
	if r.Count == 0 || r.Count > maxWrites || len(pdu) < multiStart || int(pdu[5]) != 2*int(r.Count) {
		return IllegalValue
	}
	if err := exactly(pdu, multiStart+2*int(r.Count)); err != nil {
		return err
	}
	for i := range int(r.Count) {
		r.Values = append(r.Values, binary.BigEndian.Uint16(pdu[multiStart+2*i:]))
	}
	return nil
}

func exactly(pdu []byte, n int) error {
	if len(pdu) != n {
		return IllegalValue
	}
	return nil
}

// reply frames a PDU as the answer to a request.
func (r Request) reply(pdu []byte) []byte {
	b := make([]byte, headerLen, headerLen+len(pdu))
	binary.BigEndian.PutUint16(b, r.Transaction)
	binary.BigEndian.PutUint16(b[4:], uint16(len(pdu)+1))
	b[6] = r.Unit
	return append(b, pdu...)
}

// values is the answer to a read.
func (r Request) values(regs []uint16) []byte {
	pdu := []byte{r.Function, byte(2 * len(regs))}
	for _, v := range regs {
		pdu = binary.BigEndian.AppendUint16(pdu, v)
	}
	return r.reply(pdu)
}

// written is the answer to a write: the address, and the value of a single or
// the quantity of a multiple one.
func (r Request) written() []byte {
	pdu := binary.BigEndian.AppendUint16([]byte{r.Function}, r.Addr)
	second := r.Count
	if r.Function == WriteSingle {
		second = r.Values[0]
	}
	return r.reply(binary.BigEndian.AppendUint16(pdu, second))
}

// refused is an exception.
func (r Request) refused(e Exception) []byte {
	return r.reply([]byte{r.Function | replyFlag, byte(e)})
}
