package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"unsafe"

	bolt "go.etcd.io/bbolt"

	"nominald/dispatch"
)

// faults counts every write, sync and rename of a store and lets one of them, or
// all from there on, fail with ENOSPC.
type faults struct {
	n, at   int
	forever bool
	hit     bool
}

func (f *faults) next() error {
	f.n++
	if f.at > 0 && (f.n == f.at || f.forever && f.n > f.at) {
		f.hit = true
		return syscall.ENOSPC
	}
	return nil
}

func (f *faults) disk() disk {
	return disk{
		write: func(file *os.File, b []byte) (int, error) {
			if err := f.next(); err != nil {
				n, _ := file.Write(b[:len(b)/2]) // a full disk takes what fits
				return n, err
			}
			return file.Write(b)
		},
		sync: func(file *os.File) error {
			if err := f.next(); err != nil {
				return err
			}
			return file.Sync()
		},
		rename: func(from, to string) error {
			if err := f.next(); err != nil {
				return err
			}
			return os.Rename(from, to)
		},
	}
}

// hook puts the faults under bbolt's writes. bbolt has a field for this
// (DB.ops.writeAt, "test hooks") and no way to set it from another package.
func (f *faults) hook(db *bolt.DB) {
	field := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	writeAt := (*func([]byte, int64) (int, error))(unsafe.Pointer(field.UnsafeAddr()))
	real := *writeAt
	*writeAt = func(b []byte, off int64) (int, error) {
		if err := f.next(); err != nil {
			n, _ := real(b[:len(b)/2], off)
			return n, err
		}
		return real(b, off)
	}
}

// TestEveryWriteMayFail is SQLite's loop: the first write of an operation fails,
// then the second, until it ends without a failure. In between the store says
// what is wrong, loses nothing acknowledged, and goes on by itself.
func TestEveryWriteMayFail(t *testing.T) {
	get := func(bucket string) func(*Store) string {
		return func(s *Store) string { v, _, _ := s.Get(bucket, "changing"); return string(v) }
	}
	for name, c := range map[string]struct {
		op  func(s *Store, i int) error
		got func(s *Store) string // what op stored last; nil where that can not be asked
	}{
		"timeslot": {func(s *Store, i int) error {
			return s.SaveSchedule([]dispatch.Record{record("changing", i, float64(i))}, Batch{At: noon})
		}, func(s *Store) string {
			h, _ := s.History("changing")
			return fmt.Sprint(h[len(h)-1].Revision)
		}},
		"event": {func(s *Store, i int) error {
			return s.AppendRows(bucketEvents, map[string][]byte{"changing": fmt.Append(nil, i)})
		}, get(bucketEvents)},
		"row": {func(s *Store, i int) error {
			return s.AppendRows("load", map[string][]byte{fmt.Sprint(i): make([]byte, 9000)})
		}, nil},
		"document": {func(s *Store, i int) error {
			return s.Put(bucketMemory, "changing", fmt.Append(nil, i))
		}, get(bucketMemory)},
		"drop": {func(s *Store, i int) error {
			_, err := s.DropBefore("rows", fmt.Sprintf("%04d", i))
			return err
		}, nil},
	} {
		for _, forever := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, forever %v", name, forever), func(t *testing.T) { failEach(t, c.op, c.got, forever) })
		}
	}
}

func failEach(t *testing.T, op func(*Store, int) error, got func(*Store) string, forever bool) {
	dir := scratch(t)
	w := fillPrecious(t, dir)
	f := &faults{forever: forever}
	s, _, err := Open(dir, Options{disk: f.disk()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	f.hook(s.db)
	rows := map[string][]byte{}
	for i := range 200 {
		rows[fmt.Sprintf("%04d", i)] = make([]byte, 500)
	}
	if err := s.AppendRows("rows", rows); err != nil {
		t.Fatal(err)
	}
	failures := 0
	for at := 1; ; at++ {
		if at > 100 {
			t.Fatal("it never ends without a failure")
		}
		f.n, f.at, f.hit = 0, at, false
		err := op(s, 2*at)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("write %d fails, told as: %v", at, err)
		}
		spared := s.Health().Spares
		if f.hit && err == nil && forever && spared[0].Error+spared[1].Error == "" {
			t.Errorf("write %d fails, and nobody says so", at)
		}
		f.at = 0
		if !f.hit {
			break
		}
		failures++
		if missing := w.compare(t, s, fmt.Sprintf("write %d fails", at)); len(missing) > 0 {
			t.Fatalf("write %d fails, and %v is gone", at, missing)
		}
		if err := op(s, 2*at+1); err != nil {
			t.Fatalf("after write %d failed it does not go on: %v", at, err)
		}
		if got != nil && got(s) != fmt.Sprint(2*at+1) {
			t.Errorf("after write %d failed: acknowledged %d, stored %s", at, 2*at+1, got(s))
		}
	}
	if failures < 2 {
		t.Errorf("%d writes failed: the test does not test", failures)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, filepath.Join(dir, FileName))
	w.compare(t, openTest(t, dir), "reopened")
	for _, sp := range newSpares() {
		if got := look(dir, sp.name); !got.ok || len(got.wrong) > 0 {
			t.Errorf("%s: %v", sp.name, got.wrong)
		}
	}
}

// TestFailedSyncIsSurvived: the disk takes the writes and then says that it did
// not keep them. The descriptor is exchanged under bbolt for one that can not
// be synced.
func TestFailedSyncIsSurvived(t *testing.T) {
	dir := scratch(t)
	w := fillPrecious(t, dir)
	s, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer pipe.Close()
	field := reflect.ValueOf(s.db).Elem().FieldByName("file")
	file := *(**os.File)(unsafe.Pointer(field.UnsafeAddr()))
	fd := int(file.Fd())
	kept, err := syscall.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(kept)
	ops := reflect.ValueOf(s.db).Elem().FieldByName("ops").FieldByName("writeAt")
	writeAt := (*func([]byte, int64) (int, error))(unsafe.Pointer(ops.UnsafeAddr()))
	real := *writeAt
	at, n := 0, 0
	*writeAt = func(b []byte, off int64) (int, error) {
		got, err := real(b, off)
		if n++; n == at {
			err = errors.Join(err, syscall.Dup3(int(pipe.Fd()), fd, syscall.O_CLOEXEC))
		}
		return got, err
	}
	for at = 1; at < 30; at++ {
		n = 0
		err := s.Put(bucketMemory, "other", fmt.Append(nil, at))
		if back := syscall.Dup3(kept, fd, syscall.O_CLOEXEC); back != nil {
			t.Fatal(back)
		}
		if n < at {
			break
		}
		if err == nil {
			t.Errorf("the sync behind write %d fails, and nobody says so", at)
		}
		if missing := w.compare(t, s, fmt.Sprintf("sync behind write %d", at)); len(missing) > 0 {
			t.Errorf("sync behind write %d: %v is gone", at, missing)
		}
		if err := s.Put(bucketMemory, "other", []byte("good")); err != nil {
			t.Errorf("after the sync behind write %d failed: %v", at, err)
		}
	}
	if at < 3 {
		t.Errorf("%d syncs failed: the test does not test", at-1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, filepath.Join(dir, FileName))
}

// smallDisk mounts a tmpfs of so many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mounting a small tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestRowsStopBeforeTimeslotsOnAFullDisk fills a real file system: load rows are
// refused first, timeslots and events go on into the reserve, and once there is
// room again all goes on by itself.
func TestRowsStopBeforeTimeslotsOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, "6m")
	s, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	row := func(i int) error {
		return s.AppendRows("load", map[string][]byte{fmt.Sprintf("%06d", i): make([]byte, 3000)})
	}
	n := 0
	for ; n < 10_000; n++ {
		if err = row(n); err != nil {
			break
		}
	}
	if !noSpace(err) || n < 500 {
		t.Fatalf("after %d rows: %v", n, err)
	}
	for i := range 60 {
		events := map[string][]byte{fmt.Sprint(i): make([]byte, 1000)}
		err := errors.Join(s.SaveSchedule([]dispatch.Record{record(fmt.Sprint(i), 1, 1)}, Batch{}), s.AppendRows(bucketEvents, events))
		if err != nil {
			t.Fatalf("timeslot %d on a disk full of rows: %v", i, err)
		}
		if err := row(n + i); err == nil {
			t.Fatalf("a row went into the reserve before timeslot %d", i+1)
		}
	}
	if err := row(0); !errors.Is(err, ErrFull) {
		t.Errorf("rows with the reserve in use: %v", err)
	}
	if got := load(t, s); len(got) != 60 {
		t.Errorf("%d timeslots, want 60", len(got))
	}
	if _, err := s.DropBefore("load", fmt.Sprintf("%06d", n/2)); err != nil {
		t.Fatalf("make room in the file: %v", err)
	}
	if err := s.SaveSchedule([]dispatch.Record{record("after", 1, 1)}, Batch{}); err != nil {
		t.Errorf("after room was made in the file: %v", err)
	}
}

// leaveFree lets a file take all room of its file system but so many pages.
func leaveFree(t *testing.T, ballast *os.File, pages int) {
	t.Helper()
	size := int64(0)
	for {
		if _, err := ballast.WriteAt(make([]byte, pageSize), size); err != nil {
			break
		}
		size += pageSize
	}
	if err := ballast.Truncate(size - int64(pages)*pageSize); err != nil {
		t.Fatal(err)
	}
}

// TestEveryPageMayBeTheLast is the same loop on a real file system: no page is
// free, then one, then two, until the operation gets all it needs.
func TestEveryPageMayBeTheLast(t *testing.T) {
	dir := smallDisk(t, "6m")
	w := fillPrecious(t, dir)
	s, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if !s.giveReserve() {
		t.Fatal("there was no reserve to give")
	}
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	failures := 0
	for free := 0; ; free++ {
		if free > 200 {
			t.Fatal("it never ends without a failure")
		}
		leaveFree(t, f, free)
		id := fmt.Sprint("free-", free)
		err := errors.Join(s.SaveSchedule([]dispatch.Record{record(id, 1, 1)}, Batch{At: noon}),
			s.AppendRows(bucketEvents, map[string][]byte{id: make([]byte, 30_000)}))
		if err == nil && s.Health().Spares[0].Error+s.Health().Spares[1].Error == "" {
			break
		}
		failures++
		if err != nil && !noSpace(err) {
			t.Fatalf("%d pages free, told as: %v", free, err)
		}
		if missing := w.compare(t, s, id); len(missing) > 0 {
			t.Fatalf("%d pages free, and %v is gone", free, missing)
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if err := s.SaveSchedule([]dispatch.Record{record(id, 2, 2)}, Batch{At: noon}); err != nil {
			t.Fatalf("with room again after %d free pages: %v", free, err)
		}
		if got := s.Health().Spares; got[0].Error+got[1].Error != "" && got[1].Name == scheduleSpare {
			t.Errorf("with room again the spare still fails: %+v", got)
		}
	}
	if failures < 2 {
		t.Errorf("%d failures: the test does not test", failures)
	}
	t.Logf("%d failures", failures)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w.compare(t, openTest(t, dir), "reopened")
}
