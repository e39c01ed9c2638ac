package plan

import (
	"cmp"
	"math"
	"slices"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// round is the working state of one Round. It lives no longer.
type round struct {
	in  *Input
	out Decision
	index
	candidates [][]candidate  // of each meter
	slotMeter  []int          // of each timeslot, the place of its meter; -1 for one that is not ours
	ranks      [][]rankClaims // of each meter, the timeslots that get energy, once worked out
	granted    float64        // W by which released chargers may rise in this round
}

// share is what is asked of one device so far.
type share struct {
	giveW  float64 // battery: discharge; load: how much less than normal
	reason Reason
	used   bool // some demand wants it
	// Loads: the command that leads to giveW.
	amps    float64
	inhibit bool
	offsetK float64
	// A battery near the export limit approaches it slowly.
	bounded bool
	tracked bool // its share moves with the load that nobody controls
	barred  bool // a battery that may give nothing at all
	// A battery charges for a timeslot ahead.
	precharge bool
	probeW    float64 // what one that does not follow is told all the same
	clamped   string  // what kept a charger's limit from its aim
	// A battery's energy plan, and what it may give for the timeslot that was
	// asked about last.
	planned bool
	plan    []rankShare
	asked   allowance
}

// Round decides what every device should do now. It changes nothing in its
// input and gives the same decision for the same input.
func Round(in Input) Decision {
	rd := &round{in: &in, index: newIndex(&in), candidates: make([][]candidate, len(in.Meters))}
	rd.out.Now = in.Now
	for i := range in.Devices {
		rd.shares[i].reason = rd.restReason(&in.Devices[i])
	}
	rd.classify()
	served := make([]bool, len(in.Meters))
	for _, d := range rd.demands() {
		served[rd.meterAt[d.meter.ID]] = true
		rd.serve(d)
	}
	for i := range in.Meters {
		if !served[i] {
			rd.out.Meters = append(rd.out.Meters, rd.idleMeter(&in.Meters[i]))
			rd.prepare(&in.Meters[i])
		}
	}
	rd.sortMeters()
	rd.out.Devices = make([]DeviceDecision, 0, len(in.Devices))
	for i := range in.Devices {
		rd.out.Devices = append(rd.out.Devices, rd.command(&in.Devices[i]))
	}
	rd.wouldDo()
	return rd.out
}

// restReason says why a device does nothing when no timeslot wants it.
func (rd *round) restReason(d *Device) Reason {
	switch {
	case !d.Kind.Dispatched():
		return MeasuresOnly
	case rd.in.Stopped:
		return OwnerStop
	}
	if len(rd.serving[rd.deviceAt[d.Name]]) > 0 {
		return Idle
	}
	return NotInUse
}

func (rd *round) idleMeter(m *Meter) MeterDecision {
	md := MeterDecision{ID: m.ID, Reason: Idle, Reference: m.Reference}
	if rd.in.Stopped {
		md.Reason = OwnerStop
	}
	for i, s := range rd.out.Slots {
		if s.MeterID == m.ID && s.State == dispatch.Suppressed {
			md.State, md.EventID, md.Reason = s.State, s.EventID, s.Reason
			if w := asked(&rd.in.Slots[i], rd.in.Policy.Basis); !math.IsInf(w, 0) {
				md.AskedW = drivers.Some(w)
			}
		}
	}
	return md
}

// sortMeters puts the decisions into the order of the config.
func (rd *round) sortMeters() {
	slices.SortStableFunc(rd.out.Meters, func(a, b MeterDecision) int {
		return cmp.Compare(rd.meterAt[a.ID], rd.meterAt[b.ID])
	})
}

// serve lets the devices of a meter give what it wants and writes down the
// outcome.
func (rd *round) serve(d demand) {
	m := d.meter
	if d.releasing {
		rd.serveRelease(d)
		return
	}
	l := rd.levelOf(m, d.ev)
	wantW := rd.raise(d)
	aim := rd.aimOf(d, l, wantW)
	bound, boundReason := rd.bound(d)
	aim.bounded, aim.boundW = aim.w > bound, bound
	aim.w, aim.steadyW = math.Min(aim.w, bound), clamp(aim.steadyW, 0, math.Max(0, bound))
	givenW, deviceReason := rd.allocate(d, aim)

	md := MeterDecision{ID: m.ID, State: d.state, PlannedW: givenW, EventID: d.rec.EventID, Reference: l.by,
		BaselineW: l.baseline(), DeliveredW: rd.deliveredW(m, l), Reason: OnTarget}
	md.TargetW = math.Min(wantW, math.Min(givenW, math.Max(0, bound)))
	if !math.IsInf(d.wantW, 0) {
		md.AskedW = drivers.Some(d.wantW)
	}
	md.OwedW = Owed(d.rec, rd.in.Policy)
	if !math.IsInf(wantW, 0) {
		md.TargetW = wantW
	}
	rd.explainShort(&md, d, aim, givenW, boundReason, deviceReason)
	rd.out.Meters = append(rd.out.Meters, md)
	rd.mark(d.at, d.state, md.Reason)
}

// aim is what the devices of a demand must give together, in W.
type aim struct {
	w       float64
	steadyW float64 // without a trim downwards: what slow devices go by
	bounded bool    // a cap or the export limit keeps it from being more
	boundW  float64 // the most that they may give
	tracked bool    // it moves with the load that nobody controls
	// owedW is what the timeslot itself takes of it, without what others would
	// like on top and without the trim.
	owedW float64
}

// aimOf is what the devices must give so that the meter shows its level less
// wantW: the target, the drift of the site, less what devices of other meters
// give at the same point already, and the trim of the settlement interval.
func (rd *round) aimOf(d demand, l level, wantW float64) aim {
	a := aim{w: wantW, steadyW: wantW, owedW: d.wantW}
	if math.IsInf(wantW, 0) {
		return a // all that there is moves with nothing
	}
	drift := l.driftW()
	if !d.meter.Device { // what a device gives at itself moves with nothing, and nobody else gives there
		a.tracked = l.weight > 0
		drift -= l.weight * rd.givenBesideW(d.meter)
	}
	a.w, a.owedW = a.w+drift, a.owedW+drift
	a.steadyW = a.w
	if d.state == dispatch.Active {
		trim := trimW(d.ev, d.rec.End, rd.in.Now, rd.trimLimitW(d.meter))
		a.w += trim
		a.steadyW += math.Max(0, trim)
	}
	return a
}

// givenBesideW is what commanded devices give that do not serve the meter.
func (rd *round) givenBesideW(m *Meter) float64 {
	var sum float64
	at := rd.meterAt[m.ID]
	for i := range rd.in.Devices {
		d := &rd.in.Devices[i]
		if d.Kind.Dispatched() && d.Commanded != nil && !rd.serves(i, at) {
			sum += d.GivenW().Or(0)
		}
	}
	return sum
}

// explainShort sets by how much the plan falls short of what is asked and why.
func (rd *round) explainShort(md *MeterDecision, d demand, a aim, givenW float64, boundReason, deviceReason Reason) {
	const tolerance = 50 // W: below the resolution that devices follow
	switch {
	case d.state == dispatch.Armed:
		md.Reason = Preparing
	case rd.meterSilent(d.meter):
		md.Reason = MeterStale
		if !d.meter.Point.UncontrolledW.OK {
			md.Reason = MeterUnknown
		}
	}
	if d.state == dispatch.Armed || !md.AskedW.OK {
		return
	}
	// What another timeslot would like on top is no commitment.
	need := math.Min(a.owedW, math.Max(a.w, 0))
	if a.bounded {
		need = a.owedW
	}
	if short := need - givenW; short > tolerance {
		md.ShortW = short
		if md.Reason == OnTarget && a.bounded {
			md.Reason = rd.boundedReason(d, boundReason)
		} else if md.Reason == OnTarget {
			md.Reason = deviceReason
		}
	}
	rd.explainMeasured(md, d, tolerance)
}

// boundedReason is why a bounded plan falls short. While the site still draws
// well above its bound the devices are on their way there.
func (rd *round) boundedReason(d demand, why Reason) Reason {
	const near = 300 // W
	pt := rd.in.Site.Point
	if d.meter.Point != nil {
		pt = d.meter.Point
	}
	if pt != nil && pt.Fresh && pt.LoadW.V > floorW(d.rec, rd.in.Site)+near {
		return Behind
	}
	return why
}

// reachedAfter is how long devices may be on their way to a new target.
const reachedAfter = 30 * time.Second

// explainMeasured corrects a plan that looks good by what is measured.
func (rd *round) explainMeasured(md *MeterDecision, d demand, tolerance float64) {
	missing := math.Min(md.AskedW.V, md.TargetW) - md.DeliveredW.Or(0)
	if !md.DeliveredW.OK || missing < 0.1*md.TargetW+tolerance || md.Reason != OnTarget {
		return
	}
	md.Reason = Behind
	if !d.ev.SteadySince.IsZero() && rd.in.Now.Sub(later(d.ev.SteadySince, d.rec.Start)) > reachedAfter {
		md.Reason = UnderDelivered
		md.ShortW = math.Max(md.ShortW, missing)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// meterSilent tells whether a utility meter's point can not be read now.
func (rd *round) meterSilent(m *Meter) bool {
	return !m.Device && m.Point != nil && !m.Point.Fresh
}

// trimShareOfPower is the largest trim, as a share of the batteries' power
// (domain.md 4.4: 20 %).
const trimShareOfPower = 0.2

// trimLimitW is the largest trim. Loads that are on or off average out over the
// interval: they are trimmed by the size of one.
func (rd *round) trimLimitW(m *Meter) float64 {
	var battery, coarse float64
	for _, d := range rd.of(m) {
		switch d.Kind {
		case drivers.Battery:
			battery += d.MaxDischargeW.Or(0)
		default:
			coarse = math.Max(coarse, d.NormalW.Or(d.RatedW))
		}
	}
	if battery > 0 {
		return trimShareOfPower * battery
	}
	return coarse
}

// deliveredW is what is measured now against the level in use.
func (rd *round) deliveredW(m *Meter, l level) drivers.Opt {
	if l.weight > 0 && l.shownW.OK {
		return drivers.Some(l.baseline().V - l.shownW.V)
	}
	var sum float64
	known := false
	for _, d := range rd.of(m) {
		if g := d.GivenW(); g.OK {
			sum, known = sum+g.V, true
		}
	}
	if !known {
		return drivers.Opt{}
	}
	return drivers.Some(sum)
}

// bound is the most that the devices of a demand may give: the timeslot's cap
// at its meter, and the site's export limit at the grid connection.
func (rd *round) bound(d demand) (float64, Reason) {
	capBound, siteBound := math.Inf(1), math.Inf(1)
	if d.meter.Point != nil {
		capBound = rd.boundAt(d.meter, d.meter.Point, floorW(d.rec, rd.in.Site))
	}
	// A meter that is settled at a device does not need the site's meter
	// (design.md 2.4); a load that was known once still bounds it.
	if site := rd.in.Site.Point; site != nil && (!d.meter.Device || site.UncontrolledW.OK) {
		siteBound = rd.boundAt(d.meter, site, -rd.in.Site.MaxExportW)
	}
	if capBound <= siteBound {
		if d.rec.Cap == dispatch.UpToSiteLoad {
			return capBound, SiteLoadZero
		}
		return capBound, ExportLimited
	}
	return siteBound, ExportLimited
}

// meterForgotten is how long the last known load of a silent meter is taken
// for granted (domain.md 4.5). Then what runs may go on and nothing may rise.
const meterForgotten = 5 * time.Minute

// forgotten tells whether a point's last load counts for nothing any more.
func forgotten(pt *Point) bool { return pt != nil && !pt.Fresh && pt.Age > meterForgotten }

// boundAt is the most that m's devices may give so that the net load at a
// point stays at or above floor.
func (rd *round) boundAt(m *Meter, pt *Point, floor float64) float64 {
	// What other devices give already lowers the same load.
	bound := boundW(pt, floor) - rd.givenByOthers(m, pt)
	if forgotten(pt) {
		// What the sun feeds in by now nobody knows: nothing rises. What our own
		// loads draw less is measured at them still.
		return math.Min(bound, rd.inForce(m))
	}
	return bound
}

// inForce is what the batteries of a meter that can be read give as they are
// commanded to.
func (rd *round) inForce(m *Meter) float64 {
	var sum float64
	for _, d := range rd.of(m) {
		if d.Kind == drivers.Battery && d.Commanded != nil && d.Fresh {
			sum += inForceOf(d)
		}
	}
	return sum
}

// inForceOf is what one battery gives as it is commanded to. One that follows
// with an error of scale keeps its command, or it would be led down by it round
// after round.
func inForceOf(d *Device) float64 {
	told := math.Max(0, d.Commanded.PowerW)
	if gives := d.PowerW.Or(told); gives < lowestGain*told {
		return math.Max(0, gives)
	}
	return told
}

// givenByOthers is what devices give that m has no say in: those of other
// meters, and batteries that work by themselves. One that can not be read is
// part of what a meter shows; where the meter is silent, too, its command still
// stands.
func (rd *round) givenByOthers(m *Meter, pt *Point) float64 {
	var sum float64
	at := rd.meterAt[m.ID]
	for i := range rd.in.Devices {
		d := &rd.in.Devices[i]
		s := &rd.shares[i]
		switch {
		case d.Kind == drivers.Battery && !d.Fresh:
			if d.Commanded != nil && !pt.Fresh {
				sum += math.Max(0, d.Commanded.PowerW)
			}
		case rd.serves(i, at) && d.Fresh:
		case d.Kind == drivers.Battery:
			sum += math.Max(math.Max(s.giveW, s.probeW), d.PowerW.Or(0))
		default:
			sum += s.giveW
		}
	}
	return sum
}

// wouldDo plans timeslots that are only tests as if they were real, so that
// people see what would have been done (domain.md 2.2).
func (rd *round) wouldDo() {
	if rd.in.ActuateTests || rd.in.Stopped {
		return
	}
	for _, s := range rd.out.Slots {
		if s.State == dispatch.Suppressed && (s.Reason == CommTest || s.Reason == IntegrationTest) {
			in := *rd.in
			in.ActuateTests = true
			rd.out.WouldDo = Round(in).Devices
			return
		}
	}
}
