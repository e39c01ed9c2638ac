package plan

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

func TestChargerGivesFirstAndTheBatteryFills(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.add(wallbox(3680)) // 16 A at 230 V, one phase
	d := settle(in)
	if got := deviceOf(t, d, "wallbox"); got.Command.CurrentA != 6 || got.Reason != MinCurrent {
		t.Errorf("wallbox: got %+v, want 6 A, min-current: a battery fills the gap", got)
	}
	// The battery covers the seconds until the vehicle is expected to follow,
	// and all of it when the vehicle does not.
	for since, want := range map[time.Duration]float64{
		0: 4000, 14 * time.Second: 4000 - 2300*followed(14*time.Second, deadTime), 20 * time.Second: 4000} {
		in.device("wallbox").ChangedAt = in.Now.Add(-since)
		in.device("battery").Commanded = nil
		if got := deviceOf(t, settle(in), "battery").Command.PowerW; math.Abs(got-want) > 60 {
			t.Errorf("battery %v after the vehicle was told: got %v W, want %v", since, got, want)
		}
	}
	in.device("wallbox").PowerW = drivers.Some(1380)
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; math.Abs(got-1700) > 60 {
		t.Errorf("battery: got %v W, want 4000 less the 2300 W that the vehicle gives", got)
	}
}

func TestChargerAlonePausesInTheGapForACommittedTimeslot(t *testing.T) {
	for name, tc := range map[string]struct {
		voluntary bool
		want      float64
		reason    Reason
	}{"committed": {false, 0, Paused}, "voluntary": {true, 6, MinCurrent}} {
		t.Run(name, func(t *testing.T) {
			in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.Voluntary, r.EnergyKW = tc.voluntary, kw(3) }))
			in.Meters[0].Devices = nil
			in.add(wallbox(3680))
			if got := deviceOf(t, Round(in), "wallbox"); got.Command.CurrentA != tc.want || got.Reason != tc.reason {
				t.Errorf("got %+v, want %v A, %s", got, tc.want, tc.reason)
			}
		})
	}
}

func TestChargerRoundsSoThatTheShareIsGiven(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW = kw(1) }))
	in.Meters[0].Devices = nil
	in.add(wallbox(3680))
	// 2680 W are left: 11.65 A, rounded down to 11.
	if got := deviceOf(t, Round(in), "wallbox").Command.CurrentA; got != 11 {
		t.Errorf("alone: got %v A, want 11", got)
	}
}

func TestChargerLimitDwells(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW = kw(1) }))
	in.Meters[0].Devices = nil
	in.add(wallbox(3680))
	d := in.device("wallbox")
	d.Commanded, d.ChangedAt = &drivers.Command{CurrentA: 14}, in.Now.Add(-10*time.Second)
	if got := deviceOf(t, Round(in), "wallbox").Command.CurrentA; got != 14 {
		t.Errorf("10 s after a change: got %v A, want 14 kept", got)
	}
	d.ChangedAt = in.Now.Add(-30 * time.Second)
	if got := deviceOf(t, Round(in), "wallbox").Command.CurrentA; got != 11 {
		t.Errorf("30 s after a change: got %v A, want 11", got)
	}
}

func TestReleasedChargerKeepsTheServiceRating(t *testing.T) {
	in := home(t0.Add(time.Hour+119*time.Second), slot())
	in.Meters[0].Devices = nil
	in.add(wallbox(1380))
	in.Events[in.Slots[0].EventID] = Event{Running: true, LastTargetW: 4000}
	d := in.device("wallbox")
	d.Commanded, d.ChangedAt = &drivers.Command{CurrentA: 6}, in.Now.Add(-time.Minute)
	// 6000 W of which the vehicle draws 1380: 3 kW are left for it below 7620.
	in.Site.MaxImportW = 7620
	if got := deviceOf(t, Round(in), "wallbox").Command.CurrentA; got != 10 {
		t.Errorf("got %v A, want a step of 4 A from 6", got)
	}
	in.Site.MaxImportW = 6600 // 1980 W
	if got := deviceOf(t, Round(in), "wallbox").Command.CurrentA; got != 8 {
		t.Errorf("got %v A, want what the service rating leaves", got)
	}
}

func TestThermostatIsUsedOnlyForWhatIsMissing(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.add(hvac())
	if got := deviceOf(t, Round(in), "hvac"); got.Action != Neutral || got.Reason != NotNeeded {
		t.Errorf("4 kW: got %+v, want neutral, not-needed", got)
	}
	in.Slots[0].EnergyKW, in.Slots[0].NominationKW = kw(5.8), kw(5.8)
	if got := deviceOf(t, Round(in), "hvac"); got.Action != Follow || got.Reason != Inhibited {
		t.Errorf("5.8 kW: got %+v, want inhibited", got)
	}
}

func TestRelativeReferenceHoldsTheLoadBeforeTheTimeslotLessTheTarget(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.Meters[0].Reference = Relative
	in.Events[in.Slots[0].EventID] = Event{Running: true, PreLoadW: drivers.Some(6000), PreStart: in.Now}
	// Something of 700 W was switched on since.
	p := in.Site.Point
	p.LoadW, p.UncontrolledW, p.UncontrolledLowW = drivers.Some(6700), drivers.Some(6700), drivers.Some(6700)
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; math.Abs(got-4700) > 60 {
		t.Errorf("got %v W, want 4700: the site is held at 6000 - 4000", got)
	}
	// An hour later the guess has faded, and the devices' own power counts.
	in.Events[in.Slots[0].EventID] = Event{Running: true, PreLoadW: drivers.Some(6000), PreStart: in.Now.Add(-time.Hour)}
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; math.Abs(got-4000) > 60 {
		t.Errorf("faded: got %v W, want 4000", got)
	}
}

func TestTrimCatchesUpWithinTheInterval(t *testing.T) {
	ev := Event{IntervalTargetWh: 100, IntervalDeliveredWh: 80}
	now := t0.Add(10 * time.Minute) // five minutes of the interval are left
	if got, want := trimW(ev, t0.Add(time.Hour), now, 1000), 20*12.0; math.Abs(got-want) > 1e-9 {
		t.Errorf("got %v W, want %v", got, want)
	}
	if got := trimW(Event{IntervalTargetWh: 1000}, t0.Add(time.Hour), now, 1000); got != 1000 {
		t.Errorf("got %v W, want it held to 1000", got)
	}
}

func TestGainCorrectsAConstantError(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.device("battery").Gain = drivers.Some(0.9)
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; math.Abs(got-4444) > 60 {
		t.Errorf("got %v W, want 4000/0.9", got)
	}
	in.device("battery").Gain = drivers.Some(0.1)
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; got != 5000 {
		t.Errorf("got %v W, want 4000/0.8 at the most: a fault is not an error of scale", got)
	}
}

func TestTwoMetersMayShareADevice(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	const second = "dd21c76c-7126-4ef7-b0a6-f190fad300b2"
	in.Meters = append(in.Meters, Meter{ID: second, Device: true, Reference: ByDevice, Devices: []string{"battery"}})
	in.Slots = append(in.Slots, slot(func(r *dispatch.Record) {
		r.MeterID, r.EventID, r.Priority, r.EnergyKW = second, "6ad4bbde-36ee-401f-92b8-c58aa17aa71d", 4, kw(3)
	}))
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; got != 4000 {
		t.Errorf("got %v W, want 4000: what the battery gives counts for both", got)
	}
}

func TestEveryReasonHasAText(t *testing.T) {
	for r, text := range Reasons() {
		if r == "" || text == "" {
			t.Errorf("reason %q has the text %q", r, text)
		}
	}
}
