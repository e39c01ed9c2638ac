package plant

import (
	"math"
	"time"
)

// BatteryParams describes a battery with its inverter.
type BatteryParams struct {
	MaxDischargeW float64
	MaxChargeW    float64
	CapacityWh    float64
	SoC           float64       // percent at the start
	ReserveSoC    float64       // percent below which the battery itself stops discharging
	Efficiency    float64       // round trip, 0-1
	DeadTime      time.Duration // from a command to the first movement
	Lag           time.Duration // first-order time constant
	RampWPerS     float64
}

// NewBatteryParams returns the battery of domain.md 4.6: 2 s of dead time, 1 s
// of lag and 1 kW/s of ramp, with 90 % round-trip efficiency (domain.md 4.3).
func NewBatteryParams(powerW, capacityWh, soc float64) BatteryParams {
	return BatteryParams{
		MaxDischargeW: powerW, MaxChargeW: powerW, CapacityWh: capacityWh, SoC: soc,
		ReserveSoC: 5, Efficiency: 0.9,
		DeadTime: 2 * time.Second, Lag: time.Second, RampWPerS: 1000,
	}
}

// Battery is a battery behind its inverter, seen from the AC side.
type Battery struct {
	p        BatteryParams
	oneWay   float64 // efficiency of charging, and of discharging
	wantW    float64
	dead     delay
	powerW   float64 // mean of the last step
	innerW   float64 // state of the lag; not cut by an empty battery
	storedWh float64
	outWh    float64
	inWh     float64
}

// NewBattery returns a battery at rest.
func NewBattery(p BatteryParams) *Battery {
	return &Battery{
		p: p, oneWay: math.Sqrt(p.Efficiency), dead: newDelay(p.DeadTime, 0),
		storedWh: p.CapacityWh * p.SoC / 100,
	}
}

// Command sets the power that the inverter shall reach, in W, discharge
// positive. What lies beyond the ratings is cut.
func (b *Battery) Command(w float64) {
	b.wantW = math.Max(-b.p.MaxChargeW, math.Min(b.p.MaxDischargeW, w))
}

// Step moves the battery forward. The power that it reports afterwards is the
// mean of the step, so that power times time is the energy exactly.
func (b *Battery) Step(dt time.Duration) {
	s := dt.Seconds()
	if s <= 0 {
		return
	}
	target := b.dead.step(dt, b.wantW)
	move := (target - b.innerW) * (1 - math.Exp(-s/b.p.Lag.Seconds()))
	limit := b.p.RampWPerS * s
	b.innerW += math.Max(-limit, math.Min(limit, move))
	b.exchange(b.innerW, s/3600)
}

// exchange moves energy between store and grid, as far as the store allows.
func (b *Battery) exchange(w, hours float64) {
	if w >= 0 {
		spare := math.Max(0, b.storedWh-b.p.CapacityWh*b.p.ReserveSoC/100)
		out := math.Min(w*hours, spare*b.oneWay)
		b.storedWh -= out / b.oneWay
		b.outWh += out
		b.powerW = out / hours
	} else {
		room := math.Max(0, b.p.CapacityWh-b.storedWh)
		in := math.Min(-w*hours, room/b.oneWay)
		b.storedWh += in * b.oneWay
		b.inWh += in
		b.powerW = -in / hours
	}
	if b.powerW != w { // empty or full: the inverter does not run on inside
		b.innerW = b.powerW
	}
}

// PowerW returns the AC power, discharge positive.
func (b *Battery) PowerW() float64 { return b.powerW }

// SoC returns the state of charge in percent.
func (b *Battery) SoC() float64 { return 100 * b.storedWh / b.p.CapacityWh }

// SetSoC puts the state of charge to a percentage, as a test prepares it.
func (b *Battery) SetSoC(percent float64) { b.storedWh = b.p.CapacityWh * percent / 100 }

// DischargedWh returns the AC energy given off since the start.
func (b *Battery) DischargedWh() float64 { return b.outWh }

// ChargedWh returns the AC energy taken since the start.
func (b *Battery) ChargedWh() float64 { return b.inWh }

// Params returns what the battery was made from.
func (b *Battery) Params() BatteryParams { return b.p }
