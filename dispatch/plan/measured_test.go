package plan

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// What is measured has the last word over what is planned.

func TestPlanThatIsNotDeliveredSaysSo(t *testing.T) {
	for after, want := range map[time.Duration]Reason{10 * time.Second: Behind, time.Minute: UnderDelivered} {
		in := home(t0.Add(after), slot())
		in.held(4000)
		in.device("battery").PowerW = drivers.Some(1000)
		in.Events[in.Slots[0].EventID] = Event{Running: true, SteadySince: t0.Add(-10 * time.Second)}
		m := Round(in).Meters[0]
		if m.Reason != want {
			t.Errorf("%v after the start: reason %s, want %s", after, m.Reason, want)
		}
		if want == UnderDelivered && m.ShortW != 3000 {
			t.Errorf("short by %v W, want the 3000 that are missing", m.ShortW)
		}
	}
}

func TestRefusedCommandIsNoCapacity(t *testing.T) {
	in := home(t0.Add(time.Minute), slot())
	in.add(hvac())
	in.held(0)
	in.device("battery").Refused = true
	d := Round(in)
	if got := deviceOf(t, d, "battery"); got.Reason != CommandRefused || got.GiveW != 0 {
		t.Errorf("battery: got %+v, want nothing counted on, command-refused", got)
	}
	if got := deviceOf(t, d, "hvac"); got.Action != Follow {
		t.Errorf("hvac: got %+v, want it to take over", got)
	}
	if m := d.Meters[0]; m.ShortW < 400 || m.Reason != CommandRefused {
		t.Errorf("meter: got %+v, want it short, command-refused", m)
	}
}

func TestLeadRampsToAllThatThereIs(t *testing.T) {
	null := slot(func(r *dispatch.Record) { r.EnergyKW = nil })
	in := home(t0.Add(-12*time.Second), null)
	if got := deviceOf(t, Round(in), "battery"); got.Action != Follow {
		t.Errorf("12 s before the start: got %+v, want the ramp to 5 kW begun (10 s and the dead time)", got)
	}
	in = home(t0.Add(-14*time.Second), null)
	if got := deviceOf(t, Round(in), "battery"); got.Action != Neutral {
		t.Errorf("14 s before the start: got %+v, want neutral", got)
	}
}

// After a restart the vehicle still holds the limit of the process before.
func TestRestartKeepsTheChargersLimit(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(6), kw(6) }))
	w := wallbox(3680)
	w.PowerW, w.Held = drivers.Some(1380), true
	in.add(w)
	in.device("battery").PowerW = drivers.Some(3700)
	d := Round(in)
	if got := deviceOf(t, d, "wallbox").Command.CurrentA; got != 6 {
		t.Errorf("wallbox: got %v A, want the 6 A kept", got)
	}
	if got := deviceOf(t, d, "battery").Command.PowerW; math.Abs(got-3700) > 60 {
		t.Errorf("battery: got %v W, want 3700 kept", got)
	}
	if got := d.Meters[0].DeliveredW.Or(0); got != 6000 {
		t.Errorf("delivered: got %v W, want 6000", got)
	}
}

func TestRaisedTargetIsNoCommitment(t *testing.T) {
	elrp := slot(func(r *dispatch.Record) {
		r.EventID, r.Priority, r.Voluntary = "5ad4bbde-36ee-401f-92b8-c58aa17aa71d", 3, true
		r.EnergyKW, r.Cap = kw(20), dispatch.GridExportsAllowed
	})
	m := settle(home(t0.Add(time.Minute), slot(), elrp)).Meters[0]
	if m.AskedW.Or(0) != 4000 || m.TargetW <= 4000 || m.ShortW != 0 || m.Reason == ShortOfPower {
		t.Errorf("got %+v, want 4000 W asked, more aimed for, nothing short", m)
	}
}
