// Package sunspec drives meters, batteries and inverters that describe
// themselves by SunSpec models. Which models a device has, and at which
// addresses, is found by walking its register map (modbus.md 4); nothing is
// hard-coded but the layout inside each model, which the SunSpec Alliance fixes.
//
// A meter is any of models 201-204 (integers) and 211-214 (floats). A battery
// is commanded through model 704 (DER controls) where its WSet or WSetPct is
// implemented, else through model 124 (basic storage). An inverter is measured
// by 701, 101-103 or 111-113, and limited through 704, else 123. Identify tells
// a scan which of them a device is.
package sunspec

import (
	"context"
	"time"
)

// Registers is the unit of a Modbus bus as this package uses it. Addresses are
// those on the wire. Errors wrap the sentinels of package drivers.
type Registers interface {
	ReadHolding(ctx context.Context, addr uint16, dst []uint16) error
	ReadInput(ctx context.Context, addr uint16, dst []uint16) error
	WriteRegister(ctx context.Context, addr uint16, v uint16) error     // function 6
	WriteRegisters(ctx context.Context, addr uint16, vs []uint16) error // function 16
}

// maxRead is the largest number of registers one request may read (Modbus
// application protocol 1.1b3, 6.3).
const maxRead = 125

// verifyEvery is how often the serial number and the slowly changing models
// (nameplate, capacity) are read again. A device may be swapped behind the
// same address; one short request a minute finds it.
const verifyEvery = time.Minute

// clock returns now, or the system's clock where none was given.
func clock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}
