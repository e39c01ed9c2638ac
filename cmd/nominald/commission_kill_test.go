package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nominald/drivers/drivertest/rtuslave"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/profile"
)

// binary builds the program.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nominald")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// heldSite is a site in dry run with a thermostat that keeps what it was told
// for ever, on a serial line.
func heldSite(t *testing.T, minOff time.Duration) (path string, room *twin.Twin) {
	t.Helper()
	dir := t.TempDir()
	line, err := rtuslave.Open(filepath.Join(dir, "tty"), rtuslave.Options{Baud: 19200})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	p, err := profile.Load("siemens-rdf302")
	if err != nil {
		t.Fatal(err)
	}
	room = twin.New(p, 1)
	line.Attach(1, room)
	text := fmt.Sprintf(`site: {name: Oak Street Bakery, timezone: America/Los_Angeles, armed: false}
leap: {url: "http://127.0.0.1:1/v2", api_key: "file:%[1]s/leap.key"}
meters:
  - {id: %[2]s, type: device, measured_by: room, devices: [room]}
buses:
  - {name: rs485, serial: %[1]s/tty, baud: 19200, format: 8E1}
devices:
  - {name: room, kind: thermostat, profile: siemens-rdf302, bus: rs485, unit: 1, rated_kw: 2, min_off: %[3]v, max_off: 2h, allow_no_fallback: true}
http: {listen: "127.0.0.1:0"}
store: {dir: %[1]s/store}
`, dir, testMeter, minOff)
	path = filepath.Join(dir, "site.yaml")
	for file, content := range map[string]string{path: text, filepath.Join(dir, "leap.key"): "key"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path, room
}

// spoken is what a process has written by now.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// holding starts a commissioning and returns once its thermostat is held off.
func holding(t *testing.T, program, path string, room *twin.Twin) (*exec.Cmd, *spoken) {
	t.Helper()
	cmd, said := exec.Command(program, "commission", "--config", path, "--yes"), &spoken{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	until(t, said, "the thermostat is held off", func() bool { _, active := room.Commanded(); return active })
	return cmd, said
}

func until(t *testing.T, said *spoken, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s\n%s", what, said)
		}
	}
}

// A commissioning that is killed outright leaves a device commanded. The remedy
// that it names works on a site in dry run too, and only there where it must.
func TestReleaseHealsAKilledCommissioning(t *testing.T) {
	t.Parallel()
	program := binary(t)
	path, room := heldSite(t, time.Hour)
	release := func(want string) {
		t.Helper()
		if out, err := exec.Command(program, "release", "--config", path).CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("release: %v, want %q\n%s", err, want, out)
		}
	}
	before := len(room.Writes())
	release("nothing to do")
	if len(room.Writes()) != before {
		t.Error("a release of a site in dry run wrote")
	}
	cmd, _ := holding(t, program, path, room)
	if out, err := exec.Command(program, "release", "--config", path).CombinedOutput(); err == nil || !strings.Contains(string(out), "a commissioning runs") {
		t.Errorf("release beside it: %v\n%s", err, out)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if _, active := room.Commanded(); !active {
		t.Fatal("nothing is left to heal")
	}
	release("released")
	if c, active := room.Commanded(); active {
		t.Errorf("still commanded after the release: %+v", c)
	}
	release("nothing to do")
}

// The gateway heals it as well when it starts, in dry run too.
func TestRunHealsAKilledCommissioning(t *testing.T) {
	t.Parallel()
	program := binary(t)
	path, room := heldSite(t, time.Hour)
	cmd, said := holding(t, program, path, room)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	run := exec.Command(program, "run", "--config", path)
	run.Stderr = said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Process.Kill(); run.Wait() })
	until(t, said, "the thermostat is released", func() bool { _, active := room.Commanded(); return !active })
	until(t, said, "the log tells", func() bool { return strings.Contains(said.String(), "a commissioning was ended before") })
}

// SIGTERM while the load is held off: the program stays until the min_off is
// over and the register is back. A second one lets go at once.
func TestSignalsWhileHeldOff(t *testing.T) {
	t.Parallel()
	program := binary(t)
	for _, signals := range []int{1, 2} {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			minOff := 6 * time.Second
			if signals == 2 {
				minOff = time.Hour
			}
			path, room := heldSite(t, minOff)
			cmd, said := holding(t, program, path, room)
			for n := range signals {
				if n > 0 {
					until(t, said, "it waits", func() bool { return strings.Contains(said.String(), "still held off") })
					time.Sleep(sureOfSecond)
				}
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			cmd.Wait()
			if c, active := room.Commanded(); active {
				t.Errorf("ended, and still commanded: %+v\n%s", c, said)
			}
			want := "released room after its least time off (min_off) had passed"
			if signals == 2 {
				want = "released room at once"
			}
			if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "interrupted before the end; every device that had been commanded is released") {
				t.Errorf("exit code %d, want %q\n%s", code, want, said)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "store", "commissioning.json")); !os.IsNotExist(err) {
				t.Errorf("the note stays: %v", err)
			}
		})
	}
}
