package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"nominald/dispatch"
)

// small is what fillSmall stores: enough for branch pages, overflow pages,
// inline buckets and a free list.
func small() map[string]map[string][]byte {
	docs := map[string]map[string][]byte{"latch": {"stop": []byte("on")}, "rows": {}, "reports": {}}
	for i := range 120 {
		docs["rows"][fmt.Sprintf("%05d", i)] = bytes.Repeat([]byte{byte(i), 7}, 60)
	}
	for i := range 3 {
		docs["reports"][fmt.Sprintf("r%d", i)] = bytes.Repeat([]byte{byte('a' + i)}, 6000)
	}
	return docs
}

func fillSmall(t testing.TB, dir string) {
	t.Helper()
	s, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for bucket, rows := range small() {
		if err := s.AppendRows(bucket, rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SaveSchedule([]dispatch.Record{record("event-1", 1, 8)}, Batch{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("extra", "gone", make([]byte, 9000)); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("extra", "gone"); err != nil { // fills the free list
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// survey opens a damaged file, reads all, writes, and reopens. It returns what
// became of it, and fails the test on any value that was not stored.
func survey(t *testing.T, file []byte, what string) string {
	t.Helper()
	dir := scratch(t)
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, FileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	s, notice, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("%s: open: %v", what, err)
	}
	readAll(t, s, what)
	if err := s.Put("after", "k", []byte("v")); err != nil {
		t.Fatalf("%s: write after open: %v", what, err)
	}
	if err := s.AppendRows("rows", map[string][]byte{"99999": []byte("new")}); err != nil {
		t.Fatalf("%s: write rows after open: %v", what, err)
	}
	if _, err := s.DropBefore("rows", "00050"); err != nil {
		t.Fatalf("%s: drop rows after open: %v", what, err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: close: %v", what, err)
	}
	s, again, err := Open(dir, Options{})
	if err != nil || again.SetAside != "" {
		t.Fatalf("%s: second open: %v %+v", what, err, again)
	}
	if v, found, err := s.Get("after", "k"); !found || err != nil || string(v) != "v" {
		t.Fatalf("%s: %q %v %v", what, v, found, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if notice.SetAside == "" {
		return "opened"
	}
	kept, err := os.ReadFile(notice.SetAside)
	if err != nil || !bytes.Equal(kept, file) || notice.Reason == "" {
		t.Fatalf("%s: set aside without its content: %v, %+v", what, err, notice)
	}
	return "set aside"
}

func readAll(t *testing.T, s *Store, what string) {
	t.Helper()
	for bucket, rows := range small() {
		err := s.Range(bucket, "", "", func(k string, v []byte) error {
			if want, ok := rows[k]; !ok || !bytes.Equal(v, want) {
				t.Errorf("%s: %s/%s is a wrong value", what, bucket, k)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: range %s: %v", what, bucket, err)
		}
	}
	records, _, err := s.LoadSchedule()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for _, r := range records {
		if r.EventID != "event-1" || *r.EnergyKW != 8 {
			t.Errorf("%s: wrong record %+v", what, r)
		}
	}
}

// scratch is a directory in memory where there is one: these tests sync often.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "nominald-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func smallFile(t *testing.T) []byte {
	t.Helper()
	dir := scratch(t)
	fillSmall(t, dir)
	file, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFileCutAnywhereEndsInOpenedOrSetAside(t *testing.T) {
	file := smallFile(t)
	results := map[string]int{}
	for cut := 512; cut < len(file); cut += 512 {
		results[survey(t, file[:cut], fmt.Sprintf("cut at %d", cut))]++
	}
	t.Logf("%d bytes: %v", len(file), results)
	if results["set aside"] == 0 {
		t.Error("no cut did any harm: the test does not test")
	}
}

func TestRandomSectorsNeverCrashNorLie(t *testing.T) {
	file := smallFile(t)
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	results := map[string]int{}
	for i := range rounds {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		bad := bytes.Clone(file)
		at := r.IntN(len(bad)/512) * 512
		switch i % 3 {
		case 0: // noise
			for j := range 512 {
				bad[at+j] = byte(r.Uint32())
			}
		case 1: // a lost write
			clear(bad[at : at+512])
		case 2: // a sector of this file at the wrong place
			from := r.IntN(len(bad)/512) * 512
			copy(bad[at:at+512], file[from:from+512])
		}
		results[survey(t, bad, fmt.Sprintf("round %d, sector at %d", i, at))]++
	}
	t.Logf("%v", results)
	if results["set aside"] == 0 || results["opened"] == 0 {
		t.Error("only one outcome: the test does not test")
	}
}

func TestFlippedBitsNeverLie(t *testing.T) {
	file := smallFile(t)
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	for i := range rounds {
		r := rand.New(rand.NewPCG(uint64(i), 2))
		bad := bytes.Clone(file)
		bit := r.IntN(len(bad) * 8)
		bad[bit/8] ^= 1 << (bit % 8)
		survey(t, bad, fmt.Sprintf("bit %d", bit))
	}
}

// TestLoopInTheTree: bbolt's own check would follow it until the stack ends,
// which no recover catches.
func TestLoopInTheTree(t *testing.T) {
	file := smallFile(t)
	loops := 0
	for id := 2; id < len(file)/pageSize; id++ {
		page := file[id*pageSize:]
		if page[8] != flagBranch {
			continue
		}
		bad := bytes.Clone(file)
		bad[id*pageSize+pageHeader+8] = byte(id) // its first child is itself
		if got := survey(t, bad, fmt.Sprintf("loop at page %d", id)); got == "set aside" {
			loops++
		}
	}
	if loops == 0 {
		t.Error("no branch page in use was found to damage")
	}
}

func TestForeignFilesAreSetAside(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other.db")
	db, err := bolt.Open(other, 0o600, &bolt.Options{PageSize: 8192})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{
		"text": []byte("hello"), "zeros": make([]byte, 1<<16), "page size 8192": foreign,
		"sqlite": append([]byte("SQLite format 3\x00"), make([]byte, 8192)...),
	} {
		if got := survey(t, file, name); got != "set aside" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestThreeDamagedCopiesAreKept(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	var last string
	for i := range 6 {
		junk := []byte(strings.Repeat("junk", i+1))
		if err := os.WriteFile(filepath.Join(dir, FileName), junk, 0o600); err != nil {
			t.Fatal(err)
		}
		// The clock runs backwards: the newest copy has the oldest name.
		s, notice, err := Open(dir, Options{Now: func() time.Time { return now.Add(-time.Duration(i) * time.Hour) }})
		if err != nil || !errors.Is(os.Remove(s.db.Path()), nil) {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		last = notice.SetAside
	}
	kept, err := filepath.Glob(filepath.Join(dir, "*"+damagedMark+"*"))
	if err != nil || len(kept) != 3 {
		t.Fatalf("kept %v %v", kept, err)
	}
	got, err := os.ReadFile(last)
	if err != nil || string(got) != strings.Repeat("junk", 6) {
		t.Errorf("the newest copy is not kept: %q %v", got, err)
	}
	if want := "nominald.db.damaged-20260701T070000.000000000Z"; filepath.Base(last) != want {
		t.Errorf("named %s, want %s", filepath.Base(last), want)
	}
}

// TestFaultUnderTheMappingIsAnError: the card dies while the store is open.
func TestFaultUnderTheMappingIsAnError(t *testing.T) {
	dir := scratch(t)
	fillSmall(t, dir)
	s, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, FileName), 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get("rows", "00001"); !errors.Is(err, errPanicked) {
		t.Errorf("get: %v", err)
	}
	if _, _, err := s.LoadSchedule(); err == nil { // must not wait for a lock for ever
		t.Error("second read of a lost file succeeded")
	}
	if err := s.Put("rows", "00001", nil); err == nil {
		t.Error("put into a lost file succeeded")
	}
	if err := s.Put("rows", "00001", nil); err == nil || s.Health().LastError == "" {
		t.Errorf("second put: %v, health %+v", err, s.Health())
	}
	done := make(chan error, 1)
	go func() { done <- s.Close() }()
	select {
	case err := <-done:
		t.Logf("close: %v", err)
	case <-time.After(5 * time.Second):
		t.Fatal("close hangs")
	}
}
