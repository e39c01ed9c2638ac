package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
	"nominald/gateway/store"
)

// baseliner estimates the baselines of timeslots that are about to start, from
// the load log, and once more after those whose method goes by the hours after
// the end (domain.md 3.2: "compute twice"). It reads the disk, so it is a task
// of its own beside the control round.
type baseliner struct {
	cfg      *config.Config
	log      *slog.Logger
	loads    *loadlog.Log
	store    *store.Store
	events   *events
	schedule *atomic.Pointer[dispatch.Schedule]
	now      func() time.Time
	tried    map[string]attempt // by event id
}

// attempt is the timeslot as it was when its baseline was worked out last, when
// that was, and how long it is remembered.
type attempt struct{ start, end, row, until, at time.Time }

// same tells whether the timeslot is as it was then.
func (a attempt) same(o attempt) bool {
	return a.start.Equal(o.start) && a.end.Equal(o.end) && a.row.Equal(o.row)
}

const (
	baselineLook = 20 * time.Second
	// logMoment is how long the log needs until a load that was drawn is in it.
	logMoment = time.Minute
	// baselineAhead is how long before the start an estimate is made whose load
	// is all known by then.
	baselineAhead = time.Hour
	// recountAfter is how often an estimate that lacks load is made again.
	recountAfter = time.Hour
)

// baselineDue is from when on an estimate can be made for a row: the load
// before the start that the method goes by has been drawn then. A method that
// goes by the load up to the start itself waits no longer.
func baselineDue(p baseline.Params, row time.Time) time.Time {
	ahead := baselineAhead
	if from, to := p.Before(); from > 0 {
		ahead = min(ahead, to)
	}
	return row.Add(-max(0, ahead-logMoment))
}

func (b *baseliner) run(ctx context.Context) error {
	look := time.NewTicker(baselineLook)
	defer look.Stop()
	for {
		b.round()
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// round works out what is due and not known yet.
func (b *baseliner) round() {
	now := b.now()
	schedule, policy := b.schedule.Load(), policyOf(b.cfg.Policy)
	// Beyond these nothing is due, whatever row it is in.
	from, to := now.Add(-2*keptInMemory), now.Add(keptInMemory)
	for i := range b.cfg.Meters {
		m := b.cfg.Meters[i]
		p, ok := b.cfg.Method(m)
		if !ok {
			continue
		}
		all := schedule.All()
		mine := runsOf(m.ID, schedule, policy, from, to)
		for i := range all {
			if r := &all[i]; r.MeterID == m.ID && r.End.After(from) && r.Start.Before(to) {
				b.look(p, m, all[i], mine, now)
			}
		}
	}
	for id, a := range b.tried {
		if a.until.Before(now) {
			delete(b.tried, id)
		}
	}
}

// look works out what is due of one timeslot: its baseline before it, and once
// more when the hours after it are known, where the method goes by them.
func (b *baseliner) look(p baseline.Params, m config.Meter, r dispatch.Record, mine []run, now time.Time) {
	end, ran := ranUntil(&r, policyOf(b.cfg.Policy))
	if !ran {
		return
	}
	ev := baseline.Event{Start: r.Start, End: end, RowStart: rowStart(r.Start, mine), RowEnd: rowEnd(end, mine), Known: now}
	ev.Shifted = func(from, to time.Time) bool { return b.shifted(m, ev, from, to) }
	this := attempt{start: r.Start, end: end, row: ev.RowStart, until: end, at: now}
	if end.After(now) {
		if baselineDue(p, ev.RowStart).After(now) || b.tried[r.EventID].same(this) || b.events.hasBaseline(r, ev.RowStart, now) {
			return
		}
		b.tried[r.EventID] = this
		if e := b.estimate(p, m, r, ev); e != nil {
			b.events.setBaseline(r, e)
		}
		return
	}
	b.lookAfter(p, m, r, ev, this, mine)
}

// lookAfter makes the estimate with the hours after the end. While load is
// missing of the hours that it goes by, those before the start too, it is made
// again now and then.
func (b *baseliner) lookAfter(p baseline.Params, m config.Meter, r dispatch.Record, ev baseline.Event, this attempt, mine []run) {
	now := this.at
	if now.Sub(ev.End) > keptInMemory {
		return
	}
	complete := p.Complete(b.cfg.Site.Timezone, ev)
	// What a later timeslot of the meter changed is no measure of the site.
	if next := nextStart(ev.RowEnd, mine); !next.IsZero() {
		ev.Known = earlier(ev.Known, next)
		complete = earlier(complete, next)
	}
	this.until = ev.End.Add(keptInMemory)
	id := r.EventID + " after"
	if tried := b.tried[id]; complete.Add(logMoment).After(now) || tried.same(this) && now.Sub(tried.at) < recountAfter || !b.events.lacksAfter(r, p) {
		return
	}
	b.tried[id] = this
	if e := b.estimate(p, m, r, ev); e != nil {
		b.events.setAfter(r, e, p)
	}
}

// shifted tells whether a timeslot outside the row that ev is in changed what
// the meter showed in [from, to).
func (b *baseliner) shifted(m config.Meter, ev baseline.Event, from, to time.Time) bool {
	all, policy := b.schedule.Load().All(), policyOf(b.cfg.Policy)
	for i := range all {
		o := &all[i]
		end, ran := ranUntil(o, policy)
		inRow := !o.Start.Before(ev.RowStart) && o.Start.Before(ev.RowEnd) && o.MeterID == m.ID
		if ran && !inRow && o.Start.Before(to) && end.After(from) && b.events.touched(o.EventID, m, b.cfg) {
			return true
		}
	}
	return false
}

// estimate works out one baseline. Without one the load before the timeslot
// counts, and the log says why.
func (b *baseliner) estimate(p baseline.Params, m config.Meter, r dispatch.Record, ev baseline.Event) *baseline.Estimate {
	eventDays, err := b.eventDays(m, ev)
	if err != nil {
		b.log.Error("baseline: days of earlier timeslots can not be read", "error", err)
		return nil
	}
	ev.IsEventDay = func(noon time.Time) bool { return eventDays[noon.Format(time.DateOnly)] }
	e, err := baseline.Compute(p, b.cfg.Site.Timezone, ev, history{b.loads, shownBy(b.cfg, m)})
	var little baseline.TooLittle
	var unmeasured baseline.NotMeasured
	switch {
	case errors.As(err, &little):
		b.log.Info("no baseline: the load before the timeslot counts instead", "event", r.EventID, "method", p.Name,
			"days", little.Found, "needed", little.Needed)
		return nil
	case errors.As(err, &unmeasured):
		b.log.Info("no baseline: the load before the timeslot counts instead", "event", r.EventID, "method", p.Name, "why", err)
		return nil
	case err != nil:
		b.log.Error("no baseline: the load log can not be read", "event", r.EventID, "error", err)
		return nil
	}
	b.log.Info("baseline", "event", r.EventID, "method", e.Method, "days", len(e.Days), "factor", e.Factor, "add_w", e.AddW,
		"note", e.Note, "label", e.Label)
	return e
}

// eventDays are the local days of the meter's own timeslots, followed or not,
// and those on which one of a neighbour with devices behind the same point was
// followed: what was drawn then is no measure of what is drawn without us
// (domain.md 3.1: "exclude event days and days on which our own gateway shifted
// load"). The row that ev is in is none of them.
func (b *baseliner) eventDays(m config.Meter, ev baseline.Event) (map[string]bool, error) {
	zone, days := b.cfg.Site.Timezone, map[string]bool{}
	note := func(meterID string, start, end time.Time) {
		if meterID == m.ID && !start.Before(ev.RowStart) && start.Before(ev.RowEnd) {
			return
		}
		l, last := start.In(zone), end.Add(-1).In(zone).Format(time.DateOnly)
		for n := 0; ; n++ { // by noons: some zones have days without a midnight
			day := time.Date(l.Year(), l.Month(), l.Day()+n, 12, 0, 0, 0, zone).Format(time.DateOnly)
			if days[day] = true; day >= last {
				return
			}
		}
	}
	all, policy := b.schedule.Load().All(), policyOf(b.cfg.Policy)
	for i := range all {
		if end, ran := ranUntil(&all[i], policy); ran && all[i].MeterID == m.ID {
			note(m.ID, all[i].Start, end)
		}
	}
	err := b.events.all(b.store, func(e *event) {
		if e.touches(m, b.cfg) {
			note(e.MeterID, e.Start, e.End)
		}
	})
	return days, err
}

// touches tells whether an event changed what a meter shows.
func (e *event) touches(m config.Meter, cfg *config.Config) bool {
	if !e.Followed || e.MeterID == m.ID || !shownBy(cfg, m).ofDevice() {
		return e.Followed
	}
	return slices.ContainsFunc(m.Served(), func(device string) bool { _, gave := e.DeviceWh[device]; return gave })
}

// touched is touches for an event in memory by its id.
func (es *events) touched(id string, m config.Meter, cfg *config.Config) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	e := es.byID[id]
	return e != nil && e.touches(m, cfg)
}

// history is the load log as a baseline reads it: what one meter showed.
type history struct {
	loads *loadlog.Log
	shown shown
}

// MeanW is the mean net load of a stretch of time, and how much was measured.
func (h history) MeanW(from, to time.Time) (meanW, coverage float64, err error) {
	return h.shown.mean(h.loads, from, to)
}

// setBaseline keeps an estimate for a timeslot, with its event where that has
// begun.
func (es *events) setBaseline(r dispatch.Record, est *baseline.Estimate) {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.estimates[r.EventID] = est
	if e := es.byID[r.EventID]; e != nil {
		e.Baseline, e.changed, e.urgent = est, true, true
	}
}

// hasBaseline tells whether a timeslot has an estimate that covers it, and that
// was made for its row as it is now, unless that has begun: then what it is
// measured against stays.
func (es *events) hasBaseline(r dispatch.Record, row, now time.Time) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	est := es.estimates[r.EventID]
	if e := es.byID[r.EventID]; e != nil && e.Baseline != nil {
		est = e.Baseline
	}
	begun := !row.After(now)
	return est.At(r.Start).OK && est.At(r.End.Add(-time.Second)).OK && (begun || est.MadeFor(r.Start, row))
}

// setAfter keeps the estimate of an event that was made after its end, unless
// all that is new about it is when it was made.
func (es *events) setAfter(r dispatch.Record, est *baseline.Estimate, p baseline.Params) {
	es.mu.Lock()
	defer es.mu.Unlock()
	e := es.byID[r.EventID]
	if e == nil {
		return
	}
	old := e.BaselineAfter
	if _, to := p.After(); old == nil && to == 0 {
		old = e.Baseline
	}
	if old == nil || encodedApart(old) != encodedApart(est) {
		e.BaselineAfter, e.changed, e.urgent = est, true, true
	}
}

// encodedApart is an estimate without the time up to which load was known.
func encodedApart(e *baseline.Estimate) string {
	c := *e
	c.Known = time.Time{}
	return encoded(&c)
}

// lacksAfter tells whether an event was followed and its estimate lacks hours
// that the method goes by: those after its end, or some that were not measured.
func (es *events) lacksAfter(r dispatch.Record, p baseline.Params) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	e := es.byID[r.EventID]
	if e == nil || !e.Followed {
		return false
	}
	if _, to := p.After(); e.BaselineAfter == nil && to == 0 {
		return e.Baseline != nil && e.Baseline.Gaps
	}
	return e.BaselineAfter == nil || e.BaselineAfter.Gaps
}

// all calls fn for every event that is stored, then for those in memory, which
// know more.
func (es *events) all(st *store.Store, fn func(*event)) error {
	err := st.Range(eventsBucket, "", "", func(_ string, value []byte) error {
		if e, err := decodeEvent(value); err == nil { // one that is damaged was named at the start
			fn(&e)
		}
		return nil
	})
	es.each(fn)
	return err
}

// each calls fn for the events in memory.
func (es *events) each(fn func(*event)) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for _, e := range es.byID {
		fn(e)
	}
}
