package plant

import "time"

// RoomParams describes a room with an air conditioner: one thermal mass, one
// resistance to the outside (the ETP model of domain.md 4.6).
type RoomParams struct {
	CapacityWhPerK float64
	ResistanceKPkW float64 // K of difference for each kW through the walls
	COP            float64 // heat moved for each W of electricity
	RatedW         float64 // electric power of the running compressor
	BandK          float64 // the compressor switches at set-point +- this
	MinOff         time.Duration
	OutdoorC       float64
	SetpointC      float64
	StartC         float64
}

// NewRoomParams returns the room of domain.md 4.6 (C 2.5 kWh/K, R 2 K/kW, COP
// 3, +-0.5 K, at least 300 s off) with a compressor of ratedW.
func NewRoomParams(ratedW, outdoorC float64) RoomParams {
	return RoomParams{
		CapacityWhPerK: 2500, ResistanceKPkW: 2, COP: 3, RatedW: ratedW, BandK: 0.5,
		MinOff: 300 * time.Second, OutdoorC: outdoorC, SetpointC: 24, StartC: 24.4,
	}
}

// Room is a cooled room with its thermostat.
type Room struct {
	p         RoomParams
	enabled   bool
	setpointC float64
	tempC     float64
	running   bool
	offFor    time.Duration
	usedWh    float64
}

// NewRoom returns a room whose compressor has rested long enough to start.
func NewRoom(p RoomParams) *Room {
	return &Room{p: p, enabled: true, setpointC: p.SetpointC, tempC: p.StartC, offFor: p.MinOff}
}

// SetSetpoint sets the temperature to cool to, in degrees Celsius.
func (r *Room) SetSetpoint(c float64) { r.setpointC = c }

// Enable switches the unit on or off.
func (r *Room) Enable(on bool) { r.enabled = on }

// Step moves the room forward: thermostat first, then the temperature.
func (r *Room) Step(dt time.Duration) {
	switch {
	case r.running && (!r.enabled || r.tempC <= r.setpointC-r.p.BandK):
		r.running, r.offFor = false, 0
	case !r.running && r.enabled && r.tempC >= r.setpointC+r.p.BandK && r.offFor >= r.p.MinOff:
		r.running = true
	}
	if !r.running {
		r.offFor += dt
	}
	inflowW := 1000*(r.p.OutdoorC-r.tempC)/r.p.ResistanceKPkW - r.p.COP*r.PowerW()
	r.tempC += inflowW * dt.Hours() / r.p.CapacityWhPerK
	r.usedWh += r.PowerW() * dt.Hours()
}

// PowerW returns the electric consumption.
func (r *Room) PowerW() float64 {
	if r.running {
		return r.p.RatedW
	}
	return 0
}

// TempC returns the room's temperature.
func (r *Room) TempC() float64 { return r.tempC }

// SetpointC returns the temperature that is cooled to.
func (r *Room) SetpointC() float64 { return r.setpointC }

// Enabled reports whether the unit is switched on.
func (r *Room) Enabled() bool { return r.enabled }

// Running reports whether the compressor runs.
func (r *Room) Running() bool { return r.running }

// Params returns what the room was made from.
func (r *Room) Params() RoomParams { return r.p }
