package modbus

import (
	"encoding/binary"
	"fmt"

	"nominald/drivers"
)

const (
	headerSize = 7   // transaction, protocol, length, unit
	maxFrame   = 260 // header and the largest PDU, 253
	// lateWindow is how many requests back a reply may lie and still count as
	// one of ours. Two minutes of the fastest polling of a slow device.
	lateWindow = 256
)

// putID sets a frame's transaction id.
func putID(frame []byte, id uint16) { binary.BigEndian.PutUint16(frame, id) }

// frame judges the bytes received so far against the request they should
// answer. It returns the size of the whole frame at their front, 0 while bytes
// are missing, and whether that frame answers an earlier request. sent is the
// number of requests so far, this one included. It looks at the header only;
// checkReply looks at the rest.
func frame(request, got []byte, sent uint64) (size int, earlier bool, err error) {
	if len(got) < headerSize {
		return 0, false, nil
	}
	id, want := binary.BigEndian.Uint16(got), binary.BigEndian.Uint16(request)
	behind := want - id
	if p := binary.BigEndian.Uint16(got[2:]); p != 0 {
		return 0, false, fmt.Errorf("%w: protocol id %d, want 0", errDoubt, p)
	}
	length := int(binary.BigEndian.Uint16(got[4:]))
	if length < 2 || length > maxFrame-headerSize+1 {
		return 0, false, fmt.Errorf("%w: length %d, accepted are 2 to 254", errDoubt, length)
	}
	if behind != 0 && (behind > lateWindow || uint64(behind) >= sent) {
		return 0, false, fmt.Errorf("%w: transaction id %d, want %d", errDoubt, id, want)
	}
	if behind == 0 && got[6] != request[6] {
		return 0, false, fmt.Errorf("%w: unit %d answered for unit %d", errDoubt, got[6], request[6])
	}
	size = headerSize - 1 + length
	if len(got) < size {
		return 0, false, nil
	}
	return size, behind != 0, nil
}

// checkReply checks that a reply's PDU is a complete answer to the request's,
// or a well-formed exception to it. goburrow compares neither the byte count
// with the quantity asked for, nor bit 7 of a function it did not expect.
func checkReply(request, reply []byte) error {
	fc := request[0]
	if reply[0] == fc|0x80 {
		if len(reply) != 2 {
			return fmt.Errorf("%w: exception of %d bytes, want 2", errDoubt, len(reply))
		}
		return nil
	}
	if reply[0] != fc {
		return fmt.Errorf("%w: function %d, want %d", errDoubt, reply[0], fc)
	}
	quantity := int(binary.BigEndian.Uint16(request[3:]))
	switch fc {
	case 1, 2:
		return checkCount(reply, (quantity+7)/8)
	case 3, 4:
		return checkCount(reply, 2*quantity)
	case 5, 6, 15, 16:
		return checkEcho(request, reply)
	}
	return fmt.Errorf("%w: function %d is not used here", errDoubt, fc)
}

// checkCount checks the byte count of a read against what was asked for.
func checkCount(reply []byte, want int) error {
	if len(reply) < 2 || int(reply[1]) != want || len(reply) != 2+want {
		return fmt.Errorf("%w: %d bytes of data, want %d", errDoubt, len(reply)-2, want)
	}
	return nil
}

// checkEcho checks the address and value (FC5, 6) or quantity (FC15, 16) that
// a write's reply repeats. Another value at the right address is the device's
// own: it clamped what it was sent, and said so in good order.
func checkEcho(request, reply []byte) error {
	if len(reply) != 5 {
		return fmt.Errorf("%w: echo of %d bytes, want 5", errDoubt, len(reply))
	}
	if [2]byte(reply[1:]) != [2]byte(request[1:]) {
		return fmt.Errorf("%w: echo of address %d", errDoubt, binary.BigEndian.Uint16(reply[1:]))
	}
	if [2]byte(reply[3:]) == [2]byte(request[3:]) {
		return nil
	}
	got := binary.BigEndian.Uint16(reply[3:])
	if reply[0] >= 15 {
		return fmt.Errorf("%w: echo of quantity %d", errDoubt, got)
	}
	return fmt.Errorf("%w: the device answered with value %d", drivers.ErrRefused, got)
}
