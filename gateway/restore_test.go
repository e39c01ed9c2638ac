package gateway

import (
	"testing"
	"time"

	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/config"
)

// TestLoadThatWasLetGoByARestartIsNotCountedOn: its relay insists on min_on, so
// a plan that counts on it would fall short.
func TestLoadThatWasLetGoByARestartIsNotCountedOn(t *testing.T) {
	start, kw := noon.Add(-time.Minute), 2.0
	rec := halfHour()
	rec.Start, rec.End, rec.EnergyKW, rec.NominationKW = start, start.Add(time.Hour), &kw, &kw
	round := func(freeSince time.Time) plan.DeviceDecision {
		d := plan.Device{Name: "hvac", Kind: drivers.Relay, Fresh: true, RatedW: 2000, MinOn: 5 * time.Minute, MaxOff: time.Hour,
			FreeSince: freeSince, Connected: true}
		in := plan.Input{Now: noon, Period: time.Second, ClockTrusted: true, Devices: []plan.Device{d},
			Policy: policyOf(config.Policy{Basis: "energy", Voluntary: "follow", CommunicationTest: "dry-run", OnMissing: "execute"}),
			Meters: []plan.Meter{{ID: rec.MeterID, Device: true, Reference: plan.ByDevice, Devices: []string{"hvac"}}}}
		in.Slots = append(in.Slots, rec)
		return plan.Round(in).Devices[0]
	}
	if got := round(time.Time{}); got.Action != plan.Follow || !got.Command.Inhibit {
		t.Fatalf("nothing known of before: %+v, want held off", got)
	}
	if got := round(noon.Add(-time.Second)); got.Action == plan.Follow || got.Reason != plan.MinOn {
		t.Errorf("let go a second ago: %+v, want left alone", got)
	}
}
