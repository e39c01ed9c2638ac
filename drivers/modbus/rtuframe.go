package modbus

import (
	"encoding/binary"
	"fmt"
)

const (
	rtuLeast = 5   // an exception: the shortest reply there is
	rtuMost  = 256 // the longest frame, unit and CRC included
)

// crc16 is the check of RTU frames (Modbus over Serial Line 1.02, 6.2.2).
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, v := range b {
		crc ^= uint16(v)
		for range 8 {
			odd := crc & 1
			crc >>= 1
			if odd != 0 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

// sealed tells whether the frame's CRC is right. It is sent low byte first.
func sealed(frame []byte) bool {
	n := len(frame) - 2
	return binary.LittleEndian.Uint16(frame[n:]) == crc16(frame[:n])
}

// replySize returns the size of the reply that begins with these bytes: 0
// while there are too few to tell, -1 where no reply begins so.
func replySize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch function := b[1]; function {
	case 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x8F, 0x90:
		return rtuLeast
	case 5, 6, 15, 16:
		return 8
	case 1, 2, 3, 4:
		if len(b) < 3 {
			return 0
		}
		n := int(b[2])
		if n == 0 || n > 250 || function >= 3 && n%2 != 0 {
			return -1
		}
		return rtuLeast + n
	}
	return -1
}

// answerSize returns the size of the reply in order to a request.
func answerSize(request []byte) int {
	quantity := int(binary.BigEndian.Uint16(request[4:]))
	switch request[1] {
	case 1, 2:
		return rtuLeast + (quantity+7)/8
	case 3, 4:
		return rtuLeast + 2*quantity
	}
	return 8
}

// reading tells whether the request reads. Writes have function 5 and above.
func reading(request []byte) bool { return request[1] < 5 }

// looksAnswered tells whether the request, given back by a half-duplex
// adapter, could be taken for the answer to it. That is so for the writes of
// functions 5 and 6, which are answered by their own copy; functions 15 and 16
// are counted in, since six bytes of the copy are the answer's and the rest
// may happen to be. A read of 17 to 24 bits from address 0x3xx is a legal reply
// to itself too. Registers never are: the reply would have three bytes of them.
func looksAnswered(request []byte) bool {
	return !reading(request) || request[1] <= 2 && request[2] == 3 && answerSize(request) == 8
}

// begins tells whether an answer to the request may begin with these bytes.
func begins(request, b []byte) bool {
	if len(b) > 0 && b[0] != request[0] || len(b) > 1 && b[1]&^0x80 != request[1] {
		return false
	}
	return len(b) < 3 || b[1] != request[1] || !reading(request) || int(b[2]) == answerSize(request)-rtuLeast
}

// verdict is what the bytes at the front of the received ones are.
type verdict byte

const (
	incomplete verdict = iota // more must come before anything can be said
	answered                  // a frame of the asked unit and function
	stray                     // a frame of another unit or function
	junk                      // no frame
)

// judge says what the bytes received so far begin with, and how many bytes
// that is. silent tells that nothing has followed them for a while, which ends
// a frame that can not be the answer. A frame that can is framed by its length
// alone, for adapters and servers tear frames apart (modbus.md 2).
func judge(request, got []byte, silent bool) (verdict, int) {
	size := replySize(got)
	whole := size > 0 && len(got) >= size
	switch {
	case whole && sealed(got[:size]):
		if got[0] == request[0] && got[1]&^0x80 == request[1] {
			return answered, size
		}
		return stray, size
	case !whole && size >= 0 && (!silent || begins(request, got)):
		return incomplete, 0
	}
	for n := 1; n < len(got); n++ {
		if begins(request, got[n:]) {
			return junk, n
		}
	}
	return junk, len(got)
}

// name says whose frame it is, for errors.
func name(frame []byte) string {
	if frame[1]&0x80 != 0 {
		return fmt.Sprintf("exception to function %d from unit %d", frame[1]&^0x80, frame[0])
	}
	return fmt.Sprintf("reply to function %d from unit %d", frame[1], frame[0])
}

// copyOfRequest is the reply that a broadcast is taken to have: what every
// unit would have said.
func copyOfRequest(buf, request []byte) []byte {
	reply := append(buf[:0], request[:6]...)
	return binary.LittleEndian.AppendUint16(reply, crc16(reply))
}

// probeFrame reads n items by a function from an address.
func probeFrame(buf []byte, unit, function byte, addr, n uint16) []byte {
	b := append(buf[:0], unit, function)
	b = binary.BigEndian.AppendUint16(b, addr)
	b = binary.BigEndian.AppendUint16(b, n)
	return binary.LittleEndian.AppendUint16(b, crc16(b))
}
