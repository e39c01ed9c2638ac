package gateway

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nominald/gateway/config"
	"nominald/gateway/sim"
	"nominald/gateway/status"
)

const serialConfig = `site: {name: Serial Site, timezone: America/Los_Angeles, armed: true, max_import_kw: 40}
leap: {url: "http://%[1]s/v2", api_key: "file:%[2]s/leap.key", poll: 5s}
meters:
  - {id: %[3]s, type: utility_meter, measured_by: main, reference: device, devices: [battery, wallbox, pump]}
buses:
  - {name: storage, serial: %[2]s/ttyA, baud: 115200, format: 8N1}
  - {name: loads, serial: %[2]s/ttyB, baud: 19200, format: 8E1}
devices:
  - {name: main, kind: meter, profile: eastron-sdm630, bus: loads, unit: 2}
  - {name: battery, kind: battery, profile: solaredge-storedge, bus: storage, unit: 1, reserve_soc: 20, max_discharge_kw: 5, capacity_kwh: 13.5}
  - {name: wallbox, kind: charger, profile: heidelberg-energy-control, bus: loads, unit: 1, phases: 1, voltage: 230, min_current_a: 6, max_current_a: 16}
  - {name: pump, kind: relay, profile: waveshare-modbus-relay, bus: loads, unit: 3, channel: 2, rated_kw: 1, min_off: 10s, min_on: 0s}
policy: {release: 0s}
http: {listen: "%[4]s"}
store: {dir: %[2]s/store}
`

// newSerialWorld serves a bakery on two serial lines of different speeds.
func newSerialWorld(t *testing.T) *world {
	t.Helper()
	return serialWorld(t, func(w *world, leap, http string) string {
		return fmt.Sprintf(serialConfig, leap, w.dir, testMeter, http)
	})
}

// serialWorld serves the site of a config that is written for the addresses of
// Leap and of the gateway.
func serialWorld(t *testing.T, text func(w *world, leap, http string) string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	leapLn, free := w.listen(), w.listen()
	w.httpLn, w.httpAddr = free, free.Addr().String()
	t.Cleanup(func() { free.Close() })
	w.write("leap.key", testKey)
	w.path = w.write("nominald.yaml", text(w, leapLn.Addr().String(), w.httpAddr))
	var err error
	if w.cfg, err = config.Load(w.path); err != nil {
		t.Fatal(err)
	}
	if w.site, err = sim.NewSite(w.cfg, sim.SiteOptions{Preset: sim.Bakery, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	if notes := w.site.Notes(); len(notes) > 0 {
		t.Fatalf("not simulated: %q", notes)
	}
	if err := w.site.Listen(); err != nil {
		t.Fatal(err)
	}
	w.leap = sim.NewLeap(sim.LeapOptions{Key: testKey, Meters: []string{testMeter}})
	w.serve(leapLn)
	return w
}

// TestAdapterIsPulledInTheMiddleOfATimeslot: the battery's adapter goes away
// and comes back as another device behind the same name. Nothing restarts, the
// devices of the other line go on, and both moments are told.
func TestAdapterIsPulledInTheMiddleOfATimeslot(t *testing.T) {
	t.Parallel()
	w := newSerialWorld(t)
	w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	w.run()
	w.await("the battery delivers", 30*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 2000 })
	w.await("the nomination is met", 60*time.Second, func() bool { return w.delivered() > 3600 })

	pulled := time.Now()
	if err := w.site.UnplugBus("storage"); err != nil {
		t.Fatal(err)
	}
	w.await("the battery is shown offline, with the reason", 20*time.Second, func() bool {
		d := w.device("battery")
		return !d.Online && strings.Contains(d.LastError, filepath.Join(w.dir, "ttyA"))
	})
	w.await("the bus is told lost", 20*time.Second, func() bool { return w.event(status.BusLost, "storage") != nil })
	// So that what it does afterwards is by a new command.
	if err := w.site.Restart("battery"); err != nil {
		t.Fatal(err)
	}
	w.await("the battery has forgotten its command", 10*time.Second, func() bool {
		return w.site.Truth().Devices["battery"].PowerW < 100
	})
	for _, name := range []string{"main", "pump"} {
		if d := w.device(name); !d.Online || time.Since(*d.LastSeen) > 6*time.Second {
			t.Errorf("%s on the other line is not read: %+v", name, d)
		}
	}

	plugged := time.Now()
	if err := w.site.PlugBus("storage"); err != nil {
		t.Fatal(err)
	}
	// The vehicle, paused meanwhile, goes on giving its share: less is left than before.
	w.await("the battery is commanded again", 60*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 1000 })
	w.await("the nomination is met again", 60*time.Second, func() bool { return w.delivered() > 3600 })
	w.checkMoments(pulled, plugged)
}

// delivered is what the meter is credited with now, W.
func (w *world) delivered() float64 {
	if m := w.status().Meters[0]; m.DeliveredW != nil {
		return *m.DeliveredW
	}
	return 0
}

func (w *world) event(kind, about string) *status.Event {
	w.t.Helper()
	for _, e := range w.status().Events {
		if e.Kind == kind && e.About == about {
			return &e
		}
	}
	return nil
}

// checkMoments: the status tells when the adapter went and came, the page asks
// for just that, the log has both, and nothing was restarted.
func (w *world) checkMoments(pulled, plugged time.Time) {
	w.t.Helper()
	for _, m := range []struct {
		kind, about string
		from        time.Time
		within      time.Duration
	}{
		{status.DeviceLost, "battery", pulled, 20 * time.Second}, {status.BusLost, "storage", pulled, 20 * time.Second},
		{status.DeviceBack, "battery", plugged, 60 * time.Second}, {status.BusBack, "storage", plugged, 60 * time.Second},
	} {
		e := w.event(m.kind, m.about)
		if e == nil || e.At.Before(m.from.Add(-time.Second)) || e.At.After(m.from.Add(m.within)) {
			w.t.Errorf("event %s of %s: %+v, want one within %v of %v", m.kind, m.about, e, m.within, m.from)
		}
	}
	st := w.status()
	starts := slices.DeleteFunc(slices.Clone(st.Events), func(e status.Event) bool { return e.Kind != status.Started })
	if len(starts) != 1 || st.Stopped {
		w.t.Errorf("%d starts, stopped %v, want one and not stopped", len(starts), st.Stopped)
	}
	resp, err := http.Get("http://" + w.httpAddr + "/static/app.js")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if script, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(script), "status.events") {
		w.t.Errorf("the page does not show the events: %v", err)
	}
	for line, want := range map[string]int{
		`msg="device offline" bus=storage device=battery`: 1, `msg="device online" bus=storage device=battery`: 2} {
		if got := strings.Count(w.logged.String(), line); got != want {
			w.t.Errorf("the log says %d times %s, want %d", got, line, want)
		}
	}
}

const serverConfig = `site: {name: Cabinet, timezone: America/Los_Angeles, armed: true, max_import_kw: 40}
leap: {url: "http://%[1]s/v2", api_key: "file:%[2]s/leap.key", poll: 5s}
meters:
  - {id: %[3]s, type: utility_meter, measured_by: main, reference: device, devices: [battery, pump, cooler]}
buses:
  - {name: inverter, tcp: "%[5]s"}
  - {name: cabinet, tcp: "%[6]s", framing: rtu}
devices:
  - {name: main, kind: meter, profile: carlo-gavazzi-em24, bus: cabinet, unit: 2}
  - {name: battery, kind: battery, profile: kostal-plenticore, bus: inverter, unit: 71, reserve_soc: 20, max_discharge_kw: 2, capacity_kwh: 13.5}
  - {name: pump, kind: relay, profile: waveshare-modbus-relay, bus: cabinet, unit: 3, channel: 2, rated_kw: 1, min_off: 10s, min_on: 0s}
  - {name: cooler, kind: relay, profile: waveshare-modbus-relay, bus: cabinet, unit: 3, channel: 8, rated_kw: 1, min_off: 10s, min_on: 0s}
policy: {release: 0s}
http: {listen: "%[4]s"}
store: {dir: %[2]s/store}
`

// TestRelaysOfABoardTakePart: two relays of one board behind a serial device
// server give what the battery can not, and are let go at the end.
func TestRelaysOfABoardTakePart(t *testing.T) {
	t.Parallel()
	w := serialWorld(t, func(w *world, leap, http string) string {
		inverter, cabinet := w.listen(), w.listen()
		defer inverter.Close()
		defer cabinet.Close()
		return fmt.Sprintf(serverConfig, leap, w.dir, testMeter, http, inverter.Addr(), cabinet.Addr())
	})
	w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	stop := w.run()
	off := func() (n int) {
		for _, name := range []string{"pump", "cooler"} {
			if d := w.site.Truth().Devices[name]; d.Commanded && d.PowerW == 0 {
				n++
			}
		}
		return n
	}
	w.await("both relays hold their loads off", 60*time.Second, func() bool { return off() == 2 })
	w.await("the status says so", 10*time.Second, func() bool {
		return w.device("pump").Setpoint == "inhibit" && w.device("cooler").Setpoint == "inhibit"
	})
	time.Sleep(11 * time.Second) // min_off
	stop()
	w.await("no load is held off", 2*time.Second, func() bool { return off() == 0 })
}
