package gateway

import (
	"fmt"
	"time"

	"nominald/dispatch/leap"
	"nominald/dispatch/plan"
	"nominald/gateway/status"
)

// leapSilent is how old the last complete search may be before a person
// should know: ten polls of the usual minute.
const leapSilent = 10 * time.Minute

// alarms lists what a person should know now. It is computed anew each round.
func (g *Gateway) alarms(in plan.Input, st status.Status) []status.Alarm {
	var out []status.Alarm
	began := map[string]time.Time{}
	add := func(level, code, about, format string, args ...any) {
		// Its text may change while it lasts; what it is about does not.
		key := code + " " + about
		since, ok := g.alarmSince[key]
		if !ok {
			since = in.Now
		}
		began[key] = since
		out = append(out, status.Alarm{Code: code, Level: level, Text: fmt.Sprintf(format, args...), Since: since})
	}
	if st.Stopped {
		add(status.Warning, "owner-stop", "", "Stopped by the owner; every device is neutral until resume.")
	}
	if !in.ClockTrusted {
		add(status.Error, "clock-untrusted", "", "The time of day is not believed (%s): no timeslot starts.", st.Clock.Reason)
	}
	g.leapAlarms(in.Now, add)
	if !st.Store.OK {
		add(status.Error, "store", "", "%s", st.Store.Note)
	} else if st.Store.Note != "" {
		add(status.Warning, "store", "", "%s", st.Store.Note)
	}
	if pt := in.Site.Point; pt != nil && !pt.Fresh && pt.UncontrolledW.OK {
		add(status.Error, "meter-stale", pt.Name, "The site's meter %s has been silent for %s.", pt.Name, pt.Age.Round(time.Second))
	}
	for i, u := range g.units {
		s := u.port.Snapshot()
		switch {
		case s.Tried && !s.Online:
			add(status.Error, "device-offline", u.cfg.Name, "%s does not answer: %s", u.cfg.Name, s.LastError)
		case s.LastError != "":
			add(status.Warning, "device-error", u.cfg.Name, "%s: %s", u.cfg.Name, s.LastError)
		case in.Devices[i].Unresponsive:
			add(status.Error, "no-response", u.cfg.Name, "%s does not follow its command.", u.cfg.Name)
		}
		if s.Online && !s.Description.Fallback && u.cfg.Kind.Dispatched() && u.cfg.AllowNoFallback {
			add(status.Warning, "no-fallback", u.cfg.Name, "%s has no timer of its own: if this gateway dies it keeps its last command until the service releases it.", u.cfg.Name)
		}
	}
	for _, input := range st.Inputs {
		if input.Error != "" {
			add(status.Error, "input-lost", input.Name, "Input %s can not be read; after 5 s it counts as pressed: %s", input.Name, input.Error)
		}
	}
	g.slotAlarms(in, add)
	for _, w := range g.cfg.Warnings {
		add(status.Warning, "config", w, "%s", w)
	}
	g.alarmSince = began
	return out
}

// slotAlarms names timeslots ahead that a person should look at.
func (g *Gateway) slotAlarms(in plan.Input, add func(level, code, about, format string, args ...any)) {
	for i := range in.Slots {
		r := &in.Slots[i]
		if r.Cancelled || !r.End.After(in.Now) {
			continue
		}
		asked := plan.Asked(r, in.Policy)
		switch {
		case r.Problem != "":
			add(status.Warning, "timeslot-invalid", r.EventID, "Timeslot %s can not be used: %s.", r.EventID, r.Problem)
		case in.Site.MaxImportW > 0 && asked.OK && asked.V > in.Site.MaxImportW:
			add(status.Warning, "above-site-rating", r.EventID, "Timeslot %s asks for %.0f kW, more than the site's service rating of %.0f kW; it is carried out as far as the devices reach.",
				r.EventID, asked.V/1000, in.Site.MaxImportW/1000)
		case r.IsMissing():
			add(status.Warning, "timeslot-missing", r.EventID, "Leap no longer lists timeslot %s; by policy %s.", r.EventID, in.Policy.OnMissing)
		}
	}
}

func (g *Gateway) leapAlarms(now time.Time, add func(level, code, about, format string, args ...any)) {
	p := g.leap.Load()
	if p == nil {
		return
	}
	switch {
	case p.LastError != "" && p.Class == leap.Config:
		add(status.Error, "leap-refuses", "", "Leap's API refuses this gateway: %s", p.LastError)
	case p.LastError != "" && (p.LastOK.IsZero() || now.Sub(p.LastOK) > leapSilent):
		add(status.Warning, "leap-silent", "", "Leap's API can not be reached: %s. Stored timeslots are carried out.", p.LastError)
	}
}
