package plan

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// dischargeEfficiency is the share of stored energy that reaches the site's
// wiring (domain.md 4.3: lithium, about 90 % for a round trip).
const dischargeEfficiency = 0.95

// reserveAhead is how far ahead energy is kept for timeslots that rank higher
// (domain.md 2.2: "within the next 24 h").
const reserveAhead = 24 * time.Hour

// usableWh is the energy above the reserve, as it reaches the site's wiring.
// It is unknown where the state of charge or the capacity is.
func usableWh(d *Device, reserve float64) drivers.Opt {
	if !d.SoC.OK || !d.CapacityWh.OK {
		return drivers.Opt{}
	}
	return drivers.Some(math.Max(0, d.SoC.V-reserve) / 100 * d.CapacityWh.V * dischargeEfficiency)
}

// affordable is the power that a battery can hold until end, and why not more:
// its energy spread flat over the time left, less what timeslots that rank
// higher need later (domain.md 4.3; flat beats greedy).
func (rd *round) affordable(d *Device, r *dispatch.Record, end time.Time) (float64, Reason) {
	if !d.SoC.OK {
		return 0, SoCUnknown
	}
	reserve := rd.reserve(d, r)
	if d.SoC.V <= reserve {
		return 0, ReserveSoC
	}
	limit := d.MaxDischargeW.Or(0)
	energy := usableWh(d, reserve)
	if !energy.OK {
		return limit, PowerLimit
	}
	kept := rd.keptWh(d, r)
	left := math.Max(end.Sub(rd.in.Now).Hours(), time.Minute.Hours())
	spread := math.Max(0, energy.V-kept) / left
	switch {
	case spread >= limit:
		return limit, PowerLimit
	case kept > 0:
		return spread, KeptForLater
	default:
		return spread, EnergySpread
	}
}

// reserve is the state of charge below which a battery gives nothing for r.
func (rd *round) reserve(d *Device, r *dispatch.Record) float64 {
	if r.Voluntary && rd.in.Policy.Voluntary == VoluntaryAboveSoC {
		return math.Max(d.ReserveSoC, rd.in.Policy.VoluntaryAboveSoC)
	}
	return d.ReserveSoC
}

// keptWh is the energy of a battery that timeslots later within a day need
// and r must leave alone: those that outrank it, and the committed ones where
// r is voluntary.
func (rd *round) keptWh(d *Device, r *dispatch.Record) float64 {
	var sum float64
	for i := range rd.in.Slots {
		s := &rd.in.Slots[i]
		later := s.Start.After(rd.in.Now) && s.Start.Before(rd.in.Now.Add(reserveAhead))
		if !later || s.EventID == r.EventID || s.Cancelled || s.Problem != "" {
			continue
		}
		if rd.refusalLater(s) || !rd.serves(d, s.MeterID) {
			continue
		}
		if rd.outranks(s, r) || (r.Voluntary && !s.Voluntary) {
			power := math.Min(asked(s, rd.in.Policy), d.MaxDischargeW.Or(0))
			sum += power * s.End.Sub(s.Start).Hours()
		}
	}
	return sum
}

// refusalLater tells whether a coming timeslot will not be followed anyway.
func (rd *round) refusalLater(r *dispatch.Record) bool {
	switch rd.refusal(r) {
	case IntegrationTest, CommTest, PolicyVoluntary, MissingDropped:
		return true
	}
	return false
}

// serves tells whether the device works for the meter.
func (rd *round) serves(d *Device, meterID string) bool {
	m := rd.meter(meterID)
	if m == nil {
		return false
	}
	for _, name := range m.Devices {
		if name == d.Name {
			return true
		}
	}
	return false
}
