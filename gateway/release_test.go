package gateway

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A dead device must not hold up the release of those on other wires: one of
// them may have no timer of its own.
func TestReleasePassesADeadBusBy(t *testing.T) {
	w := newWorld(t, true)
	w.site.Faults("battery").SetOffline(true)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	released := make(chan error, 1)
	go func() { released <- Release(ctx, w.cfg, slog.New(slog.NewTextHandler(&w.logged, nil))) }()
	for begin := time.Now(); !strings.Contains(w.logged.String(), "device=wallbox"); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 2*time.Second {
			t.Fatalf("the wallbox is not released after 2 s: %s", &w.logged)
		}
	}
	err := <-released
	if err == nil || !strings.Contains(err.Error(), "release battery") || strings.Contains(err.Error(), "wallbox") {
		t.Errorf("Release returned %v, want it to name the battery alone", err)
	}
}
