package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nominald": main})
}

// TestScripts runs the program as people do. Each script has two gateways: at
// $GATEWAY one that asks for nothing, at $LOCKED one with a token.
func TestScripts(t *testing.T) {
	open, locked := startGateway(t, ""), startGateway(t, "0123456789abcdef")
	example, err := os.ReadFile("../../packaging/nominald.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("GATEWAY", open)
			e.Setenv("LOCKED", locked)
			e.Setenv("LOCKED_LISTEN", strings.TrimPrefix(locked, "http://"))
			if err := keepRounds(e.WorkDir + "/store"); err != nil {
				return err
			}
			key := e.WorkDir + "/leap.key"
			if err := os.WriteFile(key, []byte("test-key\n"), 0o600); err != nil {
				return err
			}
			if err := unpack("../../gateway/store/testdata/schema-1.db.gz", e.WorkDir+"/old.db"); err != nil {
				return err
			}
			text := strings.Replace(string(example), "/etc/nominald/leap.key", key, 1)
			text = strings.Replace(text, "/var/lib/nominald", e.WorkDir+"/store", 1)
			return os.WriteFile(e.WorkDir+"/site.yaml", []byte(text), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": exitCode, "oneline": oneLine},
	})
}

func unpack(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// exitCode runs nominald and checks its exit code: code 78 check --config F.
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: code N [ARGS...]")
	}
	err := ts.Exec("nominald", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code of %q is %s, want %s", args[1:], got, args[0])
	}
}

// oneLine checks that a stream of the last command had exactly one line.
func oneLine(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		ts.Fatalf("%s is not one line: %q", args[0], text)
	}
}

func eachCommand(root *cobra.Command, f func(*cobra.Command)) {
	for _, c := range root.Commands() {
		f(c)
		eachCommand(c, f)
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	var names []string
	eachCommand(rootCommand(), func(c *cobra.Command) {
		names = append(names, c.Name())
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s: example %q, short %q", c.CommandPath(), c.Example, c.Short)
		}
		var out bytes.Buffer
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		if code := run(t.Context(), args, nil, &out, &out); code != exitDone || !strings.Contains(out.String(), "Examples:\n  "+c.CommandPath()) {
			t.Errorf("%v: exit code %d, help %q", args, code, out.String())
		}
	})
	for _, want := range []string{"run", "demo", "simulate", "release", "check", "profiles", "status", "timeslots", "report", "load", "export", "explain", "stop", "resume", "store", "repair", "compact", "version"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no command %s", want)
		}
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	addr := startGateway(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"status", "--watch", "--addr", addr}, nil, &out, &errs); code != exitDone {
		t.Fatalf("exit code %d, stderr %s", code, &errs)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines in 1.5 s, want 2: %q", len(lines), lines)
	}
	want := "2026-07-14 17:03:10 -07:00  site -0.25 kW  " + testMeter + " active target 3.00 kW delivered 2.95 kW (on-target)"
	if lines[0] != want {
		t.Errorf("got  %s\nwant %s", lines[0], want)
	}
}

// The journal notes the time of each line itself.
func TestLogUnderSystemdHasNoTime(t *testing.T) {
	for _, journal := range []string{"", "8:12345"} {
		t.Setenv("JOURNAL_STREAM", journal)
		var out bytes.Buffer
		newLogger(&out, slog.LevelInfo).Info("fetch", slog.Group("g", "time", 5))
		if got, want := strings.Contains(out.String(), "time=2"), journal == ""; got != want {
			t.Errorf("JOURNAL_STREAM=%q: %q", journal, &out)
		}
		if !strings.Contains(out.String(), "g.time=5") {
			t.Errorf("the time of a group is gone: %q", &out)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for w, want := range map[float64]string{0: "0.00 kW", -0.4: "0.00 kW", 1234: "1.23 kW", -250: "-0.25 kW", 250_000: "250.0 kW"} {
		if got := kw(w); got != want {
			t.Errorf("kw(%g) = %q, want %q", w, got, want)
		}
	}
	for s, want := range map[float64]string{0: "0 s", 119: "119 s", 180: "3 min", 7200: "2 h", 172800: "2 d"} {
		if got := age(s); got != want {
			t.Errorf("age(%g) = %q, want %q", s, got, want)
		}
	}
	if got := printable("a\x1b[2J\tb\n"); got != "a [2J b " {
		t.Errorf("printable = %q", got)
	}
}

func TestAddressOfAGatewayThatListensEverywhere(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8645": "http://127.0.0.1:8645", "0.0.0.0:80": "http://127.0.0.1:80", ":8645": "http://127.0.0.1:8645",
		"[::]:8645": "http://127.0.0.1:8645", "192.168.1.5:8645": "http://192.168.1.5:8645", "[fe80::1]:1": "http://[fe80::1]:1",
	} {
		if got := baseOf(listen); got != want {
			t.Errorf("baseOf(%s) = %s, want %s", listen, got, want)
		}
	}
}
