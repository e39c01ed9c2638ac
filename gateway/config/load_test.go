package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"nominald/drivers"
)

// key is what a key file holds, with the line break that editors leave.
const testKey = "eyJhbGciOi.test-key"

// testEnv is a machine with one key file, one variable and one credential.
func testEnv() Env {
	files := map[string]string{
		"/etc/nominald/leap.key":   testKey + "\n",
		"/etc/nominald/empty.key":  " \n",
		"/etc/nominald/two.key":    "one\ntwo\n",
		"/etc/nominald/large.key":  strings.Repeat("k", maxSecret+1),
		"/etc/nominald/open.key":   testKey,
		"/etc/nominald/http.token": "0123456789abcdef",
		"/etc/nominald/short":      "0123456789abcde",
		"/run/credentials/leap":    testKey,
	}
	return Env{
		LookupEnv: func(name string) (string, bool) {
			v, ok := map[string]string{"LEAP_KEY": testKey, "EMPTY": ""}[name]
			return v, ok
		},
		CredentialDir: "/run/credentials",
		LoadLocation:  time.LoadLocation,
		// A list of its own: messages must not change with every new profile.
		Profiles: []Profile{
			{Name: "keba-p30", Kind: drivers.Charger},
			{Name: "relay-board", Kind: drivers.Relay, Channels: 8},
			{Name: "relay-inhibit", Kind: drivers.Relay, GPIO: true},
			{Name: "relay-stage", Kind: drivers.Relay, GPIO: true},
			{Name: "sg-ready", Kind: drivers.Relay, GPIO: true},
			{Name: "hvac-gateway", Kind: drivers.Thermostat, Inhibits: true},
			{Name: "roof", Kind: drivers.Inverter},
			{Name: "room-unit", Kind: drivers.Thermostat},
			{Name: "sunspec-meter", Kind: drivers.Meter},
			{Name: "sunspec-storage", Kind: drivers.Battery},
		},
		ReadFile: func(path string) ([]byte, fs.FileMode, error) {
			s, ok := files[path]
			switch {
			case path == "/etc/nominald/root.key":
				return nil, 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
			case !ok:
				return nil, 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			case strings.Contains(path, "open"):
				return []byte(s), 0o644, nil
			}
			return []byte(s), 0o600, nil
		},
	}
}

const minimal = `site:
  name: Oak Street Bakery
leap:
  url: https://api.leap.energy/v2
  api_key: file:/etc/nominald/leap.key
meters:
  - id: afce893d-ea68-487f-9f8c-778b1881f60a
    type: utility_meter
    measured_by: main
    reference: relative
    devices: [battery]
buses:
  - {name: lan, tcp: 192.168.1.20}
devices:
  - {name: main, kind: meter, profile: sunspec-meter, bus: lan, unit: 200}
  - {name: battery, kind: battery, profile: sunspec-storage, bus: lan}
`

func parse(t *testing.T, text string) (*Config, error) {
	t.Helper()
	return Parse(strings.NewReader(text), "n.yaml", testEnv())
}

func TestSmallestConfigGetsTheDefaults(t *testing.T) {
	got, err := parse(t, minimal)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Path: "n.yaml",
		Site: Site{Name: "Oak Street Bakery", Timezone: time.UTC, Profiles: DefaultProfiles},
		Leap: Leap{URL: "https://api.leap.energy/v2", APIKey: NewSecret("file:/etc/nominald/leap.key", testKey), Poll: time.Minute},
		Meters: []Meter{{ID: "afce893d-ea68-487f-9f8c-778b1881f60a", Type: UtilityMeter, MeasuredBy: "main",
			Reference: Relative, Devices: []string{"battery"}}},
		Buses: []Bus{{Name: "lan", TCP: "192.168.1.20:502"}},
		Devices: []Device{
			{Name: "main", Kind: drivers.Meter, Profile: "sunspec-meter", Bus: "lan", Unit: 200},
			{Name: "battery", Kind: drivers.Battery, Profile: "sunspec-storage", Bus: "lan", Unit: 1, ReserveSoC: 20},
		},
		Policy: Policy{Basis: "energy", Voluntary: "follow", CommunicationTest: "dry-run", OnMissing: "execute", Release: 2 * time.Minute,
			ReleaseLoads: 75 * time.Minute},
		HTTP:  HTTP{Listen: "127.0.0.1:8645"},
		Store: Store{Dir: "/var/lib/nominald", Retain: 400 * 24 * time.Hour, RetainFine: 30 * 24 * time.Hour},
	}
	compare(t, got, want)
}

func compare(t *testing.T, got, want *Config) {
	t.Helper()
	opts := cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmp.AllowUnexported(Secret{}),
		cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("config differs (-want +got):\n%s", diff)
	}
}

func TestExampleConfigIsReadWhole(t *testing.T) {
	f, err := os.Open("../../packaging/nominald.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := Parse(f, "nominald.example.yaml", testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if c.Site.Armed {
		t.Error("the example is armed; want a dry run")
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
	want := []Device{
		{Name: "main", Kind: drivers.Meter, Profile: "sunspec-meter", Bus: "lan", Unit: 200},
		{Name: "battery", Kind: drivers.Battery, Profile: "sunspec-storage", Bus: "lan", Unit: 1, ReserveSoC: 20,
			MaxDischargeW: drivers.Some(5000), MaxChargeW: drivers.Some(5000), CapacityWh: drivers.Some(13500)},
		{Name: "wallbox", Kind: drivers.Charger, Profile: "keba-p30", Bus: "wall", Unit: 255, Phases: 3, VoltageV: 230, MinA: 6, MaxA: 16},
		{Name: "hvac", Kind: drivers.Thermostat, Profile: RelayInhibit, GPIO: "GPIO17", ActiveLow: true, RatedW: 3500,
			ByInhibit: true, MinOff: 5 * time.Minute, MinOn: 5 * time.Minute, MaxOff: 30 * time.Minute, MaxOffsetK: 2},
	}
	if diff := cmp.Diff(want, c.Devices); diff != "" {
		t.Errorf("devices differ (-want +got):\n%s", diff)
	}
	if got, want := c.Site, (Site{Name: "Oak Street Bakery", Timezone: c.Site.Timezone, MaxImportW: 40000, Profiles: DefaultProfiles}); got != want {
		t.Errorf("site = %+v, want %+v", got, want)
	}
	if got := c.Site.Timezone.String(); got != "America/Los_Angeles" {
		t.Errorf("time zone = %s", got)
	}
}

func TestEveryKeyIsTaken(t *testing.T) {
	c, err := parse(t, `
site: {name: S, timezone: Europe/Berlin, armed: true, max_import_kw: 40.5, max_export_kw: 3, profiles: /srv/profiles}
leap: {url: "http://127.0.0.1:9/v2/", api_key: credential:leap, poll: 5s}
meters:
  - {id: AFCE893D-EA68-487F-9F8C-778B1881F60A, type: device, measured_by: b, devices: [b], baseline: caiso-10-in-10}
buses:
  - {name: r, serial: /dev/ttyUSB0, baud: 19200, format: 8E1, echo: true}
  - {name: six, tcp: "fe80::1"}
  - {name: server, tcp: "10.0.0.9:4001", framing: rtu}
devices:
  - {name: m, kind: meter, profile: sunspec-meter, bus: r, unit: 247, invert: true}
  - {name: b, kind: battery, profile: sunspec-storage, bus: six, reserve_soc: 0, max_discharge_kw: 2.5, max_charge_kw: 0, capacity_kwh: 5, allow_no_fallback: true}
  - {name: c, kind: charger, profile: keba-p30, bus: six, phases: 1, voltage: 240, min_current_a: 8, max_current_a: 32, departure: 07:30, departure_kwh: 12.5, cost: 25}
  - {name: t, kind: thermostat, profile: room-unit, bus: six, rated_kw: 2, min_off: 1m30s, max_off: 1h, max_offset_k: 1.5}
  - {name: h, kind: relay, gpio: "gpiochip0:17", active: high, rated_kw: 4}
  - {name: pump, kind: relay, profile: relay-board, bus: server, unit: 2, channel: 8, rated_kw: 1, min_on: 10s}
  - {name: heat, kind: thermostat, gpio: GPIO5, gpio2: "pinctrl-rp1:6", active: low, rated_kw: 3, max_off: 2h}
  - {name: pv, kind: inverter, profile: roof, bus: server, unit: 3}
inputs:
  - {name: stop-button, gpio: GPIO27, role: stop, active: high, pull: none, debounce: 20ms}
policy: {basis: max-paid, voluntary: follow-above-soc:50, communication_test: actuate, on_missing: drop, release: 0s, release_loads: 30m, release_random: 7m, charge_to_target: true, precharge: 2h, precool: 45m, prepare_in_window: true}
http: {listen: "0.0.0.0:80", token: file:/etc/nominald/http.token, hosts: [gw.example.net, GW]}
store: {dir: /srv/n, retain: 1d12h}
`)
	if err != nil {
		t.Fatal(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Path:   "n.yaml",
		Site:   Site{Name: "S", Timezone: berlin, Armed: true, MaxImportW: 40500, MaxExportW: 3000, Profiles: "/srv/profiles"},
		Leap:   Leap{URL: "http://127.0.0.1:9/v2", APIKey: NewSecret("credential:leap", testKey), Poll: 5 * time.Second},
		Meters: []Meter{{ID: "afce893d-ea68-487f-9f8c-778b1881f60a", Type: DeviceMeter, MeasuredBy: "b", Reference: ByDevice, Baseline: "caiso-10-in-10", Devices: []string{"b"}}},
		Buses: []Bus{{Name: "r", Serial: "/dev/ttyUSB0", Baud: 19200, Format: "8E1", Echo: true},
			{Name: "six", TCP: "[fe80::1]:502"}, {Name: "server", TCP: "10.0.0.9:4001", RTU: true}},
		Devices: []Device{
			{Name: "m", Kind: drivers.Meter, Profile: "sunspec-meter", Bus: "r", Unit: 247, Invert: true},
			{Name: "b", Kind: drivers.Battery, Profile: "sunspec-storage", Bus: "six", Unit: 1, MaxDischargeW: drivers.Some(2500),
				MaxChargeW: drivers.Some(0), CapacityWh: drivers.Some(5000), AllowNoFallback: true},
			{Name: "c", Kind: drivers.Charger, Profile: "keba-p30", Bus: "six", Unit: 1, Phases: 1, VoltageV: 240, MinA: 8, MaxA: 32,
				Departure: 7*time.Hour + 30*time.Minute, DepartureWh: drivers.Some(12500), Cost: drivers.Some(25)},
			{Name: "t", Kind: drivers.Thermostat, Profile: "room-unit", Bus: "six", Unit: 1, RatedW: 2000, MinOff: 90 * time.Second, MinOn: 5 * time.Minute, MaxOff: time.Hour, MaxOffsetK: 1.5},
			{Name: "h", Kind: drivers.Relay, Profile: RelayInhibit, GPIO: "gpiochip0:17", ByInhibit: true, RatedW: 4000,
				MinOff: 5 * time.Minute, MinOn: 5 * time.Minute, MaxOff: 30 * time.Minute},
			{Name: "pump", Kind: drivers.Relay, Profile: "relay-board", Bus: "server", Unit: 2, Channel: 8, ByInhibit: true, RatedW: 1000,
				MinOff: 5 * time.Minute, MinOn: 10 * time.Second, MaxOff: 30 * time.Minute},
			{Name: "heat", Kind: drivers.Thermostat, Profile: SGReady, GPIO: "GPIO5", GPIO2: "pinctrl-rp1:6", ActiveLow: true, ByInhibit: true,
				RatedW: 3000, MinOff: 10 * time.Minute, MinOn: 10 * time.Minute, MaxOff: 2 * time.Hour, MaxOffsetK: 2},
			{Name: "pv", Kind: drivers.Inverter, Profile: "roof", Bus: "server", Unit: 3},
		},
		Inputs: []Input{{Name: "stop-button", Role: RoleStop, GPIO: "GPIO27", Active: "high", Pull: "none", Debounce: 20 * time.Millisecond}},
		Policy: Policy{Basis: "max-paid", Voluntary: "follow-above-soc", VoluntaryAboveSoC: 50, CommunicationTest: "actuate", OnMissing: "drop",
			ReleaseLoads: 30 * time.Minute, ReleaseRandom: 7 * time.Minute, ChargeToTarget: true,
			Precharge: 2 * time.Hour, Precool: 45 * time.Minute, PrepareInWindow: true},
		HTTP:  HTTP{Listen: "0.0.0.0:80", Token: NewSecret("file:/etc/nominald/http.token", "0123456789abcdef"), Hosts: []string{"gw.example.net", "GW"}},
		Store: Store{Dir: "/srv/n", Retain: 36 * time.Hour, RetainFine: 30 * 24 * time.Hour},
		Warnings: []string{
			"devices[2]: c is in no meter's devices and is never dispatched",
			"devices[3]: t is in no meter's devices and is never dispatched",
			"devices[4]: h is in no meter's devices and is never dispatched",
			"devices[5]: pump is in no meter's devices and is never dispatched",
			"devices[6]: heat is in no meter's devices and is never dispatched",
		},
	}
	compare(t, c, want)
}

func TestKeyFileThatEverybodyReadsIsAWarning(t *testing.T) {
	c, err := parse(t, strings.Replace(minimal, "leap.key", "open.key", 1))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"leap.api_key: /etc/nominald/open.key can be read by everybody on this machine; chmod 600 /etc/nominald/open.key"}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestLoadReadsRealFiles(t *testing.T) {
	dir := t.TempDir()
	keyFile, file := filepath.Join(dir, "leap.key"), filepath.Join(dir, "n.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(minimal, "/etc/nominald/leap.key", keyFile, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file)
	if got, want := err.Error(), file+":5: leap.api_key: can not read "+keyFile+": no such file or directory; put the secret into this file, owner nominald, mode 600"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if err := os.WriteFile(keyFile, []byte(testKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Leap.APIKey.Value(); got != testKey {
		t.Errorf("key = %q, want %q", got, testKey)
	}
	_, err = Load(filepath.Join(dir, "absent.yaml"))
	if bad, ok := errors.AsType[*Error](err); !ok || !strings.Contains(bad.Error(), "absent.yaml: can not be read: no such file or directory") {
		t.Errorf("Load of an absent file: %v, want an *Error", err)
	}
}

func TestFaultFindsTheLineOfAKey(t *testing.T) {
	c, err := parse(t, minimal)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		got  *Error
		want string
	}{
		{c.Fault("devices", "battery", "profile", "sunspec-storage", "", "use another"), `n.yaml:16: devices[1].profile: found "sunspec-storage"; use another`},
		{c.Fault("buses", "lan", "serial", "/dev/x", "a TCP endpoint", ""), `n.yaml:13: buses[0].serial: found "/dev/x"; accepted: a TCP endpoint`},
		{c.Fault("leap", "", "url", "u", "", ""), `n.yaml:4: leap.url: found "u"`},
		{(&Config{Path: "made"}).Fault("http", "", "listen", "a", "", ""), `made: http.listen: found "a"`},
	} {
		if got := f.got.Error(); got != f.want {
			t.Errorf("got %s, want %s", got, f.want)
		}
	}
}
