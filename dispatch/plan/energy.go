package plan

import (
	"math"
	"sort"
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

// socStep is the resolution of a state of charge, in percent: SunSpec scales it
// by 0.1 or 1 (models 124, 713). The reserve counts as reached when the reading
// reaches it, which is half a step early.
const socStep = 0.1

// usableWh is the energy above the reserve, as it reaches the site's wiring.
// It is unknown where the state of charge or the capacity is.
func usableWh(d *Device, reserve float64) drivers.Opt {
	if !d.SoC.OK || !d.CapacityWh.OK {
		return drivers.Opt{}
	}
	above := d.SoC.V - reserve
	if above <= 0 {
		return drivers.Some(0)
	}
	return drivers.Some(above / 100 * d.CapacityWh.V * dischargeEfficiency)
}

// affordable is the power that a battery may give now until end, and why not
// more (domain.md 4.3, flat beats greedy). Where its energy is short of what the
// timeslot needs of it, that energy is spread flat over the time left. Where
// there is more, what is to spare may go within one settlement interval.
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
	from := later(rd.in.Now, r.Start)
	left := math.Max(end.Sub(from).Hours(), (10 * time.Second).Hours())
	mine := math.Max(0, energy.V-kept)
	power := rd.spreadW(d, mine, left, rd.needW(d, r))
	switch {
	case power >= limit:
		return limit, PowerLimit
	case kept > 0:
		return power, KeptForLater
	default:
		return power, EnergySpread
	}
}

// spreadW is the power that mineWh allows over left hours where needW is needed.
// A state of charge comes in steps: what it can not tell apart from the need, or
// from what the battery gives already, changes nothing.
func (rd *round) spreadW(d *Device, mineWh, left, needW float64) float64 {
	power := mineWh / left
	doubt := socStep / 2 / 100 * d.CapacityWh.V * dischargeEfficiency / left
	switch {
	case power > needW:
		return needW + (mineWh-needW*left)/math.Min(left, SettlementInterval.Hours())
	case power >= needW-doubt:
		return needW
	case d.Commanded != nil && math.Abs(power-d.Commanded.PowerW) <= doubt:
		return d.Commanded.PowerW
	}
	return power
}

// needW is what a timeslot needs of one battery, in W: of several each gives in
// proportion to its energy. It is all of the battery's where the timeslot asks
// for the most there is.
func (rd *round) needW(d *Device, r *dispatch.Record) float64 {
	want := asked(r, rd.in.Policy)
	if math.IsInf(want, 0) {
		return want
	}
	return math.Min(want*rd.portion(d, r.MeterID), d.MaxDischargeW.Or(0))
}

// portion is a battery's part of what the batteries of a meter do together.
func (rd *round) portion(d *Device, meterID string) float64 {
	m := rd.meter(meterID)
	if m == nil {
		return 1
	}
	var all float64
	for _, name := range m.Devices {
		if o := rd.in.device(name); o != nil && o.Kind == drivers.Battery && o.Fresh && !o.Unresponsive && !o.Refused {
			all += usableWh(o, o.ReserveSoC).Or(0)
		}
	}
	mine := usableWh(d, d.ReserveSoC).Or(0)
	if all <= 0 || mine > all {
		return 1
	}
	return mine / all
}

// reserve is the state of charge below which a battery gives nothing for r.
func (rd *round) reserve(d *Device, r *dispatch.Record) float64 {
	if r.Voluntary && rd.in.Policy.Voluntary == VoluntaryAboveSoC {
		return math.Max(d.ReserveSoC, rd.in.Policy.VoluntaryAboveSoC)
	}
	return d.ReserveSoC
}

// keptWh is the energy of a battery that r must leave to other timeslots of the
// next day: all that those before it get, and what those that rank like it do.
func (rd *round) keptWh(d *Device, r *dispatch.Record) float64 {
	var sum float64
	for _, s := range rd.energyPlan(d) {
		if s.rec.EventID != r.EventID && (alike(s.rec, r) || rd.before(s.rec, r)) {
			sum += s.KeptWh
		}
	}
	return sum
}

// before is the order in which energy is given out: committed timeslots first,
// whatever their priority, then by rank (domain.md 2.2, 4.3).
func (rd *round) before(a, b *dispatch.Record) bool {
	if a.Voluntary != b.Voluntary {
		return b.Voluntary
	}
	return rd.outranks(a, b)
}

// claim is a timeslot's part of a battery's energy.
type claim struct {
	EnergyShare
	rec *dispatch.Record
}

// energyPlan gives out a battery's energy in the order of rank: committed
// timeslots first, then the smaller priority number; those that rank alike get
// the same fraction of what they need (domain.md 4.3, "water-filling by rank").
// A round asks for it many times and works it out once.
func (rd *round) energyPlan(d *Device) []claim {
	if claims, ok := rd.plans[d.Name]; ok {
		return claims
	}
	left := usableWh(d, d.ReserveSoC).Or(0)
	claims := rd.claims(d)
	for first := 0; first < len(claims); {
		next, need := first, 0.0
		for ; next < len(claims) && alike(claims[next].rec, claims[first].rec); next++ {
			need += claims[next].NeedWh
		}
		fraction := 1.0
		if need > left {
			fraction = left / need
		}
		for i := range claims[first:next] {
			c := &claims[first+i]
			c.KeptWh = fraction * c.NeedWh
			rd.out.Energy = append(rd.out.Energy, c.EnergyShare)
		}
		left -= fraction * need
		first = next
	}
	rd.plans[d.Name] = claims
	return claims
}

// alike tells whether two timeslots share energy as equals.
func alike(a, b *dispatch.Record) bool {
	return a.Voluntary == b.Voluntary && a.Priority == b.Priority
}

// claims are the timeslots that run or begin within a day and are followed, as
// far as the battery serves them, in the order in which they get its energy.
func (rd *round) claims(d *Device) []claim {
	var out []claim
	for i := range rd.in.Slots {
		r := &rd.in.Slots[i]
		if !rd.in.Now.Before(r.End) || !r.Start.Before(rd.in.Now.Add(reserveAhead)) || r.Cancelled || r.Problem != "" {
			continue
		}
		if rd.refusalLater(r) || !rd.serves(d, r.MeterID) {
			continue
		}
		need := math.Min(rd.needW(d, r), d.MaxDischargeW.Or(0)) * r.End.Sub(later(r.Start, rd.in.Now)).Hours()
		out = append(out, claim{EnergyShare{Device: d.Name, EventID: r.EventID, NeedWh: need}, r})
	}
	sort.SliceStable(out, func(i, j int) bool { return rd.before(out[i].rec, out[j].rec) })
	return out
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
