package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"nominald/gateway/status"
	"nominald/gateway/store"
)

// The store's buckets that the gateway itself uses.
const (
	eventsBucket = "events" // by event id
	memoryBucket = "memory" // by device: what a driver must not forget
)

// keeper writes the events to the store, so that no fsync runs on the control
// goroutine. What began just now is written at once, the rest in batches.
type keeper struct {
	store  *store.Store
	events *events
	diary  *diary
	log    *slog.Logger
	failed func(error) // nil error: writing works
}

const (
	keepLook  = time.Second
	keepBatch = 30 * time.Second
)

func (k *keeper) run(ctx context.Context) error {
	look := time.NewTicker(keepLook)
	defer look.Stop()
	all := time.Now().Add(keepBatch)
	for {
		select {
		case <-ctx.Done():
			k.write(true)
			k.writeDiary()
			return nil
		case now := <-look.C:
			everything := now.After(all)
			if everything {
				all = now.Add(keepBatch)
				k.writeDiary()
				k.failed(nil) // also of the load log, which writes by itself
			}
			k.write(everything)
			k.events.forget(now.Add(-keptInMemory))
		}
	}
}

func (k *keeper) write(all bool) {
	rows := k.events.unsaved(all)
	if len(rows) == 0 {
		return
	}
	err := k.store.AppendRows(eventsBucket, rows)
	if err != nil {
		k.events.again(rows)
	}
	k.failed(err)
}

// writeDiary stores what happened since it was last called.
func (k *keeper) writeDiary() {
	rows, upTo := k.diary.unsaved()
	if len(rows) == 0 {
		return
	}
	err := k.store.AppendRows(diaryBucket, rows)
	if err == nil {
		k.diary.wrote(upTo)
	}
	k.failed(err)
}

// noteStore remembers for the status how the last write went, and logs when
// that changes. A second copy that fails is said and keeps the store good.
func (g *Gateway) noteStore(err error) {
	if err == nil {
		err = g.loadTrouble()
	}
	before := g.storeState()
	after := status.StoreState{OK: true, Note: g.storeNotice}
	spare := ""
	if err != nil {
		after = status.StoreState{Note: "Writing to the store fails: " + err.Error()}
	} else if spare = g.spareTrouble(); spare != "" {
		after.Note = strings.TrimSpace(after.Note + " The second copy of the store fails: " + spare + ".")
	}
	if damage := g.damagedDays(); damage != "" {
		after.Note = strings.TrimSpace(after.Note + " " + damage)
		if !strings.Contains(before.Note, damage) {
			g.log.Warn("some seconds of load can not be read and are gone", "days", damage)
		}
	}
	switch {
	case err != nil && before.OK:
		g.log.Error("store", "error", err)
	case err == nil && !before.OK:
		g.log.Info("store works again")
	}
	if spare != "" && after.Note != before.Note {
		g.log.Error("second copy of the store", "error", spare)
	}
	if after != before {
		g.storeShown.Store(&after)
	}
}

// loadTrouble is why the load log could not write last, and what that has cost.
func (g *Gateway) loadTrouble() error {
	if g.loads == nil || g.loads.Err() == nil {
		return nil
	}
	seconds, _ := g.loads.LostSeconds()
	return fmt.Errorf("%w; given up so far: %d s and %d h of a channel", g.loads.Err(), seconds, g.loads.LostHours())
}

// damagedDays names the days whose seconds could not all be read when somebody
// asked for them.
func (g *Gateway) damagedDays() string {
	if g.loads == nil {
		return ""
	}
	damaged := g.loads.Damaged()
	if len(damaged) == 0 {
		return ""
	}
	return "Seconds of load are damaged and missing in answers; the minutes are kept apart: " + strings.Join(slices.Sorted(maps.Keys(damaged)), ", ") + "."
}

func (g *Gateway) spareTrouble() string {
	for _, sp := range g.store.Health().Spares {
		if sp.Error != "" {
			return sp.Error
		}
	}
	return ""
}

// memory is what a device's driver keeps across restarts, by the device's name.
type memory struct {
	store *store.Store
	name  string
}

// Load returns what was saved last, nil when there is nothing.
func (m memory) Load() ([]byte, error) {
	value, _, err := m.store.Get(memoryBucket, m.name)
	if err != nil || len(value) == 0 {
		return nil, err
	}
	return value, nil
}

// Save keeps the value; an empty one is forgotten.
func (m memory) Save(value []byte) error {
	if len(value) == 0 {
		return m.store.Delete(memoryBucket, m.name)
	}
	return m.store.Put(memoryBucket, m.name, value)
}
