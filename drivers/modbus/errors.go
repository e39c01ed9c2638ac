package modbus

import (
	"errors"
	"fmt"

	"nominald/drivers"
)

// ErrNotAllowed: the register is not on the unit's allow-list, so nothing was
// sent. It is a drivers.ErrRefused, for trying again can not help.
var ErrNotAllowed = fmt.Errorf("write outside the allow-list: %w", drivers.ErrRefused)

// errDoubt marks a reply that does not provably answer the request.
var errDoubt = errors.New("reply can not be trusted")

// Exception is a device's well-formed refusal of a request.
type Exception struct {
	Function byte // of the request, without bit 7
	Code     byte // 1-11 in the standard, vendors use others
}

// Error says which exception it is.
func (e *Exception) Error() string {
	return fmt.Sprintf("exception %d to function %d: %s", e.Code, e.Function, exceptionText(e.Code))
}

// ExceptionCode is the code on the wire, for those who tell a value that a device
// does not have from other refusals.
func (e *Exception) ExceptionCode() byte { return e.Code }

// exceptionText returns the meaning of codes 1 to 11 (Modbus Application
// Protocol 1.1b3, chapter 7; code 7 is from its predecessors).
func exceptionText(code byte) string {
	switch code {
	case 1:
		return "illegal function"
	case 2:
		return "illegal data address"
	case 3:
		return "illegal data value"
	case 4:
		return "device failure"
	case 5:
		return "acknowledged, takes a long time"
	case 6:
		return "device busy"
	case 7:
		return "negative acknowledge"
	case 8:
		return "memory parity error"
	case 9:
		return "reserved code"
	case 10:
		return "gateway path not configured"
	case 11:
		return "silent behind the gateway"
	}
	return "vendor code"
}

// Unwrap sorts the exception into what callers branch on. 4 and 8 are answers
// of a living device that failed to do it: for 4 the causes are "remote
// control off" and "above the hardware limit" (modbus.md 3), which more tries
// do not cure, so they count as refused, as do vendor codes.
func (e *Exception) Unwrap() error {
	switch e.Code {
	case 5, 6:
		return drivers.ErrBusy
	case 11:
		return drivers.ErrOffline
	}
	return drivers.ErrRefused
}
