package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
	"nominald/gateway/store"
)

// baseliner estimates the baselines of timeslots that are about to start, from
// the load log (domain.md 3.2, "at start with pre-event data only"). It reads
// the disk, so it is a task of its own beside the control round.
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

// attempt is the timeslot as it was when its baseline was worked out last.
type attempt struct{ start, end, row time.Time }

const (
	baselineLook = 20 * time.Second
	// baselineAhead is when an estimate can be made: its window ends an hour
	// before the start, and the log needs a moment.
	baselineAhead = 59 * time.Minute
)

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
	schedule := b.schedule.Load()
	for i := range b.cfg.Meters {
		m := &b.cfg.Meters[i]
		if m.Reference != config.ByBaseline {
			continue
		}
		for _, r := range schedule.All() {
			row := rowStart(r, schedule)
			due := r.MeterID == m.ID && r.End.After(now) && row.Add(-baselineAhead).Before(now) && !r.Cancelled && r.Problem == ""
			this := attempt{r.Start, r.End, row}
			if !due || b.tried[r.EventID] == this || b.events.hasBaseline(r) {
				continue
			}
			b.tried[r.EventID] = this
			b.estimate(m, r, row)
		}
	}
	for id, a := range b.tried {
		if a.end.Before(now) {
			delete(b.tried, id)
		}
	}
}

// estimate works out one baseline. Without one the load before the timeslot
// counts, and the log says why.
func (b *baseliner) estimate(m *config.Meter, r dispatch.Record, row time.Time) {
	p, ok := baseline.Preset(m.Baseline)
	if !ok {
		return // the config knows the presets' names only
	}
	eventDays, err := b.eventDays(m.ID)
	if err != nil {
		b.log.Error("baseline: days of earlier timeslots can not be read", "error", err)
		return
	}
	zone := b.cfg.Site.Timezone
	e, err := baseline.Compute(p, zone, baseline.Event{Start: r.Start, End: r.End, RowStart: row,
		IsEventDay: func(noon time.Time) bool { return eventDays[noon.Format(time.DateOnly)] }}, history{b.loads})
	var little baseline.TooLittle
	switch {
	case errors.As(err, &little):
		b.log.Info("no baseline: the load before the timeslot counts instead", "event", r.EventID, "method", p.Name,
			"days", little.Found, "needed", little.Needed)
	case err != nil:
		b.log.Error("no baseline: the load log can not be read", "event", r.EventID, "error", err)
	default:
		b.log.Info("baseline", "event", r.EventID, "method", e.Method, "days", len(e.Days), "factor", e.Factor, "note", e.Note)
		b.events.setBaseline(r, e)
	}
}

// eventDays are the local days on which a timeslot of the meter was followed:
// what the site drew then is no measure of what it does by itself.
func (b *baseliner) eventDays(meterID string) (map[string]bool, error) {
	days := map[string]bool{}
	note := func(e *event) {
		if e.MeterID == meterID && e.Followed {
			days[e.Start.In(b.cfg.Site.Timezone).Format(time.DateOnly)] = true
		}
	}
	err := b.store.Range(eventsBucket, "", "", func(_ string, value []byte) error {
		if e, err := decodeEvent(value); err == nil { // one that is damaged was named at the start
			note(&e)
		}
		return nil
	})
	b.events.each(note)
	return days, err
}

// history is the load log as a baseline reads it.
type history struct{ loads *loadlog.Log }

// MeanW is the mean net load of a stretch of time, and how much was measured.
func (h history) MeanW(from, to time.Time) (meanW, coverage float64, err error) {
	return h.loads.Mean(loadlog.Site, from.UTC(), to.UTC())
}

// rowStart is the start of the first timeslot of the unbroken row that r is in
// (domain.md 2.2, "back-to-back").
func rowStart(r dispatch.Record, schedule *dispatch.Schedule) time.Time {
	start := r.Start
	all := schedule.All()
	for i := len(all) - 1; i >= 0; i-- { // by start: one look backwards finds the whole row
		o := &all[i]
		end := o.End
		if o.Cancelled {
			end = earlier(end, o.CancelledAt)
		}
		ran := end.After(o.Start) && o.Problem == "" && !o.IntegrationTest
		if ran && o.MeterID == r.MeterID && o.Start.Before(start) && start.Sub(end) <= mergeGap {
			start = o.Start
		}
	}
	return start
}

// adjustmentWindow is the time before a timeslot whose load its reference is
// measured by.
func adjustmentWindow(m config.Meter) (from, to time.Duration) {
	switch m.Reference {
	case config.ByBaseline:
		if p, ok := baseline.Preset(m.Baseline); ok {
			return p.Adjust.From, p.Adjust.To
		}
		return evidenceWindow, 0
	case config.Relative:
		return evidenceWindow, 0
	}
	return 0, 0
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

// hasBaseline tells whether a timeslot has an estimate that covers it.
func (es *events) hasBaseline(r dispatch.Record) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	est := es.estimates[r.EventID]
	if e := es.byID[r.EventID]; e != nil && e.Baseline != nil {
		est = e.Baseline
	}
	return est.At(r.Start).OK && est.At(r.End.Add(-time.Second)).OK
}

// each calls fn for the events in memory.
func (es *events) each(fn func(*event)) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for _, e := range es.byID {
		fn(e)
	}
}
