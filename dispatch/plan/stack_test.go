package plan

import (
	"fmt"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// cooler is a running air conditioner of 3.5 kW in a room at some temperature.
func cooler(n int, roomC float64) Device {
	d := hvac()
	d.Name, d.Kind, d.MinOn, d.Cost = fmt.Sprintf("ac%d", n), drivers.Thermostat, 3*time.Minute, 30
	d.PowerW, d.NormalW = drivers.Some(3500), drivers.Some(3500)
	d.TemperatureC, d.SetpointC = drivers.Some(roomC), drivers.Some(24)
	return d
}

// held makes a device be held off since a while.
func (in *Input) heldOff(name string, ago time.Duration) {
	d := in.device(name)
	d.Commanded = &drivers.Command{Inhibit: true}
	d.HeldSince, d.ChangedAt, d.FreeSince = in.Now.Add(-ago), in.Now.Add(-ago), time.Time{}
	d.PowerW = drivers.Some(0)
}

// office is a site of air conditioners alone: rooms from 24.0 C in steps of
// 0.1 K, all running, 14 kW, as much as its baseline.
func office(now time.Time, energyKW float64, n int) Input {
	in := home(now, slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(energyKW), kw(energyKW) }))
	in.Devices, in.Meters[0].Devices = in.Devices[:1], nil
	in.Meters[0].Reference = ByBaseline
	load := drivers.Some(3500 * float64(n))
	in.Site.Point.LoadW, in.Site.Point.UncontrolledW, in.Site.Point.UncontrolledLowW = load, load, load
	in.Events[in.Slots[0].EventID] = Event{Running: true, BaselineW: load, PreStart: t0}
	for i := range n {
		in.add(cooler(i, 24+0.1*float64(i)))
	}
	return in
}

func heldOnes(t *testing.T, d Decision) []string {
	t.Helper()
	var names []string
	for _, dd := range d.Devices {
		if dd.Action == Follow && dd.Command.Inhibit {
			names = append(names, dd.Name)
		}
	}
	return names
}

func equal(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func TestTheCoolestRoomsAreHeldOffFirst(t *testing.T) {
	in := office(t0.Add(time.Minute), 6, 4)
	if got, want := heldOnes(t, Round(in)), []string{"ac0", "ac1"}; !equal(got, want) {
		t.Errorf("held off %v, want %v: 7 kW of the 6 that are asked", got, want)
	}
}

func TestTheHottestRoomIsLetGoFirstAndNotTooEarly(t *testing.T) {
	for ago, want := range map[time.Duration][]string{time.Minute: {"ac1", "ac2", "ac3"}, 6 * time.Minute: {"ac1", "ac2"}} {
		in := office(t0.Add(10*time.Minute), 6, 4)
		for _, name := range []string{"ac1", "ac2", "ac3"} {
			in.heldOff(name, ago)
		}
		in.Site.Point.LoadW = drivers.Some(3500)
		if got := heldOnes(t, Round(in)); !equal(got, want) {
			t.Errorf("held off for %v: still held off %v, want %v (10.5 kW of the 6 that are asked)", ago, got, want)
		}
	}
}

func TestARoomAtItsBudgetRuns(t *testing.T) {
	in := office(t0.Add(10*time.Minute), 6, 2)
	in.heldOff("ac0", 6*time.Minute)
	in.device("ac0").TemperatureC = drivers.Some(26.6)
	d := Round(in)
	if got := deviceOf(t, d, "ac0"); got.Action == Follow || got.Reason != ComfortLimit {
		t.Errorf("2.6 K above its set-point: got %+v, want it to run", got)
	}
}

func TestRoomsChangePlaces(t *testing.T) {
	in := office(t0.Add(20*time.Minute), 3.5, 2)
	in.heldOff("ac0", 10*time.Minute)
	in.device("ac0").TemperatureC, in.device("ac1").TemperatureC = drivers.Some(25.6), drivers.Some(23.9)
	in.Site.Point.LoadW = drivers.Some(3500)
	if got, want := heldOnes(t, Round(in)), []string{"ac1"}; !equal(got, want) {
		t.Errorf("held off %v, want %v: its room is 1.7 K better off", got, want)
	}
}

// A battery that can sustain 5 kW is to give 3 with both units running: it does.
// With 4.5 it would be near its end, so a unit is held off.
func TestTheBatteryKeepsRoomBothWays(t *testing.T) {
	for energyKW, want := range map[float64]int{3: 0, 4.5: 1} {
		in := office(t0.Add(time.Minute), energyKW, 2)
		b := battery()
		b.SoC, b.CapacityWh, b.Cost = drivers.Some(100), drivers.Some(40000), 20
		in.add(b)
		if got := heldOnes(t, Round(in)); len(got) != want {
			t.Errorf("%v kW: held off %v, want %d of them", energyKW, got, want)
		}
	}
}

func TestTheOwnersOrderCounts(t *testing.T) {
	in := office(t0.Add(time.Minute), 3, 2)
	b := battery()
	b.SoC, b.CapacityWh, b.Cost = drivers.Some(100), drivers.Some(40000), 50
	in.add(b)
	if got := heldOnes(t, Round(in)); len(got) != 1 {
		t.Errorf("comfort cheaper than the battery: held off %v, want one of them", got)
	}
}

func TestLoadsAreLetGoInTurn(t *testing.T) {
	for gone, want := range map[time.Duration]int{time.Second: 3, 20 * time.Minute: 2, 40 * time.Minute: 1, 70 * time.Minute: 0} {
		in := office(t0.Add(time.Hour+gone), 6, 4)
		in.Policy.ReleaseLoads = 75 * time.Minute
		e := in.Events[in.Slots[0].EventID]
		e.LastTargetW = 6000
		in.Events[in.Slots[0].EventID] = e
		for i := range 4 {
			in.heldOff(fmt.Sprintf("ac%d", i), 10*time.Minute)
		}
		got := heldOnes(t, Round(in))
		if len(got) != want || want > 0 && got[0] != "ac0" {
			t.Errorf("%v after the end: held off %v, want the %d best off", gone, got, want)
		}
	}
}

func TestLoadsStayForATimeslotThatIsNear(t *testing.T) {
	for wait, want := range map[time.Duration]int{20 * time.Minute: 2, 2 * time.Hour: 0} {
		in := office(t0.Add(time.Hour+10*time.Minute), 6, 2)
		e := in.Events[in.Slots[0].EventID]
		e.LastTargetW = 6000
		in.Events[in.Slots[0].EventID] = e
		in.Slots = append(in.Slots, slot(func(r *dispatch.Record) {
			r.EventID, r.Start = "next", in.Now.Add(wait)
			r.End = r.Start.Add(time.Hour)
		}))
		in.heldOff("ac0", 10*time.Minute)
		in.heldOff("ac1", 10*time.Minute)
		d := Round(in)
		if got := heldOnes(t, d); len(got) != want {
			t.Errorf("next timeslot in %v: held off %v, want %d", wait, got, want)
		}
		if want > 0 && deviceOf(t, d, "ac0").Reason != HeldForNext {
			t.Errorf("reason %s, want %s", deviceOf(t, d, "ac0").Reason, HeldForNext)
		}
	}
}

func TestASiteWaitsItsOwnTime(t *testing.T) {
	in := home(t0.Add(time.Hour), slot())
	in.Policy.ReleaseRandom = 10 * time.Minute
	rd := &round{in: &in, index: newIndex(&in)}
	waits := map[time.Duration]bool{}
	for i := range 50 {
		m := Meter{ID: fmt.Sprintf("meter-%d", i)}
		w := rd.ownWait(&m, &in.Slots[0])
		if w < 0 || w >= 10*time.Minute || w != rd.ownWait(&m, &in.Slots[0]) {
			t.Fatalf("meter %d waits %v, want the same time below 10 min each round", i, w)
		}
		waits[w.Truncate(time.Minute)] = true
	}
	if len(waits) < 7 {
		t.Errorf("50 sites wait only %d different minutes", len(waits))
	}
}

func TestPrecoolAheadOfATimeslot(t *testing.T) {
	in := home(t0.Add(-30*time.Minute), slot())
	d := cooler(1, 24)
	d.MaxOffsetK = 2
	in.add(d)
	in.Policy.Precool = 45 * time.Minute
	if got := deviceOf(t, Round(in), "ac1"); got.Action != Follow || got.Command.OffsetK != -1.5 || got.Reason != Precooling {
		t.Errorf("got %+v, want 1.5 K cooler", got)
	}
	in.device("ac1").MaxOffsetK = 0
	if got := deviceOf(t, Round(in), "ac1"); got.Action != Neutral {
		t.Errorf("without a set-point to shift: got %+v, want neutral", got)
	}
}

// 7.4 kW until 21:00 local; 20 kWh are wanted by then.
func TestAVehicleLeavesWithWhatItNeeds(t *testing.T) {
	for depart, want := range map[time.Duration]string{12 * time.Hour: "all", 3 * time.Hour: "some", 90 * time.Minute: "none"} {
		in := home(t0.Add(time.Second), slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(7), kw(7) }))
		w := wallbox(7360)
		w.MaxA, w.DepartAt, w.NeedWh = 32, t0.Add(depart), drivers.Some(18000)
		in.add(w)
		got := deviceOf(t, Round(in), "wallbox")
		drawn := got.Command.CurrentA * 230
		switch {
		case want == "all" && drawn > 1400,
			want == "some" && (drawn < 3200 || drawn > 3700),
			want == "none" && (got.Action == Follow && drawn < 7300 || got.Reason != Departure):
			t.Errorf("leaves in %v: got %+v, %v W, want it to give %s", depart, got, drawn, want)
		}
	}
}

// Relays that nothing measures count as what they are rated for: two of four
// cover 6 kW, then and a minute later.
func TestUnmeasuredRelaysAreNotAllTaken(t *testing.T) {
	in := home(t0.Add(time.Minute), slot(func(r *dispatch.Record) { r.EnergyKW, r.NominationKW = kw(6), kw(6) }))
	in.Devices, in.Meters[0].Devices = in.Devices[:1], nil
	for i := range 4 {
		d := hvac()
		d.Name = fmt.Sprintf("relay%d", i)
		in.add(d)
	}
	if got := heldOnes(t, Round(in)); len(got) != 2 {
		t.Fatalf("held off %v, want two of 3.5 kW for 6 kW", got)
	}
	in.Now = in.Now.Add(time.Minute)
	for _, name := range []string{"relay0", "relay1"} {
		in.heldOff(name, time.Minute)
		in.device(name).PowerW = drivers.Opt{}
	}
	if got, want := heldOnes(t, Round(in)), []string{"relay0", "relay1"}; !equal(got, want) {
		t.Errorf("a minute later: held off %v, want %v", got, want)
	}
}
