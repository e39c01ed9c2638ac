package registers

import (
	"math"
	"time"

	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
)

// Registers of the KEBA P30 (modbus.md 5.2). Those that are read are 32 bits
// wide and are read by exactly two registers; those that are written are 16
// bits wide and are written by function 6.
const (
	kebaState, kebaCable, kebaError        = 1000, 1004, 1006
	kebaAmps, kebaSerial, kebaProduct      = 1008, 1014, 1016
	kebaFirmware, kebaPower, kebaTotal     = 1018, 1020, 1036
	kebaVolts, kebaMax, kebaHardwareMax    = 1040, 1100, 1110
	kebaSession, kebaSource, kebaPhases    = 1502, 1550, 1552
	kebaFailsafe, kebaTimeout              = 1600, 1602
	kebaSetCurrent, kebaSetEnergy          = 5004, 5010
	kebaUnlock, kebaEnable                 = 5012, 5014
	kebaSetFailsafe, kebaSetTimeout        = 5016, 5018
	kebaMinMilliamps, kebaMaxMilliamps     = 6000, 63000
	kebaMinTimeout, kebaMaxTimeout         = 10, 600 // s; 0 switches the fail-safe off
	kebaReady, kebaCharging, kebaSuspended = 2, 3, 5
)

// Keba is a KEBA P30 wallbox.
//
// Its fail-safe counts from the last write of the current limit, the enable
// register or the timeout; reading does not renew it. When it lapses the
// fail-safe current holds, whatever was commanded (also a pause by the enable
// register), until limit or enable are written again. The maker's list does
// not say what renews it; this is the severest reading that a controller which
// rewrites the timeout at half of it survives (modbus.md 5.2).
type Keba struct {
	plant         *plant.EV
	maxMilliamps  uint16
	milliamps     uint16
	enabled       bool
	energyLimit   uint16 // 10 Wh; 0: none
	failsafe      uint16 // mA
	timeout       uint16 // s
	timer         timer
	failsafeHolds bool
}

// NewKeba returns the map of a wallbox that is not limited and whose fail-safe
// is off and would give the full current.
func NewKeba(p *plant.EV) *Keba {
	most := uint16(clamp(p.Params().MaxA*1000, kebaMinMilliamps, kebaMaxMilliamps))
	return &Keba{plant: p, maxMilliamps: most, milliamps: most, enabled: true, failsafe: most}
}

// SetFailsafe presets current in A and timeout, as an installer does.
func (k *Keba) SetFailsafe(amps float64, timeout time.Duration) {
	k.failsafe = uint16(clamp(amps*1000, 0, kebaMaxMilliamps))
	k.timeout = uint16(clamp(timeout.Seconds(), 0, kebaMaxTimeout))
	k.timer.start(uint32(k.timeout))
}

// FailsafeHolds reports whether the wallbox follows its fail-safe current.
func (k *Keba) FailsafeHolds() bool { return k.failsafeHolds }

// Commanded reports whether somebody limits the wallbox.
func (k *Keba) Commanded() bool {
	return !k.failsafeHolds && (!k.enabled || k.milliamps < k.maxMilliamps)
}

// Read returns one 32-bit value; anything else is refused.
func (k *Keba) Read(function byte, addr, count uint16) ([]uint16, error) {
	if function != modbustcp.ReadHolding {
		return nil, modbustcp.IllegalFunction
	}
	v, ok := k.value(addr)
	if !ok || count != 2 {
		return nil, modbustcp.IllegalAddress
	}
	return []uint16{uint16(v >> 16), uint16(v)}, nil
}

// value returns what a register pair reads.
func (k *Keba) value(addr uint16) (uint32, bool) {
	p := k.plant.Params()
	switch addr {
	case kebaState:
		return k.state(), true
	case kebaCable:
		if p.Connected {
			return 7, true // plugged and locked at both ends
		}
		return 1, true // plugged at the station
	case kebaError, kebaSource:
		return 0, true
	case kebaAmps, kebaAmps + 2, kebaAmps + 4:
		return k.phase(addr-kebaAmps, k.plant.CurrentA()*1000), true
	case kebaSerial:
		return 17619300, true
	case kebaProduct:
		return 313_012, true
	case kebaFirmware:
		return 30_10_16, true
	case kebaPower:
		return uint32(math.Round(k.plant.PowerW() * 1000)), true
	case kebaTotal:
		return uint32(math.Round(k.plant.TotalWh() * 10)), true
	case kebaSession:
		return uint32(math.Round(k.plant.SessionWh() * 10)), true
	case kebaVolts, kebaVolts + 2, kebaVolts + 4:
		return k.phase(addr-kebaVolts, p.VoltageV), true
	case kebaMax:
		return uint32(k.offered()), true
	case kebaHardwareMax:
		return uint32(k.maxMilliamps), true
	case kebaPhases:
		return uint32(p.Phases), true
	case kebaFailsafe:
		return uint32(k.failsafe), true
	case kebaTimeout:
		return uint32(k.timeout), true
	}
	return 0, false
}

// phase returns v for the phases that are wired and 0 for the others; offset
// is 0, 2 or 4.
func (k *Keba) phase(offset uint16, v float64) uint32 {
	if int(offset/2) >= k.plant.Params().Phases {
		return 0
	}
	return uint32(math.Round(v))
}

func (k *Keba) state() uint32 {
	switch {
	case k.plant.CurrentA() > 0:
		return kebaCharging
	case k.plant.Params().Connected && !k.plant.Full() && k.offered() == 0:
		return kebaSuspended
	}
	return kebaReady
}

// Write stores one 16-bit value by function 6.
func (k *Keba) Write(function byte, addr uint16, values []uint16) error {
	if function != modbustcp.WriteSingle {
		return modbustcp.IllegalFunction
	}
	v := values[0]
	switch addr {
	case kebaSetCurrent:
		if v < kebaMinMilliamps || v > kebaMaxMilliamps {
			return modbustcp.IllegalValue // the P30 pauses by 5014, not by 0 mA
		}
		k.milliamps = v
		k.resume()
	case kebaEnable:
		if v > 1 {
			return modbustcp.IllegalValue
		}
		k.enabled = v == 1
		k.resume()
	case kebaSetEnergy:
		k.energyLimit = v
	case kebaUnlock:
		if v != 0 {
			return modbustcp.IllegalValue
		}
	case kebaSetFailsafe:
		if v != 0 && (v < kebaMinMilliamps || v > kebaMaxMilliamps) {
			return modbustcp.IllegalValue
		}
		k.failsafe = v
	case kebaSetTimeout:
		if v != 0 && (v < kebaMinTimeout || v > kebaMaxTimeout) {
			return modbustcp.IllegalValue
		}
		k.timeout = v
		k.timer.start(uint32(v))
	default:
		return modbustcp.IllegalAddress
	}
	return nil
}

// resume ends the fail-safe and winds its timer up.
func (k *Keba) resume() {
	k.failsafeHolds = false
	k.timer.start(uint32(k.timeout))
}

// Step runs the fail-safe and hands the limit to the vehicle. It is called
// before the plant's own step.
func (k *Keba) Step(dt time.Duration) {
	if k.timer.step(dt) {
		k.failsafeHolds = true
	}
	k.plant.Limit(float64(k.offered()) / 1000)
}

// offered returns the current that the pilot shows, in mA.
func (k *Keba) offered() uint16 {
	switch {
	case k.failsafeHolds:
		return min(k.failsafe, k.maxMilliamps)
	case !k.enabled, k.energyLimit > 0 && k.plant.SessionWh() >= 10*float64(k.energyLimit):
		return 0
	}
	return min(k.milliamps, k.maxMilliamps)
}
