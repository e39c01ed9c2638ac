package main

import (
	"fmt"
	"math"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway"
	"nominald/gateway/config"
)

// driver is a controller of the site: ours, or one to compare with.
type driver interface {
	round(r *run)
	setSchedule(*run) error
	restart() error
}

// run is one scenario under one controller with one seed.
type run struct {
	sc      *scenario
	seed    int64
	world   *world
	driver  driver
	records []dispatch.Record // as Leap has them now
	settled baselineOf        // what the site is settled by
	own     baselineOf        // what the controller believes
	history days
	down    bool // the gateway does not run
	out     record
}

// baselineOf is the net load in W that the site would have had, by time.
type baselineOf func(time.Time) float64

const (
	readyBefore = 20 * time.Minute // rounds begin this long before the first start
	seesAfter   = 15 * time.Minute // and go on this long after the end
	warmStep    = 10 * time.Second
	warmBefore  = 4 * time.Hour // the same-day adjustment looks back this far
)

// newRun brings a scenario's site to the time at which its rounds begin.
func newRun(sc *scenario, seed int64, ready time.Duration) (*run, error) {
	r := &run{sc: sc, seed: seed, records: sc.records()}
	from := sc.start().Add(-ready)
	if sc.reference == config.ByBaseline {
		from = sc.start().Add(-warmBefore)
	}
	r.world = newWorld(sc, seed, from)
	day := &trace{}
	for r.world.now.Before(sc.start().Add(-ready)) {
		r.world.step(warmStep)
		day.add(r.world.now.Add(-warmStep), r.world.idleW)
	}
	if err := r.settle(day); err != nil {
		return nil, fmt.Errorf("scenario %s seed %d: %w", sc.id, seed, err)
	}
	r.out.sc, r.out.seed, r.out.start = sc, seed, r.world.now
	return r, nil
}

// execute plays a scenario from well before its first timeslot until its
// release is over.
func execute(sc *scenario, seed int64, with func(*run) (driver, error)) (*record, error) {
	r, err := newRun(sc, seed, readyBefore)
	if err != nil {
		return nil, err
	}
	d, err := with(r)
	if err != nil {
		return nil, err
	}
	r.driver = d
	if err := r.reschedule(); err != nil {
		return nil, err
	}
	return &r.out, r.play()
}

func (r *run) play() error {
	sc, pending := r.sc, r.sc.actions
	until := sc.end().Add(max(seesAfter, sc.after))
	for r.world.now.Before(until) {
		r.world.step(step)
		for len(pending) > 0 && !r.world.now.Before(sc.start().Add(pending[0].at)) {
			if err := pending[0].do(r); err != nil {
				return err
			}
			pending = pending[1:]
		}
		if !r.down {
			r.driver.round(r)
		}
		r.note()
	}
	return nil
}

// reschedule hands the timeslots to the controller.
func (r *run) reschedule() error { return r.driver.setSchedule(r) }

// winner is the timeslot that runs at a time and ranks highest, nil where none
// does.
func (r *run) winner(at time.Time) *dispatch.Record {
	var best *dispatch.Record
	for i := range r.records {
		c := &r.records[i]
		if state, _ := c.StateAt(at, 0); state != dispatch.Active {
			continue
		}
		if best == nil || dispatch.Outranks(*c, *best, asked(c), asked(best)) {
			best = c
		}
	}
	return best
}

func asked(r *dispatch.Record) float64 {
	if r.EnergyKW == nil {
		return math.Inf(1)
	}
	return *r.EnergyKW * 1000
}

// targetW is what is to be delivered at a time, 0 where nothing is.
func (r *run) targetW(at time.Time) float64 {
	w := r.winner(at)
	switch {
	case w == nil:
		return 0
	case math.IsInf(asked(w), 1):
		return r.sc.nullW
	}
	return asked(w)
}

// deliveredW is what the site gives now, as it is settled, and as it is in
// truth.
func (r *run) deliveredW() (settled, truly float64) {
	truly = r.world.idleW - r.world.netW
	if r.settled == nil {
		return truly, truly
	}
	return r.settled(r.world.now.Add(-step)) - r.world.netW, truly
}

// note writes down the second that has just passed.
func (r *run) note() {
	passed := r.world.now.Add(-step)
	s := sample{targetW: r.targetW(passed), netW: r.world.netW}
	s.settledW, s.trueW = r.deliveredW()
	if r.settled != nil {
		s.baselineW = r.settled(passed)
	}
	for _, d := range r.world.devices {
		if drawn, _ := d.drawsW(); drawn > 0 {
			s.loadW += drawn
		}
		switch {
		case d.battery != nil:
			s.batteryW += d.battery.PowerW()
			s.lost = s.lost || d.fault == silent && d.commanded
			s.setW += d.applied.PowerW
		case d.ev != nil && d.commanded && d.applied.CurrentA == 0:
			s.off++
		case d.room != nil && d.held:
			s.off++
		}
	}
	r.out.add(r.world, s)
}

// ours is the gateway's own control.
type ours struct {
	stepped *gateway.Stepped
}

func (o *ours) round(*run)     { o.stepped.Round() }
func (o *ours) restart() error { return o.stepped.Restart() }

// setSchedule hands over the timeslots, each with its baseline where the site
// is settled by one.
func (o *ours) setSchedule(r *run) error {
	records := append([]dispatch.Record(nil), r.records...)
	for _, rec := range records {
		if r.history == nil {
			break
		}
		e, err := r.estimate(rec.Start, rec.End, r.trust())
		if err != nil {
			return err
		}
		o.stepped.SetBaseline(rec, e)
	}
	o.stepped.SetSchedule(records)
	return nil
}

// siteConfig is the scenario's site as a config file would say it.
func siteConfig(sc *scenario) *config.Config {
	cfg := &config.Config{
		Site: config.Site{Name: "score " + sc.id, Timezone: time.UTC, Armed: true, MaxExportW: sc.exportW, MaxImportW: sc.importW},
		Policy: config.Policy{Basis: plan.BasisEnergy, Voluntary: plan.VoluntaryFollow, CommunicationTest: "dry-run",
			OnMissing: "execute", Release: 2 * time.Minute, ReleaseLoads: 75 * time.Minute, ChargeToTarget: sc.charges},
		Devices: []config.Device{{Name: "main", Kind: drivers.Meter}},
	}
	m := config.Meter{ID: meterID, Type: config.UtilityMeter, MeasuredBy: "main", Reference: sc.reference, Baseline: "caiso-10-in-10"}
	for _, d := range sc.devices {
		cfg.Devices = append(cfg.Devices, d.cfg)
		m.Devices = append(m.Devices, d.cfg.Name)
	}
	cfg.Meters = []config.Meter{m}
	return cfg
}
