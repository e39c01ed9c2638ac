package dispatch

import (
	"time"
)

// Batch is what one delivery brought: all pages of a search, or a webhook
// notification.
type Batch struct {
	Source Source
	// Observed is the start of the request (webhook: when it was received). Of
	// two deliveries the later one counts, whatever order they arrive in.
	Observed time.Time
	// From and To are the window that was searched.
	From, To time.Time
	// Complete: every page of a search that lists all awards of Meters in the
	// window. Only then does absence mean anything.
	Complete bool
	// Meters are our own meter ids. Timeslots of others are ignored and counted.
	Meters []string
	Slots  []Timeslot
}

// The kinds of Change.
const (
	ChangeNew        = "new"         // first seen
	ChangeChanged    = "changed"     // some fields differ
	ChangeCancelled  = "cancelled"   // cancelled; first seen so when Before has no event id
	ChangeRestored   = "uncancelled" // the cancellation was taken back
	ChangeMissing    = "missing"     // not listed by MissingAfter complete searches in a row
	ChangeSeenAgain  = "seen-again"  // was missing, is listed again
	ChangeForeign    = "ignored-meter"
	ChangeNoID       = "ignored-no-id"
	ChangeTestOnReal = "ignored-test" // integration test that names a real award
)

// MissingAfter is how many complete searches in a row must not list a timeslot
// before it counts as missing (domain.md 2.2, "slot vanishes from search").
const MissingAfter = 3

// Change is one difference that a batch made, or one that it was not allowed
// to make.
type Change struct {
	Kind          string
	Before, After Record
	// Fields are the JSON names of the fields that differ.
	Fields []string
	// Count is how many timeslots the change stands for: 1, but for
	// ignored-meter all of that meter in the batch. After is the first of them.
	Count int
}

// Merge returns the schedule that follows from prev and a batch, and what
// changed. prev is left as it is. The identity of a timeslot is its event id;
// every other field may change (dispatch.openapi.yml, SearchMeterDispatchEvent).
//
// A delivery that changes nothing touches LastSeen and Observed alone. An
// older delivery never overwrites a newer one. A cancelled timeslot that was
// not known is kept, so that a late older one can not bring it to life.
// Absence is not a cancellation. No record is ever lost.
func Merge(prev *Schedule, b Batch, now time.Time) (*Schedule, []Change) {
	m := newMerger(prev, b, now)
	last := make(map[string]int, len(b.Slots))
	for i := range b.Slots {
		last[canonicalID(b.Slots[i].EventID)] = i
	}
	for i := range b.Slots {
		slot := b.Slots[i]
		slot.EventID, slot.MeterID = canonicalID(slot.EventID), canonicalID(slot.MeterID)
		if slot.EventID == "" {
			m.note(ChangeNoID, Record{}, Record{Timeslot: slot}, nil)
			continue
		}
		if last[slot.EventID] == i {
			m.apply(slot)
		}
	}
	if b.Complete {
		m.countMissing(last)
	}
	return arrange(m.records, prev), m.changes
}

// merger is the work of one Merge.
type merger struct {
	batch   Batch
	now     time.Time
	ours    map[string]bool
	records []Record
	index   map[string]int // of prev; ids within a batch are unique by then
	changes []Change
	foreign map[string]int // meter id to its position in changes
}

func newMerger(prev *Schedule, b Batch, now time.Time) *merger {
	m := &merger{
		batch:   b,
		now:     now.UTC(),
		ours:    make(map[string]bool, len(b.Meters)),
		foreign: map[string]int{},
	}
	for _, id := range b.Meters {
		m.ours[canonicalID(id)] = true
	}
	if prev != nil {
		m.records = append(make([]Record, 0, len(prev.records)+8), prev.records...)
		m.index = prev.index
	}
	return m
}

func (m *merger) note(kind string, before, after Record, fields []string) {
	m.changes = append(m.changes, Change{Kind: kind, Before: before, After: after, Fields: fields, Count: 1})
}

// apply brings one timeslot into the records.
func (m *merger) apply(slot Timeslot) {
	if slot.Problem == "" {
		slot.Problem = Validate(slot)
	}
	i, known := m.index[slot.EventID]
	switch {
	case known && slot.IntegrationTest && !m.records[i].IntegrationTest:
		// Whoever triggers an integration test invents its ids (domain.md 1.3).
		// It must not take a real award off the schedule.
		m.note(ChangeTestOnReal, m.records[i], Record{Timeslot: slot}, nil)
	case known:
		m.update(&m.records[i], slot)
	case !m.ours[slot.MeterID]:
		m.ignoreForeign(slot)
	default:
		m.insert(slot)
	}
}

// ignoreForeign counts a timeslot of a meter that is not ours: one change a
// meter, since a webhook carries those of the whole fleet.
func (m *merger) ignoreForeign(slot Timeslot) {
	if at, counted := m.foreign[slot.MeterID]; counted {
		m.changes[at].Count++
		return
	}
	m.foreign[slot.MeterID] = len(m.changes)
	m.note(ChangeForeign, Record{}, Record{Timeslot: slot}, nil)
}

func (m *merger) insert(slot Timeslot) {
	r := Record{
		Timeslot: slot, Revision: 1, Source: m.batch.Source,
		FirstSeen: m.now, LastSeen: m.now, LastChanged: m.now, Observed: m.batch.Observed,
	}
	kind := ChangeNew
	if slot.Cancelled {
		r.CancelledAt = m.now
		kind = ChangeCancelled
	}
	m.records = append(m.records, r)
	m.note(kind, Record{}, r, nil)
}

// update overwrites a known record. A known event id is followed even when it
// moves to a meter that is not ours: then the award is no longer ours.
func (m *merger) update(r *Record, slot Timeslot) {
	if m.outdated(r, slot) {
		return
	}
	before := *r
	r.Observed, r.LastSeen = m.batch.Observed, m.now
	if m.batch.Observed.After(r.MissedAt) {
		r.Missed, r.MissedAt = 0, time.Time{}
	}
	fields := changedFields(&before.Timeslot, &slot)
	if len(fields) == 0 {
		if before.IsMissing() && !r.IsMissing() {
			m.note(ChangeSeenAgain, before, *r, nil)
		}
		return
	}
	r.Timeslot, r.Source, r.LastChanged = slot, m.batch.Source, m.now
	r.Revision++
	kind := ChangeChanged
	switch {
	case slot.Cancelled && !before.Cancelled:
		kind, r.CancelledAt = ChangeCancelled, m.now
	case !slot.Cancelled && before.Cancelled:
		kind, r.CancelledAt = ChangeRestored, time.Time{}
	}
	m.note(kind, before, *r, fields)
}

// outdated reports whether the record already stems from a later request.
//
// A record that was observed "after now" was stamped while the clock was
// ahead and has been set back since: believing it would shut out every update
// until that time. And a real award always replaces an integration test.
func (m *merger) outdated(r *Record, slot Timeslot) bool {
	if r.IntegrationTest && !slot.IntegrationTest {
		return false
	}
	return m.batch.Observed.Before(r.Observed) && !r.Observed.After(m.now)
}

// countMissing counts the records that this complete search should have listed
// and did not. Each search counts once, however often it is merged.
func (m *merger) countMissing(listed map[string]int) {
	for i := range m.records {
		r := &m.records[i]
		if _, ok := listed[r.EventID]; ok || !m.expected(r) {
			continue
		}
		if !m.batch.Observed.After(r.Observed) || !m.batch.Observed.After(r.MissedAt) {
			continue
		}
		before := *r
		r.Missed++
		r.MissedAt = m.batch.Observed
		if r.Missed == MissingAfter {
			m.note(ChangeMissing, before, *r, nil)
		}
	}
}

// expected reports whether a complete search should list the record. Whether
// Leap's window selects by start or by overlap is not documented, so only
// timeslots wholly inside count; nor is it known whether cancelled ones stay
// listed. Integration tests are not listed at all (domain.md 1.3).
func (m *merger) expected(r *Record) bool {
	return !r.Cancelled && !r.IntegrationTest && r.Source != FromManual &&
		m.ours[r.MeterID] && r.Start.After(m.now) &&
		!r.Start.Before(m.batch.From) && !r.End.After(m.batch.To)
}
