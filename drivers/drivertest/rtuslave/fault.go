package rtuslave

import (
	"errors"
	"time"
)

// Kind is a way in which one request is answered wrongly, or not at all.
type Kind byte

// The kinds of faults. All but Deaf, Exception and Reboot carry the request
// out before they spoil the answer to it.
const (
	None          Kind = iota
	Deaf               // not heard: neither carried out nor answered
	Mute               // carried out, not answered
	Late               // answered Delay later; the unit is occupied until then
	Exception          // refused with Code
	Garbage            // Bytes instead of the answer; default 12 of no meaning
	Noise              // Bytes in front of the answer; default one zero byte
	BadCheck           // a wrong CRC; over Modbus TCP another transaction id
	Short              // the second half of the answer is missing
	WrongUnit          // another unit id in a frame otherwise in order
	WrongFunction      // another function in a frame otherwise in order
	WrongCount         // one register less, or the echo of another address
	Glued              // Bytes behind the answer without a gap; default the answer again
	Dribble            // Delay between any two bytes of the answer
	Reboot             // a third of the answer, then deaf for Delay; calls the device's Reboot method, if any
	HangUp             // half of the answer, then the connection is reset; on a pty the line is as after Reboot
)

// Fault is what becomes of one request. The zero value is none.
type Fault struct {
	Kind  Kind
	Delay time.Duration
	Code  byte
	Bytes []byte
	// Prompt leaves the answer out where it could not go out at once, because the
	// unit is busy or the machine is. A frame under another unit's id that comes
	// late as well can not be told from that unit's own, by any master.
	Prompt bool
}

// rebooter is a device that forgets when it restarts.
type rebooter interface{ Reboot() }

// coded is an error that names its exception.
type coded interface{ ExceptionCode() byte }

// answer carries a request out and returns the PDU for it.
func answer(r Request, d Device) []byte {
	if r.bad != 0 {
		return r.refusal(r.bad)
	}
	var values []uint16
	var err error
	if r.Write() {
		err = d.Write(r.Function, r.Addr, r.Values)
	} else {
		values, err = d.Read(r.Function, r.Addr, r.Count)
	}
	switch {
	case err != nil:
		return r.refusal(codeOf(err))
	case r.Write():
		return r.written()
	case len(values) != int(r.Count):
		return r.refusal(4)
	}
	return r.data(values)
}

// codeOf returns the exception that an error of a device is answered with.
func codeOf(err error) byte {
	var c coded
	if errors.As(err, &c) {
		return c.ExceptionCode()
	}
	return 4
}

// spoiled returns what the fault makes of a PDU whose frame stays in order.
func (f Fault) spoiled(r Request, pdu []byte) []byte {
	refused := pdu[0]&exception != 0
	switch {
	case f.Kind == Exception:
		return r.refusal(f.Code)
	case f.Kind == WrongFunction:
		pdu[0] ^= 7 // 3 and 4, 1 and 6 (16: 23) change places
	case f.Kind == WrongCount && !refused && r.Write():
		pdu[2]++
	case f.Kind == WrongCount && !refused:
		pdu = shorter(pdu)
	}
	return pdu
}

// shorter takes the last register, or the last eight bits, out of a reply.
func shorter(pdu []byte) []byte {
	n := 2
	if pdu[0] < 3 {
		n = 1
	}
	pdu = pdu[:len(pdu)-n]
	pdu[1] -= byte(n)
	return pdu
}

// mangled returns what the fault makes of a whole frame.
func (f Fault) mangled(frame []byte, check int) []byte {
	switch f.Kind {
	case Garbage:
		return f.or(0x55, 0xAA, 0xFF, 0x00, 0x7E, 0x13, 0xC3, 0x3C, 0x81, 0x18, 0xE7, 0x01)
	case Noise:
		return append(append([]byte(nil), f.or(0)...), frame...)
	case BadCheck:
		frame[check] ^= 0x5A
	case Short, HangUp:
		return frame[:len(frame)/2]
	case Reboot:
		return frame[:len(frame)/3]
	case Glued:
		return append(append([]byte(nil), frame...), f.or(frame...)...)
	}
	return frame
}

func (f Fault) or(bytes ...byte) []byte {
	if len(f.Bytes) > 0 {
		return f.Bytes
	}
	return bytes
}
