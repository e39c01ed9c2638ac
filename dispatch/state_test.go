package dispatch

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestRowFullyPast(t *testing.T) {
	s, _ := mergeAll(t, search(2*time.Hour, award(event1)))
	wantState(t, get(t, s, event1), at(3*time.Hour), Expired, ReasonSeenTooLate)
}

func TestRowLateArrival(t *testing.T) {
	s, _ := mergeAll(t, search(90*time.Minute, award(event1)))
	r := get(t, s, event1)
	wantState(t, r, at(91*time.Minute), Active, ReasonRunningLate)
	wantState(t, r, at(2*time.Hour), Completed, ReasonEnded)
}

func TestStateFollowsTheClock(t *testing.T) {
	s, _ := mergeAll(t, search(0, award(event1)))
	r := get(t, s, event1)
	for _, c := range []struct {
		at     time.Duration
		want   State
		reason string
	}{
		{0, Pending, ReasonStartAhead},
		{50*time.Minute - 1, Pending, ReasonStartAhead},
		{50 * time.Minute, Armed, ReasonStartNear},
		{time.Hour - 1, Armed, ReasonStartNear},
		{time.Hour, Active, ReasonRunning},
		{2*time.Hour - 1, Active, ReasonRunning},
		{2 * time.Hour, Completed, ReasonEnded},
	} {
		wantState(t, r, at(c.at), c.want, c.reason)
	}
}

func TestClockThatWasAheadDoesNotExpireATimeslot(t *testing.T) {
	r := Record{Timeslot: award(event1), FirstSeen: at(24 * time.Hour)}
	wantState(t, r, at(0), Pending, ReasonStartAhead)
	if state, _ := r.StateAt(at(90*time.Minute), 0); state != Active {
		t.Errorf("got %s, want active", state)
	}
}

func TestRowEndNotAfterStartAndTooLong(t *testing.T) {
	for name, change := range map[string]func(*Timeslot){
		"end_time":      func(t *Timeslot) { t.End = t.Start },
		"longer than":   func(t *Timeslot) { t.End = t.Start.Add(24*time.Hour + 1) },
		"energy_kw":     func(t *Timeslot) { t.EnergyKW = kw(0) },
		"energy_kw NaN": func(t *Timeslot) { t.EnergyKW = kw(math.NaN()) },
		"energy_kw 1e":  func(t *Timeslot) { t.EnergyKW = kw(1e6) },
		"nomination_kw": func(t *Timeslot) { t.NominationKW = kw(-1) },
		"priority 0":    func(t *Timeslot) { t.Priority = 0 },
		"priority 11":   func(t *Timeslot) { t.Priority = 11 },
		"meter_event_id": func(t *Timeslot) {
			t.EventID = "urn:uuid:1acfced0-16f4-4fb7-b72e-5ff939ae541e"
		},
	} {
		s, _ := mergeAll(t, search(0, with(award(event1), change)))
		r := s.All()[0]
		if !strings.Contains(r.Problem, name) {
			t.Errorf("%s: the problem reads %q", name, r.Problem)
		}
		wantState(t, r, at(90*time.Minute), Invalid, ReasonUnusable)
	}
	if p := Validate(with(award(event1), func(t *Timeslot) { t.MeterID = "main" })); !strings.Contains(p, "meter_id") {
		t.Errorf("bad meter id: %q", p)
	}
}

func TestValidateAcceptsTheLimits(t *testing.T) {
	for _, change := range []func(*Timeslot){
		func(t *Timeslot) { t.End = t.Start.Add(24 * time.Hour) },
		func(t *Timeslot) { t.EnergyKW, t.NominationKW = kw(0.01), kw(100000) },
		func(t *Timeslot) { t.EnergyKW, t.NominationKW = nil, nil },
		func(t *Timeslot) { t.Priority = 10 },
		func(t *Timeslot) { t.Start, t.End = time.Unix(0, 0), time.Unix(3600, 0) },
	} {
		if p := Validate(with(award(event1), change)); p != "" {
			t.Errorf("problem %q", p)
		}
	}
}

func TestInvalidTimeslotRecoversWithAGoodUpdate(t *testing.T) {
	bad := with(award(event1), func(t *Timeslot) { t.End = t.Start })
	s, changes := mergeAll(t, search(0, bad), search(time.Minute, award(event1)))
	wantKinds(t, changes, ChangeChanged)
	wantState(t, get(t, s, event1), at(90*time.Minute), Active, ReasonRunning)
}

func TestRowCapacityTestIsReal(t *testing.T) {
	test := with(award(event1), func(t *Timeslot) { t.EventTypes = []string{"day-ahead", "capacity-test"} })
	s, _ := mergeAll(t, search(0, test))
	r := get(t, s, event1)
	if !r.IsCapacityTest() || award(event2).IsCapacityTest() {
		t.Error("capacity test not told from the rest")
	}
	wantState(t, r, at(90*time.Minute), Active, ReasonRunning)
}

func TestRowIntegrationTestIsNeverFollowed(t *testing.T) {
	test := with(award(event1), func(t *Timeslot) { t.IntegrationTest = true })
	s, _ := mergeAll(t, notification(0, test))
	r := get(t, s, event1)
	wantState(t, r, at(55*time.Minute), Pending, ReasonIntegrationTest)
	wantState(t, r, at(90*time.Minute), Suppressed, ReasonIntegrationTest)
	wantState(t, r, at(2*time.Hour), Completed, ReasonEnded)
}

func TestRowIntegrationTestDoesNotReplaceARealAward(t *testing.T) {
	test := with(award(event1), func(t *Timeslot) { t.IntegrationTest, t.Priority = true, 9 })
	s, changes := mergeAll(t, search(0, award(event1)), notification(time.Minute, test))
	wantKinds(t, changes, ChangeTestOnReal)
	wantState(t, get(t, s, event1), at(90*time.Minute), Active, ReasonRunning)

	s, changes = mergeAll(t, notification(time.Minute, test), search(0, award(event1)))
	wantKinds(t, changes, ChangeChanged)
	wantState(t, get(t, s, event1), at(90*time.Minute), Active, ReasonRunning)
}
