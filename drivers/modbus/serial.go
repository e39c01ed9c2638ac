package modbus

import (
	"fmt"
	"time"
)

// Serial is a serial port and how its line talks.
type Serial struct {
	// Path is the device, best by its name under /dev/serial/by-id, which stays
	// the same when adapters are plugged in another order.
	Path string
	// Baud is the speed in bit/s. Default 9600.
	Baud int
	// Format is data bits, parity and stop bits: 8N1, 8E1, 8O1 or 8N2. Default
	// 8N1, which most devices are delivered with though the standard is 8E1.
	Format string
	// Echo says that the adapter gives back what is sent, as some half-duplex
	// ones do. Where it does so unannounced, that is found out by itself.
	Echo bool
}

func (s Serial) withDefaults() Serial {
	if s.Baud == 0 {
		s.Baud = 9600
	}
	if s.Format == "" {
		s.Format = "8N1"
	}
	return s
}

// times returns how long a character takes, with its start, parity and stop
// bits, and the silence before a request: 3.5 characters, but 1.75 ms above
// 19200 baud (Modbus over Serial Line 1.02, 2.5.1.1; modbus.md 2).
func (s Serial) times() rtuTimes {
	bits := 11
	if s.Format == "8N1" {
		bits = 10
	}
	if s.Baud < 1 {
		return rtuTimes{} // opening says what is wrong
	}
	t := rtuTimes{char: time.Duration(bits) * time.Second / time.Duration(s.Baud)}
	t.gap = max(t.char*7/2, 1750*time.Microsecond)
	return t
}

// check tells whether the settings are known, before the port is touched.
func (s Serial) check() error {
	switch s.Format {
	case "8N1", "8E1", "8O1", "8N2":
	default:
		return fmt.Errorf("serial format %q, accepted are 8N1, 8E1, 8O1 and 8N2", s.Format)
	}
	if s.Baud < 1200 || s.Baud > 4_000_000 {
		return fmt.Errorf("serial speed %d baud, accepted are 1200 to 4000000", s.Baud)
	}
	return nil
}
