package drivertest

import (
	"bytes"
	"encoding/binary"
	"time"

	"nominald/drivers"
)

// FaultKind is a way to fail: FaultNone, the number of a Modbus exception, or
// one of the others below.
type FaultKind int

// Faults beside the exceptions 1 to 11.
const (
	FaultNone       FaultKind = 0
	FaultSilent     FaultKind = -1 // no answer
	FaultLate       FaultKind = -2 // the answer comes after 1.1 times the timeout, see lateBy
	FaultVeryLate   FaultKind = -3 // after 3 times the timeout
	FaultGarbage    FaultKind = -4 // bytes that are no frame
	FaultShort      FaultKind = -5 // a frame that ends too early
	FaultWrongUnit  FaultKind = -6 // another unit id answers
	FaultWrongCount FaultKind = -7 // a whole frame with another count than asked
	FaultHangUp     FaultKind = -8 // the connection is closed instead
)

// lateBy is how late an answer is at least: on a machine that stalls, less is in
// time by the clock of who waits.
const lateBy = 60 * time.Millisecond

// ModbusFaults are all ways to fail that a reply can have.
func ModbusFaults() []FaultKind {
	return []FaultKind{FaultSilent, FaultLate, FaultVeryLate, FaultGarbage, FaultShort, FaultWrongUnit,
		FaultWrongCount, FaultHangUp, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
}

// String names the fault as messages do.
func (f FaultKind) String() string {
	names := map[FaultKind]string{FaultNone: "none", FaultSilent: "silent", FaultLate: "late", FaultVeryLate: "very late",
		FaultGarbage: "garbage", FaultShort: "short frame", FaultWrongUnit: "wrong unit", FaultWrongCount: "wrong count",
		FaultHangUp: "hang-up"}
	if name, ok := names[f]; ok {
		return name
	}
	return "exception " + string(rune('0'+f/10)) + string(rune('0'+f%10))
}

// class is the sentinel that a fault must show as: what does not provably
// answer is no answer, 5 and 6 are "later", 11 is a gateway's word for silence,
// all other exceptions are a refusal.
func (f FaultKind) class() error {
	switch {
	case f < 0 || f == 11:
		return drivers.ErrOffline
	case f == 5 || f == 6:
		return drivers.ErrBusy
	default:
		return drivers.ErrRefused
	}
}

// On is what the slave does to a request under this fault. The timeout is that
// of the driver's line.
func (f FaultKind) On(r Request, timeout time.Duration) Fault {
	switch f {
	case FaultNone:
		return Fault{}
	case FaultSilent:
		return Fault{Silent: true}
	case FaultLate:
		return Fault{Delay: timeout + max(timeout/10, lateBy)}
	case FaultVeryLate:
		return Fault{Delay: timeout * 3}
	case FaultGarbage:
		return Fault{Spoil: func([]byte) []byte { return bytes.Repeat([]byte{0xA5, 0x5A, 0xFF}, 5) }}
	case FaultShort:
		return Fault{Spoil: short}
	case FaultWrongUnit:
		return Fault{Spoil: func(frame []byte) []byte { frame[6] ^= 0x40; return frame }}
	case FaultWrongCount:
		return Fault{Spoil: miscounted(r)}
	case FaultHangUp:
		return Fault{Drop: true}
	}
	return Fault{Exception: byte(f)}
}

// short cuts the last byte off a frame and has its length agree.
func short(frame []byte) []byte {
	frame = frame[:len(frame)-1]
	binary.BigEndian.PutUint16(frame[4:], uint16(len(frame)-6))
	return frame
}

// miscounted returns what makes a reply count one value more than was asked. A
// single write has no count, its echo is of another register.
func miscounted(r Request) func([]byte) []byte {
	return func(frame []byte) []byte {
		pdu := []byte{r.Function}
		switch {
		case r.Values == nil:
			pdu = reading(r.Function, make([]uint16, 16*(r.Count/16)+17))
			if r.Function > 2 {
				pdu = reading(r.Function, make([]uint16, r.Count+1))
			}
		case len(frame) >= 12:
			pdu = bytes.Clone(frame[7:])
			if r.Function == 5 || r.Function == 6 {
				pdu[2] ^= 1
			} else {
				pdu[4] ^= 1
			}
		}
		frame = append(frame[:7], pdu...)
		binary.BigEndian.PutUint16(frame[4:], uint16(len(pdu)+1))
		return frame
	}
}
