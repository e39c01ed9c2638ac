package plan

import (
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// What the planner does when it does not know: tests, clock, silence, STOP.

func TestIntegrationTestIsShownAndNeverActuated(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.IntegrationTest = true }))
	in.Policy.CommunicationTest = TestActuate // must not matter
	d := Round(in)
	if got := slotOf(t, d, in.Slots[0].EventID); got.State != dispatch.Suppressed || got.Reason != IntegrationTest {
		t.Errorf("slot: got %+v", got)
	}
	if got := deviceOf(t, d, "battery"); got.Action != Neutral {
		t.Errorf("battery: got %+v, want neutral", got)
	}
	if len(d.WouldDo) == 0 || deviceOf(t, Decision{Devices: d.WouldDo}, "battery").Command.PowerW == 0 {
		t.Errorf("got no plan of what would have been done: %+v", d.WouldDo)
	}
}

func TestCommunicationTestIsADryRunUnlessTheOwnerWantsProof(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.CommunicationTest = true }))
	d := Round(in)
	if got := deviceOf(t, d, "battery"); got.Action != Neutral {
		t.Errorf("dry run: got %+v, want neutral", got)
	}
	if len(d.WouldDo) == 0 {
		t.Error("dry run: no plan of what would have been done")
	}
	in.Policy.CommunicationTest = TestActuate
	if got := deviceOf(t, Round(in), "battery"); got.Action != Follow {
		t.Errorf("actuate: got %+v, want follow", got)
	}
}

func TestCapacityTestIsARealEvent(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) {
		r.EventTypes, r.Voluntary = []string{"day-ahead", "capacity-test"}, true
	}))
	in.Policy.Voluntary = VoluntaryIgnore
	if got := deviceOf(t, Round(in), "battery"); got.Action != Follow {
		t.Errorf("got %+v, want follow: capacity tests are never left out", got)
	}
}

func TestMissingTimeslotIsStillExecuted(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.Missed = 3 }))
	if got := deviceOf(t, Round(in), "battery"); got.Action != Follow {
		t.Errorf("got %+v, want follow", got)
	}
	in.Policy.OnMissing = MissingDrop
	if got := slotOf(t, Round(in), in.Slots[0].EventID); got.Reason != MissingDropped {
		t.Errorf("policy drop: got %+v", got)
	}
}

func TestUnknownMeterIsIgnored(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.MeterID = "dd21c76c-7126-4ef7-b0a6-f190fad300b2" }))
	if got := deviceOf(t, Round(in), "battery"); got.Action != Neutral {
		t.Errorf("got %+v, want neutral", got)
	}
}

func TestInvalidIsShownAndDoesNotStopOthers(t *testing.T) {
	bad := slot(func(r *dispatch.Record) { r.EventID = "bad"; r.Priority = 1; r.Problem = "end_time before start_time" })
	d := Round(home(t0.Add(time.Minute), bad, slot()))
	if got := slotOf(t, d, "bad"); got.State != dispatch.Invalid {
		t.Errorf("slot: got %+v, want invalid", got)
	}
	if got := deviceOf(t, d, "battery"); got.Action != Follow {
		t.Errorf("battery: got %+v, want follow", got)
	}
}

// C31 of domain.md 1.3.1; the jump itself is package clock's matter.
func TestNothingStartsWhileTheClockIsDoubtedAndRunningOnesGoOn(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.ClockTrusted = false
	d := Round(in)
	if got := slotOf(t, d, in.Slots[0].EventID); got.Reason != ClockUntrusted || got.State != dispatch.Suppressed {
		t.Errorf("not begun: got %+v, want suppressed, clock-untrusted", got)
	}
	if got := deviceOf(t, d, "battery"); got.Action != Neutral {
		t.Errorf("not begun: got %+v, want neutral", got)
	}
	in.Events[in.Slots[0].EventID] = Event{Running: true}
	if got := deviceOf(t, Round(in), "battery"); got.Action != Follow {
		t.Errorf("running: got %+v, want follow", got)
	}
}

func TestOwnerStopIsNeutralAtOnce(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.held(4000)
	in.Stopped = true
	d := Round(in)
	if got := deviceOf(t, d, "battery"); got.Action != Neutral || got.Reason != OwnerStop {
		t.Errorf("battery: got %+v, want neutral, owner-stop", got)
	}
	if got := slotOf(t, d, in.Slots[0].EventID); got.State != dispatch.Suppressed || got.Reason != OwnerStop {
		t.Errorf("slot: got %+v", got)
	}
}

func TestStaleDeviceGetsNoCommandAndOthersTakeItsShare(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.add(hvac())
	in.device("hvac").RatedW = 1500
	in.held(4000)
	in.device("battery").Fresh = false
	d := Round(in)
	if got := deviceOf(t, d, "battery"); got.Action != Leave || got.Reason != DeviceStale {
		t.Errorf("battery: got %+v, want its lease left to run out", got)
	}
	if got := deviceOf(t, d, "hvac"); got.Action != Follow || !got.Command.Inhibit {
		t.Errorf("hvac: got %+v, want inhibited", got)
	}
}

// The silent battery may still give what it was told: until its lease has run
// out, others may only take what leaves the site without export.
func TestStaleBatteryStillCountsForTheExportLimit(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.add(hvac()) // 3500 W, and 6000 - 4000 are left
	in.held(4000)
	in.device("battery").Fresh = false
	// What it gives is part of what the meter shows.
	in.Site.Point.UncontrolledW, in.Site.Point.UncontrolledLowW = drivers.Some(2000), drivers.Some(2000)
	if got := deviceOf(t, Round(in), "hvac"); got.Action != Neutral {
		t.Errorf("lease in force: got %+v, want neutral", got)
	}
	in.device("battery").Commanded = nil
	in.Site.Point.UncontrolledW, in.Site.Point.UncontrolledLowW = drivers.Some(6000), drivers.Some(6000)
	if got := deviceOf(t, Round(in), "hvac"); got.Action != Follow {
		t.Errorf("lease run out: got %+v, want it to take over", got)
	}
}

func TestLongSilentSiteMeterLetsNothingRise(t *testing.T) {
	in := home(t0.Add(10*time.Minute), slot())
	in.Site.Point.Fresh, in.Site.Point.Age = false, time.Hour
	if got := deviceOf(t, settle(in), "battery"); got.Command.PowerW != 0 {
		t.Errorf("a new timeslot: got %+v, want no push", got)
	}
	in.held(3000)
	if got := deviceOf(t, settle(in), "battery"); got.Command.PowerW != 3000 {
		t.Errorf("one that runs: got %+v, want the 3000 W that it had", got)
	}
}

func TestSilentSiteMeterHoldsTheShareWithoutExport(t *testing.T) {
	in := home(t0.Add(10*time.Minute), slot())
	in.held(4000)
	in.Site.Point.Fresh, in.Site.Point.Age = false, 2*time.Minute
	d := Round(in)
	if got := deviceOf(t, d, "battery"); got.Action != Follow || got.Command.PowerW != 4000 {
		t.Errorf("battery: got %+v, want 4000 W held", got)
	}
	if d.Meters[0].Reason != MeterStale {
		t.Errorf("meter: got %+v, want meter-stale", d.Meters[0])
	}
	in.Site.Point.UncontrolledW, in.Site.Point.UncontrolledLowW = drivers.Opt{}, drivers.Opt{}
	d = Round(in)
	if got := deviceOf(t, d, "battery"); got.Command.PowerW != 0 || d.Meters[0].Reason != MeterUnknown {
		t.Errorf("meter never read: got %+v, %+v, want no push, meter-never-read", got, d.Meters[0])
	}
}

func TestDeviceMeterDoesNotNeedTheSiteMeter(t *testing.T) {
	in := home(t0.Add(10*time.Minute), slot())
	in.Meters[0].Device, in.Meters[0].Point = true, nil
	in.Site.Point.Fresh = false
	in.Site.Point.UncontrolledW, in.Site.Point.UncontrolledLowW = drivers.Opt{}, drivers.Opt{}
	if got := deviceOf(t, settle(in), "battery"); got.Command.PowerW != 4000 {
		t.Errorf("got %+v, want 4000 W", got)
	}
}

func TestUnresponsiveBatteryIsReplaced(t *testing.T) {
	in := home(t0.Add(10*time.Minute), slot())
	in.add(hvac())
	in.held(4000)
	in.device("battery").PowerW, in.device("battery").Unresponsive = drivers.Some(0), true
	d := Round(in)
	if got := deviceOf(t, d, "battery"); got.Reason != NoResponse {
		t.Errorf("battery: got %+v, want no-response", got)
	}
	if got := deviceOf(t, d, "hvac"); got.Action != Follow {
		t.Errorf("hvac: got %+v, want it to take over", got)
	}
}

func TestRelayIsFreedAfterTheLongestOff(t *testing.T) {
	in := home(t0.Add(40*time.Minute), slot())
	in.Meters[0].Devices = nil
	in.Devices = in.Devices[:1]
	in.add(hvac())
	d := in.device("hvac")
	d.Commanded, d.HeldSince = &drivers.Command{Inhibit: true}, t0
	if got := deviceOf(t, Round(in), "hvac"); got.Action != Neutral || got.Reason != MaxOffReached {
		t.Errorf("got %+v, want neutral, max-off-reached", got)
	}
	// A device that nobody reaches holds on until its own timer ends that.
	for _, tc := range []struct {
		held, holdsOn time.Duration
		free          bool
	}{{28 * time.Minute, time.Minute, false}, {29 * time.Minute, time.Minute, true}, {14 * time.Minute, time.Hour, false}, {15 * time.Minute, time.Hour, true}} {
		d.HeldSince, d.HoldsOn = in.Now.Add(-tc.held), tc.holdsOn
		if got := deviceOf(t, Round(in), "hvac"); (got.Reason == MaxOffReached) != tc.free {
			t.Errorf("held for %v, holds on for %v: got %+v", tc.held, tc.holdsOn, got)
		}
	}
}

// A battery that gives 5 % less than it is told is not led down by that.
func TestLongSilenceDoesNotLeadABatteryDown(t *testing.T) {
	in := home(t0.Add(10*time.Minute), slot())
	in.held(4000)
	in.device("battery").PowerW = drivers.Some(3800)
	in.Site.Point.Fresh, in.Site.Point.Age = false, time.Hour
	if got := deviceOf(t, Round(in), "battery").Command.PowerW; got != 4000 {
		t.Errorf("got %v W, want the 4000 kept", got)
	}
}
