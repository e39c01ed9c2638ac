package gateway

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/gateway/status"
)

// account is the energy of a timeslot: what was asked of it from its start
// until its end, its cancellation or now, and what of that was measured.
type account struct {
	r     dispatch.Record
	e     event
	from  time.Time // its start, or when it was first seen: one that comes late is settled from then (domain.md 2.2)
	until time.Time
	askW  float64 // 0 where it asks for the most there is, or for nothing
	owed  bool    // it was to be carried out
	loads measuredLoad
	shown shown // where those have the meter's load
}

func accountOf(r dispatch.Record, e event, now time.Time, p plan.Policy) account {
	a := account{r: r, e: e, from: later(r.Start, r.FirstSeen), until: earlier(r.End, now), owed: true}
	if r.Cancelled {
		a.until = earlier(a.until, r.CancelledAt)
	}
	if !e.Followed {
		switch e.Suppressed {
		case plan.OwnerStop, plan.ClockUntrusted:
		case "": // nobody was there to follow it: a power cut
		default: // tests, and what the policy or a higher rank left out
			a.owed = false
		}
	}
	if ask := plan.Asked(&r, p); ask.OK && a.owed && !math.IsInf(ask.V, 0) {
		a.askW = ask.V
	}
	return a
}

// targetWh is what was asked for between two times: as it was asked while it
// was measured, and as it is asked now for the rest. Time in which nothing was
// measured never makes the target smaller. Where more was measured than there
// is, the timeslot has moved since: its mean counts.
func (a account) targetWh(from, to time.Time, askedWh, seconds float64) float64 {
	length := to.Sub(from).Seconds()
	if seconds > length {
		return askedWh * length / seconds
	}
	return askedWh + a.askW*(length-seconds)/3600
}

// fill writes the account into a report. The ratio counts each interval only
// as far as its target: beyond it nothing is made good elsewhere (domain.md 3),
// and what was not measured counts as not delivered.
func (a account) fill(rep *status.Report) {
	rep.Intervals = a.rows()
	length := a.until.Sub(a.from).Seconds()
	if length <= 0 || !a.owed {
		return
	}
	var t totals
	for i := range rep.Intervals {
		t.add(&rep.Intervals[i])
	}
	t.fill(rep, length)
	var booked float64
	for i := range a.e.Intervals {
		booked += a.e.Intervals[i].Seconds
	}
	const worthSaying = 2 // s
	if gap := length - math.Max(t.seconds, booked+a.e.HeldS); gap > worthSaying {
		rep.Shortfalls = append(rep.Shortfalls, shortfall(plan.NotMeasured, gap))
	}
	a.fillStart(rep)
}

// fillStart writes how it began.
func (a account) fillStart(rep *status.Report) {
	since := a.e.ActiveSince
	if since.IsZero() && a.e.Followed { // stored by a version that did not keep it
		since = later(a.e.Begun, a.r.Start)
	}
	if !since.IsZero() {
		late := math.Max(0, since.Sub(a.r.Start).Seconds())
		rep.LateS = &late
	}
	first := earlier(a.r.Start.Add(firstMinutes), a.until).Sub(a.r.Start)
	if f := &a.e.First; f.Seconds > 0 {
		target := a.targetWh(a.r.Start, a.r.Start.Add(first), f.AskedWh, f.Seconds)
		rep.First = &status.ReportFirst{Minutes: first.Minutes(), TargetKWh: target / 1000, DeliveredKWh: f.DeliveredWh / 1000,
			Coverage: math.Min(1, f.Seconds/first.Seconds())}
	}
}

// totals is the sum over intervals.
type totals struct {
	target, delivered, counted, paid, short, seconds float64
	nominated, awarded, base, load, most             sum
	worst                                            *status.ReportWorst
	quality                                          string
}

// sum is unknown as soon as one part of it is.
type sum struct {
	wh      float64
	unknown bool
}

func (s *sum) add(wh *float64) {
	if wh == nil {
		s.unknown = true
		return
	}
	s.wh += *wh
}

func (s *sum) kwh() *float64 {
	if s.unknown {
		return nil
	}
	kwh := s.wh / 1000
	return &kwh
}

func (t *totals) add(row *status.ReportInterval) {
	length := row.End.Sub(row.Start).Seconds()
	t.target += row.TargetWh
	t.delivered += row.DeliveredWh
	t.counted += math.Max(0, math.Min(row.DeliveredWh, row.TargetWh))
	t.paid += row.PaidWh
	t.short += row.ShortfallWh
	t.seconds += row.Coverage * length
	t.nominated.add(row.NominatedWh)
	t.awarded.add(row.AwardedWh)
	t.most.add(row.CapWh)
	if row.Coverage > 0 { // else nothing was measured that could be summed
		t.base.add(row.BaselineWh)
		t.load.add(row.LoadWh)
	}
	if qualityRank(row.Quality) > qualityRank(t.quality) {
		t.quality = row.Quality
	}
	const tooShort = 60 // s: a sliver at the edge says nothing of the whole
	if row.TargetWh <= 0 || length < tooShort {
		return
	}
	if ratio := row.DeliveredWh / row.TargetWh; t.worst == nil || ratio < t.worst.Ratio {
		t.worst = &status.ReportWorst{Start: row.Start, Ratio: ratio, ShortfallWh: row.ShortfallWh}
	}
}

func (t *totals) fill(rep *status.Report, length float64) {
	rep.Coverage, rep.Quality, rep.Worst = math.Min(1, t.seconds/length), t.quality, t.worst
	rep.NominatedKWh, rep.AwardedKWh, rep.CapKWh = t.nominated.kwh(), t.awarded.kwh(), t.most.kwh()
	if t.target > 0 {
		kwh, ratio, short := t.target/1000, t.counted/t.target, t.short/1000
		rep.TargetKWh, rep.Ratio, rep.ShortfallKWh = &kwh, &ratio, &short
	}
	if t.seconds > 0 {
		kwh, kw, paid := t.delivered/1000, t.delivered/(t.seconds/3600)/1000, t.paid/1000
		rep.DeliveredKWh, rep.DeliveredKW, rep.PaidKWh = &kwh, &kw, &paid
		rep.BaselineKWh, rep.LoadKWh = t.base.kwh(), t.load.kwh()
	}
}
