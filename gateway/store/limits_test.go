package store

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nominald/dispatch"
)

// helperEnv makes the test binary a process that uses a store: "write" or
// "hold" and the directory.
const helperEnv = "NOMINALD_STORE_TEST_HELPER"

func TestMain(m *testing.M) {
	if mode, dir, ok := strings.Cut(os.Getenv(helperEnv), ":"); ok {
		helper(mode, dir)
		return
	}
	os.Exit(m.Run())
}

// helper says on stdout what is acknowledged, a line each, until it is killed.
func helper(mode, dir string) {
	s, notice, err := Open(dir, Options{})
	if err != nil || notice.SetAside != "" {
		fmt.Println("error", notice, err)
		return
	}
	fmt.Println("open")
	if mode == "hold" {
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	for i := 1; ; i++ {
		n := time.Now().UnixNano()
		id := fmt.Sprintf("event-%d", n)
		err := errors.Join(
			s.SaveSchedule([]dispatch.Record{record(id, i, float64(i)), record("changing", i, float64(i))}, Batch{At: noon}),
			s.AppendRows("rows", map[string][]byte{strconv.FormatInt(n, 10): make([]byte, i*37%3000)}))
		if err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("ack", id, n)
	}
}

func startHelper(t *testing.T, mode, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+mode+":"+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // stays open until the test ends
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("helper said %q", lines.Text())
	}
	return cmd, lines
}

// TestKillKeepsEveryAcknowledgedRecord kills the writer in the middle of its
// writes, 50 times over one file.
func TestKillKeepsEveryAcknowledgedRecord(t *testing.T) {
	dir := scratch(t)
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	events, rows := map[string]bool{}, map[string]bool{}
	for round := range rounds {
		cmd, lines := startHelper(t, "write", dir)
		kill := time.AfterFunc(time.Duration(2+rand.IntN(25))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			var id, row string
			if n, err := fmt.Sscanf(lines.Text(), "ack %s %s", &id, &row); err != nil || n != 2 {
				t.Fatalf("round %d: helper said %q", round, lines.Text())
			}
			events[id], rows[row] = true, true
		}
		kill.Stop()
		_ = cmd.Wait()
	}
	s := openTest(t, dir)
	records, bad, err := s.LoadSchedule()
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	for _, r := range records {
		delete(events, r.EventID)
	}
	err = s.Range("rows", "", "", func(key string, _ []byte) error { delete(rows, key); return nil })
	if err != nil || len(events) > 0 || len(rows) > 0 {
		t.Errorf("lost after an acknowledgement: events %v, rows %v, err %v", events, rows, err)
	}
	if len(records) < rounds/2 {
		t.Errorf("only %d records in %d rounds: the test does not test", len(records), rounds)
	}
	t.Logf("%d records, %d rounds", len(records), rounds)
}

func TestSecondProcessIsNamed(t *testing.T) {
	dir := scratch(t)
	cmd, _ := startHelper(t, "hold", dir)
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
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a small tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
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
