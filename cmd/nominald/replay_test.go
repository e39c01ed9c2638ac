package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nominald/dispatch/plan"
	"nominald/gateway/journal"
)

// keepRounds writes ten minutes of rounds before testNow as a gateway does. In
// the hour after, the third of four rounds is not what this planner decides.
func keepRounds(store string) error {
	w := journal.NewWriter(journal.Options{Dir: filepath.Join(store, "journal")})
	add := func(at time.Time, change func(*plan.Decision)) error {
		r := decided(at)
		change(&r.Decision)
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return w.Append(at, line)
	}
	for i := range 600 {
		if err := add(testNow().Add(time.Duration(i-600)*time.Second), func(*plan.Decision) {}); err != nil {
			return err
		}
	}
	for i := range 4 {
		err := add(testNow().Add(time.Hour+time.Duration(i)*time.Second), func(d *plan.Decision) {
			if i == 2 {
				d.Devices[0].GiveW, d.Devices = 4321, d.Devices[:1]
			}
		})
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// TestReplaySaysWhatItCouldNotRead: a damaged place costs its block and is
// named.
func TestReplaySaysWhatItCouldNotRead(t *testing.T) {
	store := t.TempDir()
	if err := keepRounds(store); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(store, "journal", "20260715T01.nj")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"explain", "--replay", "--to", "2026-07-16T00:00:00Z", "--dir", store}, nil, &out, &errs); code != exitDone {
		t.Errorf("exit code %d, %s", code, &errs)
	}
	for _, want := range []string{"left out: 20260715T01.nj: ", "checksum is wrong", "replayed 600 rounds from 2026-07-14 23:53:10 +00:00 to 2026-07-15 00:03:09 +00:00: identical"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, &out)
		}
	}
}
