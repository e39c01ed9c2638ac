package main

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
	"nominald/gateway/config"
)

// scenario is one situation of domain.md 4.6.
type scenario struct {
	id, what  string
	grid      grid
	devices   []deviceSpec
	reference config.Reference
	exportW   float64
	importW   float64
	hour      int           // local time of day, UTC here, at which the first timeslot starts
	day       time.Time     // on which it plays, its midnight; zero is the usual one
	past      time.Duration // the hour by which it starts
	slots     []slotSpec
	actions   []action
	nullW     float64 // what "the most" is, for the score
	weatherK  float64 // by how much the days of the history differ in temperature
	bias      float64 // share by which our own baseline differs from the one that settles; its sign alternates with the seed
	charges   bool    // the owner lets batteries charge what is given beyond the target
	after     time.Duration
	// check measures what only this scenario asks for.
	check func(*record) []extra
	gates []gate
	// bounded names what physics keeps the 15-min error from being the lowest;
	// empty where nothing does. allUsed: every controller uses all the energy
	// there is, so that they can only be even on the capped ratio.
	bounded string
	allUsed bool
}

// deviceSpec is a device with what its plant starts from.
type deviceSpec struct {
	cfg  config.Device
	soc  float64
	slow bool
}

// slotSpec is a timeslot; times count from the start of the scenario's first.
type slotSpec struct {
	id        string
	from, to  time.Duration
	kw        float64 // NaN is null
	priority  int
	voluntary bool
	cap       dispatch.Cap
}

// action is something that happens at a time after the first start.
type action struct {
	at time.Duration
	do func(*run) error
}

// extra is a figure that only one scenario has.
type extra struct {
	name  string
	value float64
}

// gate is what a scenario has to reach over all seeds: the worst of them
// counts, but for RMSE and ratios of all time, which are taken over all seeds.
type gate struct {
	figure string
	op     string
	limit  float64
}

// start is when the first timeslot starts, on a Tuesday with ten working days
// before it that hold no holiday unless another day is given.
func (sc *scenario) start() time.Time {
	day := sc.day
	if day.IsZero() {
		day = time.Date(2026, 7, 21, 0, 0, 0, 0, time.UTC)
	}
	return day.Add(time.Duration(sc.hour)*time.Hour + sc.past)
}

func (sc *scenario) end() time.Time {
	var last time.Duration
	for _, s := range sc.slots {
		last = max(last, s.to)
	}
	return sc.start().Add(last)
}

const meterID = "afce893d-ea68-487f-9f8c-778b1881f60a"

// records are the timeslots as they are known before the first starts.
func (sc *scenario) records() []dispatch.Record {
	var out []dispatch.Record
	for i := range sc.slots {
		out = append(out, sc.slots[i].record(sc.start()))
	}
	return out
}

func (s *slotSpec) record(start time.Time) dispatch.Record {
	r := dispatch.Record{Timeslot: dispatch.Timeslot{MeterID: meterID, EventID: s.id,
		Start: start.Add(s.from), End: start.Add(s.to), Cap: s.cap, Priority: s.priority, Voluntary: s.voluntary,
		EventTypes: []string{"day-ahead"}, Programs: []string{"CCA"}},
		Revision: 1, Source: dispatch.FromPoll, FirstSeen: start.Add(-24 * time.Hour)}
	if !math.IsNaN(s.kw) {
		r.EnergyKW, r.NominationKW = &s.kw, &s.kw
	}
	return r
}

// one is a single committed timeslot.
func one(kw float64, d time.Duration) []slotSpec {
	return []slotSpec{{id: "slot-1", to: d, kw: kw, priority: 2, cap: dispatch.GridExportsAllowed}}
}

// battery is one of powerW and capacityWh at a state of charge.
func battery(name string, powerW, capacityWh, soc float64) deviceSpec {
	return deviceSpec{soc: soc, cfg: config.Device{Name: name, Kind: drivers.Battery, ReserveSoC: 20,
		MaxDischargeW: drivers.Some(powerW), MaxChargeW: drivers.Some(powerW), CapacityWh: drivers.Some(capacityWh)}}
}

// cooler is an air conditioner that can be held off.
func cooler(name string, maxOff time.Duration) deviceSpec {
	return deviceSpec{cfg: config.Device{Name: name, Kind: drivers.Thermostat, ByInhibit: true, RatedW: 3500,
		MinOff: 5 * time.Minute, MinOn: 3 * time.Minute, MaxOff: maxOff}}
}

// wallbox is a charging point of 32 A on one phase.
func wallbox() deviceSpec {
	return deviceSpec{cfg: config.Device{Name: "wallbox", Kind: drivers.Charger, Phases: 1, VoltageV: 240, MinA: 6, MaxA: 32}}
}

func coolers(n int) []deviceSpec {
	var out []deviceSpec
	for i := range n {
		out = append(out, cooler("ac"+string(rune('1'+i)), 90*time.Minute))
	}
	return out
}
