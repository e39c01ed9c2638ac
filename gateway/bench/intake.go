package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"nominald/dispatch"
	"nominald/dispatch/leap"
	"nominald/gateway/sim"
	"nominald/gateway/store"
)

const (
	pageSlots = 500 // a full page of Leap's
	intakes   = 15
)

// intakeFigures is the cost of one timeslot from the bytes of a page to the
// disk, and how many times that of the floor it is.
type intakeFigures struct{ microseconds, ratio float64 }

// measureIntake takes full pages of which every timeslot has changed: search
// and decode, merge, commit with fsync. The floor of the same run does as
// little as can be done with the same bytes: fetch them, check that they are
// JSON, append them to a file and sync it.
func measureIntake(ctx context.Context, dir string) (intakeFigures, error) {
	ln, addr, err := sim.ListenLoopback()
	if err != nil {
		return intakeFigures{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := sim.NewLeap(sim.LeapOptions{Key: benchKey, Meters: []string{benchMeter}})
	go server.Serve(ctx, ln)
	ids := make([]string, pageSlots)
	start := time.Now().UTC().Truncate(time.Hour).Add(time.Hour)
	for i := range ids {
		s := sim.ExampleSlot(start.Add(time.Duration(i)*15*time.Minute), 15*time.Minute)
		s.MeterID, ids[i] = benchMeter, uuid.NewString()
		s.EventID = ids[i]
		server.Add(s)
	}
	st, _, err := store.Open(filepath.Join(dir, "intake"), store.Options{})
	if err != nil {
		return intakeFigures{}, err
	}
	defer st.Close()
	client := leap.New(leap.Options{BaseURL: "http://" + addr + "/v2", Key: func() string { return benchKey }})
	var ours, floors []float64
	schedule := dispatch.NewSchedule(nil)
	for round := range intakes {
		for _, id := range ids {
			kw := 1 + float64(round)/100
			if err := server.Update(id, func(s *sim.Slot) { s.EnergyKW = &kw }); err != nil {
				return intakeFigures{}, err
			}
		}
		began := time.Now()
		if schedule, err = intakeOnce(ctx, client, st, schedule, start); err != nil {
			return intakeFigures{}, err
		}
		ours = append(ours, perSlot(began))
		began = time.Now()
		if err := floorOnce(ctx, "http://"+addr+"/v2/dispatch/meter/search", filepath.Join(dir, "floor"), start); err != nil {
			return intakeFigures{}, err
		}
		floors = append(floors, perSlot(began))
	}
	f := intakeFigures{microseconds: median(ours)}
	f.ratio = f.microseconds / median(floors)
	fmt.Printf("intake of %d timeslots, us a timeslot: %.1f, floor %.1f\n", pageSlots, f.microseconds, median(floors))
	return f, nil
}

func perSlot(began time.Time) float64 {
	return float64(time.Since(began).Nanoseconds()) / 1000 / pageSlots
}

func intakeOnce(ctx context.Context, c *leap.Client, st *store.Store, prev *dispatch.Schedule, start time.Time) (*dispatch.Schedule, error) {
	from, to := start.Add(-time.Hour), start.Add(14*24*time.Hour)
	result, err := c.Search(ctx, leap.Query{From: from, To: to, MeterIDs: []string{benchMeter}})
	if err != nil {
		return nil, err
	}
	if len(result.Slots) != pageSlots {
		return nil, fmt.Errorf("the page has %d timeslots, want %d", len(result.Slots), pageSlots)
	}
	now := time.Now().UTC()
	next, changes := dispatch.Merge(prev, dispatch.Batch{Source: dispatch.FromPoll, Observed: result.Observed,
		From: from, To: to, Complete: true, Meters: []string{benchMeter}, Slots: result.Slots}, now)
	if len(changes) != pageSlots {
		return nil, fmt.Errorf("%d timeslots changed, want all %d", len(changes), pageSlots)
	}
	return next, st.SaveSchedule(next.All(), store.Batch{At: result.Observed, Source: dispatch.FromPoll})
}

func floorOnce(ctx context.Context, url, file string, start time.Time) error {
	ask, err := json.Marshal(map[string]any{"start_date": start.Add(-time.Hour), "end_date": start.Add(14 * 24 * time.Hour)})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(ask))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+benchKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !json.Valid(body) {
		return fmt.Errorf("floor: status %s, %d bytes", resp.Status, len(body))
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(body); err != nil {
		return err
	}
	return f.Sync()
}
