package gateway

import (
	"fmt"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/gateway/status"
)

// show turns a round into the status that people see.
func (g *Gateway) show(in plan.Input, d plan.Decision) {
	g.rounds.keep(in, d)
	g.decision.Store(&d)
	_, stopBy := g.latch.state()
	st := status.Status{
		Version: g.opts.Version, Now: in.Now, Started: g.started,
		Site:  status.SiteInfo{Name: g.cfg.Site.Name, Timezone: g.cfg.Site.Timezone.String()},
		Armed: g.cfg.Site.Armed, Stopped: in.Stopped, StopBy: stopBy,
		Leap: g.leapState(in.Now),
	}
	st.Clock = status.ClockState{Trusted: in.ClockTrusted, Reason: g.clock.State().Reason}
	if pt := in.Site.Point; pt != nil {
		st.SiteLoadW = known(pt.LoadW)
		if pt.Age < 24*time.Hour {
			age := pt.Age.Seconds()
			st.SiteLoadAgeS = &age
		}
	}
	for i := range d.Meters {
		st.Meters = append(st.Meters, g.showMeter(in, &d.Meters[i]))
	}
	for i, u := range g.units {
		st.Devices = append(st.Devices, showDevice(u, u.port.Snapshot(), in.Devices[i], d.Devices[i], g.cfg.Site.Armed))
	}
	st.Buses = showBuses(g.workers)
	st.Inputs = g.showInputs()
	st.Events = g.lookAround(in.Now, st.Inputs)
	st.Next = g.next(in.Now)
	st.Store = g.storeState()
	st.Alarms = g.alarms(in, st)
	g.board.Publish(st)
}

func known(o drivers.Opt) *float64 {
	if !o.OK {
		return nil
	}
	v := o.V
	return &v
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (g *Gateway) showMeter(in plan.Input, md *plan.MeterDecision) status.Meter {
	m := status.Meter{ID: md.ID, State: orIdle(md.State), EventID: md.EventID, Reference: string(md.Reference),
		ReferenceW: known(md.BaselineW), DeliveredW: known(md.DeliveredW),
		Reason: string(md.Reason), ReasonText: plan.ReasonText(md.Reason)}
	if md.EventID == "" || md.State == "" {
		return m
	}
	target, short := md.TargetW, md.ShortW
	m.TargetW, m.ShortfallW = &target, &short
	if r, ok := g.schedule.Load().Get(md.EventID); ok {
		m.Until = moment(r.End)
	}
	if e, ok := g.events.get(md.EventID); ok {
		if iv := e.at(in.Now); iv != nil {
			m.Interval = &status.Interval{Start: iv.Start, TargetWh: iv.TargetWh, DeliveredWh: iv.DeliveredWh}
		}
	}
	return m
}

func showDevice(u *unit, s bus.Snapshot, d plan.Device, dd plan.DeviceDecision, armed bool) status.Device {
	out := status.Device{
		Name: u.cfg.Name, Kind: u.cfg.Kind, Profile: u.cfg.Profile,
		Online: s.Online, PowerW: known(d.PowerW), SoC: known(d.SoC),
		Reason: string(dd.Reason), ReasonText: plan.ReasonText(dd.Reason),
		LastSeen: moment(s.LastSeen), LastError: s.LastError, Fallback: s.Description.Fallback,
		Limits: limitsOf(u, s, d),
	}
	if s.Lease != nil {
		out.LeaseUntil = moment(s.Lease.Until)
	}
	if dd.Action == plan.Follow {
		out.Setpoint = setpointText(u.cfg.Kind, dd.Command)
		if u.cfg.Kind == drivers.Battery {
			w := dd.Command.PowerW
			out.SetpointW = &w
		}
		if !armed {
			out.Reason, out.ReasonText = string(plan.DryRun), plan.ReasonText(plan.DryRun)
		}
	}
	return out
}

func limitsOf(u *unit, s bus.Snapshot, d plan.Device) status.Limits {
	var l status.Limits
	switch u.cfg.Kind {
	case drivers.Battery:
		l.MaxDischargeW = known(d.MaxDischargeW)
		l.MaxChargeW = known(smaller(u.cfg.MaxChargeW, s.Reading.MaxChargeW))
		l.CapacityWh = known(d.CapacityWh)
		reserve := u.cfg.ReserveSoC
		l.ReserveSoC = &reserve
	case drivers.Charger:
		low, high := u.cfg.MinA, u.cfg.MaxA
		l.MinA, l.MaxA = &low, &high
	case drivers.Thermostat, drivers.Relay:
		if u.cfg.RatedW > 0 {
			rated := u.cfg.RatedW
			l.RatedW = &rated
		}
		if u.cfg.MaxOffsetK > 0 {
			k := u.cfg.MaxOffsetK
			l.MaxOffsetK = &k
		}
	}
	return l
}

func setpointText(kind drivers.Kind, c drivers.Command) string {
	switch kind {
	case drivers.Battery:
		return fmt.Sprintf("%.2f kW", c.PowerW/1000)
	case drivers.Charger:
		if c.CurrentA == 0 {
			return "pause"
		}
		return fmt.Sprintf("%g A", c.CurrentA)
	}
	if c.OffsetK > 0 {
		return fmt.Sprintf("%+.1f K", c.OffsetK)
	}
	return "inhibit"
}

// next lists a few timeslots that run or lie ahead.
func (g *Gateway) next(now time.Time) []status.Timeslot {
	const few = 6
	var out []status.Timeslot
	for _, t := range g.Timeslots(now, time.Time{}) {
		switch t.State {
		case dispatch.Completed, dispatch.Expired, dispatch.Cancelled, dispatch.Invalid:
			continue
		}
		t.Raw = nil
		if out = append(out, t); len(out) == few {
			break
		}
	}
	return out
}

// Timeslots returns the stored timeslots that overlap [from, to).
func (g *Gateway) Timeslots(from, to time.Time) []status.Timeslot {
	now := g.clock.Now()
	decided := map[string]plan.SlotDecision{}
	if d := g.decision.Load(); d != nil {
		for _, s := range d.Slots {
			decided[s.EventID] = s
		}
	}
	var out []status.Timeslot
	for _, r := range g.schedule.Load().All() {
		if (!from.IsZero() && !r.End.After(from)) || (!to.IsZero() && !r.Start.Before(to)) {
			if r.Problem == "" { // one without usable times is always shown
				continue
			}
		}
		t := status.Timeslot{Record: r}
		state, reason := r.StateAt(now, 0)
		t.State, t.Reason = state, reason
		if s, ok := decided[r.EventID]; ok && s.Reason != "" {
			t.State, t.Reason = s.State, string(s.Reason)
		}
		if t.State == dispatch.Completed {
			if e, ok := g.event(r.EventID); ok {
				t.State, t.Reason = outcome(t.State, t.Reason, e)
			}
		}
		t.ReasonText = plan.ReasonText(plan.Reason(t.Reason))
		out = append(out, t)
	}
	return out
}

func (g *Gateway) leapState(now time.Time) status.LeapState {
	p := g.leap.Load()
	if p == nil {
		return status.LeapState{}
	}
	ls := status.LeapState{LastOK: moment(p.LastOK), LastError: p.LastError, NextAt: moment(p.NextAt), Failures: p.Failures}
	if !p.LastOK.IsZero() {
		age := now.Sub(p.LastOK).Seconds()
		ls.AgeS = &age
	}
	return ls
}

func (g *Gateway) storeState() status.StoreState {
	if note := g.storeShown.Load(); note != nil {
		return *note
	}
	return status.StoreState{OK: true}
}
