package gateway

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/store"
)

func TestDriverMemoryForgetsWhatIsEmpty(t *testing.T) {
	st, _, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	m := memory{st, "hvac"}
	for _, value := range []string{"", "23.5", ""} {
		if err := m.Save([]byte(value)); err != nil {
			t.Fatal(err)
		}
		got, err := m.Load()
		if err != nil || string(got) != value || (value == "" && got != nil) {
			t.Errorf("saved %q, got %q, %v; nothing must be nil", value, got, err)
		}
	}
}

func TestStopIsLatchedBesideTheStore(t *testing.T) {
	dir := t.TempDir()
	l := openLatch(dir)
	if stopped, _ := l.state(); stopped {
		t.Fatal("stopped before anybody asked")
	}
	if err := l.stop("http 127.0.0.1", time.Now()); err != nil {
		t.Fatal(err)
	}
	if stopped, by := openLatch(dir).state(); !stopped || by != "http 127.0.0.1" {
		t.Errorf("after a restart: stopped %t by %q", stopped, by)
	}
	if err := os.WriteFile(filepath.Join(dir, latchFile), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stopped, _ := openLatch(dir).state(); !stopped {
		t.Error("an unreadable latch must count as a STOP")
	}
	if err := l.resume(); err != nil {
		t.Fatal(err)
	}
	if stopped, _ := openLatch(dir).state(); stopped {
		t.Error("stopped again after resume and restart")
	}
}

// TestStopAndResumeAtOnceAgree: whatever wins, the file and the process say
// the same.
func TestStopAndResumeAtOnceAgree(t *testing.T) {
	dir := t.TempDir()
	l := openLatch(dir)
	for range 50 {
		var wg sync.WaitGroup
		wg.Go(func() { l.stop("a", time.Now()) })
		wg.Go(func() { l.resume() })
		wg.Wait()
		now, _ := l.state()
		if later, _ := openLatch(dir).state(); later != now {
			t.Fatalf("stopped %t, after a restart %t", now, later)
		}
	}
}

func TestEventCountsOnlyItsOwnDevices(t *testing.T) {
	start := time.Date(2026, 7, 21, 23, 0, 0, 0, time.UTC)
	es := newEvents()
	schedule := dispatch.NewSchedule([]dispatch.Record{{Timeslot: dispatch.Timeslot{
		EventID: "e", MeterID: "m", Start: start, End: start.Add(time.Hour)}}})
	d := plan.Decision{Now: start, Slots: []plan.SlotDecision{{EventID: "e", MeterID: "m", State: dispatch.Active}}, Meters: []plan.MeterDecision{{ID: "m", EventID: "e", State: dispatch.Active,
		TargetW: 3600, DeliveredW: drivers.Some(1800), PlannedW: 3600}}}
	es.begin(d, schedule, func(dispatch.Record) (drivers.Opt, map[string]drivers.Opt) { return drivers.Opt{}, nil }, map[string]drivers.Opt{"car": drivers.Some(3680)})
	commanded := &drivers.Command{PowerW: 3600}
	in := plan.Input{Now: start.Add(2 * time.Second), Meters: []plan.Meter{{ID: "m", Devices: []string{"mine"}}},
		Devices: []plan.Device{
			{Name: "mine", Kind: drivers.Battery, Fresh: true, PowerW: drivers.Some(1800), Commanded: commanded},
			{Name: "other", Kind: drivers.Battery, Fresh: true, PowerW: drivers.Some(1800), Commanded: commanded},
		}}
	es.account(d, in)
	e, _ := es.get("e")
	if len(e.Intervals) != 1 || e.Intervals[0].TargetWh != 2 || e.Intervals[0].DeliveredWh != 1 || e.Intervals[0].Seconds != 2 {
		t.Errorf("intervals: %+v, want 2 Wh of target and 1 Wh delivered in 2 s", e.Intervals)
	}
	if e.NormalW["car"].V != 3680 {
		t.Errorf("normals: %v, want what the car drew before", e.NormalW)
	}
	if e.DeviceWh["mine"] != 1 || e.DeviceWh["other"] != 0 {
		t.Errorf("devices: %v, want mine alone with 1 Wh", e.DeviceWh)
	}
}

func TestRowOfTimeslotsKeepsTheEvidenceOfItsFirst(t *testing.T) {
	start := time.Date(2026, 7, 21, 14, 0, 0, 0, time.UTC)
	first := dispatch.Record{Timeslot: dispatch.Timeslot{EventID: "a", MeterID: "m", Start: start, End: start.Add(time.Hour)}}
	next := dispatch.Record{Timeslot: dispatch.Timeslot{EventID: "b", MeterID: "m", Start: first.End, End: first.End.Add(time.Hour)}}
	fresh := func(dispatch.Record) (drivers.Opt, map[string]drivers.Opt) { return drivers.Some(1), nil }
	follow := func(es *events, s *dispatch.Schedule, id string, at time.Time) event {
		es.begin(plan.Decision{Now: at, Slots: []plan.SlotDecision{{EventID: id, MeterID: "m", State: dispatch.Active}}, Meters: []plan.MeterDecision{{ID: "m", EventID: id, State: dispatch.Active}}}, s, fresh, nil)
		e, _ := es.get(id)
		return e
	}
	es, s := newEvents(), dispatch.NewSchedule([]dispatch.Record{first, next})
	es.byID["a"] = &event{EventID: "a", MeterID: "m", Start: first.Start, End: first.End, Followed: true, PreLoadW: drivers.Some(6000), PreStart: start}
	if e := follow(es, s, "b", next.Start); e.PreLoadW.V != 6000 || !e.PreStart.Equal(start) {
		t.Errorf("back to back: %+v, want the evidence of the first", e)
	}
	es = newEvents()
	es.byID["a"] = &event{EventID: "a", MeterID: "m", Start: first.Start, End: first.End, Suppressed: plan.CommTest, PreLoadW: drivers.Some(6000), PreStart: start}
	if e := follow(es, s, "b", next.Start); e.PreLoadW.V != 1 || !e.PreStart.Equal(next.Start) {
		t.Errorf("after a test that was not carried out: %+v, want evidence of its own", e)
	}
	first.Cancelled, first.CancelledAt = true, start.Add(10*time.Minute)
	es, s = newEvents(), dispatch.NewSchedule([]dispatch.Record{first, next})
	es.byID["a"] = &event{EventID: "a", MeterID: "m", Start: first.Start, End: first.End, Followed: true, PreLoadW: drivers.Some(6000), PreStart: start}
	if e := follow(es, s, "b", next.Start); e.PreLoadW.V != 1 {
		t.Errorf("after one that was cancelled long ago: %+v, want evidence of its own", e)
	}
}

func TestGainIsMeasuredWhileTheTrimCreeps(t *testing.T) {
	var w watch
	now := time.Date(2026, 7, 21, 14, 0, 0, 0, time.UTC)
	for i := range 60 {
		command := drivers.Command{PowerW: 4000 + float64(i)}
		w.note(now.Add(time.Duration(i)*time.Second), &command, drivers.Some(0.93*command.PowerW), true)
	}
	if g := w.gain; !g.OK || g.V < 0.92 || g.V > 0.94 {
		t.Errorf("gain %+v, want about 0.93", g)
	}
	var dead watch
	for i := range 60 {
		dead.note(now.Add(time.Duration(i)*time.Second), &drivers.Command{PowerW: 4000 + float64(i)}, drivers.Some(0), true)
	}
	if !dead.unresponsive(now.Add(time.Minute)) {
		t.Error("a battery that gives nothing for a minute is not called unresponsive")
	}
}

func TestNormalOfAVehicleIsWhatItDrawsSinceItCharges(t *testing.T) {
	w := watch{vehicle: true}
	now := time.Date(2026, 7, 21, 14, 0, 0, 0, time.UTC)
	for i := range 60 {
		power := 0.0
		if i >= 32 {
			power = min(11000, 1500*float64(i-31)) // plugged in, ramps up for 7 s
		}
		w.note(now.Add(time.Duration(i)*time.Second), nil, drivers.Some(power), true)
		got := w.normalW()
		switch {
		case i < 32 && (!got.OK || got.V != 0):
			t.Errorf("%d s, not plugged in: got %+v, want 0", i, got)
		case i >= 32 && i < 39 && got.OK:
			t.Errorf("%d s, ramping up: got %+v, want unknown", i, got)
		case i >= 48 && got.V < 10000:
			t.Errorf("%d s, charging: got %+v, want what it draws", i, got)
		}
	}
	w.note(now.Add(61*time.Second), nil, drivers.Some(0), true)
	if got := w.normalW(); !got.OK || got.V != 0 {
		t.Errorf("ended: got %+v, want 0", got)
	}
}

// A charger is silent until its lease has run out, and comes back still held:
// by its own timer, or because it has none. What it then draws is no measure of
// what it would draw.
func TestNormalOutlivesASilentDevice(t *testing.T) {
	var w watch
	now := time.Date(2026, 7, 21, 14, 0, 0, 0, time.UTC)
	hold := &drivers.Command{CurrentA: 6}
	round := func(command *drivers.Command, power float64, fresh, neutral bool) {
		now = now.Add(time.Second)
		w.heed(now, fresh, neutral)
		seen := drivers.Some(power)
		if !fresh {
			seen = drivers.Opt{}
		}
		w.note(now, command, seen, true)
	}
	for range 60 {
		round(nil, 11000, true, false)
	}
	for range 60 {
		round(hold, 4100, true, false)
	}
	for i := range 35 {
		command := hold
		if i > 10 {
			command = nil // the lease ran out
		}
		round(command, 0, false, false)
	}
	if got := w.normalW(); got.V != 11000 || !w.held() {
		t.Errorf("silent: normal %+v, held %v; want 11000 W, held", got, w.held())
	}
	for range 60 { // heard, not yet released: a release is refused, say
		round(nil, 4100, true, false)
	}
	if got := w.normalW(); got.V != 11000 || !w.held() {
		t.Errorf("back and not released: normal %+v, held %v; want 11000 W, held", got, w.held())
	}
	round(nil, 4100, true, true)
	round(nil, 4200, true, true)
	round(hold, 4200, true, false)
	if got := w.normalW(); got.V != 11000 {
		t.Errorf("commanded again: normal %+v, want 11000 W as before", got)
	}
	round(nil, 4200, true, true) // the end of the timeslot, in order
	for range 60 {
		round(nil, 7000, true, true)
	}
	if got := w.normalW(); got.V != 7000 || w.held() {
		t.Errorf("left alone for a minute: normal %+v, held %v; want 7000 W", got, w.held())
	}
}
