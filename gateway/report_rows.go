package gateway

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/loadlog"
	"nominald/gateway/status"
)

// measuredLoad is the load log as a report reads it.
type measuredLoad interface {
	// Mean is the mean power of a channel in [from, to) in W, and how much of
	// it was measured, 0 to 1.
	Mean(channel string, from, to time.Time) (meanW, coverage float64, err error)
	// Query gives the rows of the channels named by steps of whole minutes.
	Query(from, to time.Time, step time.Duration, emit func(loadlog.Row) error, channels ...string) error
}

// The words for the quality of an interval that a report gives by itself; the
// load log may know others (recovered, estimated).
const (
	qualityMeasured = "measured"
	qualityPartial  = "partial"
	qualityGap      = "gap"
	qualityDoubtful = "clock-doubtful"
)

// wholeFrom is the share of an interval from which on it counts as measured:
// settlement takes an interval with 95 % (domain.md 3.1).
const wholeFrom = 0.95

// qualityRank orders qualities from good to bad; a word that is not known here
// lies between what was measured and what is not whole.
func qualityRank(q string) int {
	switch q {
	case "":
		return 0
	case qualityMeasured:
		return 1
	case qualityPartial:
		return 3
	case qualityDoubtful:
		return 4
	case qualityGap:
		return 5
	}
	return 2
}

// row is an interval of a report with what its sums go by.
type row struct {
	status.ReportInterval
	ownS     float64 // seconds in which the timeslot was to be carried out
	spokenS  float64 // of those, what the rounds booked or held back
	deviceWh map[string]float64
	reasonS  map[plan.Reason]float64
}

// rows are the settlement intervals of a timeslot so far. One that is owed has
// all of them, also those in which nothing was measured.
func (a account) rows() []row {
	var out []row
	if !a.from.Before(a.until) {
		return nil
	}
	minutes := a.minuteQualities()
	for at := intervalStart(a.from); at.Before(a.until); at = at.Add(plan.SettlementInterval) {
		booked := a.e.at(at)
		if !a.owed && (booked == nil || booked.Seconds == 0 && booked.LoadS == 0) {
			continue
		}
		if booked == nil {
			booked = &interval{Start: at}
		}
		from, to := later(at, a.from), earlier(at.Add(plan.SettlementInterval), a.until)
		if own := a.ownS(from, to, booked.Seconds); own >= 1 {
			out = append(out, a.row(booked, from, to, own, minutes))
		}
	}
	return out
}

// row works out one interval, of which so many seconds are the timeslot's own.
func (a account) row(iv *interval, from, to time.Time, own float64, minutes map[int64]string) row {
	hours := own / 3600
	row := a.parts(iv, from, to, own)
	row.ReportInterval = status.ReportInterval{Start: from, End: to, TargetWh: a.targetWh(own, iv.AskedWh, iv.Seconds),
		NominatedKW: a.r.NominationKW, AwardedKW: a.r.EnergyKW,
		NominatedWh: whOf(a.r.NominationKW, hours), AwardedWh: whOf(a.r.EnergyKW, hours),
		Devices: devicesOf(row.deviceWh)}
	row.TargetKW = row.TargetWh / hours / 1000
	m := a.measure(iv, from, to, own)
	row.Reference = string(m.reference)
	row.Coverage = math.Min(1, m.seconds/own)
	if m.seconds > 0 {
		kw := m.deliveredW / 1000
		row.DeliveredKW, row.DeliveredWh = &kw, m.deliveredW*m.seconds/3600
	}
	row.LoadKW, row.LoadWh = powerAndEnergy(m.loadW, m.loadS)
	row.BaselineKW, row.BaselineWh = powerAndEnergy(m.baselineW, m.loadS)
	row.CapWh = a.capWh(&row, hours)
	row.PaidWh = math.Max(0, row.DeliveredWh)
	if row.CapWh != nil {
		row.PaidWh = math.Min(row.PaidWh, *row.CapWh)
	}
	if row.TargetWh > 0 {
		row.ShortfallWh = math.Max(0, row.TargetWh-math.Max(0, row.DeliveredWh))
	}
	row.Quality = qualityOf(row.Coverage, from, to, minutes)
	const worthSaying = 0.001 // of the target
	if row.ShortfallWh > worthSaying*row.TargetWh {
		row.Cause, row.CauseText = causeOf(row.reasonS, row.Coverage)
	}
	return row
}

// parts is what devices gave and what reasons held in an interval. Where more
// was booked than is left of it, the timeslot was cut short: the mean counts.
func (a account) parts(iv *interval, from, to time.Time, own float64) row {
	r := row{ownS: own, deviceWh: map[string]float64{}, reasonS: map[plan.Reason]float64{}}
	part := 1.0
	if iv.Seconds > own {
		part = own / iv.Seconds
	}
	for name, wh := range iv.DeviceWh {
		r.deviceWh[name] = wh * part
	}
	var all float64
	for _, s := range iv.ReasonS {
		all += s
	}
	part = math.Min(1, to.Sub(from).Seconds()/math.Max(1, all))
	for reason, s := range iv.ReasonS {
		r.reasonS[reason] = s * part
	}
	r.spokenS = math.Min(own, math.Max(iv.Seconds, (all-iv.ReasonS[plan.HigherPriority])*part))
	return r
}

// measure is what is known of an interval: means in W, and for how many
// seconds.
type measure struct {
	loadW, baselineW drivers.Opt
	loadS            float64
	deliveredW       float64
	seconds          float64
	reference        plan.Reference
}

// measure takes baseline less load where there is a baseline to compare with
// (domain.md 3, perf = B - L). For the seconds whose load is not known, and
// where there is no baseline, it is what the devices were seen to give.
func (a account) measure(iv *interval, from, to time.Time, own float64) measure {
	m := measure{reference: a.referenceOf(iv)}
	m.loadW, m.loadS = a.load(iv, from, to, own)
	switch m.reference {
	case plan.ByBaseline:
		m.baselineW = meanBaseline(settledBy(a.e), from, to)
	case plan.Relative:
		// In an hour that level has faded, and the devices' own power counts: what
		// the rounds had of such an interval is a mean of both.
		if iv.LevelS > 0 && iv.LevelS >= asGoodAsWhole*iv.LoadS {
			m.baselineW = drivers.Some(iv.BaselineWh / iv.LevelS * 3600)
		}
	}
	if m.baselineW.OK && m.loadW.OK && m.loadS > 0 {
		m.deliveredW, m.seconds = m.baselineW.V-m.loadW.V, m.loadS
		m.addDevices(iv, own)
		return m
	}
	m.baselineW = drivers.Opt{}
	if iv.Seconds > 0 {
		if iv.LevelS == 0 && a.e.notesLevels() {
			m.reference = plan.ByDevice // its rounds went by the devices, and the log knows no more
		}
		m.deliveredW, m.seconds = iv.DeliveredWh/iv.Seconds*3600, math.Min(iv.Seconds, own)
	}
	return m
}

// addDevices adds the seconds in which the meter was silent and the devices were
// read: they count for what these gave, as the rounds had it.
func (m *measure) addDevices(iv *interval, length float64) {
	const asGoodAsNone = 0.01
	silent := math.Min(iv.Seconds, length) - m.loadS
	if silent < asGoodAsNone*length || iv.Seconds <= 0 {
		return
	}
	var givenWh float64
	for _, wh := range iv.DeviceWh {
		givenWh += wh
	}
	if silent > m.loadS && m.reference == plan.ByBaseline {
		m.reference = plan.ByDevice // for most of the time
	}
	m.deliveredW = (m.deliveredW*m.seconds + givenWh/iv.Seconds*3600*silent) / (m.seconds + silent)
	m.seconds += silent
}

// referenceOf is what an interval is measured against: the baseline where the
// timeslot had one and the interval no other, else what it had for most of its
// time.
func (a account) referenceOf(iv *interval) plan.Reference {
	switch {
	case usedBaseline(a.e) != nil && (iv.LevelS == 0 || iv.Reference == plan.ByBaseline):
		return plan.ByBaseline // held back then, silent, or booked by a version that did not note it
	case iv.LevelS > 0 && iv.LevelS >= iv.Seconds/2:
		return iv.Reference
	case iv.Seconds > 0:
		return plan.ByDevice
	}
	return a.e.Reference
}

// load is the mean net load of an interval and for how long it is known. What
// the rounds booked is exact at the edges of a timeslot, where the log has
// whole minutes; the log knows more where rounds are missing.
func (a account) load(iv *interval, from, to time.Time, own float64) (drivers.Opt, float64) {
	length := to.Sub(from).Seconds()
	var w drivers.Opt
	if iv.LoadS > 0 {
		w = drivers.Some(iv.LoadWh / iv.LoadS * 3600)
	}
	// The log does not know which of two timeslots a load was drawn under.
	shared := own < asGoodAsWhole*length
	if iv.LoadS >= asGoodAsWhole*own || a.loads == nil || shared {
		return w, math.Min(iv.LoadS, own)
	}
	// An error here is shown as a gap: the log reports its own troubles.
	mean, coverage, err := a.shown.mean(a.loads, from, to)
	if err != nil || coverage*length <= iv.LoadS {
		return w, math.Min(iv.LoadS, own)
	}
	return drivers.Some(mean), math.Min(coverage*length, own)
}

// asGoodAsWhole is the share of a stretch of time from which on what is known of
// it stands for all of it.
const asGoodAsWhole = 0.99

// meanBaseline is the mean of an estimate over a stretch of time, exact over
// the edges of its own grid; unknown where it does not cover all of it.
func meanBaseline(e *baseline.Estimate, from, to time.Time) drivers.Opt {
	if e == nil || e.Interval <= 0 {
		return drivers.Opt{}
	}
	var ws float64
	for at := from; at.Before(to); {
		w := e.At(at)
		if !w.OK {
			return drivers.Opt{}
		}
		next := e.Start.Add((at.Sub(e.Start)/e.Interval + 1) * e.Interval)
		if at.Before(e.Start) {
			next = e.Start
		}
		next = earlier(next, to)
		ws += w.V * next.Sub(at).Seconds()
		at = next
	}
	return drivers.Some(ws / to.Sub(from).Seconds())
}

// capWh is the most that the timeslot's cap lets count in an interval (domain.md
// 2.2 and 3), nil where it sets no limit or what it depends on is not known.
// Beyond zero site load nothing counts: that is the load there would have been.
func (a account) capWh(row *row, hours float64) *float64 {
	switch {
	case a.r.Cap == dispatch.UpToSiteLoad && a.shown.ofDevice():
		return a.siteWh(row, hours)
	case a.r.Cap == dispatch.UpToSiteLoad && row.BaselineKW != nil: // also where its load is known for a part
		most := math.Max(0, *row.BaselineKW*1000*row.Coverage*hours)
		return &most
	case a.r.Cap == dispatch.UpToSiteLoad && row.LoadKW != nil:
		most := math.Max(0, *row.LoadKW*1000*row.Coverage*hours+row.DeliveredWh)
		return &most
	case a.r.Cap == dispatch.UpToSiteLoad, a.r.Cap == dispatch.GridExportsAllowed:
		return nil
	case a.r.NominationKW != nil: // also under a cap that is not known, as the plan has it
		return whOf(a.r.NominationKW, hours)
	}
	return whOf(a.r.EnergyKW, hours)
}

// siteWh is the load of the site in an interval as it would have been, where
// the row has a device's; nil where it is not known.
func (a account) siteWh(row *row, hours float64) *float64 {
	if a.loads == nil {
		return nil
	}
	mean, coverage, err := a.loads.Mean(loadlog.Site, row.Start.UTC(), row.End.UTC())
	if err != nil || coverage <= 0 {
		return nil
	}
	wh := mean * coverage * hours
	for _, given := range row.deviceWh {
		wh += given
	}
	most := math.Max(0, wh)
	return &most
}

func whOf(kw *float64, hours float64) *float64 {
	if kw == nil {
		return nil
	}
	wh := *kw * 1000 * hours
	return &wh
}

func powerAndEnergy(w drivers.Opt, seconds float64) (kw, wh *float64) {
	if !w.OK || seconds <= 0 {
		return nil, nil
	}
	k, e := w.V/1000, w.V*seconds/3600
	return &k, &e
}

// minuteQualities is what the load log says of each minute of the meter's load.
func (a account) minuteQualities() map[int64]string {
	out := map[int64]string{}
	if a.loads == nil || !a.r.Start.Before(a.until) {
		return out
	}
	err := a.loads.Query(a.r.Start.Truncate(time.Minute), a.until, time.Minute, func(r loadlog.Row) error {
		out[r.T.Unix()] = r.Quality.String()
		return nil
	}, a.shown.name())
	if err != nil { // what was read of it still counts; coverage says the rest
		return out
	}
	return out
}

// qualityOf is the word for an interval: how much of it was measured, and the
// worst that the log says of any of its minutes.
func qualityOf(coverage float64, from, to time.Time, minutes map[int64]string) string {
	switch {
	case coverage <= 0:
		return qualityGap
	case coverage < wholeFrom:
		return qualityPartial
	}
	worst := qualityMeasured
	for at := from.Truncate(time.Minute); at.Before(to); at = at.Add(time.Minute) {
		q := minutes[at.Unix()]
		if q == qualityPartial || q == qualityGap { // the coverage has counted those
			continue
		}
		if qualityRank(q) > qualityRank(worst) {
			worst = q
		}
	}
	return worst
}

// causeOf is the reason that held longest in an interval, of those for which
// less was given than asked; empty where none did. Another timeslot's time is not
// owed, so that its rank is none.
func causeOf(reasonS map[plan.Reason]float64, coverage float64) (code, text string) {
	var longest float64
	reason := plan.Reason("")
	for r, s := range reasonS {
		if r == plan.OnTarget || r == plan.Preparing || r == plan.HigherPriority || s < longest || s == longest && r > reason {
			continue
		}
		longest, reason = s, r
	}
	if reason == "" && coverage < wholeFrom {
		reason = plan.NotMeasured
	}
	return string(reason), plan.ReasonText(reason)
}
