package gateway

import (
	"slices"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
)

// span is a stretch of time.
type span struct{ from, to time.Time }

// spans lie one after the other and do not touch.
type spans []span

// merged puts stretches of time in order and joins those that overlap.
func merged(all []span) spans {
	slices.SortFunc(all, func(a, b span) int { return a.from.Compare(b.from) })
	var out spans
	for _, s := range all {
		switch last := len(out) - 1; {
		case !s.from.Before(s.to):
		case last >= 0 && !s.from.After(out[last].to):
			out[last].to = later(out[last].to, s.to)
		default:
			out = append(out, s)
		}
	}
	return out
}

// seconds is how long the stretches last within [from, to).
func (ss spans) seconds(from, to time.Time) float64 {
	var sum float64
	for _, s := range ss {
		if d := earlier(s.to, to).Sub(later(s.from, from)); d > 0 {
			sum += d.Seconds()
		}
	}
	return sum
}

// outranked is when another timeslot of the meter went before one (domain.md
// 2.2, "overlap"): what the site did then is owed to that one.
func (p reporter) outranked(r *dispatch.Record) spans {
	var out []span
	all := p.schedule.All()
	for i := range all {
		o := &all[i]
		if !o.Start.Before(r.End) {
			break // by start
		}
		if o.MeterID != r.MeterID || o.EventID == r.EventID || !o.End.After(r.Start) {
			continue
		}
		end, ran := ranUntil(o, p.policy)
		if ran && end.After(r.Start) && dispatch.Outranks(*o, *r, plan.Asked(o, p.policy).V, plan.Asked(r, p.policy).V) {
			out = append(out, span{later(o.Start, o.FirstSeen), end})
		}
	}
	return merged(out)
}

// runs tells whether a timeslot is one that the gateway carries out. Where the
// policy goes by a state of charge that nobody knows it is not.
func runs(r *dispatch.Record, p plan.Policy) bool {
	switch {
	case r.Problem != "", r.IntegrationTest,
		r.CommunicationTest && p.CommunicationTest != plan.TestActuate,
		r.Voluntary && p.Voluntary != plan.VoluntaryFollow && !r.IsCapacityTest(),
		p.OnMissing == plan.MissingDrop && r.IsMissing():
		return false
	}
	return true
}
