package gateway

import (
	"errors"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
	"nominald/gateway/config"
	"nominald/gateway/store"
)

// TestEveryProfileOpens: what `nominald profiles` lists can be put into a
// config. Opening touches no wire.
func TestEveryProfileOpens(t *testing.T) {
	line := modbus.NewSerial(modbus.Serial{Path: "/nowhere"}, modbus.Options{})
	keep := func(name string) memory { return memory{name: name} }
	for _, p := range profile.List() {
		d := config.Device{Name: "it", Kind: p.Kind, Profile: p.Name, Bus: "a", Unit: 1}
		if p.Bus == "gpio" {
			d.Bus, d.GPIO, d.GPIO2 = "", "GPIO5", "GPIO6"
		}
		device, err := openDevice(d, p, line, keep, false)
		if err != nil || device == nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		// One that nobody can drive says so in its description only.
		if got := device.Describe(); got.Detail == "" && p.Bus == "gpio" {
			t.Errorf("%s: %+v", p.Name, got)
		}
	}
	own := &profile.Profile{Name: "ours", Kind: drivers.Meter, Bus: "modbus", Driver: "sunspec"}
	if _, err := openDevice(config.Device{Name: "it", Profile: "ours", Unit: 1}, own, line, keep, false); err == nil {
		t.Error("a profile of the site's own that names a driver was opened")
	}
	if _, err := openDevice(config.Device{Name: "it", Profile: "ours", Bus: "b"}, own, nil, keep, false); err == nil {
		t.Error("a device on no bus was opened")
	}
}

func TestDevicesAreReadAtTheirProfilesPace(t *testing.T) {
	for _, c := range []struct {
		kind drivers.Kind
		poll time.Duration
		want time.Duration
	}{
		{drivers.Meter, 0, time.Second}, {drivers.Charger, 0, 2 * time.Second}, {drivers.Thermostat, 0, 2 * time.Second},
		{drivers.Relay, 0, time.Second}, {drivers.Inverter, 0, time.Second}, {drivers.Charger, 5 * time.Second, 5 * time.Second},
		{drivers.Meter, 200 * time.Millisecond, 200 * time.Millisecond},
	} {
		if got := pollEvery(config.Device{Kind: c.kind}, &profile.Profile{Poll: c.poll}); got != c.want {
			t.Errorf("%s with %v: every %v, want %v", c.kind, c.poll, got, c.want)
		}
	}
}

// TestPassiveDeviceCanNotBeWrittenTo: in a dry run not even a slip in a driver
// reaches a register.
func TestPassiveDeviceCanNotBeWrittenTo(t *testing.T) {
	w := newWorld(t, false)
	st, _, err := store.OpenTemporary(store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	lines := newLines(w.cfg)
	for _, d := range w.cfg.Devices {
		p, err := w.cfg.DeviceProfile(d.Profile)
		if err != nil {
			t.Fatal(err)
		}
		device, err := openDevice(d, p, lines[d.Bus], func(name string) memory { return memory{st, name} }, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := device.Read(t.Context()); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
		if err := device.Apply(t.Context(), drivers.Command{PowerW: 1000, CurrentA: 10}, time.Minute); !errors.Is(err, drivers.ErrRefused) {
			t.Errorf("%s took a command: %v", d.Name, err)
		}
	}
	for name, d := range w.site.Truth().Devices {
		if d.Commanded {
			t.Errorf("%s is commanded", name)
		}
	}
	for _, l := range lines {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLinesFollowTheConfig: a serial bus is a serial line, and RTU over a socket
// takes no unit id that RTU does not have.
func TestLinesFollowTheConfig(t *testing.T) {
	lines := newLines(&config.Config{Buses: []config.Bus{
		{Name: "tcp", TCP: "127.0.0.1:1"}, {Name: "rtu", TCP: "127.0.0.1:2", RTU: true}, {Name: "tty", Serial: "/nowhere/tty", Baud: 19200, Format: "8E1"}}})
	for name, want := range map[string]string{"tcp": "127.0.0.1:1", "rtu": "127.0.0.1:2", "tty": "/nowhere/tty"} {
		if lines[name] == nil || lines[name].String() != want {
			t.Errorf("bus %s: %v, want the line %s", name, lines[name], want)
		}
	}
}

func TestHeldOffThermostatIsNotShifted(t *testing.T) {
	for inhibit, want := range map[bool]float64{true: 0, false: 2} {
		u := &unit{cfg: config.Device{Kind: drivers.Thermostat, MaxOffsetK: 2, ByInhibit: inhibit, MinOff: time.Minute, MinOn: 7 * time.Minute}, every: time.Second, now: time.Now}
		d := u.look(noon, bus.Snapshot{Online: true, Reading: drivers.Reading{At: time.Now()}})
		if d.MaxOffsetK != want || d.MinOn != 7*time.Minute {
			t.Errorf("by inhibit %v: shift of %g K, rest of %v", inhibit, d.MaxOffsetK, d.MinOn)
		}
	}
}
