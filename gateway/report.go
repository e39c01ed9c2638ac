package gateway

import (
	"math"
	"sort"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/gateway/status"
)

// Report is the performance of one timeslot as it was measured here.
func (g *Gateway) Report(eventID string) (status.Report, bool) {
	r, ok := g.schedule.Load().Get(eventID)
	if !ok {
		return status.Report{}, false
	}
	state, _ := r.StateAt(g.clock.Now(), 0)
	rep := status.Report{EventID: r.EventID, MeterID: r.MeterID, Start: r.Start, End: r.End, State: state,
		Programs: r.Programs, Cap: r.Cap, NominatedKW: r.NominationKW, AwardedKW: r.EnergyKW, Label: status.ReportLabel}
	e, ok := g.event(eventID)
	if !ok {
		return rep, true // known, and not followed by this gateway
	}
	rep.Reference = string(e.Reference)
	fillEnergy(&rep, r, e)
	for name, wh := range e.DeviceWh {
		rep.Devices = append(rep.Devices, status.ReportDevice{Name: name, DeliveredWh: wh})
	}
	sort.Slice(rep.Devices, func(i, j int) bool { return rep.Devices[i].DeliveredWh > rep.Devices[j].DeliveredWh })
	for reason, seconds := range e.ReasonS {
		if reason != plan.OnTarget && reason != plan.Preparing {
			rep.Shortfalls = append(rep.Shortfalls, status.Shortfall{Reason: string(reason), Minutes: seconds / 60})
		}
	}
	sort.Slice(rep.Shortfalls, func(i, j int) bool { return rep.Shortfalls[i].Minutes > rep.Shortfalls[j].Minutes })
	return rep, true
}

// event returns what was measured of a timeslot, from memory or the store.
func (g *Gateway) event(id string) (event, bool) {
	if e, ok := g.events.get(id); ok {
		return e, true
	}
	raw, found, err := g.store.Get(eventsBucket, id)
	if err != nil || !found {
		return event{}, false
	}
	e, err := decodeEvent(raw)
	return e, err == nil
}

// fillEnergy adds up the settlement intervals. The ratio counts each interval
// only as far as the cap pays it: beyond the target nothing is made good
// elsewhere (domain.md 3).
func fillEnergy(rep *status.Report, r dispatch.Record, e event) {
	var target, delivered, capped, seconds float64
	for _, iv := range e.Intervals {
		end := earlier(iv.Start.Add(plan.SettlementInterval), r.End)
		from := later(iv.Start, r.Start)
		length := end.Sub(from).Seconds()
		cover := 0.0
		if length > 0 {
			cover = math.Min(1, iv.Seconds/length)
		}
		rep.Intervals = append(rep.Intervals, status.ReportInterval{Start: from, End: end,
			TargetWh: iv.TargetWh, DeliveredWh: iv.DeliveredWh, Coverage: cover})
		target += iv.TargetWh
		delivered += iv.DeliveredWh
		capped += math.Max(0, math.Min(iv.DeliveredWh, iv.TargetWh))
		seconds += iv.Seconds
	}
	if length := r.End.Sub(r.Start).Seconds(); length > 0 {
		rep.Coverage = math.Min(1, seconds/length)
	}
	if seconds == 0 {
		return
	}
	kwh, targetKWh, kw := delivered/1000, target/1000, delivered/(seconds/3600)/1000
	rep.DeliveredKWh, rep.TargetKWh, rep.DeliveredKW = &kwh, &targetKWh, &kw
	if target > 0 {
		ratio := capped / target
		rep.Ratio = &ratio
	}
}
