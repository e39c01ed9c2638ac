package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway"
	"nominald/gateway/status"
)

const (
	testEvent = "12d4b3a5-0c5f-4d3c-9a0c-1f2f3a4b5c6d"
	testMeter = "afce893d-ea68-487f-9f8c-778b1881f60a"
)

// site is a gateway at a moment of an event: 2026-07-15 00:03 UTC, which is
// 17:03 the day before in Los Angeles. The HTTP server over it is the real one.
type site struct{ stopped atomic.Bool }

func testNow() time.Time { return time.Date(2026, 7, 15, 0, 3, 10, 0, time.UTC) }

func ptr[T any](v T) *T { return &v }

func slot(id string, start time.Time, state dispatch.State, reason string) status.Timeslot {
	return status.Timeslot{
		Record: dispatch.Record{Timeslot: dispatch.Timeslot{
			MeterID: testMeter, EventID: id, Start: start, End: start.Add(time.Hour), EnergyKW: ptr(3.0), NominationKW: ptr(4.0),
			Cap: dispatch.UpToNomination, Priority: 2, EventTypes: []string{"day-ahead"}, Programs: []string{"CCA"}}},
		State: state, Reason: reason}
}

func (s *site) Timeslots(_, to time.Time) []status.Timeslot {
	now := testNow()
	past := slot(testEvent, now.Add(-26*time.Hour).Truncate(time.Hour), dispatch.Completed, dispatch.ReasonEnded)
	running := slot("running", now.Truncate(time.Hour), dispatch.Active, dispatch.ReasonRunning)
	running.EnergyKW, running.Voluntary = nil, true
	if !to.IsZero() && to.Before(running.Start) {
		return []status.Timeslot{past}
	}
	return []status.Timeslot{past, running}
}

func (s *site) Report(event string) (status.Report, bool) {
	if event != testEvent {
		return status.Report{}, false
	}
	return sampleReport(), true
}

func (s *site) Stop(string) error   { s.stopped.Store(true); return nil }
func (s *site) Resume(string) error { s.stopped.Store(false); return nil }

func (s *site) Load(from, _ time.Time, step time.Duration, channels []string, emit func(status.LoadRow) error) error {
	if step == 7*time.Second {
		return errors.New("disk is gone")
	}
	if len(channels) > 0 && !slices.Contains(channels, "site") {
		return nil
	}
	return emit(status.LoadRow{T: from.Truncate(time.Minute), Channel: "site", MeanW: ptr(1234.0), MinW: ptr(-5.0), MaxW: ptr(2000.0), Wh: ptr(20.5), Quality: "measured"})
}

// Explain gives a round as it was decided; that of testNow itself is made up,
// so that no planner decides it again.
func (s *site) Explain(at time.Time) (json.RawMessage, error) {
	if at.After(testNow()) {
		return nil, fmt.Errorf("%w for %s", status.ErrNotKept, at.Format(time.RFC3339))
	}
	r := decided(at)
	if at.Equal(testNow()) {
		r.Version = "0.9"
		r.Decision = plan.Decision{Now: at,
			Slots:  []plan.SlotDecision{{EventID: "running", MeterID: testMeter, State: dispatch.Active, Reason: plan.OnTarget}},
			Meters: []plan.MeterDecision{{ID: testMeter, EventID: "running", TargetW: 3000, DeliveredW: drivers.Some(2900), Reference: plan.Reference("baseline"), Reason: plan.OnTarget}},
			Devices: []plan.DeviceDecision{
				{Name: "battery", Action: plan.Follow, Command: drivers.Command{PowerW: 3000}, GiveW: 3000, AimW: 3200, ClampedBy: "ramp", Reason: plan.Following},
				{Name: "wallbox", Action: plan.Follow, GiveW: 1380, Reason: plan.Paused}},
			Energy: []plan.EnergyShare{{Device: "battery", EventID: "running", NeedWh: 3100, KeptWh: 2950}},
		}
	}
	return json.Marshal(r)
}

// decided is a round of this planner.
func decided(at time.Time) gateway.Round {
	point := &plan.Point{Name: "main", LoadW: drivers.Some(6000), Fresh: true, UncontrolledW: drivers.Some(6000), UncontrolledLowW: drivers.Some(6000)}
	in := plan.Input{Now: at, Period: time.Second, ClockTrusted: true,
		Site:   plan.Site{MaxImportW: 40_000, Point: point},
		Policy: plan.Policy{Basis: plan.BasisEnergy, Voluntary: plan.VoluntaryFollow},
		Meters: []plan.Meter{{ID: testMeter, Reference: plan.ByDevice, Point: point, Devices: []string{"battery", "wallbox"}}},
		Devices: []plan.Device{
			{Name: "battery", Kind: drivers.Battery, ReserveSoC: 20, Fresh: true, Connected: true, PowerW: drivers.Some(0),
				SoC: drivers.Some(80), CapacityWh: drivers.Some(13_500), MaxDischargeW: drivers.Some(5000)},
			{Name: "wallbox", Kind: drivers.Charger, Fresh: true, Connected: true, Phases: 1, VoltageV: 230, MinA: 6, MaxA: 16,
				PowerW: drivers.Some(3000), NormalW: drivers.Some(3000)}},
		Slots: []dispatch.Record{slot("running", testNow().Truncate(time.Hour), "", "").Record},
	}
	return gateway.Round{Version: versionText(), Input: in, Decision: plan.Round(in)}
}

func (s *site) Healthy() (bool, []string) { return true, nil }
func (s *site) Ready() (bool, []string)   { return true, nil }

func (s *site) status() status.Status {
	now := testNow()
	return status.Status{
		Version: "1.2.3", Now: now, Site: status.SiteInfo{Name: "Oak Street Bakery", Timezone: "America/Los_Angeles"},
		Armed: true, Clock: status.ClockState{Trusted: true}, Leap: status.LeapState{AgeS: ptr(12.0)}, Store: status.StoreState{OK: true},
		SiteLoadW: ptr(-250.0), SiteLoadAgeS: ptr(0.4),
		Meters: []status.Meter{{ID: testMeter, State: "active", EventID: "running", TargetW: ptr(3000.0), DeliveredW: ptr(2950.0),
			Interval: &status.Interval{Start: now, TargetWh: 150, DeliveredWh: 148}, Reference: "baseline", Reason: string(plan.OnTarget), Until: ptr(now.Add(57 * time.Minute))}},
		Devices: []status.Device{
			{Name: "battery", Kind: drivers.Battery, Online: true, PowerW: ptr(2950.0), Setpoint: "3.0 kW", SoC: ptr(64.0), Reason: string(plan.Following)},
			{Name: "wallbox", Kind: drivers.Charger, LastError: "device does not answer"}},
		Buses: []status.Bus{{Name: "rs485", LoadPercent: 41.5, Units: []status.BusUnit{
			{Unit: 7, Requests: 1200, Timeouts: 3, LatencyMS: &status.Latency{P50: 21, P90: 30, P99: 48, Max: 61}},
			{Unit: 8, Requests: 9, Timeouts: 9, Exceptions: 1}}}},
		Next:   s.Timeslots(now, time.Time{})[1:],
		Alarms: []status.Alarm{{Code: "device-offline", Text: "wallbox does not answer", Level: status.Warning, Since: now}},
	}
}

// startGateway serves the site until the test ends and returns its address.
func startGateway(t testing.TB, token string) string {
	t.Helper()
	s := &site{}
	board := status.NewBoard()
	board.Publish(s.status())
	srv := status.New(status.Options{Board: board, Site: s, Load: s, Explain: s, Health: s, Token: token, Now: testNow})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}
