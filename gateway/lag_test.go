package gateway

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/config"
)

func TestLagIsTheShiftThatFitsBest(t *testing.T) {
	for _, late := range []int{0, 3, 13, 25} {
		var l lag
		told := func(i int) float64 { return 2000 + 1000*math.Sin(float64(i)/9) }
		for i := range 200 {
			l.note(true, true, math.Round(told(i)), told(i-late)+15*math.Sin(float64(i*i)))
		}
		if got := l.rounds; got < late-1 || got > late+1 {
			t.Errorf("late by %d rounds: measured %d", late, got)
		}
	}
}

func TestLagOfWhatStandsIsNotMeasured(t *testing.T) {
	var l lag
	for range 200 {
		l.note(true, true, 3000, 2900)
	}
	if l.rounds != 0 {
		t.Errorf("a set-point that stands shows a lag of %d rounds", l.rounds)
	}
}

func TestSessionCountsSinceTheVehicleWasPluggedIn(t *testing.T) {
	now := time.Date(2026, 7, 21, 14, 0, 0, 0, time.UTC)
	var s session
	for i := range 3601 {
		s.note(now.Add(time.Duration(i)*time.Second), true, drivers.Some(7000))
	}
	if got := s.wh; math.Abs(got-7000) > 1 {
		t.Errorf("an hour of 7 kW: %v Wh", got)
	}
	if got := s.note(now.Add(2*time.Hour), false, drivers.Some(0)); got != 0 {
		t.Errorf("unplugged: %v Wh, want a new session", got)
	}
}

func TestDepartureIsLocalTime(t *testing.T) {
	zone, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		t.Skip("no time zones on this machine:", err)
	}
	seven := 7*time.Hour + 30*time.Minute
	for _, c := range []struct{ now, want string }{
		{"2026-07-21T10:00:00Z", "2026-07-21T14:30:00Z"}, // 03:00 there
		{"2026-07-21T14:30:00Z", "2026-07-22T14:30:00Z"}, // just left
		{"2026-11-01T08:30:00Z", "2026-11-01T15:30:00Z"}, // the clock goes back at 09:00Z
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := nextClock(now, seven, zone).Format(time.RFC3339); got != c.want {
			t.Errorf("at %s: leaves at %s, want %s", c.now, got, c.want)
		}
	}
}

func TestTheTimeThatAReferenceLooksBackOver(t *testing.T) {
	for _, c := range []struct {
		m        config.Meter
		from, to time.Duration
	}{
		{config.Meter{Reference: config.ByBaseline, Baseline: "caiso-10-in-10"}, 4 * time.Hour, time.Hour},
		{config.Meter{Reference: config.ByBaseline, Baseline: "caiso-5-in-10"}, 4 * time.Hour, 2 * time.Hour},
		{config.Meter{Reference: config.ByBaseline, Baseline: "nyiso-average-day"}, 0, 0},
		{config.Meter{Reference: config.ByBaseline, Baseline: "pjm-3-day-types"}, 4 * time.Hour, time.Hour},
		{config.Meter{Reference: config.ByBaseline, Baseline: "pjm-match-day"}, 24 * time.Hour, time.Hour},
		{config.Meter{Reference: config.ByBaseline, Baseline: "meter-before"}, time.Hour, 0},
		{config.Meter{Reference: config.Relative}, 15 * time.Minute, 0},
		{config.Meter{Reference: config.ByDevice}, 0, 0},
	} {
		if from, to := adjustmentWindow(c.m); from != c.from || to != c.to {
			t.Errorf("%s: from %v to %v before the start, want %v to %v", c.m.Reference, from, to, c.from, c.to)
		}
	}
}

// The meter falls silent: what others draw is taken to be as little as it lately
// was, less a margin, and our own loads measure themselves.
func TestSilentMeterGoesByWhatOurLoadsMeasure(t *testing.T) {
	p := &pointWatch{name: "main"}
	now := time.Date(2026, 7, 21, 14, 0, 0, 0, time.UTC)
	main := plan.Device{Name: "main", Kind: drivers.Meter, Fresh: true}
	for i := range 300 {
		others := 3000.0
		if i < 120 {
			others = 1000 // for two minutes
		}
		main.PowerW = drivers.Some(others + 500)
		p.note(now.Add(time.Duration(i)*time.Second), &main, 0, given{normalLoadW: 500})
	}
	main.Fresh = false
	pt := p.note(now.Add(300*time.Second), &main, 10*time.Second, given{normalLoadW: 2500})
	if pt.Fresh || math.Abs(pt.UncontrolledW.V-5500) > 1 {
		t.Errorf("goes on with %v W, want the 3000 of others and 2500 of our own", pt.UncontrolledW.V)
	}
	if want := silentMargin*1000 + 2500; math.Abs(pt.UncontrolledLowW.V-want) > 1 {
		t.Errorf("bounded by %v W, want %v", pt.UncontrolledLowW.V, want)
	}
}

// A battery that can not be read any more is part of what the meter shows: its
// silence is no change of the load.
func TestSilentBatteryIsPartOfTheLoad(t *testing.T) {
	b := plan.Device{Name: "b", Kind: drivers.Battery, Fresh: true, PowerW: drivers.Some(2000)}
	if g := givenBy([]plan.Device{b}); g.sumW != 2000 || g.counted != "b " {
		t.Errorf("got %+v, want 2000 W of b", g)
	}
	b.Fresh = false
	b.Commanded = &drivers.Command{PowerW: 2000}
	if g := givenBy([]plan.Device{b}); g.sumW != 0 || g.counted != "" {
		t.Errorf("silent: got %+v, want nothing counted", g)
	}
}
