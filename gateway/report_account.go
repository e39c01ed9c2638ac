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
	away  spans   // when another timeslot went before it
	loads measuredLoad
	shown shown // where those have the meter's load
}

func accountOf(r dispatch.Record, e event, now time.Time, p plan.Policy, away spans) account {
	a := account{r: r, e: e, from: later(r.Start, r.FirstSeen), until: earlier(r.End, now), owed: true, away: away}
	if r.Cancelled {
		a.until = earlier(a.until, r.CancelledAt)
	}
	if !e.Followed {
		switch e.Suppressed {
		case plan.OwnerStop, plan.ClockUntrusted:
		case plan.HigherPriority: // for the time that is left of it
			a.owed = len(away) > 0 && a.until.Sub(a.from).Seconds()-a.awayS(a.from, a.until) > worthSayingS
		case "": // nobody was there to follow it: a power cut
		default: // tests, and what the policy or a higher rank left out
			a.owed = false
		}
	}
	if a.owed {
		a.askW = plan.Owed(&r, p).Or(0)
	}
	return a
}

// worthSayingS is how many seconds of a timeslot are worth a word.
const worthSayingS = 2

// awayS is for how many seconds of [from, to) another timeslot went before it.
func (a account) awayS(from, to time.Time) float64 { return a.away.seconds(from, to) }

// ownS is for how many seconds of [from, to) the timeslot was to be carried
// out. Those in which it was, by the rounds, are its own whatever changed since.
func (a account) ownS(from, to time.Time, booked float64) float64 {
	length := to.Sub(from).Seconds()
	return math.Max(length-a.awayS(from, to), math.Min(length, booked))
}

// targetWh is what was asked for in the timeslot's own seconds of a stretch: as
// it was asked while it was measured, and as it is asked now for the rest. Time
// in which nothing was measured never makes the target smaller. Where more was
// measured than there is, the timeslot has moved since: its mean counts.
func (a account) targetWh(own, askedWh, seconds float64) float64 {
	if seconds > own {
		return askedWh * own / seconds
	}
	return askedWh + a.askW*(own-seconds)/3600
}

// fill writes the account into a report. The ratio counts each interval only
// as far as its target: beyond it nothing is made good elsewhere (domain.md 3),
// and what was not measured counts as not delivered.
func (a account) fill(rep *status.Report) {
	var rows []row
	rep.Intervals, rows = nil, a.rows()
	var t totals
	for i := range rows {
		rep.Intervals = append(rep.Intervals, rows[i].ReportInterval)
		t.add(&rows[i])
	}
	a.fillParts(rep, rows)
	if !a.from.Before(a.until) || !a.owed {
		return
	}
	t.fill(rep)
	if gap := t.own - math.Max(t.seconds, t.spoken); gap > worthSayingS {
		rep.Shortfalls = append(rep.Shortfalls, shortfall(plan.NotMeasured, gap))
	}
	a.fillStart(rep)
}

// fillParts writes what each device gave, and for how long each reason held:
// the sum of the rows, or what an early version booked of the whole.
func (a account) fillParts(rep *status.Report, rows []row) {
	devices, reasons := map[string]float64{}, map[plan.Reason]float64{}
	for i := range rows {
		for name, wh := range rows[i].deviceWh {
			devices[name] += wh
		}
		for reason, s := range rows[i].reasonS {
			reasons[reason] += s
		}
	}
	if len(devices) == 0 {
		devices = a.e.DeviceWh
	}
	if len(reasons) == 0 {
		reasons = a.e.ReasonS
	}
	rep.Devices = devicesOf(devices)
	for reason, seconds := range reasons {
		if reason != plan.OnTarget && reason != plan.Preparing {
			rep.Shortfalls = append(rep.Shortfalls, shortfall(reason, seconds))
		}
	}
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
		own := a.ownS(a.r.Start, a.r.Start.Add(first), f.Seconds)
		target := a.targetWh(own, f.AskedWh, f.Seconds)
		rep.First = &status.ReportFirst{Minutes: first.Minutes(), TargetKWh: target / 1000, DeliveredKWh: f.DeliveredWh / 1000,
			Coverage: math.Min(1, f.Seconds/own)}
	}
}

// totals is the sum over intervals.
type totals struct {
	target, delivered, counted, paid, short float64
	own, seconds                            float64 // that were its own, and that were measured
	spoken                                  float64 // of which the rounds said something
	nominated, awarded, base, load, most    sum
	worst                                   *status.ReportWorst
	quality                                 string
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

func (t *totals) add(row *row) {
	t.own += row.ownS
	t.spoken += row.spokenS
	t.target += row.TargetWh
	t.delivered += row.DeliveredWh
	t.counted += math.Max(0, math.Min(row.DeliveredWh, row.TargetWh))
	t.paid += row.PaidWh
	t.short += row.ShortfallWh
	t.seconds += row.Coverage * row.ownS
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
	if row.TargetWh <= 0 || row.ownS < tooShort {
		return
	}
	if ratio := row.DeliveredWh / row.TargetWh; t.worst == nil || ratio < t.worst.Ratio {
		t.worst = &status.ReportWorst{Start: row.Start, Ratio: ratio, ShortfallWh: row.ShortfallWh}
	}
}

func (t *totals) fill(rep *status.Report) {
	rep.Quality, rep.Worst = t.quality, t.worst
	if t.own > 0 {
		rep.Coverage = math.Min(1, t.seconds/t.own)
	}
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
