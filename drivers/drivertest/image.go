package drivertest

import "fmt"

// Device is what the slave asks for registers, and a twin or an image is. The
// functions are those of Modbus; bits are 0 or 1, save what function 5 writes,
// which is the raw value. An error with a method ExceptionCode is answered as
// that exception, any other as a device failure.
type Device interface {
	Read(function byte, addr, count uint16) ([]uint16, error)
	Write(function byte, addr uint16, values []uint16) error
}

// exception is a refusal of the slave's own.
type exception byte

func (e exception) Error() string { return fmt.Sprintf("exception %d", byte(e)) }

func (e exception) ExceptionCode() byte { return byte(e) }

const (
	illegalFunction exception = 1
	illegalAddress  exception = 2
	illegalValue    exception = 3
)

// image is the registers and bits that a test has set. The slave holds its lock
// around every use.
type image struct{ coils, discrete, holding, input map[uint16]uint16 }

func newImage() *image {
	return &image{map[uint16]uint16{}, map[uint16]uint16{}, map[uint16]uint16{}, map[uint16]uint16{}}
}

// table returns what a function reads or writes.
func (i *image) table(function byte) map[uint16]uint16 {
	switch function {
	case 1, 5, 15:
		return i.coils
	case 2:
		return i.discrete
	case 4:
		return i.input
	}
	return i.holding
}

// exist checks that all addresses are there. Functions for bits are unknown to
// a unit that has none.
func (i *image) exist(function byte, addr uint16, n int) error {
	table := i.table(function)
	if len(table) == 0 && function != 3 && function != 4 && function != 6 && function != 16 {
		return illegalFunction
	}
	for k := range n {
		if _, ok := table[addr+uint16(k)]; !ok || int(addr)+k > 65535 {
			return illegalAddress
		}
	}
	return nil
}

// Read implements Device.
func (i *image) Read(function byte, addr, count uint16) ([]uint16, error) {
	if err := i.exist(function, addr, int(count)); err != nil {
		return nil, err
	}
	out := make([]uint16, count)
	for k := range out {
		out[k] = i.table(function)[addr+uint16(k)]
	}
	return out, nil
}

// Write implements Device.
func (i *image) Write(function byte, addr uint16, values []uint16) error {
	if err := i.exist(function, addr, len(values)); err != nil {
		return err
	}
	if function == 5 {
		switch values[0] {
		case 0xFF00:
			values = []uint16{1}
		case 0:
		default:
			return illegalValue
		}
	}
	put(i.table(function), addr, values)
	return nil
}

func put(regs map[uint16]uint16, addr uint16, values []uint16) {
	for i, v := range values {
		regs[addr+uint16(i)] = v
	}
}
