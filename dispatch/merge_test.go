package dispatch

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The tests here are named after the rows of the table in domain.md 2.2.

func TestRowDuplicate(t *testing.T) {
	s, _ := mergeAll(t, search(0, award(event1)))
	before := get(t, s, event1)
	s, changes := Merge(s, search(time.Minute, award(event1)), at(61*time.Second))
	wantKinds(t, changes)
	want := before
	want.LastSeen, want.Observed = at(61*time.Second), at(time.Minute)
	if diff := cmp.Diff(want, get(t, s, event1)); diff != "" {
		t.Errorf("a duplicate changed more than LastSeen and Observed (-want +got):\n%s", diff)
	}
}

func TestRowDuplicateWithinOneBatchLastCounts(t *testing.T) {
	first := with(award(event1), func(t *Timeslot) { t.EnergyKW = kw(3) })
	s, changes := mergeAll(t, search(0, first, award(event2), award(event1)))
	if got := *get(t, s, event1).EnergyKW; got != 8 {
		t.Errorf("got %v kW, want the last one's 8", got)
	}
	if s.Len() != 2 || get(t, s, event1).Revision != 1 {
		t.Errorf("%d records, revision %d; want 2, 1", s.Len(), get(t, s, event1).Revision)
	}
	wantKinds(t, changes, ChangeNew, ChangeNew)
}

func TestRowDuplicateWithSetsReordered(t *testing.T) {
	a := with(award(event1), func(t *Timeslot) { t.EventTypes = []string{"day-ahead", "capacity-test"} })
	b := with(award(event1), func(t *Timeslot) { t.EventTypes = []string{"capacity-test", "day-ahead"} })
	_, changes := mergeAll(t, search(0, a), search(time.Minute, b))
	wantKinds(t, changes)
}

func TestRowCancelBeforeStart(t *testing.T) {
	s, changes := mergeAll(t, search(0, award(event1)), search(time.Minute, cancelled(award(event1))))
	wantKinds(t, changes, ChangeCancelled)
	r := get(t, s, event1)
	if !r.CancelledAt.Equal(at(61 * time.Second)) {
		t.Errorf("cancelled at %s", r.CancelledAt)
	}
	wantState(t, r, at(90*time.Minute), Cancelled, ReasonCancelledAhead)
}

func TestRowCancelDuring(t *testing.T) {
	s, _ := mergeAll(t, search(0, award(event1)), search(90*time.Minute, cancelled(award(event1))),
		search(91*time.Minute, cancelled(award(event1))))
	r := get(t, s, event1)
	wantState(t, r, at(92*time.Minute), Cancelled, ReasonCancelledActive)
	if want := at(90*time.Minute + time.Second); !r.CancelledAt.Equal(want) {
		t.Errorf("cancelled at %s, want %s, the first time it was seen so", r.CancelledAt, want)
	}
}

func TestRowCancelUnknownIDKeepsTombstone(t *testing.T) {
	s, changes := mergeAll(t, notification(time.Minute, cancelled(award(event1))))
	wantKinds(t, changes, ChangeCancelled)
	if changes[0].Before.EventID != "" {
		t.Error("there was nothing before")
	}
	// The answer to a search that was started before the cancellation.
	s, changes = Merge(s, search(30*time.Second, award(event1)), at(2*time.Minute))
	wantKinds(t, changes)
	if !get(t, s, event1).Cancelled {
		t.Error("an older delivery brought a cancelled timeslot to life")
	}
}

func TestRowExtension(t *testing.T) {
	longer := with(award(event1), func(t *Timeslot) { t.End = at(3 * time.Hour) })
	s, changes := mergeAll(t, search(0, award(event1)), search(90*time.Minute, longer))
	wantKinds(t, changes, ChangeChanged)
	if diff := cmp.Diff([]string{"end"}, changes[0].Fields); diff != "" {
		t.Error(diff)
	}
	r := get(t, s, event1)
	wantState(t, r, at(150*time.Minute), Active, ReasonRunning)
	if r.Revision != 2 || !r.FirstSeen.Equal(at(time.Second)) {
		t.Errorf("revision %d, first seen %s", r.Revision, r.FirstSeen)
	}
}

func TestRowShortenedToThePast(t *testing.T) {
	shorter := with(award(event1), func(t *Timeslot) { t.End = at(70 * time.Minute) })
	s, _ := mergeAll(t, search(0, award(event1)), search(90*time.Minute, shorter))
	wantState(t, get(t, s, event1), at(91*time.Minute), Completed, ReasonEnded)
}

func TestRowKWChangeInFlight(t *testing.T) {
	less := with(award(event1), func(t *Timeslot) { t.EnergyKW = kw(2) })
	s, changes := mergeAll(t, search(0, award(event1)), search(90*time.Minute, less))
	wantKinds(t, changes, ChangeChanged)
	if diff := cmp.Diff([]string{"energy_kw"}, changes[0].Fields); diff != "" {
		t.Error(diff)
	}
	if got := *get(t, s, event1).EnergyKW; got != 2 {
		t.Errorf("got %v kW", got)
	}
}

func TestRowSlotVanishesFromSearch(t *testing.T) {
	s, _ := mergeAll(t, search(0, award(event1)))
	for i := 1; i <= 5; i++ {
		d := time.Duration(i) * time.Minute
		var changes []Change
		s, changes = Merge(s, search(d), at(d))
		again, more := Merge(s, search(d), at(d))
		if diff := cmp.Diff(s.All(), again.All()); diff != "" || len(more) != 0 {
			t.Fatalf("merging search %d twice counts twice:\n%s", i, diff)
		}
		if i == MissingAfter {
			wantKinds(t, changes, ChangeMissing)
		} else {
			wantKinds(t, changes)
		}
	}
	r := get(t, s, event1)
	wantState(t, r, at(55*time.Minute), Armed, ReasonMissing)
	wantState(t, r, at(61*time.Minute), Active, ReasonRunning)

	s, changes := Merge(s, search(6*time.Minute, award(event1)), at(6*time.Minute))
	wantKinds(t, changes, ChangeSeenAgain)
	if r := get(t, s, event1); r.Missed != 0 || r.Revision != 1 {
		t.Errorf("seen again: missed %d, revision %d", r.Missed, r.Revision)
	}
}

func TestRowSlotVanishesCountsOnlyWhatShouldBeListed(t *testing.T) {
	incomplete := search(time.Minute)
	incomplete.Complete = false
	narrow := search(time.Minute)
	narrow.To = at(90 * time.Minute) // the timeslot runs on beyond
	ahead := search(time.Minute)
	ahead.From = at(90 * time.Minute) // the timeslot starts before
	foreign := search(time.Minute)
	foreign.Meters = []string{meterB}
	tested := with(award(event1), func(t *Timeslot) { t.IntegrationTest = true })
	for name, c := range map[string]struct {
		first, then Batch
		now         time.Time
	}{
		"incomplete":       {search(0, award(event1)), incomplete, at(time.Minute)},
		"narrow window":    {search(0, award(event1)), narrow, at(time.Minute)},
		"window ahead":     {search(0, award(event1)), ahead, at(time.Minute)},
		"other meters":     {search(0, award(event1)), foreign, at(time.Minute)},
		"already started":  {search(0, award(event1)), search(90 * time.Minute), at(90 * time.Minute)},
		"older than known": {search(2*time.Minute, award(event1)), search(time.Minute), at(3 * time.Minute)},
		"cancelled":        {search(0, cancelled(award(event1))), search(time.Minute), at(time.Minute)},
		"integration test": {notification(0, tested), search(time.Minute), at(time.Minute)},
	} {
		s, _ := Merge(nil, c.first, c.first.Observed)
		s, _ = Merge(s, c.then, c.now)
		if got := get(t, s, event1).Missed; got != 0 {
			t.Errorf("%s: missed %d, want 0", name, got)
		}
	}
}

func TestRowSlotVanishesLateOldListingDoesNotReset(t *testing.T) {
	s, _ := mergeAll(t, search(0, award(event1)), search(2*time.Minute))
	s, _ = Merge(s, notification(time.Minute, award(event1)), at(3*time.Minute))
	if r := get(t, s, event1); r.Missed != 1 || !r.Observed.Equal(at(time.Minute)) {
		t.Errorf("missed %d, observed %s", r.Missed, r.Observed)
	}
}

func TestRowUnknownMeterID(t *testing.T) {
	foreign := func(id string) Timeslot {
		return with(award(id), func(t *Timeslot) { t.MeterID = meterX })
	}
	s, changes := mergeAll(t, search(0, foreign(event1), award(event2), foreign(event3)))
	if s.Len() != 1 {
		t.Errorf("%d records, want our own one", s.Len())
	}
	wantKinds(t, changes, ChangeForeign, ChangeNew)
	if changes[0].Count != 2 || changes[0].After.MeterID != meterX {
		t.Errorf("counted %d of meter %s", changes[0].Count, changes[0].After.MeterID)
	}
}

func TestKnownEventThatMovesToAnotherMeterLeavesOurs(t *testing.T) {
	moved := with(award(event1), func(t *Timeslot) { t.MeterID = meterX })
	s, changes := mergeAll(t, search(0, award(event1)), notification(time.Minute, moved))
	wantKinds(t, changes, ChangeChanged)
	if n := len(s.ForMeter(meterA)); n != 0 {
		t.Errorf("our meter still has %d timeslots", n)
	}
}

func TestTimeslotWithoutIDIsNotStored(t *testing.T) {
	s, changes := mergeAll(t, search(0, award(""), award(event1), award(" ")))
	wantKinds(t, changes, ChangeNoID, ChangeNew, ChangeNoID)
	if s.Len() != 1 {
		t.Errorf("%d records", s.Len())
	}
}

func TestIdentityIgnoresLetterCase(t *testing.T) {
	shout := with(award("1ACFCED0-16F4-4FB7-B72E-5FF939AE541E"), func(t *Timeslot) {
		t.MeterID = "AFCE893D-EA68-487F-9F8C-778B1881F60A"
	})
	s, changes := mergeAll(t, search(0, award(event1)), search(time.Minute, shout))
	if wantKinds(t, changes); s.Len() != 1 {
		t.Errorf("%d records, want 1", s.Len())
	}
}

func TestClockSetBackDoesNotShutOutUpdates(t *testing.T) {
	ahead := search(3*time.Hour, award(event1)) // the clock was 3 h ahead
	s, _ := Merge(nil, ahead, at(3*time.Hour))
	s, changes := Merge(s, search(time.Minute, cancelled(award(event1))), at(time.Minute))
	wantKinds(t, changes, ChangeCancelled)
	if got := get(t, s, event1).Observed; !got.Equal(at(time.Minute)) {
		t.Errorf("observed %s", got)
	}
}
