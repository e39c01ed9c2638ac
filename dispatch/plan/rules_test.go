package plan

import (
	"cmp"
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// The rows of domain.md 2.2 that the planner decides. The rows that are about
// merging are tested in package dispatch.

func TestRunningTimeslotIsDelivered(t *testing.T) {
	d := settle(home(t0.Add(time.Minute), slot()))
	if got := deviceOf(t, d, "battery"); got.Action != Follow || got.Command.PowerW != 4000 || got.Reason != Following {
		t.Errorf("battery: got %+v, want 4000 W, following", got)
	}
	if m := d.Meters[0]; m.State != dispatch.Active || m.TargetW != 4000 || m.ShortW != 0 {
		t.Errorf("meter: got %+v, want active, 4000 W, nothing short", m)
	}
}

func TestCancelBeforeStartLeavesDevicesAlone(t *testing.T) {
	in := home(t0.Add(-2*time.Second), slot(func(r *dispatch.Record) { r.Cancelled, r.CancelledAt = true, t0.Add(-time.Minute) }))
	if got := deviceOf(t, Round(in), "battery"); got.Action != Neutral || got.Reason != Idle {
		t.Errorf("got %+v, want neutral, idle", got)
	}
}

func TestCancelDuringIsAnEndWithRelease(t *testing.T) {
	cancelled := slot(func(r *dispatch.Record) { r.Cancelled, r.CancelledAt = true, t0.Add(10*time.Minute) })
	for _, tc := range []struct {
		after time.Duration
		want  float64
	}{{0, 4000}, {time.Minute, 2000}, {90 * time.Second, 1000}} {
		in := home(t0.Add(10*time.Minute+tc.after), cancelled)
		in.Events[cancelled.EventID] = Event{Running: true, LastTargetW: 4000}
		in.held(tc.want)
		got := deviceOf(t, Round(in), "battery")
		if got.Reason != Releasing || math.Abs(got.Command.PowerW-tc.want) > 60 {
			t.Errorf("%v after the cancel: got %+v, want releasing near %v W", tc.after, got, tc.want)
		}
	}
	in := home(t0.Add(13*time.Minute), cancelled)
	in.Events[cancelled.EventID] = Event{Running: true, LastTargetW: 4000}
	if got := deviceOf(t, Round(in), "battery"); got.Action != Neutral {
		t.Errorf("after the release: got %+v, want neutral", got)
	}
}

func TestReleaseOfZeroIsAtOnce(t *testing.T) {
	in := home(t0.Add(time.Hour), slot())
	in.Policy.Release = 0
	in.held(4000)
	in.Events[in.Slots[0].EventID] = Event{Running: true, LastTargetW: 4000}
	if got := deviceOf(t, Round(in), "battery"); got.Action != Neutral {
		t.Errorf("got %+v, want neutral at the end", got)
	}
}

func TestBackToBackHandsOverWithoutADip(t *testing.T) {
	next := slot(func(r *dispatch.Record) {
		r.EventID = "4ad4bbde-36ee-401f-92b8-c58aa17aa71d"
		r.Start, r.End = t0.Add(time.Hour), t0.Add(2*time.Hour)
	})
	for _, at := range []time.Duration{59*time.Minute + 59*time.Second, time.Hour, time.Hour + time.Second} {
		in := home(t0.Add(at), slot(), next)
		in.held(4000)
		in.Events[in.Slots[0].EventID] = Event{Running: true, LastTargetW: 4000}
		if got := deviceOf(t, Round(in), "battery"); got.Action != Follow || got.Command.PowerW != 4000 {
			t.Errorf("at %v: got %+v, want 4000 W throughout", at, got)
		}
	}
}

func TestKWChangeInFlightIsRampLimited(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW = kw(5); r.NominationKW = kw(5) }))
	in.held(1000)
	if got := deviceOf(t, Round(in), "battery").Command.PowerW; got != 1500 {
		t.Errorf("got %v W one round after 1000 W, want 1500 (10 %% of 5 kW a second)", got)
	}
}

func TestLateArrivalStartsAtTheRampLimit(t *testing.T) {
	in := home(t0.Add(20*time.Minute), slot(func(r *dispatch.Record) { r.FirstSeen = t0.Add(20 * time.Minute) }))
	if got := deviceOf(t, Round(in), "battery"); got.Action != Follow || got.Command.PowerW != 500 {
		t.Errorf("got %+v, want 500 W in the first round", got)
	}
}

func TestFullyPastIsNeverActuated(t *testing.T) {
	in := home(t0.Add(2*time.Hour), slot(func(r *dispatch.Record) { r.FirstSeen = t0.Add(90 * time.Minute) }))
	d := Round(in)
	if got := slotOf(t, d, in.Slots[0].EventID); got.State != dispatch.Expired {
		t.Errorf("slot: got %+v, want expired", got)
	}
	if got := deviceOf(t, d, "battery"); got.Action != Neutral {
		t.Errorf("battery: got %+v, want neutral", got)
	}
}

func TestOverlapHigherRankWinsAndLowerMayRaise(t *testing.T) {
	elrp := slot(func(r *dispatch.Record) {
		r.EventID, r.Priority, r.Voluntary = "5ad4bbde-36ee-401f-92b8-c58aa17aa71d", 3, true
		r.EnergyKW, r.Cap = nil, dispatch.GridExportsAllowed
	})
	in := home(t0.Add(time.Minute), slot(), elrp)
	d := settle(in)
	if got := slotOf(t, d, elrp.EventID); got.State != dispatch.Suppressed || got.Reason != HigherPriority {
		t.Errorf("voluntary slot: got %+v, want suppressed, higher-priority", got)
	}
	// 60 % of 13.5 kWh is 7.7 kWh at the wiring: 4 kW for the hour leaves more
	// than 1 kW of spare power, and the battery's limit is 5 kW.
	if got := deviceOf(t, d, "battery").Command.PowerW; got != 5000 {
		t.Errorf("battery: got %v W, want the 4000 W that rank first raised to 5000", got)
	}
	in.device("battery").SoC = drivers.Some(20 + 4.0/13.5*100/dischargeEfficiency)
	in.device("battery").Commanded = nil
	if got := settle(in).Meters[0].TargetW; math.Abs(got-4000) > 80 {
		t.Errorf("target: got %v W, want no more than the 4000 W that the energy covers", got)
	}
}

func TestEnergyNullMeansTheMost(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW = nil }))
	d := settle(in)
	if got := deviceOf(t, d, "battery").Command.PowerW; got < 5000-smallestStepW {
		t.Errorf("got %v W, want all 5000", got)
	}
	if m := d.Meters[0]; m.AskedW.OK || m.TargetW != 5000 {
		t.Errorf("meter: got %+v, want nothing asked in figures and a target of 5000 W", m)
	}
}

func TestCapsAndBasis(t *testing.T) {
	const huge = 1e6
	for name, tc := range map[string]struct {
		energy, nomination *float64
		cap                dispatch.Cap
		basis              string
		want               float64 // +Inf: all
		owed               float64 // 0: as want
	}{
		"energy below nomination":                {kw(8), kw(10), dispatch.UpToSiteLoad, BasisEnergy, 8000, 0},
		"basis nomination":                       {kw(8), kw(10), dispatch.UpToSiteLoad, BasisNomination, 10000, 0},
		"basis max-paid, up to nomination":       {kw(8), kw(10), dispatch.UpToNomination, BasisMaxPaid, 10000, 8000},
		"basis max-paid, up to site load":        {kw(8), kw(10), dispatch.UpToSiteLoad, BasisMaxPaid, math.Inf(1), 8000},
		"null energy, up to nomination":          {nil, kw(10), dispatch.UpToNomination, BasisEnergy, 10000, 0},
		"null energy, exports":                   {nil, kw(10), dispatch.GridExportsAllowed, BasisEnergy, math.Inf(1), 0},
		"energy above nomination is clamped":     {kw(12), kw(10), dispatch.UpToNomination, BasisEnergy, 10000, 0},
		"energy above nomination, exports":       {kw(12), kw(10), dispatch.GridExportsAllowed, BasisEnergy, 12000, 0},
		"no nomination":                          {kw(8), nil, dispatch.UpToNomination, BasisNomination, 8000, 0},
		"unknown cap is taken as the narrowest":  {kw(12), kw(10), "up-to-the-moon", BasisEnergy, 10000, 0},
		"both null under an unknown cap: as all": {nil, nil, "up-to-the-moon", BasisEnergy, math.Inf(1), 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW, r.Cap = tc.energy, tc.nomination, tc.cap })
			if got := asked(&r, tc.basis); got != tc.want {
				t.Errorf("got %v, want %v", math.Min(got, huge), math.Min(tc.want, huge))
			}
			want := cmp.Or(tc.owed, tc.want)
			if got := Owed(&r, Policy{Basis: tc.basis}); got.OK == math.IsInf(want, 0) || got.OK && got.V != want {
				t.Errorf("owed %v, want %v", got, want)
			}
		})
	}
}

func TestNoExportBeyondTheLimits(t *testing.T) {
	for name, tc := range map[string]struct {
		cap       dispatch.Cap
		maxExport float64
		want      float64
		reason    Reason
	}{
		"up to site load stops at zero":         {dispatch.UpToSiteLoad, 5000, 3000, SiteLoadZero},
		"exports paid, forbidden by the owner":  {dispatch.GridExportsAllowed, 0, 3000, ExportLimited},
		"exports paid and allowed up to 500 W":  {dispatch.GridExportsAllowed, 500, 3500, ExportLimited},
		"exports paid and allowed":              {dispatch.GridExportsAllowed, 5000, 4000, OnTarget},
		"up to nomination, export forbidden":    {dispatch.UpToNomination, 0, 3000, ExportLimited},
		"an unknown cap never leads to exports": {"up-to-the-moon", 5000, 3000, ExportLimited},
	} {
		t.Run(name, func(t *testing.T) {
			in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.Cap = tc.cap }))
			in.Site.MaxExportW = tc.maxExport
			in.Site.Point.LoadW, in.Site.Point.UncontrolledW = drivers.Some(3000), drivers.Some(3000)
			in.Site.Point.UncontrolledLowW = drivers.Some(3000)
			d := settle(in)
			got := deviceOf(t, d, "battery").Command.PowerW
			if got > tc.want || got < tc.want-60 {
				t.Errorf("battery: got %v W, want %v", got, tc.want)
			}
			if r := d.Meters[0].Reason; r != tc.reason {
				t.Errorf("reason: got %s, want %s", r, tc.reason)
			}
		})
	}
}

func TestVoluntaryPolicy(t *testing.T) {
	voluntary := slot(func(r *dispatch.Record) { r.Voluntary = true })
	for name, tc := range map[string]struct {
		policy string
		above  float64
		want   float64
		action Action
	}{
		"follow":           {VoluntaryFollow, 0, 4000, Follow},
		"ignore":           {VoluntaryIgnore, 0, 0, Neutral},
		"above 50 %":       {VoluntaryAboveSoC, 50, 4000, Follow},
		"above 80 % is no": {VoluntaryAboveSoC, 80, 0, Follow},
	} {
		t.Run(name, func(t *testing.T) {
			in := home(t0.Add(time.Minute), voluntary)
			in.Policy.Voluntary, in.Policy.VoluntaryAboveSoC = tc.policy, tc.above
			in.Slots[0].End = t0.Add(30 * time.Minute)
			got := deviceOf(t, settle(in), "battery")
			if got.Action != tc.action || got.Command.PowerW != tc.want {
				t.Errorf("got %+v, want %s %v W", got, tc.action, tc.want)
			}
		})
	}
}

func TestVoluntaryNeverEatsWhatACommittedOneNeedsWithinADay(t *testing.T) {
	committed := slot(func(r *dispatch.Record) {
		r.EventID, r.Priority = "4ad4bbde-36ee-401f-92b8-c58aa17aa71d", 5
		r.Start, r.End = t0.Add(5*time.Hour), t0.Add(6*time.Hour)
	})
	in := home(t0.Add(time.Second), slot(func(r *dispatch.Record) { r.Voluntary, r.Priority = true, 2 }), committed)
	got := deviceOf(t, settle(in), "battery")
	stored := 0.60 * 13500 * dischargeEfficiency
	want := stored - 4000 // over the hour that the voluntary one lasts
	if math.Abs(got.Command.PowerW-want) > 60 || got.Reason != KeptForLater {
		t.Errorf("got %+v, want about %.0f W, kept-for-later", got, want)
	}
}

func TestEnergyIsSpreadFlat(t *testing.T) {
	in := home(t0, slot(func(r *dispatch.Record) { r.End = t0.Add(4 * time.Hour) }))
	in.device("battery").SoC = drivers.Some(60)
	got := deviceOf(t, settle(in), "battery")
	want := 0.40 * 13500 * dischargeEfficiency / 4
	if math.Abs(got.Command.PowerW-want) > 60 || got.Reason != EnergySpread {
		t.Errorf("got %+v, want %.0f W for four hours, energy-spread", got, want)
	}
}

func TestTheReserveIsInviolable(t *testing.T) {
	for _, soc := range []drivers.Opt{drivers.Some(20), drivers.Some(5), {}} {
		in := home(t0.Add(time.Minute), slot())
		in.held(4000)
		in.device("battery").SoC = soc
		got := deviceOf(t, Round(in), "battery")
		if got.Command.PowerW != 0 {
			t.Errorf("state of charge %v: got %+v, want 0 W at once", soc, got)
		}
	}
}
