package plan

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// ahead is a timeslot of an hour that starts some hours after t0.
func ahead(id string, hours int, priority int, energyKW float64) dispatch.Record {
	return slot(func(r *dispatch.Record) {
		r.EventID, r.Priority, r.EnergyKW, r.NominationKW = id, priority, kw(energyKW), kw(energyKW)
		r.Start = t0.Add(time.Duration(hours) * time.Hour)
		r.End = r.Start.Add(time.Hour)
	})
}

func kept(t *testing.T, d Decision, event string) float64 {
	t.Helper()
	for _, e := range d.Energy {
		if e.EventID == event {
			return e.KeptWh
		}
	}
	t.Fatalf("no energy plan for %s in %+v", event, d.Energy)
	return 0
}

// The battery has 60 % of 13.5 kWh above its reserve: 7695 Wh at the wiring.
const homeWh = 0.6 * 13500 * dischargeEfficiency

func TestEnergyIsGivenOutByRank(t *testing.T) {
	in := home(t0.Add(time.Second), ahead("now", 0, 3, 4), ahead("later", 5, 1, 5))
	d := settle(in)
	if got := kept(t, d, "later"); got != 5000 {
		t.Errorf("the higher rank keeps %v Wh, want its 5000", got)
	}
	if got := deviceOf(t, d, "battery"); math.Abs(got.Command.PowerW-(homeWh-5000)) > 60 || got.Reason != KeptForLater {
		t.Errorf("the lower rank gets %v W, %s; want the %v that are left", got.Command.PowerW, got.Reason, homeWh-5000)
	}
}

func TestEqualRanksShareTheSameFraction(t *testing.T) {
	in := home(t0.Add(time.Second), ahead("now", 0, 2, 5), ahead("later", 5, 2, 5))
	d := settle(in)
	now, later := kept(t, d, "now"), kept(t, d, "later")
	if math.Abs(now-homeWh/2) > 5 || math.Abs(later-homeWh/2) > 5 {
		t.Errorf("kept %v and %v Wh, want half of %v each", now, later, homeWh)
	}
	if got := deviceOf(t, d, "battery").Command.PowerW; math.Abs(got-homeWh/2) > 60 {
		t.Errorf("battery: %v W, want its half, %v", got, homeWh/2)
	}
}

func TestAPeakMayTakeWhatIsToSpareWithinTheInterval(t *testing.T) {
	// 2 kW for two hours need 4 kWh of 7.7: what is to spare may be given at once.
	r := slot(func(r *dispatch.Record) { r.End = t0.Add(2 * time.Hour); r.EnergyKW, r.NominationKW = kw(2), kw(2) })
	in := tracked(t0.Add(time.Minute), r)
	p := in.Site.Point
	p.UncontrolledW, p.UncontrolledLowW = drivers.Some(8000), drivers.Some(8000) // 3 kW above the baseline
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; got != 5000 {
		t.Errorf("battery: got %v W, want all of its 5000", got)
	}
}

func TestTheReadingsStepChangesNothing(t *testing.T) {
	// 6500 Wh for 4 hours of 2 kW: 1625 W even. One step of the state of charge
	// is 13 Wh, 3 W over that time.
	r := slot(func(r *dispatch.Record) { r.End = t0.Add(4 * time.Hour); r.EnergyKW, r.NominationKW = kw(2), kw(2) })
	in := home(t0.Add(time.Second), r)
	in.device("battery").SoC = drivers.Some(70.7)
	first := deviceOf(t, settle(in), "battery").Command.PowerW
	in.held(first)
	in.device("battery").SoC = drivers.Some(70.65)
	if got := deviceOf(t, Round(in), "battery").Command.PowerW; got != first {
		t.Errorf("half a step less of charge moves the set-point from %v to %v W", first, got)
	}
}

func TestPrechargeAheadOfATimeslotThatNeedsMore(t *testing.T) {
	for name, c := range map[string]struct {
		wait, window, to time.Duration
		inWindow, after  bool
		want             float64
	}{
		"within its time":         {wait: time.Hour, want: -missingW},
		"too early":               {wait: 3 * time.Hour},
		"in the baseline's time":  {wait: time.Hour, window: 4 * time.Hour, to: 30 * time.Minute},
		"there, by the owner":     {wait: time.Hour, window: 4 * time.Hour, to: 30 * time.Minute, inWindow: true, want: -missingW},
		"in that of one before":   {wait: time.Hour, after: true},
		"there, by the owner too": {wait: time.Hour, after: true, inWindow: true, want: -missingW},
		"after it":                {wait: time.Hour, window: 4 * time.Hour, to: time.Hour, want: -missingW},
	} {
		in := home(t0.Add(-c.wait), slot(func(r *dispatch.Record) { r.End = t0.Add(3 * time.Hour) }))
		in.Policy.Precharge, in.Policy.PrepareInWindow = 2*time.Hour, c.inWindow
		in.Meters[0].WindowFrom, in.Meters[0].WindowTo = c.window, c.to
		in.Meters[0].InAfter = c.after
		in.device("battery").MaxChargeW = drivers.Some(6000)
		got := deviceOf(t, settle(in), "battery")
		if math.Abs(got.Command.PowerW-c.want) > 60 {
			t.Errorf("%s: got %v W (%s), want %v", name, got.Command.PowerW, got.Reason, c.want)
		}
	}
}

// 4 kW for 3 h need 12 kWh, 7695 Wh are there; the rest goes through charging
// and discharging within the hour.
const missingW = (12000 - homeWh) / dischargeEfficiency / chargeEfficiency

func TestPrechargeKeepsTheServiceRating(t *testing.T) {
	in := home(t0.Add(-time.Hour), slot(func(r *dispatch.Record) { r.End = t0.Add(3 * time.Hour) }))
	in.Policy.Precharge = 2 * time.Hour
	in.Site.MaxImportW = 8000 // and 6000 are drawn
	in.device("battery").MaxChargeW = drivers.Some(6000)
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; got < -2000 || got > -1900 {
		t.Errorf("got %v W, want the 2000 that the service rating leaves", got)
	}
}
