package plan

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// What a target is measured against, and what other meters' devices give.

// tracked is a home whose target is measured against a baseline of 5 kW while
// the site draws 6 kW by itself.
func tracked(now time.Time, slots ...dispatch.Record) Input {
	in := home(now, slots...)
	in.Meters[0].Reference = ByBaseline
	in.Events[slots[0].EventID] = Event{Running: true, BaselineW: drivers.Some(5000), PreLoadW: drivers.Some(9000), PreStart: slots[0].Start}
	return in
}

func TestBaselineIsHeldLessTheTarget(t *testing.T) {
	in := tracked(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(2), kw(2) }))
	d := settle(in)
	// 5 kW less 2 kW is 3 kW at the meter: of the 6 kW the battery gives 3.
	if got := deviceOf(t, d, "battery").Command.PowerW; math.Abs(got-3000) > 60 {
		t.Errorf("battery: got %v W, want 3000", got)
	}
	m := d.Meters[0]
	if m.Reference != ByBaseline || m.BaselineW.V != 5000 {
		t.Errorf("meter: got %+v, want it measured by the baseline of 5000 W", m)
	}
}

func TestBaselineDoesNotFade(t *testing.T) {
	r := slot(func(r *dispatch.Record) { r.End = t0.Add(4 * time.Hour); r.EnergyKW, r.NominationKW = kw(1), kw(1) })
	if m := Round(tracked(t0.Add(3*time.Hour), r)).Meters[0]; m.Reference != ByBaseline {
		t.Errorf("after 3 h: measured by %s, want the baseline", m.Reference)
	}
}

func TestWithoutHistoryTheLoadBeforeCounts(t *testing.T) {
	in := tracked(t0.Add(time.Minute), slot())
	e := in.Events[in.Slots[0].EventID]
	e.BaselineW = drivers.Opt{}
	in.Events[in.Slots[0].EventID] = e
	if m := Round(in).Meters[0]; m.Reference != Relative {
		t.Errorf("measured by %s, want relative", m.Reference)
	}
}

// What a device of another meter gives at the same point is seen there already.
func TestOtherMetersDevicesCountAtTheSamePoint(t *testing.T) {
	in := tracked(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(3), kw(3) }))
	other := battery()
	other.Name, other.PowerW, other.Commanded = "other", drivers.Some(2000), &drivers.Command{PowerW: 2000}
	in.Devices = append(in.Devices, other)
	in.Meters = append(in.Meters, Meter{ID: secondMeter, Device: true, Reference: ByDevice, Devices: []string{"other"}})
	in.Slots = append(in.Slots, slot(func(r *dispatch.Record) {
		r.EventID, r.MeterID, r.Priority = "other-event", secondMeter, 1
		r.EnergyKW, r.NominationKW = kw(2), kw(2)
	}))
	in.Site.Point.LoadW = drivers.Some(4000) // 6 kW less the other's 2
	// 5 kW less 3 is 2 kW at the meter; it shows 4.
	if got := deviceOf(t, settle(in), "battery").Command.PowerW; math.Abs(got-2000) > 60 {
		t.Errorf("battery: got %v W, want the 2000 that are missing at the meter", got)
	}
}

func TestBatteryTakesWhatIsTooMuchWhereTheOwnerLetsIt(t *testing.T) {
	for _, may := range []bool{false, true} {
		in := tracked(t0.Add(time.Minute), slot(func(r *dispatch.Record) {
			r.EnergyKW, r.NominationKW, r.Cap = kw(2), kw(2), dispatch.GridExportsAllowed
		}))
		in.Policy.ChargeToTarget = may
		in.Site.MaxExportW = 5000
		in.device("battery").MaxChargeW = drivers.Some(3000)
		p := in.Site.Point
		p.UncontrolledW, p.UncontrolledLowW, p.LoadW = drivers.Some(2000), drivers.Some(2000), drivers.Some(2000)
		want, reason := 0.0, NotNeeded
		if may {
			want, reason = -1000, Charging // 5 kW less 2 is 3 kW at the meter, and it shows 2
		}
		got := deviceOf(t, settle(in), "battery")
		if math.Abs(got.Command.PowerW-want) > 60 || got.Reason != reason {
			t.Errorf("allowed %v: got %v W, %s; want %v, %s", may, got.Command.PowerW, got.Reason, want, reason)
		}
	}
}

// ownBaseline is a battery that is settled at itself, with a program that takes
// 1.35 kW of discharge for granted.
func ownBaseline(now time.Time, slots ...dispatch.Record) Input {
	in := tracked(now, slots...)
	m := &in.Meters[0]
	m.Device, m.Point, m.MeasuredBy = true, nil, "battery"
	in.Events[slots[0].EventID] = Event{Running: true, BaselineW: drivers.Some(-1350)}
	return in
}

func TestADeviceGivesBeyondItsOwnBaseline(t *testing.T) {
	in := ownBaseline(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(2), kw(2) }))
	in.held(3350)
	d := settle(in)
	if got := deviceOf(t, d, "battery").Command.PowerW; math.Abs(got-3350) > 60 {
		t.Errorf("battery: got %v W, want the 2000 that are asked beyond 1350", got)
	}
	m := d.Meters[0]
	if m.Reference != ByBaseline || m.BaselineW.V != -1350 || math.Abs(m.DeliveredW.V-2000) > 60 {
		t.Errorf("meter: got %+v, want 2000 W delivered against -1350", m)
	}
}

// A charger that a car draws 7 kW from by itself, where 5 kW are usual: 2 kW of
// drift and 2 kW of target.
func TestADevicesDriftIsMadeUp(t *testing.T) {
	in := ownBaseline(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(2), kw(2) }))
	box := wallbox(7000)
	box.Phases, box.MaxA = 3, 16
	in.Devices = append(in.Devices, box)
	in.Meters[0].Devices, in.Meters[0].MeasuredBy = []string{"wallbox"}, "wallbox"
	in.Events[in.Slots[0].EventID] = Event{Running: true, BaselineW: drivers.Some(5000)}
	md := Round(in).Meters[0]
	if md.Reference != ByBaseline || math.Abs(md.DeliveredW.V+2000) > 1 || md.PlannedW < 3900 {
		t.Errorf("got %+v, want -2000 W so far and 4000 W of the charger", md)
	}
}

func TestADeviceThatIsNotReadHasItsOwnPowerAlone(t *testing.T) {
	in := ownBaseline(t0.Add(time.Minute), slot())
	in.device("battery").Fresh = false
	if md := Round(in).Meters[0]; md.Reference != ByDevice || md.BaselineW.OK {
		t.Errorf("got %+v, want it without a baseline", md)
	}
}

// The drift counts for why it is not more: 4 kW are asked of a battery of 5 kW
// that has 1.35 kW of its own to give first, or whose site draws 1.35 kW more
// than usual.
func TestDriftThatTheDevicesCanNotMakeUpIsNamed(t *testing.T) {
	ask := slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(4), kw(4) })
	for what, in := range map[string]Input{"device": ownBaseline(t0.Add(time.Minute), ask), "site": tracked(t0.Add(time.Minute), ask)} {
		if what == "site" {
			in.Events[ask.EventID] = Event{Running: true, BaselineW: drivers.Some(4650)}
		}
		in.held(5000)
		if md := Round(in).Meters[0]; md.Reason != ShortOfPower || math.Abs(md.ShortW-350) > 60 {
			t.Errorf("%s: %s, %v W short; want 350 W short of power", what, md.Reason, md.ShortW)
		}
	}
}
