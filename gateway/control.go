package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/clock"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
)

// control runs the rounds: it looks at everything, lets the planner decide and
// hands the commands to the buses. It waits for nothing but its ticker and
// touches no disk.
type control struct {
	cfg      *config.Config
	log      *slog.Logger
	clock    *clock.Clock
	loads    *loadlog.Log
	schedule *atomic.Pointer[dispatch.Schedule]
	latch    *latch
	events   *events
	units    []*unit
	point    *pointWatch // nil where no device measures the grid connection
	period   time.Duration
	publish  func(plan.Input, plan.Decision)
	wake     chan struct{} // STOP does not wait for the ticker

	last     plan.Decision
	progress atomic.Int64 // nanoseconds since born
	born     time.Time
	now      func() time.Time // the process's own clock; born is by it
}

// run makes a round at once and then one each period, until the context ends.
func (c *control) run(ctx context.Context) error {
	ticker := time.NewTicker(c.period)
	defer ticker.Stop()
	for {
		c.round()
		c.progress.Store(int64(c.now().Sub(c.born)))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-c.wake:
		}
	}
}

// Progress is when the last round ended, for the watchdog.
func (c *control) Progress() time.Time {
	if ns := c.progress.Load(); ns > 0 {
		return c.born.Add(time.Duration(ns))
	}
	return time.Time{}
}

// soon asks for a round now.
func (c *control) soon() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *control) round() {
	in := c.look()
	c.events.account(c.last, in)
	in.Events = c.events.forPlan(in.Now)
	d := decide(in, !c.cfg.Site.Armed)
	c.events.begin(d, c.schedule.Load(), c.evidence, c.normals())
	c.act(in, d)
	c.logChanges(d)
	c.publish(in, d)
	c.last = d
}

// normals is what the loads that are commanded now drew before.
func (c *control) normals() map[string]drivers.Opt {
	out := map[string]drivers.Opt{}
	for _, u := range c.units {
		if load := u.cfg.Kind != drivers.Battery && u.cfg.Kind.Dispatched(); load && u.watch.command != nil && u.watch.normal.OK {
			out[u.cfg.Name] = u.watch.normal
		}
	}
	return out
}

// look gathers what a round may know.
func (c *control) look() plan.Input {
	now, state := c.clock.Read()
	stopped, _ := c.latch.state()
	in := plan.Input{
		Now: now, Period: c.period, ClockTrusted: state.Trusted, Stopped: stopped,
		Site:   plan.Site{MaxImportW: c.cfg.Site.MaxImportW, MaxExportW: c.cfg.Site.MaxExportW},
		Policy: policyOf(c.cfg.Policy),
	}
	for _, u := range c.units {
		in.Devices = append(in.Devices, u.look(now, u.port.Snapshot()))
	}
	in.Site.Point = c.lookAtPoint(now, in.Devices)
	c.logLoads(now, state.Trusted, in)
	in.Meters = c.metersOf(in.Site.Point, now)
	in.Slots = relevant(c.schedule.Load(), now)
	return in
}

func (c *control) lookAtPoint(now time.Time, devices []plan.Device) *plan.Point {
	if c.point == nil {
		return nil
	}
	for i, u := range c.units {
		if u.cfg.Name == c.point.name {
			age := c.now().Sub(u.port.Snapshot().Reading.At)
			pt := c.point.note(now, &devices[i], age, givenBy(devices))
			return &pt
		}
	}
	return nil
}

// logLoads hands the readings to the load log.
func (c *control) logLoads(now time.Time, trusted bool, in plan.Input) {
	quality := loadlog.Measured
	if !trusted {
		quality = loadlog.ClockDoubtful
	}
	add := func(channel string, power drivers.Opt, metered bool) {
		switch {
		case power.OK:
			c.loads.Add(now, channel, power.V, quality)
		case metered:
			c.loads.Add(now, channel, 0, loadlog.Gap)
		}
	}
	if pt := in.Site.Point; pt != nil {
		add(loadlog.Site, pt.LoadW, true)
		if w := silentLoad(pt, in.Devices); w.OK && trusted {
			c.loads.Add(now, loadlog.Site, w.V, loadlog.Estimated)
		}
	}
	for i := range in.Devices {
		d := &in.Devices[i]
		add(d.Name, d.PowerW, !d.Fresh)
	}
	c.logCounters(now)
}

// silentLoad is what the site draws while its meter is silent, as the planner
// takes it: what others drew last, and what our devices give now.
func silentLoad(pt *plan.Point, devices []plan.Device) drivers.Opt {
	if pt.Fresh || !pt.UncontrolledW.OK || pt.Age > estimatedFor {
		return drivers.Opt{}
	}
	return drivers.Some(pt.UncontrolledW.V - givenBy(devices).sumW)
}

// estimatedFor is how long a silent meter's load may be estimated (domain.md
// 4.5: 5 min).
const estimatedFor = 5 * time.Minute

// logCounters hands the meters' own energy counters to the load log: they know
// the energy of a time in which nobody read the power.
func (c *control) logCounters(now time.Time) {
	for _, u := range c.units {
		r := u.port.Snapshot().Reading
		if u.cfg.Kind != drivers.Meter || !r.ImportWh.OK || c.now().Sub(r.At) > 2*c.period {
			continue
		}
		c.loads.Count(now, u.cfg.Name, r.ImportWh.V, r.ExportWh.Or(0))
		if c.point != nil && c.point.name == u.cfg.Name {
			c.loads.Count(now, loadlog.Site, r.ImportWh.V, r.ExportWh.Or(0))
		}
	}
}

// metersOf is the config's Leap meters as the planner sees them.
func (c *control) metersOf(site *plan.Point, now time.Time) []plan.Meter {
	meters := make([]plan.Meter, 0, len(c.cfg.Meters))
	for _, m := range c.cfg.Meters {
		pm := plan.Meter{ID: m.ID, Device: m.Type == config.DeviceMeter,
			Reference: plan.Reference(m.Reference), Devices: m.Devices}
		pm.WindowFrom, pm.WindowTo = adjustmentWindow(m)
		pm.InAfter = inAfterWindow(m, c.schedule.Load(), policyOf(c.cfg.Policy), now)
		switch {
		case !pm.Device:
			pm.Point = site
		case kindOf(c.cfg, m.MeasuredBy) != drivers.Meter:
			pm.Devices = []string{m.MeasuredBy} // only that device is dispatched (domain.md 1.4)
		}
		pm.MeasuredBy = shownBy(c.cfg, m).channel
		meters = append(meters, pm)
	}
	return meters
}

func policyOf(p config.Policy) plan.Policy {
	return plan.Policy{Basis: p.Basis, Voluntary: p.Voluntary, VoluntaryAboveSoC: p.VoluntaryAboveSoC,
		CommunicationTest: p.CommunicationTest, OnMissing: p.OnMissing, Release: p.Release,
		ReleaseLoads: p.ReleaseLoads, ReleaseRandom: p.ReleaseRandom, ChargeToTarget: p.ChargeToTarget,
		Precharge: p.Precharge, Precool: p.Precool, PrepareInWindow: p.PrepareInWindow}
}

// relevant picks the timeslots that can matter now: those that ended within the
// last two hours and may still be released, run, or start within the day that energy is kept for.
func relevant(s *dispatch.Schedule, now time.Time) []dispatch.Record {
	var out []dispatch.Record
	for _, r := range s.All() {
		if r.End.After(now.Add(-2*time.Hour)) && r.Start.Before(now.Add(25*time.Hour)) {
			out = append(out, r)
		}
	}
	return out
}

// act hands the decision to the buses. A site that is not armed is only shown
// what would be done.
func (c *control) act(in plan.Input, d plan.Decision) {
	if !c.cfg.Site.Armed {
		c.pretend(d)
		return
	}
	until := c.now().UTC().Add(plan.LeaseFor(c.period))
	for i, u := range c.units {
		switch dd := &d.Devices[i]; dd.Action {
		case plan.Follow:
			u.port.Lease(drivers.Lease{Command: dd.Command, Until: until})
		case plan.Neutral:
			u.port.Neutral()
		case plan.Leave:
		}
	}
}

// pretend remembers what a dry run would command, so that the next round goes
// on from there and shows more than the first step of a ramp.
func (c *control) pretend(d plan.Decision) {
	for i, u := range c.units {
		u.dry = nil
		if dd := d.Devices[i]; dd.Action == plan.Follow {
			command := dd.Command
			u.dry = &command
		}
	}
}

// evidenceWindow is how far back the load before a timeslot is averaged
// (domain.md 4.1: 15-60 min).
const evidenceWindow = 15 * time.Minute

// leastEvidence is how much of it must have been measured: less says more of
// one appliance than of the site, and the devices' own power is followed then.
const leastEvidence = 30 * time.Second

// evidence is what the site drew before a timeslot began.
func (c *control) evidence(r dispatch.Record) (drivers.Opt, map[string]drivers.Opt) {
	now := c.clock.Now()
	to := now
	if r.FirstSeen.Before(r.Start) && to.After(r.Start) {
		to = r.Start // after a restart: do not average the timeslot itself
	}
	from := to.Add(-evidenceWindow)
	// What this process has measured itself is in memory. Only one that is
	// younger than that looks for what an earlier one has stored.
	if own := now.Add(-c.now().Sub(c.born)).Add(time.Second); own.After(from) && to.Sub(own) >= leastEvidence {
		from = own
	}
	var load drivers.Opt
	if meanW, coverage, err := c.loads.Mean(loadlog.Site, from, to); err == nil && coverage*to.Sub(from).Seconds() >= 0.9*leastEvidence.Seconds() {
		load = drivers.Some(meanW)
	}
	normals := map[string]drivers.Opt{}
	for _, u := range c.units {
		if w := u.watch.normalW(); w.OK && u.cfg.Kind != drivers.Battery && u.cfg.Kind.Dispatched() {
			normals[u.cfg.Name] = w
		}
	}
	return load, normals
}

// logChanges writes a line for what a person would want to know afterwards:
// a timeslot or a device that changed its state or reason.
func (c *control) logChanges(d plan.Decision) {
	before := map[string]plan.MeterDecision{}
	for _, m := range c.last.Meters {
		before[m.ID] = m
	}
	for _, m := range d.Meters {
		b := before[m.ID]
		if b.EventID != m.EventID || b.State != m.State || (b.Reason != m.Reason && m.Reason != plan.Behind && b.Reason != plan.Behind) {
			c.log.Info("meter", "meter", m.ID, "state", orIdle(m.State), "event", m.EventID,
				"target_w", int(m.TargetW), "short_w", int(m.ShortW), "reason", string(m.Reason))
		}
	}
}

func orIdle(s dispatch.State) string {
	if s == "" {
		return "idle"
	}
	return string(s)
}
