package gateway

import (
	"log/slog"
	"math"
	"net/http/httptest"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/intervals"
	"nominald/gateway/loadlog"
	"nominald/gateway/sim"
	"nominald/gateway/store"
)

// What a battery discharged comes out of its Leap meter, and the load of a site
// goes into its: from the load log to Leap, through a socket.
func TestIntervalsReachLeap(t *testing.T) {
	const battery, site, quiet = "afce893d-ea68-487f-9f8c-778b1881f60a", "0d3a9a52-9a2f-4f0f-8a35-0b8f0f1c2d3e", "5b8b2c5e-6c0e-4a5a-9c5e-0f5d1c3b2a10"
	account := sim.NewLeap(sim.LeapOptions{Key: "key", Meters: []string{battery, site, quiet}})
	srv := httptest.NewServer(account)
	defer srv.Close()
	st, _, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	g := &Gateway{log: slog.New(slog.DiscardHandler), store: st, clock: newClock(st), loads: loadlog.New(loadlog.Options{Store: st}),
		units: []*unit{{cfg: config.Device{Name: "battery", Kind: drivers.Battery}}, {cfg: config.Device{Name: "main", Kind: drivers.Meter}}},
		cfg: &config.Config{Site: config.Site{Name: "Bakery"},
			Leap:    config.Leap{URL: srv.URL + "/v2", APIKey: config.NewSecret("env:KEY", "key")},
			Devices: []config.Device{{Name: "battery", Kind: drivers.Battery}, {Name: "main", Kind: drivers.Meter}},
			Meters: []config.Meter{{ID: battery, Type: config.DeviceMeter, MeasuredBy: "battery", Upload: true},
				{ID: site, Type: config.UtilityMeter, MeasuredBy: "main", Upload: true}, {ID: quiet, Type: config.DeviceMeter, MeasuredBy: "battery"}}}}
	// What has ended a moment ago waits for clocks that differ: none of these has.
	const longAgo = 3 * time.Minute
	from := time.Now().UTC().Add(-longAgo).Truncate(intervals.Quarter).Add(-2 * time.Hour)
	for at := from; at.Before(from.Add(2*time.Hour + time.Second)); at = at.Add(time.Second) {
		g.loads.Add(at, "battery", 2000, loadlog.Measured)
		g.loads.Add(at, "main", 4000, loadlog.Measured)
		g.loads.Add(at, loadlog.Site, 4000, loadlog.Measured)
	}
	if err := g.loads.Flush(); err != nil {
		t.Fatal(err)
	}
	sender := g.newSender()
	for range 20 {
		if !sender.Round(t.Context()) {
			break
		}
	}
	for at := from; at.Before(from.Add(2 * time.Hour)); at = at.Add(intervals.Quarter) {
		for meter, want := range map[string]float64{battery: -0.5, site: 1} {
			if got := account.Taken(meter, at); len(got) != 1 || math.Abs(got[0]-want) > 0.0006 {
				t.Errorf("%s at %s: Leap has %v kWh, want %v", meter, at.Format(time.TimeOnly), got, want)
			}
		}
		if got := account.Taken(quiet, at); got != nil {
			t.Errorf("a meter that is not to be sent: %v", got)
		}
	}
	g.sender = sender
	if s, err := g.Intervals(); err != nil || s.(intervals.Summary).Intervals != 16 {
		t.Errorf("summary %+v, %v", s, err)
	}
}

// What counters spread over hours in which nobody read the meter is no interval
// data; over a short gap it is.
func TestSpreadOverHoursIsNotSent(t *testing.T) {
	for gap, sent := range map[time.Duration]bool{45 * time.Minute: true, 3 * time.Hour: false} {
		st, _, err := store.Open(t.TempDir(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		loads := loadlog.New(loadlog.Options{Store: st})
		from := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
		wh := 0.0
		run := func(from, to time.Time) {
			for at := from; at.Before(to); at = at.Add(time.Second) {
				wh += 1200.0 / 3600
				loads.Add(at, "main", 1200, loadlog.Measured)
				loads.Count(at, "main", math.Floor(wh), 0)
			}
		}
		begun := from.Add(30 * time.Minute)
		run(from, begun)
		wh += 1200 * gap.Hours()
		run(begun.Add(gap), begun.Add(gap+30*time.Minute))
		if err := loads.Flush(); err != nil {
			t.Fatal(err)
		}
		load := meterLoad{log: loads, meters: map[string]meterChannel{"m": {name: "main", sign: 1}}}
		rows, err := load.Intervals("m", from, begun.Add(gap+30*time.Minute))
		if err != nil || len(rows) != int((gap+time.Hour)/intervals.Quarter) {
			t.Fatalf("gap %v: %d rows, %v", gap, len(rows), err)
		}
		for _, r := range rows {
			in := !r.Start.Before(begun) && r.Start.Before(begun.Add(gap))
			switch {
			case !in && r.Quality != "measured", in && sent && r.Quality != "recovered", in && !sent && r.Quality != "partial":
				t.Errorf("gap %v: %+v", gap, r)
			}
		}
	}
}
