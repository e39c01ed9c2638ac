package dispatch

import (
	"testing"
	"time"
)

// caseOf is one case of domain.md 1.3.1, as far as it needs neither a plan nor
// a device: a sequence of deliveries and what must hold after the last one.
type caseOf struct {
	deliveries []Batch
	event      string
	at         time.Duration
	want       State
	reason     string
	revision   int
	records    int
}

const min = time.Minute

func runCases(t *testing.T, cases map[string]caseOf) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, _ := mergeAll(t, c.deliveries...)
			r := get(t, s, c.event)
			wantState(t, r, at(c.at), c.want, c.reason)
			if r.Revision != c.revision || s.Len() != c.records {
				t.Errorf("revision %d of %d records, want %d of %d", r.Revision, s.Len(), c.revision, c.records)
			}
		})
	}
}

// nextAward follows award(event1) without a gap.
func nextAward() Timeslot {
	return with(award(event2), func(t *Timeslot) { t.Start, t.End = at(2*time.Hour), at(3*time.Hour) })
}

func TestCasesOfAwardsAndUpdates(t *testing.T) {
	next := nextAward()
	foreign := with(award(event3), func(t *Timeslot) { t.MeterID = meterX })
	runCases(t, map[string]caseOf{
		"C1 one meter, one slot": {[]Batch{search(0, award(event1))},
			event1, 90 * min, Active, ReasonRunning, 1, 1},
		"C2 one meter, many slots": {[]Batch{search(0, award(event1), next)},
			event2, 90 * min, Pending, ReasonStartAhead, 1, 2},
		"C3 ids that are not ours": {[]Batch{notification(0, foreign, award(event1), foreign)},
			event1, 0, Pending, ReasonStartAhead, 1, 1},
		"C4 back-to-back hands over at the boundary": {[]Batch{search(0, award(event1), next)},
			event2, 120 * min, Active, ReasonRunning, 1, 2},
		"C4 back-to-back ends at the boundary": {[]Batch{search(0, award(event1), next)},
			event1, 120 * min, Completed, ReasonEnded, 1, 2},
		"C5 back-to-back, different kW": {[]Batch{search(0, award(event1),
			with(next, func(t *Timeslot) { t.EnergyKW = kw(1) }))}, event2, 120 * min, Active, ReasonRunning, 1, 2},
		"C6 gap between slots": {[]Batch{search(0, award(event1),
			with(next, func(t *Timeslot) { t.Start = at(130 * min) }))}, event2, 129 * min, Armed, ReasonStartNear, 1, 2},
		"C7 duplicate delivery": {[]Batch{search(0, award(event1)), search(0, award(event1)),
			notification(min, award(event1))}, event1, 90 * min, Active, ReasonRunning, 1, 1},
		"C8 update of energy_kw before start": {[]Batch{search(0, award(event1)),
			search(min, with(award(event1), func(t *Timeslot) { t.EnergyKW = kw(2) }))},
			event1, 90 * min, Active, ReasonRunning, 2, 1},
		"C9 update during the slot": {[]Batch{search(0, award(event1)),
			search(90*min, with(award(event1), func(t *Timeslot) { t.EnergyKW = nil }))},
			event1, 91 * min, Active, ReasonRunning, 2, 1},
		"C10 start moved earlier": {[]Batch{search(0, award(event1)),
			search(min, with(award(event1), func(t *Timeslot) { t.Start = at(30 * min) }))},
			event1, 31 * min, Active, ReasonRunning, 2, 1},
		"C10 start moved later": {[]Batch{search(0, award(event1)),
			search(70*min, with(award(event1), func(t *Timeslot) { t.Start = at(100 * min) }))},
			event1, 71 * min, Pending, ReasonStartAhead, 2, 1},
		"C11 end extended": {[]Batch{search(0, award(event1)),
			search(110*min, with(award(event1), func(t *Timeslot) { t.End = at(180 * min) }))},
			event1, 150 * min, Active, ReasonRunning, 2, 1},
		"C11 end extended after it was over": {[]Batch{search(0, award(event1)),
			search(125*min, with(award(event1), func(t *Timeslot) { t.End = at(180 * min) }))},
			event1, 150 * min, Active, ReasonRunning, 2, 1},
		"C11 end shortened to before now": {[]Batch{search(0, award(event1)),
			search(90*min, with(award(event1), func(t *Timeslot) { t.End = at(80 * min) }))},
			event1, 91 * min, Completed, ReasonEnded, 2, 1},
	})
}

func TestCasesOfCancellationOrderAndContent(t *testing.T) {
	next := nextAward()
	runCases(t, map[string]caseOf{
		"C12 cancel before start": {[]Batch{search(0, award(event1)), search(min, cancelled(award(event1)))},
			event1, 90 * min, Cancelled, ReasonCancelledAhead, 2, 1},
		"C13 cancel during": {[]Batch{search(0, award(event1)), search(90*min, cancelled(award(event1)))},
			event1, 91 * min, Cancelled, ReasonCancelledActive, 2, 1},
		"C13 cancel after the end": {[]Batch{search(0, award(event1)), search(130*min, cancelled(award(event1)))},
			event1, 131 * min, Cancelled, ReasonCancelledLate, 2, 1},
		"C14 un-cancel": {[]Batch{search(0, award(event1)), search(min, cancelled(award(event1))),
			search(2*min, award(event1))}, event1, 90 * min, Active, ReasonRunning, 3, 1},
		"C15 cancel of an unknown id": {[]Batch{search(0, cancelled(award(event1)))},
			event1, 90 * min, Cancelled, ReasonCancelledAhead, 1, 1},
		"C16 received after start": {[]Batch{search(70*min, award(event1))},
			event1, 71 * min, Active, ReasonRunningLate, 1, 1},
		"C17 received after end": {[]Batch{search(120*min, award(event1))},
			event1, 121 * min, Expired, ReasonSeenTooLate, 1, 1},
		"C18 out of order": {[]Batch{search(2*min, cancelled(award(event1))), notification(min, award(event1))},
			event1, 90 * min, Cancelled, ReasonCancelledAhead, 1, 1},
		"C19 hour-ahead changes day-ahead": {[]Batch{search(0, award(event1)), search(min, with(award(event1),
			func(t *Timeslot) { t.EventTypes, t.EnergyKW = []string{"hour-ahead"}, kw(5) }), next)},
			event1, 90 * min, Active, ReasonRunning, 2, 2},
		"C22 capacity test": {[]Batch{search(0, with(award(event1),
			func(t *Timeslot) { t.EventTypes = []string{"capacity-test"} }))}, event1, 90 * min, Active, ReasonRunning, 1, 1},
		"C23 unknown program, type and cap": {[]Batch{search(0, with(award(event1), func(t *Timeslot) {
			t.Programs, t.EventTypes, t.Cap = []string{"NEW-2031"}, []string{"15m"}, "up-to-the-moon"
		}))}, event1, 90 * min, Active, ReasonRunning, 1, 1},
		"C24 energy_kw null": {[]Batch{search(0, with(award(event1), func(t *Timeslot) { t.EnergyKW = nil }))},
			event1, 90 * min, Active, ReasonRunning, 1, 1},
		"C25 nomination null": {[]Batch{search(0, with(award(event1), func(t *Timeslot) { t.NominationKW = nil }))},
			event1, 90 * min, Active, ReasonRunning, 1, 1},
		"C27 several programs in one slot": {[]Batch{search(0, with(award(event1),
			func(t *Timeslot) { t.Programs = []string{"CCA", "ELRP"} })), search(min, with(award(event1),
			func(t *Timeslot) { t.Programs = []string{"ELRP", "CCA"} }))}, event1, 90 * min, Active, ReasonRunning, 1, 1},
	})
}

func TestC20IntegrationTestFlag(t *testing.T) { TestRowIntegrationTestIsNeverFollowed(t) }

func TestC23UnknownCapIsKept(t *testing.T) {
	s, _ := mergeAll(t, search(0, with(award(event1), func(t *Timeslot) { t.Cap = "up-to-the-moon" })))
	r := get(t, s, event1)
	if r.Cap.Known() || r.Cap != "up-to-the-moon" || r.Problem != "" {
		t.Errorf("cap %q known %v, problem %q", r.Cap, r.Cap.Known(), r.Problem)
	}
	for _, c := range []Cap{UpToNomination, UpToSiteLoad, GridExportsAllowed} {
		if !c.Known() {
			t.Errorf("%s is not known", c)
		}
	}
}

// The traps of domain.md 1.3: the examples of the API share ids, so that
// posting one after the other changes every field of a record.
func TestReusedIDChangesEveryField(t *testing.T) {
	other := Timeslot{
		MeterID: meterB, EventID: event1, PartnerReference: "site 9",
		Start: at(4 * time.Hour), End: at(6 * time.Hour), Cancelled: true, Cap: GridExportsAllowed,
		Priority: 4, Voluntary: true, EventTypes: []string{"standard"}, Programs: []string{"CEC-DSGS"},
		CommunicationTest: true, EnergyKW: kw(1), NominationKW: kw(1),
	}
	s, changes := mergeAll(t, search(0, award(event1)), search(time.Minute, other))
	wantKinds(t, changes, ChangeCancelled)
	if got := len(changes[0].Fields); got != 13 {
		t.Errorf("%d fields changed, want 13: %v", got, changes[0].Fields)
	}
	if len(s.ForMeter(meterA)) != 0 || len(s.ForMeter(meterB)) != 1 {
		t.Error("the record did not move to the other meter")
	}
}

// C28: all logic is in UTC, so a night with a change of the clock is a night.
func TestC28MidnightAndChangeOfTheClock(t *testing.T) {
	zone, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		t.Skip("no time zone data on this machine")
	}
	start := time.Date(2026, 11, 1, 0, 30, 0, 0, zone) // 01:00-02:00 comes twice that night
	end := time.Date(2026, 11, 1, 3, 0, 0, 0, zone)
	slot := with(award(event1), func(t *Timeslot) { t.Start, t.End = start, end })
	b := search(0, slot)
	b.Observed = start.Add(-2 * time.Hour)
	s, _ := Merge(nil, b, b.Observed)
	r := get(t, s, event1)
	if got := r.End.Sub(r.Start); got != 3*time.Hour+30*time.Minute {
		t.Errorf("lasts %s, want 3h30m", got)
	}
	wantState(t, r, start.Add(3*time.Hour+29*time.Minute), Active, ReasonRunning)
	wantState(t, r, start.Add(3*time.Hour+30*time.Minute), Completed, ReasonEnded)
}
