package loadlog

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nominald/gateway/store"
)

// killEnv makes the test binary a process that logs load as fast as it can, from
// a time on, in a directory: "DIR:UNIX".
const killEnv = "NOMINALD_LOADLOG_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir, from, ok := strings.Cut(os.Getenv(killEnv), ":"); ok {
		if err := writeUntilKilled(dir, from); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeUntilKilled says on stdout up to where each turn has written.
func writeUntilKilled(dir, from string) error {
	unix, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return err
	}
	s, _, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	l, err := Open(Options{Store: s, Dir: filepath.Join(dir, "load")})
	if err != nil {
		return err
	}
	for at := time.Unix(unix, 0).UTC(); ; at = at.Add(time.Second) {
		for _, name := range []string{Site, "battery", "wallbox"} {
			l.Add(at, name, truth(name, at), Measured)
		}
		fmt.Println("fed", at.Unix())
		if at.Unix()%55 != 0 {
			continue
		}
		if err := l.Turn(); err != nil {
			return err
		}
		fmt.Println("ack", at.Unix())
	}
}

// runUntilKilled runs the writer for a moment and kills it; it returns the last
// second that was fed and the last that was acknowledged.
func runUntilKilled(t *testing.T, dir string, from time.Time, moment time.Duration) (fed, acked int64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d", killEnv, dir, from.Unix()))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, number, _ := strings.Cut(lines.Text(), " ")
		unix, err := strconv.ParseInt(number, 10, 64)
		switch {
		case word == "error":
			t.Fatal(lines.Text())
		case err != nil: // cut off in the middle of a line
		case word == "fed":
			fed = unix
		case word == "ack":
			acked = unix
		}
	}
	_ = cmd.Wait() // killed
	return fed, acked
}

// Killed at 200 random moments, a log always opens, has every second that was
// acknowledged, misses at most the last minute of what was fed, and books
// nothing twice.
func TestKilledAtRandomMoments(t *testing.T) {
	if testing.Short() {
		t.Skip("200 processes take half a minute")
	}
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(7, 8))
	at, first := noon, noon
	for kill := range 200 {
		fed, acked := runUntilKilled(t, dir, at, time.Duration(10+rnd.IntN(60))*time.Millisecond)
		s := openStore(t, dir)
		l, err := Open(Options{Store: s, Dir: filepath.Join(dir, "load")})
		if err != nil {
			t.Fatalf("kill %d: %v", kill, err)
		}
		if fed > 0 {
			newest := int64(0)
			err := l.Query(at, time.Unix(fed+1, 0), time.Second, func(r Row) error { newest = max(newest, r.T.Unix()); return nil }, Site)
			if err != nil || newest < acked || acked > 0 && fed-newest > 60 {
				t.Fatalf("kill %d: fed until %d, acknowledged %d, has %d: %v", kill, fed, acked, newest, err)
			}
			at = time.Unix(fed+1, 0).UTC()
		}
		if kill%50 == 49 {
			checkSeconds(t, l, first, at)
			checkMinutes(t, l, first, at)
			first = at
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if at.Sub(noon) < time.Hour {
		t.Errorf("only %v were logged: nothing was tried", at.Sub(noon))
	}
}
