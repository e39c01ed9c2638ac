package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nominald/dispatch"
)

func TestSecondProcessIsNamed(t *testing.T) {
	dir := scratch(t)
	cmd, lines := startHelper(t, "hold", dir)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("helper said %q", lines.Text())
	}
	_, _, err := Open(dir, Options{LockTimeout: 100 * time.Millisecond})
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{filepath.Join(dir, FileName), "stop the other nominald, or give another store.dir"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	// Some sandboxes do not fill /proc/locks.
	if locks, _ := os.ReadFile("/proc/locks"); strings.Contains(string(locks), "FLOCK") {
		if want := fmt.Sprintf("(pid %d)", cmd.Process.Pid); !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	// The lock ends with its process.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	openTest(t, dir)
}

func TestHolderIn(t *testing.T) {
	line := "1: FLOCK  ADVISORY  WRITE 712 08:01:1052 0 EOF"
	dev := uint64(0x801)
	for _, c := range []struct {
		line  string
		inode uint64
		want  int
	}{
		{line, 1052, 712}, {line, 1053, 0}, {strings.Replace(line, "FLOCK", "POSIX", 1), 1052, 0},
		{"", 1052, 0}, {"1: FLOCK ADVISORY", 1052, 0}, {strings.Replace(line, "712", "x", 1), 1052, 0},
	} {
		if got := holderIn(c.line, dev, c.inode); got != c.want {
			t.Errorf("%q inode %d: pid %d, want %d", c.line, c.inode, got, c.want)
		}
	}
}

func TestDirectoryThatCanNotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/nominald"} {
		_, _, err := Open(dir, Options{})
		if err == nil || !strings.Contains(err.Error(), "store.dir") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestFullStoreKeepsRoomForTimeslots(t *testing.T) {
	dir := scratch(t)
	s, _, err := Open(dir, Options{MaxSize: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for ; n < 10_000; n++ {
		if err = s.AppendRows("load", map[string][]byte{fmt.Sprintf("%06d", n): make([]byte, 3000)}); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) || n < 1000 {
		t.Fatalf("after %d rows: %v", n, err)
	}
	if h := s.Health(); h.LastError == "" || h.UsedBytes < 4<<20 {
		t.Errorf("health %+v", h)
	}
	for i := range 20 {
		if err := s.SaveSchedule([]dispatch.Record{record(fmt.Sprint(i), 1, 1)}, Batch{}); err != nil {
			t.Fatalf("timeslot %d beside full rows: %v", i, err)
		}
	}
	if _, err := s.DropBefore("load", "000500"); err != nil {
		t.Fatalf("make room: %v", err)
	}
	if err := s.AppendRows("load", map[string][]byte{"zzz": make([]byte, 3000)}); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	// Without the reserve the file's own limit holds, and is survived.
	for i := 0; ; i++ {
		if err = s.Put("big", fmt.Sprint(i), make([]byte, 200_000)); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("beyond the maximum: %v", err)
	}
	if got, _, err := s.LoadSchedule(); err != nil || len(got) != 20 {
		t.Errorf("%d timeslots after it, %v", len(got), err)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Size() > 8<<20 {
		t.Errorf("file of %d bytes, limit %d", info.Size(), 8<<20)
	}
}

func TestFullDiskIsSurvived(t *testing.T) {
	dir := smallDisk(t, "1m")
	s, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put("latch", "stop", []byte("on")); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 700<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	failures := 0
	for i := range 40 {
		if err := s.Put("docs", fmt.Sprint(i), make([]byte, 20_000)); err != nil {
			failures++
			if !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), "no space left") {
				t.Errorf("full disk reported as: %v", err)
			}
		}
	}
	if failures == 0 || s.Health().LastError == "" {
		t.Fatalf("disk of 1 MiB did not fill, health %+v", s.Health())
	}
	if v, found, err := s.Get("latch", "stop"); err != nil || !found || string(v) != "on" {
		t.Errorf("reads on a full disk: %q %v %v", v, found, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("after", "k", []byte("v")); err != nil {
		t.Errorf("write after room was made: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir)
}

func TestTemporaryStoreLeavesNothing(t *testing.T) {
	s, notice, err := OpenTemporary(Options{})
	if err != nil || !notice.Temporary {
		t.Fatal(notice, err)
	}
	if err := s.Put("a", "b", []byte("c")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(s.db.Path())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}
