package dispatch

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var anySlot = rapid.Custom(func(t *rapid.T) Timeslot {
	id := rapid.SampledFrom([]string{event1, event2, event3}).Draw(t, "id")
	slot := award(id)
	slot.MeterID = rapid.SampledFrom([]string{meterA, meterB}).Draw(t, "meter")
	slot.Start = at(time.Duration(rapid.IntRange(-3, 3).Draw(t, "start")) * time.Hour)
	slot.End = slot.Start.Add(time.Duration(rapid.IntRange(-1, 4).Draw(t, "length")) * time.Hour)
	slot.Cancelled = rapid.Bool().Draw(t, "cancelled")
	slot.IntegrationTest = rapid.IntRange(0, 5).Draw(t, "test") == 0
	slot.EnergyKW = rapid.SampledFrom([]*float64{nil, kw(1), kw(8), kw(-1)}).Draw(t, "kw")
	return slot
})

// anyBatches are batches that were observed at different instants, all before
// noon, in random order.
func anyBatches(t *rapid.T) []Batch {
	n := rapid.IntRange(1, 8).Draw(t, "batches")
	batches := make([]Batch, n)
	for i := range batches {
		slots := rapid.SliceOfN(anySlot, 0, 4).Draw(t, "slots")
		batches[i] = notification(time.Duration(i-n)*time.Minute, slots...)
		if rapid.Bool().Draw(t, "poll") {
			batches[i] = search(time.Duration(i-n)*time.Minute, slots...)
		}
	}
	return rapid.Permutation(batches).Draw(t, "order")
}

// facts is what must not depend on the order of delivery.
func facts(s *Schedule) map[string]Timeslot {
	m := map[string]Timeslot{}
	for _, r := range s.All() {
		m[r.EventID] = r.Timeslot
	}
	return m
}

func mustJSON(t *rapid.T, s *Schedule) string {
	b, err := json.Marshal(s.All())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batches := anyBatches(t)
		var s *Schedule
		for _, b := range batches {
			before := mustJSON(t, s)
			next, changes := Merge(s, b, noon)
			if mustJSON(t, s) != before {
				t.Fatal("Merge changed the old schedule")
			}
			again, more := Merge(next, b, noon)
			if diff := cmp.Diff(next.All(), again.All(), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("merging twice differs:\n%s", diff)
			}
			for _, c := range more {
				if c.Kind != ChangeTestOnReal {
					t.Fatalf("merging twice says %s", c.Kind)
				}
			}
			checkMerged(t, s, next, changes)
			s = next
		}
		checkOrder(t, batches, s)
	})
}

// checkMerged: no record is lost, the set is sorted and indexed, revisions
// grow by one with each change.
func checkMerged(t *rapid.T, prev, next *Schedule, changes []Change) {
	for _, r := range prev.All() {
		n, ok := next.Get(r.EventID)
		if !ok || !n.FirstSeen.Equal(r.FirstSeen) {
			t.Fatalf("record %s lost, or its FirstSeen", r.EventID)
		}
		if n.Revision != r.Revision && n.Revision != r.Revision+1 {
			t.Fatalf("revision %d to %d", r.Revision, n.Revision)
		}
	}
	if !slices.IsSortedFunc(next.All(), byStartThenID) {
		t.Fatal("not sorted")
	}
	if len(next.ForMeter(meterA))+len(next.ForMeter(meterB)) != next.Len() {
		t.Fatal("the lists by meter do not add up")
	}
	for i, r := range next.All() {
		if next.index[r.EventID] != i {
			t.Fatalf("index of %s is wrong", r.EventID)
		}
	}
	for _, c := range changes {
		if c.Kind == ChangeChanged && len(c.Fields) == 0 {
			t.Fatal("a change without a field")
		}
	}
}

// checkOrder: delivered in the order of observation, the result is the same.
func checkOrder(t *rapid.T, batches []Batch, got *Schedule) {
	sorted := slices.Clone(batches)
	slices.SortFunc(sorted, func(a, b Batch) int { return a.Observed.Compare(b.Observed) })
	var want *Schedule
	for _, b := range sorted {
		want, _ = Merge(want, b, noon)
	}
	if diff := cmp.Diff(facts(want), facts(got)); diff != "" {
		t.Fatalf("the order of delivery matters (-in order +as delivered):\n%s", diff)
	}
}
