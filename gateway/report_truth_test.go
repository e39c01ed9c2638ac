package gateway

import (
	"math"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/gateway/config"
	"nominald/gateway/sim/plant"
	"nominald/gateway/status"
)

// plantPort is a simulated plant's place on a bus.
type plantPort struct {
	battery *plant.Battery // nil: the meter
	reading drivers.Reading
	lease   *drivers.Lease
	silent  bool
}

func (p *plantPort) Snapshot() bus.Snapshot {
	s := bus.Snapshot{Reading: p.reading, Tried: true, Online: !p.silent, LastSeen: p.reading.At, Lease: p.lease, Neutral: p.lease == nil}
	if p.lease != nil {
		s.Applied, s.AppliedAt = p.lease.Command, p.reading.At
	}
	return s
}

func (p *plantPort) Lease(l drivers.Lease) {
	p.lease = &l
	p.battery.Command(l.Command.PowerW)
}

func (p *plantPort) Neutral() {
	p.lease = nil
	if p.battery != nil {
		p.battery.Command(0)
	}
}

// trueSite is a bakery with a battery: the plants of the simulated site under
// the real control, stepped. It keeps its own account of what was true.
type trueSite struct {
	t       *testing.T
	now     time.Time
	load    *plant.Load
	meter   *plant.Meter
	battery *plant.Battery
	ports   map[string]*plantPort
	stepped *Stepped
	netW    float64
	gain    float64 // of the meter; a right one has 1
	rows    []truthRow
}

// truthRow is one second as it really was.
type truthRow struct {
	at                    time.Time // its start
	netWh, giveWh, idleWh float64   // idle: had nobody commanded anything
}

func newTrueSite(t *testing.T, start time.Time, reference config.Reference, seed int64) *trueSite {
	t.Helper()
	s := &trueSite{t: t, now: start, gain: 1, load: plant.NewLoad(plant.LoadParams{MinW: 5700, MaxW: 6300, NoiseW: 100, AppliancesPerHour: 1, StartOfDay: 16 * time.Hour}, seed),
		battery: plant.NewBattery(plant.NewBatteryParams(5000, 13_500, 90)), ports: map[string]*plantPort{}}
	s.meter = plant.NewMeter(seed, s.load.PowerW())
	cfg := &config.Config{
		Site:   config.Site{Name: "Test Site", Timezone: time.UTC, Armed: true, MaxImportW: 40_000},
		Meters: []config.Meter{{ID: testMeter, Type: config.UtilityMeter, MeasuredBy: "main", Reference: reference, Baseline: baseline.CAISO10in10, Devices: []string{"battery"}}},
		Devices: []config.Device{{Name: "main", Kind: drivers.Meter},
			{Name: "battery", Kind: drivers.Battery, ReserveSoC: 20, MaxDischargeW: drivers.Some(5000), CapacityWh: drivers.Some(13_500)}},
		Policy: config.Policy{Basis: plan.BasisEnergy, Voluntary: plan.VoluntaryFollow, CommunicationTest: "dry-run", OnMissing: "execute"},
	}
	s.ports["main"], s.ports["battery"] = &plantPort{}, &plantPort{battery: s.battery}
	var err error
	s.stepped, err = NewStepped(SteppedOptions{Config: cfg, Now: func() time.Time { return s.now },
		Ports: map[string]Port{"main": s.ports["main"], "battery": s.ports["battery"]}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run goes on to a time, a round a second.
func (s *trueSite) run(until time.Time) {
	for s.now.Before(until) {
		const dt = time.Second
		s.load.Step(dt)
		s.battery.Step(dt)
		s.netW = s.load.PowerW() - s.battery.PowerW()
		s.meter.Step(dt, s.netW)
		s.rows = append(s.rows, truthRow{s.now, s.netW * dt.Hours(), s.battery.PowerW() * dt.Hours(), s.load.PowerW() * dt.Hours()})
		s.now = s.now.Add(dt)
		if p := s.ports["main"]; !p.silent {
			p.reading = drivers.Reading{At: s.now, Connected: true, PowerW: drivers.Some(s.gain * s.meter.PowerW())}
		}
		b := s.ports["battery"]
		b.reading = drivers.Reading{At: s.now, Connected: true, PowerW: drivers.Some(s.battery.PowerW()), SoC: drivers.Some(s.battery.SoC()),
			CapacityWh: drivers.Some(13_500), MaxDischargeW: drivers.Some(5000), MaxChargeW: drivers.Some(5000)}
		s.stepped.Round()
	}
}

// truth is the energy of a stretch of time: what the site drew, and what the
// battery gave.
func (s *trueSite) truth(from, to time.Time) (netWh, giveWh float64) {
	for _, r := range s.rows {
		if !r.at.Before(from) && r.at.Before(to) {
			netWh, giveWh = netWh+r.netWh, giveWh+r.giveWh
		}
	}
	return netWh, giveWh
}

func (s *trueSite) report(r dispatch.Record) status.Report {
	s.t.Helper()
	e, ok := s.stepped.control.events.get(r.EventID)
	if !ok {
		s.t.Fatalf("timeslot %s has no event", r.EventID)
	}
	p := newReporter(s.stepped.opts.Config, s.stepped.control.loads)
	p.schedule = s.stepped.schedule.Load()
	return p.report(r, e, true, s.now)
}

// TestReportOfAWrongMeterIsNotTheTruth: a meter that shows 2 % too much is noticed, so
// the test above can fail.
func TestReportOfAWrongMeterIsNotTheTruth(t *testing.T) {
	begin := time.Date(2026, 7, 21, 23, 0, 0, 0, time.UTC)
	s := newTrueSite(t, begin, config.ByBaseline, 1)
	s.gain = 1.02
	r := anHour(begin, 3)
	est := risingBaseline(r)
	s.stepped.SetSchedule([]dispatch.Record{r})
	s.stepped.SetBaseline(r, est)
	s.run(r.End.Add(3 * time.Minute))
	netWh, _ := s.truth(r.Start, r.End)
	rep := s.report(r)
	if off(*rep.DeliveredKWh*1000, risingWh(est, r.Start, r.End)-netWh) <= withinTruth || off(*rep.LoadKWh*1000, netWh) <= withinTruth {
		t.Error("a meter that is 2 % wrong passes for a right one")
	}
}

// fadingWh is what a relative level is by the truth: the mean load of the
// quarter of an hour before, fading over an hour into what the site would draw
// (domain.md 4.1).
func (s *trueSite) fadingWh(r dispatch.Record) float64 {
	before, _ := s.truth(r.Start.Add(-15*time.Minute), r.Start)
	var wh float64
	for _, row := range s.rows {
		if !row.at.Before(r.Start) && row.at.Before(r.End) {
			weight := 1 - row.at.Sub(r.Start).Hours()
			wh += weight*before/(15*60) + (1-weight)*row.idleWh
		}
	}
	return wh
}

// anHour is a timeslot of 3 kW that begins and ends off the settlement grid.
func anHour(begin time.Time, kw float64) dispatch.Record {
	start := begin.Add(37*time.Minute + 30*time.Second)
	return dispatch.Record{Timeslot: dispatch.Timeslot{MeterID: testMeter, EventID: "e", Start: start, End: start.Add(55 * time.Minute),
		EnergyKW: &kw, NominationKW: &kw, Cap: dispatch.UpToNomination, Priority: 2, Programs: []string{"CCA"}}, FirstSeen: begin.Add(-time.Hour)}
}

// off is how far a figure is from the truth, in shares of the truth.
func off(got, truth float64) float64 { return math.Abs(got-truth) / math.Abs(truth) }

// near holds a figure of a report to the truth.
func near(t *testing.T, what string, gotWh, truthWh, within float64) {
	t.Helper()
	t.Logf("%s: %.1f Wh, the truth is %.1f Wh, %.3f %% off", what, gotWh, truthWh, 100*off(gotWh, truthWh))
	if off(gotWh, truthWh) > within || math.IsNaN(gotWh) {
		t.Errorf("%s: the report says %.1f Wh, the truth is %.1f Wh: %.2f %% off, want %.1f %%", what, gotWh, truthWh, 100*off(gotWh, truthWh), 100*within)
	}
}

// withinTruth is what a report may be off by over a whole event.
const withinTruth = 0.005

// TestReportAgreesWithTheTruth runs whole timeslots on the simulated plants
// under the real control and holds the reports to what really flowed. The
// meter in between is 1 s late, noisy and coarse, as domain.md 4.6 has it.
func TestReportAgreesWithTheTruth(t *testing.T) {
	begin := time.Date(2026, 7, 21, 23, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name      string
		reference config.Reference
		kw        float64
	}{{"device", config.ByDevice, 3}, {"baseline", config.ByBaseline, 3}, {"relative", config.Relative, 3}, {"baseline, beyond what it can", config.ByBaseline, 5.6}} {
		for seed := range int64(3) {
			t.Run(c.name, func(t *testing.T) {
				s := newTrueSite(t, begin, c.reference, seed)
				r := anHour(begin, c.kw)
				s.stepped.SetSchedule([]dispatch.Record{r})
				est := risingBaseline(r)
				if c.reference == config.ByBaseline {
					s.stepped.SetBaseline(r, est)
				}
				s.run(r.End.Add(3 * time.Minute))
				rep := s.report(r)
				netWh, giveWh := s.truth(r.Start, r.End)
				switch c.reference {
				case config.ByDevice:
					near(t, "delivered", *rep.DeliveredKWh*1000, giveWh, withinTruth)
				case config.ByBaseline:
					near(t, "delivered", *rep.DeliveredKWh*1000, risingWh(est, r.Start, r.End)-netWh, withinTruth)
				default:
					near(t, "delivered", *rep.DeliveredKWh*1000, s.fadingWh(r)-netWh, withinTruth)
				}
				near(t, "load", *rep.LoadKWh*1000, netWh, withinTruth)
				near(t, "target", *rep.TargetKWh*1000, c.kw*1000*55/60, 1e-9)
				s.holdRows(r, &rep)
			})
		}
	}
}

// holdRows holds each interval to the truth, and the whole to their sum.
func (s *trueSite) holdRows(r dispatch.Record, rep *status.Report) {
	t := s.t
	t.Helper()
	if len(rep.Intervals) != 5 || rep.Coverage < 0.99 || rep.Quality != qualityMeasured {
		t.Fatalf("%d intervals, coverage %v, quality %q; want 5, whole and measured", len(rep.Intervals), rep.Coverage, rep.Quality)
	}
	at, delivered, paid := r.Start, 0.0, 0.0
	for i, v := range rep.Intervals {
		if !v.Start.Equal(at) {
			t.Errorf("interval %d begins at %v, want %v", i, v.Start, at)
		}
		at = v.End
		netWh, giveWh := s.truth(v.Start, v.End)
		near(t, "load of an interval", *v.LoadWh, netWh, 0.02) // a second more or less at its edges
		if v.BaselineWh != nil && math.Abs(*v.BaselineWh-*v.LoadWh-v.DeliveredWh) > 1e-6 {
			t.Errorf("interval %d: %v - %v is not %v", i, *v.BaselineWh, *v.LoadWh, v.DeliveredWh)
		}
		near(t, "battery in an interval", v.Devices[0].DeliveredWh, giveWh, 0.02)
		if want := math.Max(0, math.Min(v.DeliveredWh, *v.CapWh)); math.Abs(v.PaidWh-want) > 1e-6 {
			t.Errorf("interval %d: paid %v, want %v", i, v.PaidWh, want)
		}
		delivered, paid = delivered+v.DeliveredWh, paid+v.PaidWh
	}
	if !at.Equal(r.End) {
		t.Errorf("the last interval ends at %v, want %v", at, r.End)
	}
	if math.Abs(delivered-*rep.DeliveredKWh*1000) > 1e-6 || math.Abs(paid-*rep.PaidKWh*1000) > 1e-6 {
		t.Errorf("the intervals sum to %v and %v Wh, the report says %v and %v kWh", delivered, paid, *rep.DeliveredKWh, *rep.PaidKWh)
	}
}

// risingBaseline is another level in each quarter of an hour.
func risingBaseline(r dispatch.Record) *baseline.Estimate {
	e := &baseline.Estimate{Method: baseline.CAISO10in10, Start: r.Start.Truncate(time.Hour), Interval: baseline.Interval, Factor: 1, Coverage: 1}
	for i := range 8 {
		e.W = append(e.W, 5900+50*float64(i))
	}
	return e
}

// risingWh adds an estimate up second by second.
func risingWh(e *baseline.Estimate, from, to time.Time) float64 {
	var wh float64
	for at := from; at.Before(to); at = at.Add(time.Second) {
		wh += e.W[int(at.Sub(e.Start)/e.Interval)] / 3600
	}
	return wh
}
