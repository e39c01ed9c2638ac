package gateway

import (
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/gateway/config"
)

// run is a timeslot that changes what its meter shows, for as long as it does.
type run struct{ start, end time.Time }

// runsOf are the timeslots of a meter that overlap [from, to), by start.
func runsOf(meterID string, schedule *dispatch.Schedule, p plan.Policy, from, to time.Time) []run {
	var out []run
	all := schedule.All()
	for i := range all {
		o := &all[i]
		if o.MeterID != meterID || !o.Start.Before(to) || !o.End.After(from) {
			continue
		}
		if end, ran := ranUntil(o, p); ran && end.After(from) {
			out = append(out, run{o.Start, end})
		}
	}
	return out
}

// rowStart is the start of the first timeslot of the unbroken row that one which
// starts then is in (domain.md 2.2, "back-to-back").
func rowStart(start time.Time, all []run) time.Time {
	for i := len(all) - 1; i >= 0; i-- { // by start: one look backwards finds the whole row
		if o := all[i]; o.start.Before(start) && start.Sub(o.end) <= mergeGap {
			start = o.start
		}
	}
	return start
}

// rowEnd is the end of the last timeslot of the unbroken row that one which ends
// then is in.
func rowEnd(last time.Time, all []run) time.Time {
	for _, o := range all {
		if o.end.After(last) && o.start.Sub(last) <= mergeGap {
			last = o.end
		}
	}
	return last
}

// nextStart is the start of the first timeslot after a time, zero where there is
// none.
func nextStart(after time.Time, all []run) time.Time {
	for _, o := range all {
		if o.start.After(after) {
			return o.start
		}
	}
	return time.Time{}
}

// ranUntil is when a timeslot ends or was cancelled, and whether it is or was
// one that changes what the site draws.
func ranUntil(o *dispatch.Record, p plan.Policy) (time.Time, bool) {
	end := endOf(*o)
	return end, end.After(o.Start) && runs(o, p)
}

// adjustmentWindow is the time before a timeslot whose load its reference is
// measured by.
func adjustmentWindow(m config.Meter) (from, to time.Duration) {
	switch m.Reference {
	case config.ByBaseline:
		if p, ok := baseline.Preset(m.Baseline); ok {
			return p.Before()
		}
		return evidenceWindow, 0
	case config.Relative:
		return evidenceWindow, 0
	}
	return 0, 0
}

// inAfterWindow tells whether the load now counts for the reference of a
// timeslot that has ended.
func inAfterWindow(m config.Meter, schedule *dispatch.Schedule, policy plan.Policy, now time.Time) bool {
	p, ok := baseline.Preset(m.Baseline)
	from, to := p.After()
	if !ok || m.Reference != config.ByBaseline || to <= 0 {
		return false
	}
	all := schedule.All()
	for i := range all {
		end, ran := ranUntil(&all[i], policy)
		if since := now.Sub(end); ran && all[i].MeterID == m.ID && since >= from && since < to {
			return true
		}
	}
	return false
}
