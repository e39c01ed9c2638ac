package registers

import (
	"math"
	"time"

	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
)

// Registers of the Intesis air conditioner gateways (modbus.md 5.4).
const (
	acOn, acModeReg, acFan, acVane = 0, 1, 2, 3
	acSetpoint, acAmbient          = 4, 5

	acExternal, acRealSetpoint   = 22, 23
	acLastLow                    = 11 // registers 0 to 11 are one list
	modeAuto, modeHeat, modeCool = 0, 1, 4
	notInitialised               = 0x8000
)

// Intesis is an air conditioner behind an Intesis gateway. It has no timer
// that would end a command by itself.
type Intesis struct {
	plant    *plant.Room
	home     float64 // set-point of the people in the room, in C
	mode     uint16
	fan      uint16
	vane     uint16
	external uint16
}

// NewIntesis returns the map of a room that is being cooled.
func NewIntesis(p *plant.Room) *Intesis {
	return &Intesis{plant: p, home: p.SetpointC(), mode: modeCool, external: notInitialised}
}

// Commanded reports whether the set-point is not the one the room started
// with, or the unit is off.
func (i *Intesis) Commanded() bool {
	return !i.plant.Enabled() || math.Abs(i.plant.SetpointC()-i.home) > 0.05
}

// Step does nothing: set-points reach the room when they are written.
func (i *Intesis) Step(time.Duration) {}

// Read returns registers inside one of the two lists; holding registers only.
func (i *Intesis) Read(function byte, addr, count uint16) ([]uint16, error) {
	if function != modbustcp.ReadHolding {
		return nil, modbustcp.IllegalFunction
	}
	end := int(addr) + int(count)
	if end > acLastLow+1 && (addr < acExternal || end > acRealSetpoint+1) {
		return nil, modbustcp.IllegalAddress
	}
	out := make([]uint16, count)
	for n := range out {
		out[n] = i.value(int(addr) + n)
	}
	return out, nil
}

func (i *Intesis) value(addr int) uint16 {
	switch addr {
	case acOn:
		if i.plant.Enabled() {
			return 1
		}
	case acModeReg:
		return i.mode
	case acFan:
		return i.fan
	case acVane:
		return i.vane
	case acSetpoint, acRealSetpoint:
		return tenths(i.plant.SetpointC())
	case acAmbient:
		return tenths(i.plant.TempC())
	case acExternal:
		return i.external
	}
	return 0
}

func tenths(c float64) uint16 { return uint16(int16(math.Round(c * 10))) }

// Write stores each register; the first that is refused ends it.
func (i *Intesis) Write(_ byte, addr uint16, values []uint16) error {
	for n, v := range values {
		if err := i.store(int(addr)+n, v); err != nil {
			return err
		}
	}
	return nil
}

func (i *Intesis) store(addr int, v uint16) error {
	switch addr {
	case acOn:
		if v > 1 {
			return modbustcp.IllegalValue
		}
		i.plant.Enable(v == 1)
	case acModeReg:
		if v > modeCool {
			return modbustcp.IllegalValue
		}
		i.mode = v
	case acFan:
		i.fan = v
	case acVane:
		i.vane = v
	case acSetpoint:
		low, high := i.limits()
		if c := float64(int16(v)) / 10; c < low || c > high {
			return modbustcp.IllegalValue
		}
		i.plant.SetSetpoint(float64(int16(v)) / 10)
	case acExternal:
		i.external = v
	default:
		return modbustcp.IllegalAddress
	}
	return nil
}

// limits returns the set-points that the mode allows, in C.
func (i *Intesis) limits() (low, high float64) {
	switch i.mode {
	case modeHeat:
		return 16, 30
	case modeAuto:
		return 18, 30
	}
	return 18, 32
}
