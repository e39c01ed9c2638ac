package web

import (
	"context"
	"encoding/json"
	"math"
	"net"
	"sync"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
	"nominald/gateway/status"
)

// site answers the server for one made-up bakery. It is the gateway's side of
// the interfaces; the server, the sockets and the browser are the real ones.
type site struct {
	board *status.Board
	now   time.Time

	mu     sync.Mutex
	actors []string
}

func (s *site) Timeslots(_, _ time.Time) []status.Timeslot {
	return append(endedSlots(), sample(s.now).Next...)
}
func (s *site) Report(id string) (status.Report, bool)     { return endedReport(), id == endedID }
func (s *site) Explain(time.Time) (json.RawMessage, error) { return nil, status.ErrNotKept }
func (s *site) Healthy() (bool, []string)                  { return true, nil }
func (s *site) Ready() (bool, []string)                    { return true, nil }
func (s *site) Stop(actor string) error                    { return s.latch("stop "+actor, true) }
func (s *site) Resume(actor string) error                  { return s.latch("resume "+actor, false) }

func (s *site) latch(what string, stopped bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actors = append(s.actors, what)
	st, _ := s.board.Latest()
	st.Stopped, st.StopBy = stopped, "http 127.0.0.1"
	s.board.Publish(st)
	return nil
}

func (s *site) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.actors...)
}

func (s *site) Load(from, to time.Time, step time.Duration, _ []string, emit func(status.LoadRow) error) error {
	for t := from.Truncate(step); t.Before(to); t = t.Add(step) {
		w := bakery(t)
		if err := emit(status.LoadRow{T: t, Channel: "site", MeanW: &w, MinW: &w, MaxW: &w, Quality: "good"}); err != nil {
			return err
		}
	}
	return nil
}

// startSite serves the page on a loopback socket until the test ends.
func startSite(t *testing.T, now time.Time, token string) (*site, string) {
	t.Helper()
	s := &site{board: status.NewBoard(), now: now}
	address, stop := s.serve(t, "127.0.0.1:0", token)
	t.Cleanup(stop)
	return s, "http://" + address
}

// serve starts the real server at an address; stop ends it and waits.
func (s *site) serve(t *testing.T, address, token string) (at string, stop func()) {
	t.Helper()
	pages, err := Pages()
	if err != nil {
		t.Fatal(err)
	}
	srv := status.New(status.Options{
		Board: s.board, Site: s, Load: s, Explain: s, Health: s,
		Page: pages, Token: token, Now: func() time.Time { return s.now },
	})
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	return ln.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
}

// bakery is a site load: ovens that cycle on top of a slow drift, and from
// the start of the timeslot eight kW less.
func bakery(t time.Time) float64 {
	s := float64(t.Unix())
	w := 15200 + 700*math.Sin(s/340) + 260*math.Sin(s/41) + 150*math.Sin(s/13)
	if int64(s)/150%3 == 0 {
		w += 1900
	}
	if !t.Before(slotStart()) {
		ramp := min(1, t.Sub(slotStart()).Seconds()/25)
		w = w*(1-ramp) + ramp*(6900+180*math.Sin(s/29)+90*math.Sin(s/11))
	}
	return math.Round(w)
}

func slotStart() time.Time { return time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC) } // 17:00 in Los Angeles

// sample is the bakery in the middle of a timeslot, with an offline device.
func sample(now time.Time) status.Status {
	load, age, leapAge := bakery(now), 0.8, math.Mod(float64(now.Unix()), 60)
	ok := now.Add(-time.Duration(leapAge) * time.Second)
	next := ok.Add(time.Minute)
	var target, delivered *float64
	if !now.Before(slotStart()) {
		d := math.Min(8000, now.Sub(slotStart()).Seconds()*320) + 120*math.Sin(float64(now.Unix())/17)
		target, delivered = num(8000), num(math.Round(d))
	}
	m := status.Meter{ID: "afce893d-ea68-487f-9f8c-778b1881f60a", State: "pending", Reference: "baseline", Reason: "idle", ReasonText: "no timeslot is running"}
	if target != nil {
		end := slotStart().Add(2 * time.Hour)
		m.State, m.EventID, m.TargetW, m.DeliveredW = "active", "5f3c", target, delivered
		m.Reason, m.ReasonText, m.Until = "on-target", "the target is met", &end
		part := now.Sub(slotStart()).Hours()
		m.Interval = &status.Interval{Start: slotStart(), TargetWh: 8000 * part, DeliveredWh: 7930 * part}
	}
	return status.Status{
		Version: "0.4.0", Now: now, Armed: true,
		Site:      status.SiteInfo{Name: "Oak Street Bakery", Timezone: "America/Los_Angeles"},
		Clock:     status.ClockState{Trusted: true},
		Leap:      status.LeapState{LastOK: &ok, AgeS: &leapAge, NextAt: &next},
		SiteLoadW: &load, SiteLoadAgeS: &age,
		Meters: []status.Meter{m}, Devices: sampleDevices(now, target != nil), Next: sampleSlots(target != nil),
		Store: status.StoreState{OK: true},
		Alarms: []status.Alarm{{
			Code: "device-offline", Level: status.Warning, Since: now.Add(-4 * time.Minute),
			Text: "hvac-2 has not answered for 4 min: the battery gives its share.",
		}},
		Events: []status.Event{
			{At: now.Add(-4 * time.Minute), Kind: status.DeviceLost, About: "hvac-2", Text: "hvac-2 does not answer: read holding registers 40+2: device does not answer"},
			{At: now.Add(-2 * time.Hour), Kind: status.OwnerResume, Text: "Resumed by http 192.168.1.7."},
			{At: now.Add(-26 * time.Hour), Kind: status.OwnerStop, Text: "Stopped by stop button red."},
		},
	}
}

func sampleDevices(now time.Time, active bool) []status.Device {
	seen, until, gone := now.Add(-time.Second), now.Add(25*time.Second), now.Add(-4*time.Minute)
	d := []status.Device{
		{Name: "main", Kind: drivers.Meter, Profile: "sunspec-meter", Online: true, PowerW: num(bakery(now)), LastSeen: &seen, Reason: "measures-only", ReasonText: "measures only"},
		{Name: "battery", Kind: drivers.Battery, Profile: "sunspec-storage", Online: true, PowerW: num(0), SoC: num(87), LastSeen: &seen, Fallback: true,
			Limits: status.Limits{MaxDischargeW: num(5000), MaxChargeW: num(5000), ReserveSoC: num(20)}, Reason: "not-needed", ReasonText: "not needed now"},
		{Name: "wallbox", Kind: drivers.Charger, Profile: "keba-p30", Online: true, PowerW: num(7350), LastSeen: &seen, Fallback: true, Reason: "not-needed", ReasonText: "not needed now"},
		{Name: "hvac-1", Kind: drivers.Thermostat, Profile: "relay-inhibit", Online: true, PowerW: num(3480), LastSeen: &seen, Reason: "not-needed", ReasonText: "not needed now"},
		{Name: "hvac-2", Kind: drivers.Thermostat, Profile: "modbus-thermostat", LastSeen: &gone, Reason: "device-stale", ReasonText: "its readings are too old to act on", LastError: "read holding registers 40+2: device does not answer"},
	}
	if active {
		d[1].PowerW, d[1].SetpointW, d[1].Setpoint, d[1].LeaseUntil, d[1].Reason, d[1].ReasonText = num(1290), num(1310), "1.31 kW", &until, "following", "gives what it was asked for"
		d[2].PowerW, d[2].Setpoint, d[2].LeaseUntil, d[2].Reason, d[2].ReasonText = num(4140), "6 A", &until, "min-current", "at the lowest current that keeps the car charging"
		d[3].PowerW, d[3].Setpoint, d[3].LeaseUntil, d[3].Reason, d[3].ReasonText = num(0), "inhibit", &until, "inhibited", "held off, back on at 17:32 at the latest"
	}
	return d
}

func sampleSlots(active bool) []status.Timeslot {
	slot := func(id string, start time.Time, hours int, kw *float64, state dispatch.State, programs ...string) status.Timeslot {
		return status.Timeslot{State: state, Record: dispatch.Record{Timeslot: dispatch.Timeslot{
			MeterID: "afce893d-ea68-487f-9f8c-778b1881f60a", EventID: id, Start: start, End: start.Add(time.Duration(hours) * time.Hour),
			EnergyKW: kw, NominationKW: num(8), Cap: dispatch.UpToNomination, Priority: 2, Programs: programs,
		}}}
	}
	first := slot("5f3c", slotStart(), 2, num(8), dispatch.Pending, "CCA RA")
	if active {
		first.State, first.Reason, first.ReasonText = dispatch.Active, "on-target", "the target is met"
	}
	max := slot("77a0", slotStart().Add(26*time.Hour), 1, nil, dispatch.Pending, "ELRP")
	max.Voluntary, max.Cap, max.Priority = true, dispatch.UpToSiteLoad, 5
	return []status.Timeslot{first, slot("61b2", slotStart().Add(24*time.Hour), 2, num(6.5), dispatch.Pending, "CCA RA"), max}
}

func num(v float64) *float64 { return &v }
