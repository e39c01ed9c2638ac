package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"nominald/dispatch"
)

// written is what a store was given: the newest value of each document.
type written struct {
	records map[string]dispatch.Record
	docs    map[[2]string]string
	// older names buckets of which an older value was announced.
	older func(bucket string) bool
}

// fillPrecious writes timeslots with revisions, events, a driver's memory and
// enough rows for branch pages, each more than once, so that old values lie in
// the file's free pages.
func fillPrecious(t testing.TB, dir string) written {
	t.Helper()
	s, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := written{map[string]dispatch.Record{}, map[[2]string]string{}, func(string) bool { return false }}
	for round := 1; round <= 3; round++ {
		rows := map[string][]byte{}
		for i := range 150 {
			rows[fmt.Sprintf("%04d", i)] = bytes.Repeat([]byte{byte(i), byte(round)}, 60)
		}
		event := map[string][]byte{}
		for i := range 12 {
			r := record(fmt.Sprintf("event-%02d", i), round, float64(round))
			w.records[r.EventID] = r
			event[r.EventID] = fmt.Appendf(nil, `{"event_id":"event-%02d","held_s":%d}`, i, round)
		}
		err := errors.Join(s.AppendRows("load", rows), s.AppendRows(bucketEvents, event),
			s.SaveSchedule(sortedRecords(w.records), Batch{At: noon}),
			s.Put(bucketMemory, "thermostat", fmt.Appendf(nil, "%d.5", 20+round)))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range rows {
			w.docs[[2]string{"load", k}] = string(v)
		}
		for k, v := range event {
			w.docs[[2]string{bucketEvents, k}] = string(v)
		}
		w.docs[[2]string{bucketMemory, "thermostat"}] = fmt.Sprintf("%d.5", 20+round)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

func sortedRecords(records map[string]dispatch.Record) []dispatch.Record {
	var out []dispatch.Record
	for _, id := range slices.Sorted(maps.Keys(records)) {
		out = append(out, records[id])
	}
	return out
}

// compare returns what of it the store no longer has. A value that is not the
// newest one written fails the test, unless that was announced.
func (w written) compare(t testing.TB, s *Store, what string) (missing []string) {
	t.Helper()
	records, _, err := s.LoadSchedule()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	got := map[string]int{}
	for _, r := range records {
		got[r.EventID] = r.Revision
		if _, ours := w.records[r.EventID]; !ours {
			continue
		}
		if want := w.records[r.EventID]; r.Revision != want.Revision && !w.older(bucketSchedule) || *r.EnergyKW != float64(r.Revision) {
			t.Errorf("%s: timeslot %s has revision %d and %v kW, want %d", what, r.EventID, r.Revision, *r.EnergyKW, want.Revision)
		}
	}
	for id := range w.records {
		if got[id] == 0 {
			missing = append(missing, bucketSchedule)
		}
	}
	for at, want := range w.docs {
		v, found, err := s.Get(at[0], at[1])
		switch {
		case err != nil && !errors.Is(err, ErrBadValue):
			t.Fatalf("%s: %v", what, err)
		case err == nil && !found:
			missing = append(missing, at[0])
		case err == nil && string(v) != want && !w.older(at[0]):
			t.Errorf("%s: %v is %q, want %q", what, at, v, want)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

func mustWrite(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLostMainFileComesBackFromTheSpares(t *testing.T) {
	for name, harm := range map[string]func(path string, main []byte) error{
		"deleted":   func(path string, _ []byte) error { return os.Remove(path) },
		"empty":     func(path string, _ []byte) error { return os.Truncate(path, 0) },
		"truncated": func(path string, _ []byte) error { return os.Truncate(path, 5000) },
		"foreign":   func(path string, _ []byte) error { return os.WriteFile(path, []byte("SQLite format 3\x00"), 0o600) },
		"zeros":     func(path string, main []byte) error { return os.WriteFile(path, make([]byte, len(main)), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := scratch(t)
			w := fillPrecious(t, dir)
			path := filepath.Join(dir, FileName)
			if err := harm(path, mustRead(t, path)); err != nil {
				t.Fatal(err)
			}
			s, notice, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			missing := w.compare(t, s, name)
			if diff := cmp.Diff([]string{"load"}, missing); diff != "" {
				t.Errorf("what is missing (-want +got)\n%s", diff)
			}
			for _, want := range []string{"12 of schedule from the spare", "12 of events from the spare", "1 of memory from the spare"} {
				if !strings.Contains(notice.Recovered, want) {
					t.Errorf("%q does not say %q", notice.Recovered, want)
				}
			}
			if notice.Reason == "" || notice.Lost == "" {
				t.Errorf("notice %+v", notice)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			w.compare(t, openTest(t, dir), "second open")
		})
	}
}

// TestFileThatWentBackGetsTheSpare: a card that lost its last writes, or a
// backup that was put back.
func TestFileThatWentBackGetsTheSpare(t *testing.T) {
	dir := scratch(t)
	w := fillPrecious(t, dir)
	path := filepath.Join(dir, FileName)
	before := mustRead(t, path)
	s := openTest(t, dir)
	cancelled := w.records["event-03"]
	cancelled.Revision, cancelled.Cancelled = 4, true
	*cancelled.EnergyKW = 4
	save(t, s, noon, cancelled)
	w.records["event-03"] = cancelled
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, path, before)
	s, notice, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if missing := w.compare(t, s, "went back"); len(missing) > 0 {
		t.Errorf("missing %v", missing)
	}
	if !strings.Contains(notice.Reason, scheduleSpare) || notice.SetAside == "" {
		t.Errorf("notice %+v", notice)
	}
}

// TestReplaceInterrupted leaves the spare as a power cut would at each step.
func TestReplaceInterrupted(t *testing.T) {
	for name, cut := range map[string]func(path string) error{
		"new half written":   func(p string) error { return os.WriteFile(p+".new", []byte("nomspare"), 0o600) },
		"only predecessor":   func(p string) error { return errors.Join(os.Rename(p, p+".1")) },
		"between renames":    func(p string) error { return os.Rename(p, p+".new") },
		"between, older one": func(p string) error { return errors.Join(os.Rename(p, p+".new"), os.WriteFile(p+".1", nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := scratch(t)
			w := fillPrecious(t, dir)
			if err := errors.Join(cut(filepath.Join(dir, scheduleSpare)), os.Remove(filepath.Join(dir, FileName))); err != nil {
				t.Fatal(err)
			}
			s, _, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if missing := w.compare(t, s, name); len(missing) != 1 {
				t.Errorf("missing %v, want load alone", missing)
			}
			if got := look(dir, scheduleSpare); !got.ok || len(got.wrong) > 0 && name != "between, older one" {
				t.Errorf("spare afterwards: %+v", got.wrong)
			}
		})
	}
}

func TestLaterVersionIsSetAsideAndNeverOverwritten(t *testing.T) {
	dir := scratch(t)
	w := fillPrecious(t, dir)
	s := openTest(t, dir)
	if err := s.Put(bucketMeta, keyVersion, []byte("3")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	later := mustRead(t, path)
	for range 5 { // damaged ones are thinned out, this one is not
		mustWrite(t, path+damagedMark+fmt.Sprint(rand.Int()), nil)
	}
	s, notice, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.compare(t, s, "later version")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(notice.SetAside, laterMark) || !strings.Contains(notice.Reason, "version 3 where this one reads up to 2") {
		t.Errorf("notice %+v", notice)
	}
	mustWrite(t, path, []byte("junk"))
	s, _, err = Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !bytes.Equal(mustRead(t, notice.SetAside), later) {
		t.Error("the later version's file is not as it was")
	}
}

func TestSpareOfALaterVersionIsSetAside(t *testing.T) {
	dir := scratch(t)
	fillPrecious(t, dir)
	path := filepath.Join(dir, scheduleSpare)
	later := mustRead(t, path)
	later[8] = spareVersion + 1
	mustWrite(t, path, later)
	openTest(t, dir)
	aside, err := filepath.Glob(path + laterMark + "*")
	if err != nil || len(aside) != 1 || !bytes.Equal(mustRead(t, aside[0]), later) {
		t.Errorf("set aside: %v %v", aside, err)
	}
	if got := look(dir, scheduleSpare); !got.ok || got.best.damaged != nil {
		t.Errorf("no new spare: %+v", got.wrong)
	}
}

// TestEventsAreCopiedAtMostEveryQuarterHour and timeslots at once.
func TestWhenSparesAreWritten(t *testing.T) {
	dir := scratch(t)
	now := noon
	s, _, err := Open(dir, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	count := func(name, bucket string) int {
		n := 0
		for _, d := range look(dir, name).best.docs {
			if d.bucket == bucket {
				n++
			}
		}
		return n
	}
	save(t, s, now, record("a", 1, 1))
	if count(scheduleSpare, bucketSchedule) != 1 {
		t.Error("an acknowledged timeslot is not in the spare")
	}
	if n, err := s.DropSchedule(now.AddDate(1, 0, 0)); n != 1 || err != nil || count(scheduleSpare, bucketSchedule) != 0 {
		t.Errorf("a dropped timeslot is still in the spare: %d %v", n, err)
	}
	writes, last := 0, []byte(nil)
	for minute := range 60 {
		now = noon.Add(time.Duration(minute) * time.Minute)
		if err := s.AppendRows(bucketEvents, map[string][]byte{"a": fmt.Append(nil, minute)}); err != nil {
			t.Fatal(err)
		}
		if b := mustRead(t, filepath.Join(dir, eventsSpare)); !bytes.Equal(b, last) {
			writes, last = writes+1, b
		}
	}
	// The empty one from Open, then at 15, 30 and 45 minutes.
	if writes != 4 {
		t.Errorf("%d writes of the events in an hour, want 4", writes)
	}
	if h := s.Health(); len(h.Spares) != 2 || h.Spares[0].Error+h.Spares[1].Error != "" {
		t.Errorf("health %+v", h.Spares)
	}
}

// TestTheTrustedTimeIsCopiedOnceADay: it changes each 5 min, and a copy is a
// write of the whole schedule to a card. A change of that brings it along.
func TestTheTrustedTimeIsCopiedOnceADay(t *testing.T) {
	dir := scratch(t)
	now := noon
	s, _, err := Open(dir, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	save(t, s, now, record("a", 1, 1))
	path := filepath.Join(dir, scheduleSpare)
	writes, last := 0, mustRead(t, path)
	for now.Before(noon.Add(49 * time.Hour)) {
		now = now.Add(5 * time.Minute)
		if err := s.SaveLastTrusted(now); err != nil {
			t.Fatal(err)
		}
		if b := mustRead(t, path); !bytes.Equal(b, last) {
			writes, last = writes+1, b
		}
	}
	if writes != 2 {
		t.Errorf("%d copies in 49 h, want 2", writes)
	}
	save(t, s, now, record("a", 2, 1))
	for _, d := range look(dir, scheduleSpare).best.docs {
		if payload, err := unseal(d.bucket, d.key, d.raw); d.key == keyLastTrusted && (err != nil || string(payload) != now.UTC().Format(time.RFC3339Nano)) {
			t.Errorf("with the schedule: %q %v, want the last time, %v", payload, err, now)
		}
	}
}

// TestRandomSectorsOfStoreAndSpares spoils the main file, a spare, or both.
// Nothing that was not written may be served, and what is lost is named.
func TestRandomSectorsOfStoreAndSpares(t *testing.T) {
	dir := scratch(t)
	w := fillPrecious(t, dir)
	files := map[string][]byte{}
	for _, name := range []string{FileName, scheduleSpare, scheduleSpare + ".1", eventsSpare} {
		files[name] = mustRead(t, filepath.Join(dir, name))
	}
	rounds := soakCount(t, 200)
	outcomes := map[string]int{}
	for i := range rounds {
		r := rand.New(rand.NewPCG(uint64(i), 3))
		hit := [][]string{{FileName}, {FileName}, {scheduleSpare}, {FileName, scheduleSpare}, {FileName, scheduleSpare, eventsSpare, scheduleSpare + ".1"}}[i%5]
		outcomes[spoil(t, r, files, hit, w, fmt.Sprintf("round %d", i))]++
	}
	t.Logf("%v", outcomes)
	figure(t, "soak_store_spoiled", float64(rounds), "files", ">=", 2000)
	if outcomes["all there"] == 0 || outcomes["recovered in part"] == 0 {
		t.Error("only one outcome: the test does not test")
	}
}

func spoil(t *testing.T, r *rand.Rand, files map[string][]byte, hit []string, w written, what string) string {
	dir := scratch(t)
	defer os.RemoveAll(dir)
	for name, b := range files {
		b = bytes.Clone(b)
		if slices.Contains(hit, name) {
			at := r.IntN(len(b)/512+1) * 512
			sector := b[min(at, len(b)):min(at+512, len(b))]
			switch r.IntN(3) {
			case 0:
				for j := range sector {
					sector[j] = byte(r.Uint32())
				}
			case 1:
				clear(sector)
			case 2:
				b = b[:at]
			}
		}
		mustWrite(t, filepath.Join(dir, name), b)
	}
	s, notice, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	w.older = func(bucket string) bool {
		return strings.Contains(notice.Lost, "perhaps the last change of "+bucket) || strings.Contains(notice.Lost, lostChange)
	}
	missing := w.compare(t, s, what)
	if t.Failed() {
		t.Fatalf("%s: %+v", what, notice)
	}
	bad := s.Health().Bad
	for _, bucket := range missing {
		named := strings.Contains(notice.Lost, bucket) || strings.Contains(notice.Lost, "whatever else") || strings.Contains(notice.Lost, "last change")
		if !named && !slices.ContainsFunc(bad, func(b Bad) bool { return b.Bucket == bucket }) {
			t.Errorf("%s: %s is lost and not named: %+v", what, bucket, notice)
		}
	}
	if err := errors.Join(s.Put("after", "k", nil), s.Close()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if s, _, err = Open(dir, Options{}); err != nil {
		t.Fatalf("%s: second open: %v", what, err)
	}
	w.compare(t, s, what+", second open")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(missing)+len(bad) == 0 {
		return "all there"
	}
	return "recovered in part"
}

func drawCopied(t *rapid.T) copied {
	c := copied{seq: rapid.Uint64Min(1).Draw(t, "seq"), txid: rapid.Uint64().Draw(t, "txid"), at: noon,
		identity: string(newIdentity())}
	for i := range rapid.IntRange(0, 5).Draw(t, "docs") {
		d := doc{bucket: rapid.StringN(1, 8, -1).Draw(t, "bucket"), key: fmt.Sprint(i)}
		d.raw = seal(d.bucket, d.key, rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "value"))
		c.docs = append(c.docs, d)
	}
	return c
}

// TestSpareComesBackOrIsDamaged: what is read is what was written, and after
// any harm each document that is served is one of those written.
func TestSpareComesBackOrIsDamaged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawCopied(t)
		b := want.encode()
		got, err := decodeSpare(b)
		if err != nil || got.damaged != nil || got.seq != want.seq || got.txid != want.txid || got.identity != want.identity || !got.at.Equal(want.at) {
			t.Fatalf("got %+v %v", got, err)
		}
		opts := cmp.AllowUnexported(doc{})
		if diff := cmp.Diff(want.docs, got.docs, opts); diff != "" {
			t.Fatal(diff)
		}
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		if rapid.Bool().Draw(t, "cut") {
			b = b[:at]
		} else {
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		got, err = decodeSpare(b)
		if err == nil && got.damaged == nil {
			t.Fatalf("harm at %d of %d was not seen", at, len(b))
		}
		for _, d := range got.docs {
			if !slices.ContainsFunc(want.docs, func(w doc) bool { return cmp.Equal(w, d, opts) }) {
				t.Fatalf("served %+v, which was not written", d)
			}
		}
	})
}

func FuzzDecodeSpare(f *testing.F) {
	whole := copied{seq: 1, identity: string(newIdentity()), at: noon, docs: []doc{{"b", "k", seal("b", "k", []byte("v"))}}}
	f.Add(whole.encode())
	f.Add([]byte(spareMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeSpare(b)
		for _, d := range c.docs {
			if _, bad := unseal(d.bucket, d.key, d.raw); bad != nil || err != nil {
				t.Errorf("served %+v: %v %v", d, bad, err)
			}
		}
	})
}
