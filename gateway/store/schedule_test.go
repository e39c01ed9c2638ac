package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"nominald/dispatch"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func record(id string, revision int, kw float64) dispatch.Record {
	return dispatch.Record{
		Timeslot: dispatch.Timeslot{
			MeterID: "afce893d-ea68-487f-9f8c-778b1881f60a", EventID: id,
			Start: noon.Add(time.Hour), End: noon.Add(2 * time.Hour), EnergyKW: &kw,
			Cap: dispatch.UpToNomination, Priority: 1, EventTypes: []string{"day-ahead"},
			Programs: []string{"CCA"}, Raw: json.RawMessage(`{"a": "<&>"}`),
		},
		Revision: revision, Source: dispatch.FromPoll, FirstSeen: noon, LastSeen: noon, LastChanged: noon, Observed: noon,
	}
}

func save(t *testing.T, s *Store, at time.Time, records ...dispatch.Record) {
	t.Helper()
	if err := s.SaveSchedule(records, Batch{At: at, Source: dispatch.FromPoll}); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s *Store) []dispatch.Record {
	t.Helper()
	records, bad, err := s.LoadSchedule()
	if err != nil || len(bad) > 0 {
		t.Fatalf("load: %v %v", bad, err)
	}
	return records
}

func TestScheduleSurvivesReopen(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	if got := load(t, s); len(got) != 0 {
		t.Fatalf("empty store has %v", got)
	}
	a, b := record("a", 1, 8), record("b", 3, 10)
	b.EnergyKW, b.Cancelled, b.CancelledAt = nil, true, noon
	save(t, s, noon, a, b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir)
	a.Raw, b.Raw = json.RawMessage(`{"a":"\u003c\u0026\u003e"}`), json.RawMessage(`{"a":"\u003c\u0026\u003e"}`)
	if diff := cmp.Diff([]dispatch.Record{a, b}, load(t, s)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	batch, err := s.LastBatch()
	if err != nil || !batch.At.Equal(noon) || batch.Source != dispatch.FromPoll {
		t.Errorf("batch %+v %v", batch, err)
	}
}

func TestPollThatChangesNothingIsWrittenOnceAnHour(t *testing.T) {
	s := openTest(t, t.TempDir())
	r := record("a", 1, 8)
	save(t, s, noon, r)
	before := fileBytes(t, s)
	writes := 0
	for minute := 1; minute <= 180; minute++ {
		at := noon.Add(time.Duration(minute) * time.Minute)
		r.LastSeen, r.Observed = at, at
		r.Missed = 3 + minute // beyond three it says nothing new
		if minute == 1 {
			r.Missed = 0
		}
		save(t, s, at, r)
		if now := fileBytes(t, s); !bytes.Equal(now, before) {
			writes, before = writes+1, now
		}
	}
	// Minute 2 brings the third miss; then hourly from there.
	if writes != 3 {
		t.Errorf("%d writes in three hours, want 3", writes)
	}
	if got := load(t, s)[0].LastSeen; noon.Add(180*time.Minute).Sub(got) >= time.Hour {
		t.Errorf("last seen %v is over an hour old", got)
	}
}

func TestHistoryKeepsTwentyRevisions(t *testing.T) {
	s := openTest(t, t.TempDir())
	save(t, s, noon, record("a", 1, 1), record("ab", 1, 99))
	for rev := 2; rev <= 30; rev++ {
		save(t, s, noon, record("a", rev, float64(rev)))
	}
	got, err := s.History("a")
	if err != nil || len(got) != 20 {
		t.Fatalf("%d revisions %v", len(got), err)
	}
	for i, r := range got {
		if r.Revision != 11+i || *r.EnergyKW != float64(11+i) {
			t.Errorf("entry %d is revision %d with %v kW", i, r.Revision, *r.EnergyKW)
		}
	}
	if other, err := s.History("ab"); err != nil || len(other) != 1 {
		t.Errorf("history of ab: %v %v", other, err)
	}
}

func TestRecordThatCanNotBeEncodedDoesNotStopTheOthers(t *testing.T) {
	s := openTest(t, t.TempDir())
	odd := record("odd", 1, math.NaN())
	raw := record("raw", 1, 2)
	raw.Raw = json.RawMessage(`{"cut": `)
	err := s.SaveSchedule([]dispatch.Record{odd, record("good", 1, 1), raw}, Batch{At: noon})
	if err == nil {
		t.Error("no error for NaN kW")
	}
	got := load(t, s)
	if len(got) != 2 || got[0].EventID != "good" || got[1].EventID != "raw" || string(got[1].Raw) != `"{\"cut\": "` {
		t.Errorf("stored %+v", got)
	}
}

func corrupt(t *testing.T, s *Store, bucket, key string) {
	t.Helper()
	err := s.update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		v := bytes.Clone(b.Get([]byte(key)))
		v[len(v)/2] ^= 4
		return b.Put([]byte(key), v)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedTimeslotComesFromItsNewestRevisionOnly(t *testing.T) {
	s := openTest(t, t.TempDir())
	cancelled := record("a", 2, 8)
	cancelled.Cancelled = true
	save(t, s, noon, record("a", 1, 8), record("b", 1, 5))
	save(t, s, noon, cancelled)
	corrupt(t, s, bucketSchedule, "a")
	got, bad, err := s.LoadSchedule()
	if err != nil || len(got) != 2 || !got[0].Cancelled || len(bad) != 1 || !bad[0].Recovered {
		t.Fatalf("got %+v bad %+v err %v", got, bad, err)
	}
	// The newest revision is damaged as well: revision 1 is not cancelled and
	// must not come back.
	corrupt(t, s, bucketHistory, historyKey("a", 2))
	got, bad, err = s.LoadSchedule()
	if err != nil || len(got) != 1 || got[0].EventID != "b" || len(bad) != 1 || bad[0].Recovered || bad[0].Key != "a" {
		t.Fatalf("got %+v bad %+v err %v", got, bad, err)
	}
	// Saving it again heals it.
	save(t, s, noon, cancelled)
	if got := load(t, s); len(got) != 2 {
		t.Errorf("after healing: %+v", got)
	}
}

func TestDropSchedule(t *testing.T) {
	s := openTest(t, t.TempDir())
	old := record("old", 1, 1)
	old.Start, old.End = noon.Add(-48*time.Hour), noon.Add(-47*time.Hour)
	save(t, s, noon, old, record("new", 1, 1))
	n, err := s.DropSchedule(noon.Add(-24 * time.Hour))
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if got := load(t, s); len(got) != 1 || got[0].EventID != "new" {
		t.Errorf("left %+v", got)
	}
	if h, err := s.History("old"); err != nil || len(h) != 0 {
		t.Errorf("history left: %+v %v", h, err)
	}
}

func TestLastTrusted(t *testing.T) {
	s := openTest(t, t.TempDir())
	if got, err := s.LastTrusted(); err != nil || !got.IsZero() {
		t.Errorf("empty: %v %v", got, err)
	}
	for _, want := range []time.Time{noon, time.Date(2100, 1, 1, 0, 0, 0, 5, time.UTC), time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC)} {
		if err := s.SaveLastTrusted(want); err != nil {
			t.Fatal(err)
		}
		if got, err := s.LastTrusted(); err != nil || !got.Equal(want) {
			t.Errorf("got %v %v, want %v", got, err, want)
		}
	}
}

func BenchmarkSaveSchedule(b *testing.B) {
	s := openTest(b, b.TempDir())
	i := 0
	for b.Loop() {
		i++
		if err := s.SaveSchedule([]dispatch.Record{record(fmt.Sprint(i%10), i, 8)}, Batch{At: noon}); err != nil {
			b.Fatal(err)
		}
	}
}
