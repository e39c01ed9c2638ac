package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/gateway/status"
)

// frozen is a report as it was fixed after the end of its timeslot. It lies
// with the event, so that it outlives the load log and is dropped with it.
type frozen struct {
	Report status.Report `json:"report"`
	// Until is the end that it was made for: another one makes it void.
	Until time.Time `json:"until"`
}

// holds tells whether the report is of the timeslot as it is known now. What
// Leap changes after the end in what was asked does not change what was done.
func (f *frozen) holds(r dispatch.Record) bool {
	return f.Report.Start.Equal(r.Start) && f.Until.Equal(endOf(r))
}

// endOf is when a timeslot ended: at its end, or when it was cancelled.
func endOf(r dispatch.Record) time.Time {
	if r.Cancelled {
		return earlier(r.End, r.CancelledAt)
	}
	return r.End
}

const (
	// keepReportLook is how often it is looked for reports to fix.
	keepReportLook = 20 * time.Second
	// settleTime is what the load log and the last round need after the end.
	settleTime = time.Minute
	// recountEvery is how often it is looked whether a meter's counters have
	// brought back load that a report lacks: they do so once the meter answers.
	recountEvery = 10 * time.Minute
)

// archivist fixes the reports of timeslots that have ended.
type archivist struct {
	events   *events
	schedule *atomic.Pointer[dispatch.Schedule]
	reporter reporter
	now      func() time.Time
	trusted  func() bool
	ended    func(event string, end time.Time) // nil, or told of each report
	log      *slog.Logger
	recounts map[string]time.Time // when a report that lacks load was counted last
}

func (a *archivist) run(ctx context.Context) error {
	look := time.NewTicker(keepReportLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			a.round()
		}
	}
}

// round fixes what is due. A clock that is not believed says nothing about
// what has ended.
func (a *archivist) round() {
	if !a.trusted() {
		return
	}
	var ids []string
	a.events.each(func(e *event) { ids = append(ids, e.EventID) })
	schedule, now := a.schedule.Load(), a.now()
	a.reporter.schedule = schedule
	for _, id := range ids {
		r, known := schedule.Get(id)
		e, held := a.events.get(id)
		if !known || !held || endOf(r).Add(settleTime).After(now) {
			continue
		}
		f := a.freeze(r, e, now)
		if f == nil {
			f = a.recount(r, e, now)
		}
		if f != nil {
			a.events.setFrozen(id, f)
			if a.ended != nil {
				a.ended(id, f.Until)
			}
			a.log.Info("report", "event", id, "revision", f.Report.Revision, "verdict", f.Report.Verdict)
		}
	}
}

// freeze makes the report of a timeslot that has ended, nil where the one that
// is kept is as good.
func (a *archivist) freeze(r dispatch.Record, e event, now time.Time) *frozen {
	old, why := e.Frozen, ""
	switch {
	case old == nil:
	case !old.holds(r):
		why = "the timeslot's times were changed"
	case encoded(old.Report.Baseline) != encoded(usedBaseline(e)), encoded(old.Report.BaselineAfter) != encoded(e.BaselineAfter):
		why = "the baseline was estimated anew"
	default:
		return nil
	}
	return a.fix(r, e, now, why)
}

// recount makes the report anew where the load log knows more of the time than
// when it was fixed, nil where it does not.
func (a *archivist) recount(r dispatch.Record, e event, now time.Time) *frozen {
	before := knownPart(&e.Frozen.Report)
	if before >= wholeFrom || now.Sub(a.recounts[r.EventID]) < recountEvery {
		return nil
	}
	if a.recounts == nil {
		a.recounts = map[string]time.Time{}
	}
	maps.DeleteFunc(a.recounts, func(id string, _ time.Time) bool { _, held := a.events.get(id); return !held })
	a.recounts[r.EventID] = now
	const worthIt = 0.01 // of the time
	if f := a.fix(r, e, now, "load came in afterwards"); knownPart(&f.Report) >= before+worthIt {
		return f
	}
	return nil
}

// knownPart is the share of the time of which is known what was delivered
// against the reference of the whole; 1 where there is nothing to know.
func knownPart(rep *status.Report) float64 {
	var known, all float64
	for i := range rep.Intervals {
		row := &rep.Intervals[i]
		seconds := row.End.Sub(row.Start).Seconds()
		all += seconds
		switch {
		case rep.Reference != string(plan.ByBaseline):
			known += row.Coverage * seconds
		case row.BaselineWh != nil && row.LoadKW != nil && *row.LoadKW != 0:
			known += *row.LoadWh / *row.LoadKW / 1000 * 3600 // the seconds whose load is known
		case row.BaselineWh != nil:
			known += row.Coverage * seconds
		}
	}
	if all == 0 {
		return 1
	}
	return known / all
}

// fix makes the report as it is kept, with what it replaces.
func (a *archivist) fix(r dispatch.Record, e event, now time.Time, why string) *frozen {
	old := e.Frozen
	f := &frozen{Report: a.reporter.report(r, e, true, now), Until: endOf(r)}
	f.Report.Revision, f.Report.FrozenAt = 1, now.UTC().Truncate(time.Second)
	if old != nil {
		before := &old.Report
		f.Report.Revision = before.Revision + 1
		f.Report.Revisions = append(append(f.Report.Revisions, before.Revisions...), status.ReportRevision{Revision: before.Revision,
			FrozenAt: before.FrozenAt, DeliveredKWh: before.DeliveredKWh, PaidKWh: before.PaidKWh, Replaced: why})
	}
	return f
}

// encoded is a baseline as it is stored, so that another one is noticed.
func encoded(e *baseline.Estimate) string {
	raw, err := json.Marshal(e)
	if err != nil {
		return "" // numbers that can not be encoded can not be compared either
	}
	return string(raw)
}

// setFrozen keeps a report with its event.
func (es *events) setFrozen(id string, f *frozen) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if e := es.byID[id]; e != nil {
		e.Frozen, e.changed = f, true
	}
}
