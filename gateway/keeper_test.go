package gateway

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nominald/gateway/config"
	"nominald/gateway/loadlog"
	"nominald/gateway/store"
)

// TestWhatBecameOfTheStoreIsSaid: a second copy that can not be written is no
// fault of the store but is shown; what a damaged store gave back is shown too.
func TestWhatBecameOfTheStoreIsSaid(t *testing.T) {
	cfg := &config.Config{}
	cfg.Store.Dir = t.TempDir()
	open := func() *Gateway {
		t.Helper()
		g := &Gateway{cfg: cfg, log: slog.New(slog.DiscardHandler)}
		if err := g.openStore(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.store.Close() })
		return g
	}
	g := open()
	inTheWay := filepath.Join(cfg.Store.Dir, "schedule.spare.new")
	if err := os.MkdirAll(filepath.Join(inTheWay, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(value string) string {
		t.Helper()
		g.noteStore(g.store.Put(memoryBucket, "hvac", []byte(value)))
		if state := g.storeState(); state.OK {
			return state.Note
		}
		t.Fatalf("the store itself is said to fail: %+v", g.storeState())
		return ""
	}
	if note := put("23"); !strings.Contains(note, "second copy") || !strings.Contains(note, "schedule.spare") {
		t.Errorf("note %q", note)
	}
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	if note := put("23.5"); note != "" {
		t.Errorf("note once it works again: %q", note)
	}
	if err := g.store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Store.Dir, store.FileName), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	g = open()
	note := g.storeState().Note
	for _, want := range []string{"Recovered: 1 of memory from the spare copy.", "Lost: ", "is kept as " + cfg.Store.Dir} {
		if !strings.Contains(note, want) {
			t.Errorf("%q does not say %q", note, want)
		}
	}
	if got, err := (memory{g.store, "hvac"}).Load(); err != nil || string(got) != "23.5" {
		t.Errorf("the driver's memory is %q %v", got, err)
	}
}

// TestLoadLogThatFailsIsSaid: what the load log can not write is a fault of the
// store, for as long as it lasts.
func TestLoadLogThatFailsIsSaid(t *testing.T) {
	cfg := &config.Config{}
	cfg.Store.Dir = t.TempDir()
	g := &Gateway{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	if err := g.openStore(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.store.Close() })
	g.openLoads()
	t.Cleanup(func() { _ = g.loads.Close() })
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	inTheWay := filepath.Join(cfg.Store.Dir, LoadDir, "2026-07-01.seconds")
	if err := os.Mkdir(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	g.loads.Add(at, loadlog.Site, 1000, loadlog.Measured)
	g.loads.Add(at.Add(time.Second), loadlog.Site, 1000, loadlog.Measured)
	if g.loads.Flush() == nil {
		t.Fatal("nothing failed")
	}
	g.noteStore(nil)
	if state := g.storeState(); state.OK || !strings.Contains(state.Note, "seconds of 2026-07-01") {
		t.Errorf("%+v", state)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if err := g.loads.Flush(); err != nil {
		t.Fatal(err)
	}
	g.noteStore(nil)
	if state := g.storeState(); !state.OK {
		t.Errorf("%+v", state)
	}
}

// TestDamagedSecondsAreSaid once they are asked for; the store goes on as good.
func TestDamagedSecondsAreSaid(t *testing.T) {
	cfg := &config.Config{}
	cfg.Store.Dir = t.TempDir()
	var said bytes.Buffer
	g := &Gateway{cfg: cfg, log: slog.New(slog.NewTextHandler(&said, nil))}
	if err := g.openStore(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.store.Close() })
	g.openLoads()
	t.Cleanup(func() { _ = g.loads.Close() })
	if err := os.WriteFile(filepath.Join(cfg.Store.Dir, LoadDir, "2026-07-01.seconds"), []byte("no seconds at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.noteStore(nil)
	if state := g.storeState(); state.Note != "" {
		t.Errorf("before anybody asked: %+v", state)
	}
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	if err := g.loads.Query(at, at.Add(time.Minute), time.Second, func(loadlog.Row) error { return nil }); err != nil {
		t.Fatal(err)
	}
	g.noteStore(nil)
	g.noteStore(nil)
	if state := g.storeState(); !state.OK || !strings.Contains(state.Note, "2026-07-01") {
		t.Errorf("%+v", state)
	}
	if n := strings.Count(said.String(), "2026-07-01"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
}
