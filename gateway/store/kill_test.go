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
	"testing"
	"time"

	"nominald/dispatch"
)

// helperEnv makes the test binary a process that uses a store: "write", "hold"
// or "check", and the directory or file.
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
	if mode == "check" {
		if err := BoltCheck(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	s, notice, err := Open(dir, Options{})
	if err != nil || notice != (Notice{}) {
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
		if err := writeAll(s, i, n); err != nil {
			fmt.Println("error", err)
			return
		}
	}
}

// writeAll stores one of each kind and acknowledges each as soon as it is
// stored: a timeslot, one that changes, a report, a row of a ledger, and load.
func writeAll(s *Store, i int, n int64) error {
	id := strconv.FormatInt(n, 10)
	changing := record("changing", int(n/1000%1e9), float64(i))
	if err := s.SaveSchedule([]dispatch.Record{record(id, i, float64(i)), changing}, Batch{At: noon}); err != nil {
		return err
	}
	fmt.Println("ack", bucketSchedule, id)
	fmt.Println("ack", "revision", changing.Revision)
	if err := s.AppendRows(bucketEvents, map[string][]byte{id: fmt.Append(nil, id)}); err != nil {
		return err
	}
	fmt.Println("ack", bucketEvents, id)
	if err := s.Put("ledger", id, fmt.Append(nil, id)); err != nil {
		return err
	}
	fmt.Println("ack", "ledger", id)
	if err := s.AppendRows("load", map[string][]byte{id: make([]byte, i*37%3000)}); err != nil {
		return err
	}
	fmt.Println("ack", "load", id)
	if i%20 == 0 { // pages become free and are used again
		_, err := s.DropBefore("scratch", id)
		return errors.Join(err, s.Put("scratch", id, make([]byte, 20_000)))
	}
	return nil
}

func helperCommand(t testing.TB, mode, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+mode+":"+dir)
	return cmd
}

func startHelper(t testing.TB, mode, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := helperCommand(t, mode, dir)
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
	return cmd, bufio.NewScanner(out)
}

// acked is what was acknowledged and not yet found lost.
type acked struct {
	ids      map[string]map[string]bool // by bucket
	revision int
	rows     int
}

func (a *acked) line(line string) error {
	var bucket, id string
	if n, err := fmt.Sscanf(line, "ack %s %s", &bucket, &id); err != nil || n != 2 {
		return fmt.Errorf("helper said %q", line)
	}
	if bucket == "revision" {
		var err error
		a.revision, err = strconv.Atoi(id)
		return err
	}
	if a.ids[bucket] == nil {
		a.ids[bucket] = map[string]bool{}
	}
	a.ids[bucket][id] = true
	a.rows++
	return nil
}

// lost opens the store as the next process would and returns what is not there.
func (a *acked) lost(dir string) (missing []string, err error) {
	s, notice, err := Open(dir, Options{})
	if a.rows == 0 && notice.Reason == "the file was empty" {
		notice = Notice{} // killed while it made its first file
	}
	if err != nil || notice != (Notice{}) {
		return nil, fmt.Errorf("open: %+v %w", notice, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	records, bad, err := s.LoadSchedule()
	if err != nil || len(bad) > 0 {
		return nil, fmt.Errorf("%+v %w", bad, err)
	}
	have := map[string]int{}
	for _, r := range records {
		have[r.EventID] = r.Revision
	}
	if have["changing"] < a.revision {
		missing = append(missing, fmt.Sprintf("revision %d of the changing timeslot: it has %d", a.revision, have["changing"]))
	}
	for bucket, ids := range a.ids {
		for id := range ids {
			found := have[id] > 0
			if bucket != bucketSchedule {
				var v []byte
				if v, found, err = s.Get(bucket, id); err != nil {
					return nil, err
				}
				if found && bucket != "load" && string(v) != id {
					return nil, fmt.Errorf("%s/%s is %q", bucket, id, v)
				}
			}
			if !found {
				missing = append(missing, bucket+"/"+id)
			}
		}
	}
	return missing, nil
}

// TestKillKeepsEveryAcknowledgedRow kills the writer at any moment, while it
// opens too, over one file after another of 20 kills each. SOAK_STORE is how
// many kills, and prints figures.
func TestKillKeepsEveryAcknowledgedRow(t *testing.T) {
	kills := soakCount(t, 200)
	rows, lost := 0, 0
	var a acked
	var dir string
	for round := range kills {
		if round%20 == 0 {
			rows += a.rows
			a, dir = acked{ids: map[string]map[string]bool{}}, scratch(t)
		}
		cmd, lines := startHelper(t, "write", dir)
		after := time.Duration(rand.IntN(45_000)) * time.Microsecond
		kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			if lines.Text() == "open" {
				continue
			}
			if err := a.line(lines.Text()); err != nil {
				t.Fatalf("kill %d after %v: %v", round, after, err)
			}
		}
		kill.Stop()
		_ = cmd.Wait()
		missing, err := a.lost(dir)
		if err != nil {
			t.Fatalf("kill %d after %v: %v", round, after, err)
		}
		if lost += len(missing); len(missing) > 0 {
			t.Errorf("kill %d after %v: lost after an acknowledgement: %v", round, after, missing)
		}
		if round%20 == 19 {
			mustVerify(t, filepath.Join(dir, FileName))
		}
	}
	rows += a.rows
	if rows < kills {
		t.Errorf("only %d rows in %d kills: the test does not test", rows, kills)
	}
	t.Logf("%d kills, %d rows", kills, rows)
	figure(t, "soak_store_kills", float64(kills), "kills", ">=", 2000)
	figure(t, "soak_store_acknowledged", float64(rows), "rows", ">=", float64(kills))
	figure(t, "soak_store_lost_rows", float64(lost), "rows", "<=", 0)
}

// soakCount is how often a test does its worst: normal times, a tenth of it in
// a short run, or what SOAK_STORE says.
func soakCount(t testing.TB, normal int) int {
	t.Helper()
	text := os.Getenv("SOAK_STORE")
	if text == "" {
		if testing.Short() {
			return normal / 10
		}
		return normal
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("SOAK_STORE is %q, accepted is a count", text)
	}
	return n
}

// figure prints a measurement in the form that design.md 1.4 fixes, in a soak.
func figure(t testing.TB, name string, value float64, unit, op string, limit float64) {
	if os.Getenv("SOAK_STORE") == "" || t.Failed() && op == ">=" {
		return
	}
	verdict := "short"
	if (op == "<=" && value <= limit) || (op == ">=" && value >= limit) {
		verdict = "ok"
	}
	fmt.Printf("figure %s %.4g %s goal %s %g %s\n", name, value, unit, op, limit, verdict)
}

// TestMeasure100MB measures, in a soak, what a start, a check and a repair of a
// file of 100 MB cost, and what one acknowledged timeslot costs.
func TestMeasure100MB(t *testing.T) {
	if os.Getenv("SOAK_STORE") == "" {
		t.Skip("it measures; make soak-store runs it")
	}
	dir := t.TempDir()
	fillPrecious(t, dir)
	s, _, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; s.Health().UsedBytes < 100e6; n += 500 {
		rows := map[string][]byte{}
		for i := range 500 {
			rows[fmt.Sprintf("%08d", n+i)] = make([]byte, 600)
		}
		if err := s.AppendRows("load", rows); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	const saves = 100
	for i := range saves {
		save(t, s, noon, record("changing", i+1, float64(i)))
	}
	figure(t, "store_save_timeslot", time.Since(began).Seconds()/saves*1000, "ms", "<=", 50)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	seconds := func(name string, limit float64, do func() error) {
		began := time.Now()
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		figure(t, name, time.Since(began).Seconds(), "s", "<=", limit)
	}
	seconds("store_verify_100mb", 1, func() error { return verify(f, info.Size()) })
	seconds("store_child_check_100mb", 5, func() error { return helperCommand(t, "check", path).Run() })
	seconds("store_open_100mb", 1, func() error {
		s, _, err := Open(dir, Options{})
		if err != nil {
			return err
		}
		return s.Close()
	})
	seconds("store_repair_100mb", 20, func() error { _, err := Repair(dir, time.Now()); return err })
}
