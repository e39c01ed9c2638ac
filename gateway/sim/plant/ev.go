package plant

import (
	"math"
	"time"
)

// minPilotA is the smallest charging current of IEC 61851-1; below it the
// pilot can only say "not available" (domain.md 4.3).
const minPilotA = 6.0

// EVParams describes a vehicle at its charging point.
type EVParams struct {
	Phases    int
	VoltageV  float64 // phase to neutral
	MaxA      float64 // the smaller of cable, station and on-board charger
	WantWh    float64 // energy of this session after which the vehicle stops
	Connected bool
	Delay     time.Duration // from a new limit to the first movement
	Lag       time.Duration // first-order time constant of the on-board charger
}

// NewEVParams returns a connected vehicle with the 5 s delay and the 4 s lag of
// domain.md 4.6.
func NewEVParams(phases int, voltageV, maxA, wantWh float64) EVParams {
	return EVParams{
		Phases: phases, VoltageV: voltageV, MaxA: maxA, WantWh: wantWh,
		Connected: true, Delay: 5 * time.Second, Lag: 4 * time.Second,
	}
}

// EV is a vehicle that follows a current limit.
type EV struct {
	p         EVParams
	limitA    float64
	dead      delay
	currentA  float64
	sessionWh float64
	totalWh   float64
}

// NewEV returns a vehicle that already charges with the full current, if it is
// connected: that is what nobody's control looks like.
func NewEV(p EVParams) *EV {
	e := &EV{p: p, limitA: p.MaxA}
	e.dead = newDelay(p.Delay, e.goal())
	e.currentA = e.goal()
	return e
}

// Limit sets the current limit a phase in A. Below 6 A the vehicle pauses.
func (e *EV) Limit(a float64) { e.limitA = a }

// goal is the current that the vehicle makes for.
func (e *EV) goal() float64 {
	if !e.p.Connected || e.sessionWh >= e.p.WantWh || e.limitA < minPilotA {
		return 0
	}
	return math.Min(e.limitA, e.p.MaxA)
}

// Step moves the vehicle forward.
func (e *EV) Step(dt time.Duration) {
	s := dt.Seconds()
	if s <= 0 {
		return
	}
	target := e.dead.step(dt, e.goal())
	e.currentA += (target - e.currentA) * (1 - math.Exp(-s/e.p.Lag.Seconds()))
	switch {
	case !e.p.Connected: // the contactor opens at once
		e.currentA = 0
	case target == 0 && e.currentA < 0.5:
		e.currentA = 0
	}
	wh := e.PowerW() * s / 3600
	e.sessionWh += wh
	e.totalWh += wh
}

// Plug connects a vehicle that wants an energy in Wh, or unplugs it.
func (e *EV) Plug(connected bool, wantWh float64) {
	e.p.Connected = connected
	e.p.WantWh = wantWh
	e.sessionWh = 0
}

// PowerW returns the consumption.
func (e *EV) PowerW() float64 { return e.currentA * e.p.VoltageV * float64(e.p.Phases) }

// CurrentA returns the current a phase.
func (e *EV) CurrentA() float64 { return e.currentA }

// SessionWh returns the energy since the vehicle was plugged in.
func (e *EV) SessionWh() float64 { return e.sessionWh }

// TotalWh returns the energy since the start.
func (e *EV) TotalWh() float64 { return e.totalWh }

// Full reports whether the vehicle has what it wants.
func (e *EV) Full() bool { return e.sessionWh >= e.p.WantWh }

// Params returns what the vehicle was made from.
func (e *EV) Params() EVParams { return e.p }
