package gateway

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nominald/gateway/config"
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
