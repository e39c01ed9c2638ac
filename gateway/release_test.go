package gateway

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
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

// crashed is a device after a crash: it hangs, or it answers.
type crashed struct {
	drivers.Device
	hangs    bool
	released bool
}

func (d *crashed) Read(ctx context.Context) (drivers.Reading, error) {
	if d.hangs {
		<-ctx.Done()
		return drivers.Reading{}, drivers.ErrOffline
	}
	return drivers.Reading{}, nil
}

func (d *crashed) Release(context.Context) error { d.released = true; return nil }

// Dead devices on its own wire must not use up the time of a living one either.
func TestReleaseLeavesTimeForTheLivingOnAWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		living := &crashed{}
		var pending []onceDevice
		for range 4 {
			pending = append(pending, onceDevice{cfg: config.Device{Name: "dead"}, device: &crashed{hangs: true}})
		}
		pending = append(pending, onceDevice{cfg: config.Device{Name: "living"}, device: living})
		ctx, cancel := context.WithTimeout(t.Context(), releaseWithin)
		defer cancel()
		problems := make(chan error, len(pending))
		releaseBus(ctx, pending, problems, slog.New(slog.DiscardHandler))
		if !living.released || len(problems) != 4 {
			t.Errorf("released %v, %d problems; want the living one released and four named", living.released, len(problems))
		}
	})
}
