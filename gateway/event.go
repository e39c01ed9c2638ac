package gateway

import (
	"encoding/json"
	"math"
	"sync"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/drivers"
)

// event is what this gateway measured of one timeslot that it followed. It is
// stored, so that a restart in the middle goes on with it.
type event struct {
	EventID   string         `json:"event_id"`
	MeterID   string         `json:"meter_id"`
	Start     time.Time      `json:"start"`
	End       time.Time      `json:"end"`
	Begun     time.Time      `json:"begun"` // first round that prepared or followed it
	Reference plan.Reference `json:"reference"`
	PreLoadW  drivers.Opt    `json:"pre_load_w"`
	PreStart  time.Time      `json:"pre_start"`
	// Baseline is what the meter would have shown, fixed before the start.
	Baseline *baseline.Estimate `json:"baseline,omitempty"`
	// BaselineAfter is the same with the hours after the end, where the method
	// goes by them: for the report only.
	BaselineAfter *baseline.Estimate `json:"baseline_after,omitempty"`
	// NormalW is what each load drew before it was commanded.
	NormalW   map[string]drivers.Opt `json:"normal_w"`
	Intervals []interval             `json:"intervals"`
	// Followed is true once it was active; Suppressed is the last reason for
	// which it was not. Together they are what became of it.
	Followed   bool                    `json:"followed"`
	Suppressed plan.Reason             `json:"suppressed,omitempty"`
	DeviceWh   map[string]float64      `json:"device_wh"`
	ReasonS    map[plan.Reason]float64 `json:"reason_s"` // seconds by reason
	LastW      float64                 `json:"last_target_w"`
	HeldS      float64                 `json:"held_s"` // seconds in which it was held back
	// ActiveSince is the first round that followed it, First what its first
	// minutes gave.
	ActiveSince time.Time `json:"active_since,omitzero"`
	First       interval  `json:"first,omitzero"`
	// Frozen is its report as it was fixed after the end.
	Frozen *frozen `json:"frozen,omitempty"`
	// Since when about the same was planned without a pause, by this process.
	steadyW     float64
	steadySince time.Time
	followedAt  time.Time
	running     bool // followed by this process
	changed     bool // since it was last stored
	urgent      bool // to be stored without waiting for the batch
}

// interval is one settlement interval of an event, measured so far.
type interval struct {
	Start       time.Time `json:"start"`
	TargetWh    float64   `json:"target_wh"` // aimed for while it was measured
	AskedWh     float64   `json:"asked_wh"`  // what of it the timeslot itself was owed then
	DeliveredWh float64   `json:"delivered_wh"`
	Seconds     float64   `json:"seconds"` // measured
	// LoadWh is the meter's measured net energy over LoadS seconds; BaselineWh
	// what Reference says it would have been, over LevelS seconds. Both are
	// left out where the devices' own power is the reference.
	LoadWh     float64        `json:"load_wh,omitempty"`
	LoadS      float64        `json:"load_s,omitempty"`
	BaselineWh float64        `json:"baseline_wh,omitempty"`
	LevelS     float64        `json:"level_s,omitempty"`
	Reference  plan.Reference `json:"reference,omitempty"`
	// DeviceWh and ReasonS are the parts of those of the event.
	DeviceWh map[string]float64      `json:"device_wh,omitempty"`
	ReasonS  map[plan.Reason]float64 `json:"reason_s,omitempty"`
}

// events holds the events of this site. The control goroutine writes, HTTP
// and the keeper read.
type events struct {
	mu   sync.Mutex
	byID map[string]*event
	// estimates are the baselines of timeslots that may not have begun yet.
	estimates map[string]*baseline.Estimate
}

func newEvents() *events {
	return &events{byID: map[string]*event{}, estimates: map[string]*baseline.Estimate{}}
}

// keptInMemory is how long after its end an event stays in memory; older ones
// are read from the store when somebody asks.
const keptInMemory = 48 * time.Hour

// keptUnfixed is how long after its end an event whose report is not fixed yet
// stays: that is done when the clock is believed and the load log can be read.
const keptUnfixed = 31 * 24 * time.Hour

// restore takes a stored event over after a restart.
func (es *events) restore(raw []byte, now time.Time) error {
	e, err := decodeEvent(raw)
	if err != nil || e.old(now.Add(-keptInMemory)) {
		return err
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	es.byID[e.EventID] = &e
	return nil
}

func decodeEvent(raw []byte) (event, error) {
	e := event{DeviceWh: map[string]float64{}, ReasonS: map[plan.Reason]float64{}}
	err := json.Unmarshal(raw, &e)
	return e, err
}

// forPlan is what the planner needs of the events.
func (es *events) forPlan(now time.Time) map[string]plan.Event {
	es.mu.Lock()
	defer es.mu.Unlock()
	out := make(map[string]plan.Event, len(es.byID))
	for id, e := range es.byID {
		if now.Sub(e.End) > 24*time.Hour {
			continue
		}
		p := plan.Event{Running: e.running, SteadySince: e.steadySince, PreLoadW: e.PreLoadW, PreStart: e.PreStart, LastTargetW: e.LastW,
			BaselineW: e.Baseline.At(now)}
		if iv := e.at(now); iv != nil {
			p.IntervalTargetWh, p.IntervalDeliveredWh = iv.TargetWh, iv.DeliveredWh
		}
		out[id] = p
	}
	return out
}

// at returns the settlement interval that holds t, nil where none was begun.
func (e *event) at(t time.Time) *interval {
	start := intervalStart(t)
	for i := range e.Intervals {
		if e.Intervals[i].Start.Equal(start) {
			return &e.Intervals[i]
		}
	}
	return nil
}

func intervalStart(t time.Time) time.Time { return t.Truncate(plan.SettlementInterval).UTC() }

// account books the time since the last round to the events that ran in it,
// with what that round aimed for and measured.
func (es *events) account(last plan.Decision, in plan.Input) {
	const longest = 5 * time.Second // a longer pause is a gap, not a measurement
	now := in.Now
	if last.Now.IsZero() || now.Sub(last.Now) > longest || !now.After(last.Now) {
		return
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	for i := range last.Meters {
		md := &last.Meters[i]
		e := es.byID[md.EventID]
		if e == nil || (md.State != dispatch.Active && md.State != dispatch.Armed) {
			continue
		}
		if from, d := e.overlap(last.Now, now); d > 0 {
			e.book(md, servants(in, md.ID), loadOf(in, md.ID), from, d)
		}
	}
	for _, s := range last.Slots {
		if e := es.byID[s.EventID]; e != nil && s.State == dispatch.Suppressed {
			if from, d := e.overlap(last.Now, now); d > 0 {
				e.hold(s.Reason, from, d)
			}
		}
	}
}

// overlap is the part of a stretch of time that lies in the timeslot.
func (e *event) overlap(from, to time.Time) (time.Time, time.Duration) {
	from, to = later(from, e.Start), earlier(to, e.End)
	return from, to.Sub(from)
}

// servants are the devices that serve a meter and hold a command.
func servants(in plan.Input, meterID string) []plan.Device {
	var out []plan.Device
	for _, m := range in.Meters {
		for _, name := range m.Devices {
			for _, d := range in.Devices {
				if m.ID == meterID && d.Name == name && d.Commanded != nil {
					out = append(out, d)
				}
			}
		}
	}
	return out
}

// gather returns what was measured before a timeslot: the mean net load, and
// what each load drew.
type gather func(dispatch.Record) (drivers.Opt, map[string]drivers.Opt)

// begin makes sure that every timeslot that a decision prepares, follows or
// holds back has an event, and remembers what was planned, for the release.
// normals is what the loads that are commanded now drew before.
func (es *events) begin(d plan.Decision, schedule *dispatch.Schedule, evidence gather, normals map[string]drivers.Opt) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for _, s := range d.Slots {
		known := s.State == dispatch.Active || s.State == dispatch.Armed || s.State == dispatch.Suppressed
		r, ok := schedule.Get(s.EventID)
		if !known || !ok || s.Reason == plan.NotOurMeter {
			continue
		}
		e := es.byID[s.EventID]
		if e == nil {
			e = es.open(r, d.Now, schedule, evidence)
		}
		// Every field of a timeslot may change while it runs.
		e.MeterID, e.Start, e.End = r.MeterID, r.Start, r.End
		if s.State == dispatch.Suppressed && e.Suppressed != s.Reason {
			e.Suppressed, e.changed = s.Reason, true
		}
	}
	for i := range d.Meters {
		md := &d.Meters[i]
		if e := es.byID[md.EventID]; e != nil && (md.State == dispatch.Active || md.State == dispatch.Armed) {
			e.follow(md, d.Now)
			e.keepNormals(normals)
		}
	}
}

// keepNormals stores what loads drew before they were commanded: after a
// restart they are still held by their own timers, and nobody could tell.
func (e *event) keepNormals(normals map[string]drivers.Opt) {
	for name, w := range normals {
		if e.NormalW[name] == w {
			continue
		}
		kept := copyOf(e.NormalW) // events of a row share one
		kept[name] = w
		e.NormalW, e.changed, e.urgent = kept, true, true
	}
}

// follow notes that a round prepares or follows the timeslot.
func (e *event) follow(md *plan.MeterDecision, now time.Time) {
	if e.Begun.IsZero() {
		e.Begun = now
	}
	e.Reference = md.Reference
	if md.State == dispatch.Active {
		e.running, e.Followed = true, true
		if e.ActiveSince.IsZero() {
			e.ActiveSince = now
		}
	}
	const pause = 5 * time.Second
	if math.Abs(md.PlannedW-e.steadyW) > 0.1*e.steadyW || now.Sub(e.followedAt) > pause {
		e.steadyW, e.steadySince = md.PlannedW, now
	}
	e.followedAt = now
	if md.PlannedW != e.LastW {
		e.LastW, e.changed = md.PlannedW, true
	}
}

// mergeGap is the largest pause between two timeslots that count as one row
// (domain.md 2.2, "back-to-back").
const mergeGap = time.Minute

// open begins an event. In an unbroken row the evidence of the first timeslot
// stays: the load during the one before says nothing of what is normal.
func (es *events) open(r dispatch.Record, now time.Time, schedule *dispatch.Schedule, evidence gather) *event {
	e := &event{EventID: r.EventID, MeterID: r.MeterID, Start: r.Start, End: r.End,
		DeviceWh: map[string]float64{}, ReasonS: map[plan.Reason]float64{}, changed: true, urgent: true}
	var latest time.Time
	for id, before := range es.byID {
		end := before.End
		if b, ok := schedule.Get(id); ok && b.Cancelled {
			end = earlier(end, b.CancelledAt)
		}
		row := before.Followed && before.MeterID == r.MeterID && before.Start.Before(r.Start) &&
			r.Start.Sub(end) <= mergeGap && now.Sub(end) <= mergeGap
		if row && end.After(latest) {
			latest = end
			e.PreLoadW, e.PreStart, e.NormalW = before.PreLoadW, before.PreStart, before.NormalW
		}
	}
	if e.PreStart.IsZero() {
		e.PreLoadW, e.NormalW = evidence(r)
		e.PreStart = later(r.Start, now)
	}
	e.Baseline = es.estimates[r.EventID]
	es.byID[r.EventID] = e
	return e
}

// old tells whether an event that ended before then need not stay in memory.
func (e *event) old(before time.Time) bool {
	return e.End.Before(before) && (e.Frozen != nil || e.End.Before(before.Add(-keptUnfixed)))
}

// get returns a copy of an event.
func (es *events) get(id string) (event, bool) {
	es.mu.Lock()
	defer es.mu.Unlock()
	e := es.byID[id]
	if e == nil {
		return event{}, false
	}
	c := *e
	c.Intervals = append([]interval(nil), e.Intervals...)
	for i := range c.Intervals {
		c.Intervals[i].DeviceWh, c.Intervals[i].ReasonS = copyOf(e.Intervals[i].DeviceWh), copyOf(e.Intervals[i].ReasonS)
	}
	c.DeviceWh = copyOf(e.DeviceWh)
	c.ReasonS = copyOf(e.ReasonS)
	return c, true
}

// unsaved returns the changed events encoded, by id; only the urgent ones, or
// all. They count as saved from then on.
func (es *events) unsaved(all bool) map[string][]byte {
	es.mu.Lock()
	defer es.mu.Unlock()
	out := map[string][]byte{}
	for id, e := range es.byID {
		if !e.changed || (!all && !e.urgent) {
			continue
		}
		raw, err := json.Marshal(e)
		if err != nil {
			continue // no value of an event can fail to encode
		}
		out[id] = raw
		e.changed, e.urgent = false, false
	}
	return out
}

// again marks events whose saving failed.
func (es *events) again(ids map[string][]byte) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for id := range ids {
		if e := es.byID[id]; e != nil {
			e.changed = true
		}
	}
}

// forget drops events that ended long ago from memory; the store keeps them.
func (es *events) forget(before time.Time) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for id, e := range es.byID {
		if e.old(before) && !e.changed {
			delete(es.byID, id)
			delete(es.estimates, id)
		}
	}
}

// normals returns what loads drew before they were commanded, of events that
// run now: after a restart they are still commanded by their own timers.
func (es *events) normals(now time.Time) map[string]drivers.Opt {
	es.mu.Lock()
	defer es.mu.Unlock()
	out := map[string]drivers.Opt{}
	for _, e := range es.byID {
		if now.Before(e.End) && !now.Before(e.Begun) {
			for name, w := range e.NormalW {
				out[name] = w
			}
		}
	}
	return out
}

func copyOf[K comparable, V any](m map[K]V) map[K]V {
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
