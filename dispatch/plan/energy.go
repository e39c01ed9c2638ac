package plan

import (
	"math"
	"slices"
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

// allowance is what a battery may give for a timeslot.
type allowance struct {
	rec    *dispatch.Record
	end    time.Time
	power  float64 // W, now
	evenW  float64 // W, evenly until the end
	reason Reason  // why not more
}

// affordable is the power that a battery may give now until end, and why not
// more (domain.md 4.3, flat beats greedy). Where its energy is short of what the
// timeslot needs of it, that energy is spread flat over the time left. Where
// there is more, what is to spare may go within one settlement interval.
func (rd *round) affordable(d *Device, r *dispatch.Record, end time.Time) allowance {
	s := rd.share(d)
	if s.asked.rec != r || !s.asked.end.Equal(end) {
		s.asked = rd.allow(d, r, end)
		s.asked.rec, s.asked.end = r, end
	}
	return s.asked
}

func (rd *round) allow(d *Device, r *dispatch.Record, end time.Time) allowance {
	if !d.SoC.OK {
		return allowance{reason: SoCUnknown}
	}
	reserve := rd.reserve(d, r)
	if d.SoC.V <= reserve {
		return allowance{reason: ReserveSoC}
	}
	limit := d.MaxDischargeW.Or(0)
	energy := usableWh(d, reserve)
	if !energy.OK {
		return allowance{power: limit, evenW: limit, reason: PowerLimit}
	}
	kept := rd.keptWh(d, r)
	from := later(rd.in.Now, r.Start)
	left := math.Max(end.Sub(from).Hours(), (10 * time.Second).Hours())
	mine := math.Max(0, energy.V-kept)
	a := allowance{power: rd.spreadW(d, mine, left, rd.needW(d, r)),
		evenW: math.Min(limit, mine/math.Max(left, SettlementInterval.Hours()))}
	switch {
	case a.power >= limit:
		a.power, a.reason = limit, PowerLimit
	case kept > 0:
		a.reason = KeptForLater
	default:
		a.reason = EnergySpread
	}
	return a
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
	want := asked(r, rd.in.Policy.Basis)
	if math.IsInf(want, 0) {
		return want
	}
	m := rd.meter(r.MeterID)
	if m == nil {
		return 0
	}
	return math.Min(want*rd.portion(d, m), d.MaxDischargeW.Or(0))
}

// portion is a battery's part of what the batteries of a meter do together.
func (rd *round) portion(d *Device, m *Meter) float64 {
	var all float64
	for _, o := range rd.of(m) {
		if o.Kind == drivers.Battery && o.Fresh && !o.Unresponsive && !o.Refused {
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

// claim is what a timeslot needs, or several alike together.
type claim struct {
	askW  float64
	hours float64 // left of it
}

// needWh is what a claim needs of a battery that has a portion of what is
// asked and gives limitW at most.
func (c claim) needWh(portion, limitW float64) float64 {
	if math.IsInf(c.askW, 0) {
		return limitW * c.hours
	}
	return math.Min(c.askW*portion, limitW) * c.hours
}

// rankClaims are a meter's timeslots of one rank that get energy: they run or
// begin within a day, and are followed.
type rankClaims struct {
	rank   int // the lower the earlier; those alike share as equals
	claims []claim
	first  []*dispatch.Record // the earliest in the input, those that are shown
}

// claimants finds each meter's timeslots that get energy, in the order in which
// they do: committed ones first, whatever their priority, then the smaller
// priority number (domain.md 2.2, 4.3). It is worked out once a round, if at all.
func (rd *round) claimants(meter int) []rankClaims {
	if rd.ranks != nil {
		return rd.ranks[meter]
	}
	rd.ranks = make([][]rankClaims, len(rd.in.Meters))
	soon := rd.in.Now.Add(reserveAhead)
	for i := range rd.in.Slots {
		r := &rd.in.Slots[i]
		at := rd.slotMeter[i]
		if at < 0 || !rd.in.Now.Before(r.End) || !r.Start.Before(soon) || r.Cancelled || r.Problem != "" || rd.refusalLater(r) {
			continue
		}
		rd.claim(&rd.ranks[at], r)
	}
	return rd.ranks[meter]
}

// claim adds a timeslot to its rank. Neighbours that ask for the same power, as
// the hours of one day mostly do, are added up.
func (rd *round) claim(ranks *[]rankClaims, r *dispatch.Record) {
	rank := energyRank(r)
	at, found := slices.BinarySearchFunc(*ranks, rank, func(c rankClaims, rank int) int { return c.rank - rank })
	if !found {
		*ranks = slices.Insert(*ranks, at, rankClaims{rank: rank})
	}
	rc, c := &(*ranks)[at], rd.claimOf(r)
	if n := len(rc.claims); n > 0 && rc.claims[n-1].askW == c.askW {
		rc.claims[n-1].hours += c.hours
	} else {
		rc.claims = append(rc.claims, c)
	}
	if len(rc.first) < shownClaims {
		rc.first = append(rc.first, r)
	}
}

func (rd *round) claimOf(r *dispatch.Record) claim {
	return claim{asked(r, rd.in.Policy.Basis), rd.hoursLeft(r)}
}

// hoursLeft is how long a timeslot has still to run.
func (rd *round) hoursLeft(r *dispatch.Record) float64 {
	return float64(r.End.Sub(later(r.Start, rd.in.Now))) / float64(time.Hour)
}

// energyRank is the place of a timeslot among those that get energy.
func energyRank(r *dispatch.Record) int {
	const voluntaryLast = 1000 // priorities go from 1 to 10
	if r.Voluntary {
		return r.Priority + voluntaryLast
	}
	return r.Priority
}

// rankShare is what the timeslots of one rank need of a battery's energy, and
// what they get of it.
type rankShare struct {
	rank           int
	needWh, keptWh float64
}

// keptWh is the energy of a battery that r must leave to other timeslots of the
// next day: all that those before it get, and what those that rank like it do.
func (rd *round) keptWh(d *Device, r *dispatch.Record) float64 {
	var sum float64
	rank := energyRank(r)
	for _, g := range rd.energyPlan(d) {
		switch {
		case g.rank < rank:
			sum += g.keptWh
		case g.rank == rank && g.needWh > 0 && rd.in.Now.Before(r.End):
			own := math.Min(rd.needW(d, r), d.MaxDischargeW.Or(0)) * rd.hoursLeft(r)
			sum += math.Max(0, g.keptWh*(1-own/g.needWh))
		case g.rank == rank:
			sum += g.keptWh
		}
	}
	return sum
}

// energyPlan gives out a battery's energy rank by rank; those that rank alike
// get the same fraction of what they need (domain.md 4.3, "water-filling by
// rank"). A round asks for it many times and works it out once.
func (rd *round) energyPlan(d *Device) []rankShare {
	s := rd.share(d)
	if s.planned {
		return s.plan
	}
	s.planned = true
	limit := d.MaxDischargeW.Or(0)
	for _, at := range rd.serving[rd.deviceAt[d.Name]] {
		portion := rd.portion(d, &rd.in.Meters[at])
		for _, rank := range rd.claimants(at) {
			var needWh float64
			for _, c := range rank.claims {
				needWh += c.needWh(portion, limit)
			}
			s.need(rank.rank, needWh)
		}
	}
	left := usableWh(d, d.ReserveSoC).Or(0)
	for i := range s.plan {
		g := &s.plan[i]
		g.keptWh = math.Min(g.needWh, left)
		left -= g.keptWh
	}
	rd.showPlan(d, s.plan)
	return s.plan
}

// need adds to what a rank needs.
func (s *share) need(rank int, wh float64) {
	at, found := slices.BinarySearchFunc(s.plan, rank, func(g rankShare, rank int) int { return g.rank - rank })
	if !found {
		s.plan = slices.Insert(s.plan, at, rankShare{rank: rank})
	}
	s.plan[at].needWh += wh
}

// shownClaims is how many timeslots a decision shows of a battery's plan.
const shownClaims = 8

// showPlan writes the first timeslots of a battery's plan into the decision.
func (rd *round) showPlan(d *Device, plan []rankShare) {
	if rd.out.Energy == nil {
		rd.out.Energy = make([]EnergyShare, 0, shownClaims*len(rd.in.Devices))
	}
	limit := d.MaxDischargeW.Or(0)
	shown := 0
	for _, g := range plan {
		for _, at := range rd.serving[rd.deviceAt[d.Name]] {
			portion := rd.portion(d, &rd.in.Meters[at])
			for _, r := range rd.firstOf(at, g.rank) {
				if shown == shownClaims {
					return
				}
				need := rd.claimOf(r).needWh(portion, limit)
				kept := 0.0
				if g.needWh > 0 {
					kept = g.keptWh * need / g.needWh
				}
				shown++
				rd.out.Energy = append(rd.out.Energy, EnergyShare{Device: d.Name, EventID: r.EventID, NeedWh: need, KeptWh: kept})
			}
		}
	}
}

// firstOf returns the timeslots of a meter's rank that are shown.
func (rd *round) firstOf(meter, rank int) []*dispatch.Record {
	for _, rc := range rd.claimants(meter) {
		if rc.rank == rank {
			return rc.first
		}
	}
	return nil
}

// refusalLater tells whether a coming timeslot will not be followed anyway.
func (rd *round) refusalLater(r *dispatch.Record) bool {
	switch rd.refusal(r) {
	case IntegrationTest, CommTest, PolicyVoluntary, MissingDropped:
		return true
	}
	return false
}
