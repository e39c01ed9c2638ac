package dispatch

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	meterA = "afce893d-ea68-487f-9f8c-778b1881f60a"
	meterB = "dd21c76c-7126-4ef7-b0a6-f190fad300b2"
	meterX = "00000000-0000-4000-8000-00000000000f" // not ours
	event1 = "1acfced0-16f4-4fb7-b72e-5ff939ae541e"
	event2 = "2ad4bbde-36ee-401f-92b8-c58aa17aa71d"
	event3 = "3acfced0-16f4-4fb7-b72e-5ff939ae541e"
)

// noon is when the first search of a test starts.
var noon = time.Date(2026, 7, 21, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return noon.Add(d) }

func kw(v float64) *float64 { return &v }

// award is a valid timeslot of meterA from one hour to two hours after noon.
func award(id string) Timeslot {
	return Timeslot{
		MeterID: meterA, EventID: id, Start: at(time.Hour), End: at(2 * time.Hour),
		EnergyKW: kw(8), NominationKW: kw(10), Cap: UpToSiteLoad, Priority: 2,
		EventTypes: []string{"day-ahead"}, Programs: []string{"CCA"},
	}
}

// with returns the award changed.
func with(t Timeslot, change func(*Timeslot)) Timeslot {
	change(&t)
	return t
}

func cancelled(t Timeslot) Timeslot {
	return with(t, func(t *Timeslot) { t.Cancelled = true })
}

// search is a complete search that was started d after noon.
func search(d time.Duration, slots ...Timeslot) Batch {
	return Batch{
		Source: FromPoll, Observed: at(d), From: at(d - 24*time.Hour), To: at(d + 8*24*time.Hour),
		Complete: true, Meters: []string{meterA, meterB}, Slots: slots,
	}
}

// notification is a webhook delivery that was received d after noon.
func notification(d time.Duration, slots ...Timeslot) Batch {
	return Batch{Source: FromWebhook, Observed: at(d), Meters: []string{meterA, meterB}, Slots: slots}
}

// mergeAll merges the batches one after the other, each a second after it was
// observed or at the previous instant, whichever is later.
func mergeAll(t *testing.T, batches ...Batch) (*Schedule, []Change) {
	t.Helper()
	var s *Schedule
	var changes []Change
	var now time.Time
	for _, b := range batches {
		if n := b.Observed.Add(time.Second); n.After(now) {
			now = n
		}
		s, changes = Merge(s, b, now)
	}
	return s, changes
}

func get(t *testing.T, s *Schedule, id string) Record {
	t.Helper()
	r, ok := s.Get(id)
	if !ok {
		t.Fatalf("event %s is not in the schedule", id)
	}
	return r
}

func wantState(t *testing.T, r Record, now time.Time, want State, reason string) {
	t.Helper()
	got, why := r.StateAt(now, 10*time.Minute)
	if got != want || why != reason {
		t.Errorf("at %s got %s (%s), want %s (%s)", now.Format(time.TimeOnly), got, why, want, reason)
	}
}

func kinds(changes []Change) []string {
	var list []string
	for _, c := range changes {
		list = append(list, c.Kind)
	}
	return list
}

func wantKinds(t *testing.T, changes []Change, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, kinds(changes)); diff != "" {
		t.Errorf("kinds of change (-want +got):\n%s", diff)
	}
}

func TestNilScheduleIsEmpty(t *testing.T) {
	var s *Schedule
	if s.Len() != 0 || s.All() != nil || s.ForMeter(meterA) != nil || s.Since(noon) != nil {
		t.Error("a nil schedule is not empty")
	}
	if _, ok := s.Get(event1); ok {
		t.Error("a nil schedule knows an event")
	}
}

func TestScheduleIsSortedAndGrouped(t *testing.T) {
	later := with(award(event1), func(t *Timeslot) { t.Start, t.End = t.End, t.End.Add(time.Hour) })
	other := with(award(event3), func(t *Timeslot) { t.MeterID = meterB })
	s := NewSchedule([]Record{{Timeslot: later}, {Timeslot: other}, {Timeslot: award(event2)}})
	var got []string
	for _, r := range s.All() {
		got = append(got, r.EventID)
	}
	if diff := cmp.Diff([]string{event2, event3, event1}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if n := len(s.ForMeter(meterA)); n != 2 {
		t.Errorf("meter A has %d records, want 2", n)
	}
	if n := len(s.ForMeter("DD21C76C-7126-4EF7-B0A6-F190FAD300B2")); n != 1 {
		t.Errorf("meter B in upper case has %d records, want 1", n)
	}
	if allocs := testing.AllocsPerRun(100, func() { s.ForMeter(meterA) }); allocs != 0 {
		t.Errorf("ForMeter allocates %v times", allocs)
	}
}

func TestScheduleKeepsTheLatestOfTwinRecords(t *testing.T) {
	older := Record{Timeslot: award(event1), Observed: noon, Revision: 1}
	newer := Record{Timeslot: award(event1), Observed: at(time.Minute), Revision: 2}
	for _, list := range [][]Record{{older, newer}, {newer, older}} {
		s := NewSchedule(list)
		if s.Len() != 1 || get(t, s, event1).Revision != 2 {
			t.Errorf("got %d records, revision %d", s.Len(), get(t, s, event1).Revision)
		}
	}
}

func TestSinceDropsWhatEndedBefore(t *testing.T) {
	s, _ := mergeAll(t, search(0, award(event1)))
	if n := s.Since(at(2 * time.Hour)).Len(); n != 1 {
		t.Errorf("a timeslot that ends just then is gone: %d left", n)
	}
	later := s.Since(at(2*time.Hour + 1))
	if _, ok := later.Get(event1); ok || later.Len() != 0 {
		t.Error("a timeslot that ended before is still there")
	}
}
