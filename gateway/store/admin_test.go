package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func checked(t *testing.T, dir string) Report {
	t.Helper()
	r, err := Check(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCheckCountsAndNames(t *testing.T) {
	dir := scratch(t)
	fillPrecious(t, dir)
	r := checked(t, dir)
	if len(r.Problems) > 0 || r.Version != schemaVersion || r.Pages == 0 || r.FreePages == 0 {
		t.Errorf("report %+v", r)
	}
	values := map[string]int{}
	for _, b := range r.Buckets {
		values[b.Name] = b.Values
	}
	if values["load"] != 150 || values[bucketSchedule] != 12 || values[bucketHistory] != 36 || values[bucketEvents] != 12 {
		t.Errorf("values %v", values)
	}
	s := openTest(t, dir)
	corrupt(t, s, "load", "0042")
	corrupt(t, s, bucketSchedule, "event-05")
	if _, err := Check(t.Context(), dir, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("with the store in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := mustRead(t, filepath.Join(dir, FileName))
	text := strings.Join(checked(t, dir).Problems, "; ")
	for _, want := range []string{"load: 1 of 150 values fail", "schedule: 1 of 12 values fail"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
	if !bytes.Equal(before, mustRead(t, filepath.Join(dir, FileName))) {
		t.Error("check changed the file")
	}
}

func TestRepairKeepsWhatIsReadableAndNamesTheRest(t *testing.T) {
	dir := scratch(t)
	w := fillPrecious(t, dir)
	s := openTest(t, dir)
	corrupt(t, s, "load", "0042")
	corrupt(t, s, bucketSchedule, "event-05")
	corrupt(t, s, bucketEvents, "event-07")
	if _, err := Repair(dir, noon); !errors.Is(err, ErrLocked) {
		t.Errorf("with the store in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := mustRead(t, filepath.Join(dir, FileName))
	r, err := Repair(dir, noon)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Lost, `1 of load ("0042": `) || strings.Contains(r.Lost, bucketSchedule) || strings.Contains(r.Lost, bucketEvents) {
		t.Errorf("lost: %s", r.Lost)
	}
	if !bytes.Equal(mustRead(t, r.SetAside), old) {
		t.Error("the old file is not kept as it was")
	}
	if got := checked(t, dir); len(got.Problems) > 0 {
		t.Errorf("after the repair: %v", got.Problems)
	}
	s = openTest(t, dir)
	if missing := w.compare(t, s, "repaired"); !slices.Equal(missing, []string{"load"}) {
		t.Errorf("missing %v", missing)
	}
}

// TestTimeslotIsNotRepairedWithAnOlderOne: its value and its newest revision are
// bad, and the spare has the one before, which may lack a cancellation.
func TestTimeslotIsNotRepairedWithAnOlderOne(t *testing.T) {
	dir := scratch(t)
	fillPrecious(t, dir)
	spare := mustRead(t, filepath.Join(dir, scheduleSpare))
	s := openTest(t, dir)
	save(t, s, noon, record("event-05", 4, 4))
	corrupt(t, s, bucketSchedule, "event-05")
	corrupt(t, s, bucketHistory, historyKey("event-05", 4))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(dir, scheduleSpare), spare)
	if err := os.Remove(filepath.Join(dir, scheduleSpare+".1")); err != nil {
		t.Fatal(err)
	}
	r, err := Repair(dir, noon)
	if err != nil || !strings.Contains(r.Lost, `1 of schedule ("event-05": `) {
		t.Fatalf("lost %q %v", r.Lost, err)
	}
	for _, got := range load(t, openTest(t, dir)) {
		if got.EventID == "event-05" {
			t.Errorf("revision %d came back", got.Revision)
		}
	}
}

// TestRepairWithLittleRoomTakesNoOlderTimeslot: where the room is for what is
// kept twice alone, the history is left out of the new file and still tells
// which revision is the newest.
func TestRepairWithLittleRoomTakesNoOlderTimeslot(t *testing.T) {
	dir := scratch(t)
	fillPrecious(t, dir)
	spare := mustRead(t, filepath.Join(dir, scheduleSpare))
	s := openTest(t, dir)
	save(t, s, noon, record("event-05", 4, 4))
	corrupt(t, s, bucketSchedule, "event-05")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(dir, scheduleSpare), spare) // it has revision 3
	if err := os.Remove(filepath.Join(dir, scheduleSpare+".1")); err != nil {
		t.Fatal(err)
	}
	old := mustRead(t, filepath.Join(dir, FileName))
	fresh := filepath.Join(scratch(t), FileName)
	if _, err := rebuild(fresh, bytes.NewReader(old), int64(len(old)), dir, precious); err != nil {
		t.Fatal(err)
	}
	again := openTest(t, filepath.Dir(fresh))
	revision := 0
	for _, got := range load(t, again) {
		if got.EventID == "event-05" {
			revision = got.Revision
		}
	}
	if revision != 4 {
		t.Errorf("timeslot event-05 has revision %d, want the 4 that the history has", revision)
	}
	if v, found, err := again.Get("load", "0000"); found || err != nil {
		t.Errorf("rows were brought along where there is no room: %q %v", v, err)
	}
}

func TestCompactShrinks(t *testing.T) {
	dir := scratch(t)
	w := fillPrecious(t, dir)
	s := openTest(t, dir)
	if err := errors.Join(s.Put("big", "k", make([]byte, 4<<20)), s.Delete("big", "k")); err != nil {
		t.Fatal(err)
	}
	if _, err := Compact(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("with the store in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Compact(dir)
	if err != nil || r.Before < 4<<20 || r.After > 1<<20 || r.Lost != "" {
		t.Fatalf("%+v %v", r, err)
	}
	s = openTest(t, dir)
	if missing := w.compare(t, s, "compacted"); len(missing) > 0 {
		t.Errorf("missing %v", missing)
	}
	corrupt(t, s, "load", "0042")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := mustRead(t, filepath.Join(dir, FileName))
	if _, err := Compact(dir); err == nil || !strings.Contains(err.Error(), "nothing was changed: repair it first") {
		t.Errorf("compact of a bad store: %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*.new"))
	if !bytes.Equal(before, mustRead(t, filepath.Join(dir, FileName))) || len(left) > 0 {
		t.Errorf("it changed something: %v", left)
	}
}

// TestChildThatCrashesIsSurvived hands bbolt's own check a file that is cut, and
// a loop in the tree, which it follows until it is ended.
func TestChildThatCrashesIsSurvived(t *testing.T) {
	dir := scratch(t)
	fillSmall(t, dir)
	path := filepath.Join(dir, FileName)
	child := helperCommand(t, "check", path)
	t.Setenv(helperEnv, "check:"+path)
	if got := CheckInChild(t.Context(), child.Args); got != "ok" {
		t.Errorf("a good file: %s", got)
	}
	file := mustRead(t, path)
	mustWrite(t, path, file[:2*pageSize]) // a fault in the mapping
	if got := CheckInChild(t.Context(), child.Args); !strings.Contains(got, "it crashed") {
		t.Errorf("a file that was cut: %s", got)
	}
	id := slices.IndexFunc(slices.Collect(slices.Chunk(file, pageSize)), func(page []byte) bool { return page[8] == flagBranch })
	if id < 2 {
		t.Fatal("there is no branch page to damage")
	}
	file[id*pageSize+pageHeader+8] = byte(id) // a loop, which it follows
	mustWrite(t, path, file)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if got := CheckInChild(ctx, child.Args); !strings.Contains(got, "it was ended") && !strings.Contains(got, "it crashed") {
		t.Errorf("a loop: %s", got)
	}
}

func TestCommandsOnAStoreThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	_, err := Check(t.Context(), dir, nil)
	_, err2 := Repair(dir, noon)
	_, err3 := Compact(dir)
	for _, err := range []error{err, err2, err3} {
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join(dir, FileName)) {
			t.Errorf("got %v", err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("something was made: %v", left)
	}
}
