package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFaultsOfWiring(t *testing.T) {
	const battery = "{name: battery, kind: battery, profile: sunspec-storage, bus: lan}"
	checkFaults(t, []faultCase{
		{what: "an inverter that is dispatched",
			from: "kind: battery, profile: sunspec-storage",
			to:   "kind: inverter, profile: roof",
			want: `n.yaml:11: meters[0].devices[0]: "battery" is of kind inverter, which is measured and never dispatched: to limit it would throw the sun's energy away; remove it from the list`},
		{what: "an inverter that a meter is settled by",
			from: "type: utility_meter\n    measured_by: main\n    reference: relative\n    devices: [battery]\nbuses:\n  - {name: lan, tcp: 192.168.1.20}\ndevices:\n",
			to:   "type: device\n    measured_by: pv\n    devices: [battery]\nbuses:\n  - {name: lan, tcp: 192.168.1.20}\ndevices:\n  - {name: pv, kind: inverter, profile: roof, bus: lan}\n",
			want: `n.yaml:9: meters[0].measured_by: "pv" is of kind inverter, which is never dispatched; accepted: a device of kind meter, or the one of this meter's devices that has the meter`},
		{what: "an unknown framing",
			from: "tcp: 192.168.1.20}", to: "tcp: 192.168.1.20, framing: ascii}",
			want: `n.yaml:13: buses[0].framing: "ascii" is not known; accepted: tcp, rtu`},
		{what: "framing on a serial line",
			from: "tcp: 192.168.1.20}", to: "serial: /dev/ttyUSB0, framing: rtu}",
			want: `n.yaml:13: buses[0].framing: means nothing without tcp; add tcp or remove the line`},
		{what: "echo on a socket",
			from: "tcp: 192.168.1.20}", to: "tcp: 192.168.1.20, echo: true}",
			want: `n.yaml:13: buses[0].echo: means nothing without serial; add serial or remove the line`},
		{what: "a unit id that RTU does not have",
			from: "tcp: 192.168.1.20}\ndevices:\n  - {name: main, kind: meter, profile: sunspec-meter, bus: lan, unit: 200}",
			to:   "tcp: 192.168.1.20, framing: rtu}\ndevices:\n  - {name: main, kind: meter, profile: sunspec-meter, bus: lan, unit: 255}",
			want: `n.yaml:15: devices[0].unit: 255 is out of range on a serial line; accepted: 1 to 247`},
		{what: "a channel that the board does not have",
			from: battery, to: "{name: battery, kind: relay, profile: relay-board, bus: lan, channel: 9, rated_kw: 1}",
			want: `n.yaml:16: devices[1].channel: 9 is more than "relay-board" has; accepted: 1 to 8`},
		{what: "a channel of a device with one",
			from: battery, to: "{name: battery, kind: battery, profile: sunspec-storage, bus: lan, channel: 2}",
			want: `n.yaml:16: devices[1].channel: 2 is more than "sunspec-storage" has; accepted: 1 to 1`},
		{what: "one relay for two devices",
			from: battery,
			to:   "{name: battery, kind: relay, profile: relay-board, bus: lan, rated_kw: 1}\n  - {name: b, kind: relay, profile: relay-board, bus: lan, channel: 1, rated_kw: 1}",
			want: `n.yaml:17: devices[2].unit: the unit "1" is taken by devices[1] on line 16`},
		{what: "a shift of what is only held off",
			from: battery, to: "{name: battery, kind: thermostat, profile: hvac-gateway, bus: lan, rated_kw: 1, max_offset_k: 1}",
			want: `n.yaml:16: devices[1].max_offset_k: "hvac-gateway" holds the load off and shifts no set-point; remove the line; max_off bounds the time off`},
		{what: "a thermostat by inhibit without its power",
			from: battery, to: "{name: battery, kind: thermostat, profile: hvac-gateway, bus: lan}",
			want: `n.yaml:16: devices[1].rated_kw: is missing (what it draws when it runs); accepted: a number in kW, more than 0 and at most 100000`},
		{what: "SG-Ready with one contact",
			from: battery, to: "{name: battery, kind: relay, gpio: GPIO5, profile: sg-ready, rated_kw: 1}",
			want: `n.yaml:16: devices[1].gpio2: is missing (the second contact of sg-ready); accepted: GPIO17, gpiochip0:17, pinctrl-rp1:17; with one contact only, for a heat pump's blocking input, use profile: relay-inhibit`},
		{what: "a second contact without SG-Ready",
			from: battery, to: "{name: battery, kind: relay, gpio: GPIO5, gpio2: GPIO6, profile: relay-stage, rated_kw: 1}",
			want: `n.yaml:16: devices[1].gpio2: means nothing with profile "relay-stage"; remove the line, or use profile: sg-ready`},
		{what: "SG-Ready blocked for too long",
			from: battery, to: "{name: battery, kind: relay, gpio: GPIO5, gpio2: GPIO6, rated_kw: 1, max_off: 3h}",
			want: `n.yaml:16: devices[1].max_off: 3h is longer than an SG-Ready heat pump may be blocked; accepted: at most 2h`},
		{what: "both contacts on one line",
			from: battery, to: "{name: battery, kind: relay, gpio: GPIO5, gpio2: GPIO5, rated_kw: 1}",
			want: `n.yaml:16: devices[1].gpio2: the line "GPIO5" is taken by devices[1] on line 16`},
		{what: "a button on the line of a relay",
			from: battery, to: "{name: battery, kind: relay, gpio: GPIO5, rated_kw: 1}\ninputs:\n  - {name: s, gpio: GPIO5, role: stop, active: high}",
			want: `n.yaml:18: inputs[0].gpio: the line "GPIO5" is taken by devices[1] on line 16`},
		{what: "a button without its level",
			from: "devices:\n", to: "inputs:\n  - {name: s, gpio: GPIO5, role: stop}\ndevices:\n",
			want: `n.yaml:15: inputs[0].active: is missing (level of the line that means pressed: high for a normally closed contact to ground, low for a normally open one); accepted: high, low`},
		{what: "a button that starts",
			from: "devices:\n", to: "inputs:\n  - {name: s, gpio: GPIO5, role: start, active: high}\ndevices:\n",
			want: `n.yaml:15: inputs[0].role: "start" is not known; accepted: stop`},
	})
}

func TestDeviceWithoutATimerOfItsOwnIsAWarning(t *testing.T) {
	env := testEnv()
	env.Library = openLibrary
	text := strings.Replace(minimal, "kind: battery, profile: sunspec-storage,", "kind: battery, profile: goodwe-et,", 1)
	c, err := Parse(strings.NewReader(text), "n.yaml", env)
	if err != nil {
		t.Fatal(err)
	}
	want := "devices[1]: battery has no timer of its own to end a command, and is not commanded without allow_no_fallback: true"
	if len(c.Warnings) != 1 || c.Warnings[0] != want {
		t.Errorf("warnings %q, want %q", c.Warnings, want)
	}
	consent := strings.Replace(text, "profile: goodwe-et,", "profile: goodwe-et, allow_no_fallback: true,", 1)
	c, err = Parse(strings.NewReader(consent), "n.yaml", env)
	want = "devices[1]: battery tells no rating of its own, and is not discharged without max_discharge_kw"
	if err != nil || len(c.Warnings) != 1 || c.Warnings[0] != want {
		t.Errorf("with the owner's consent: %v, warnings %q, want %q", err, c.Warnings, want)
	}
	c, err = Parse(strings.NewReader(strings.Replace(consent, "profile: goodwe-et,", "profile: goodwe-et, max_discharge_kw: 5,", 1)), "n.yaml", env)
	if err != nil || len(c.Warnings) != 0 {
		t.Errorf("with the owner's consent and rating: %v, warnings %q", err, c.Warnings)
	}
}

const ownProfile = `name: our-meter
kind: meter
maker: ourselves
bus: modbus
source: our own list
revision: "1"
tested: simulated from this file
connect: unit 1
points:
  - {name: W, address: 1, type: s32, unit: W, meaning: power_w}
`

// withProfiles reads the smallest config with profiles in a directory.
func withProfiles(t *testing.T, files map[string]string, from, to string) (*Config, string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := testEnv()
	env.Library = openLibrary
	text := strings.Replace(minimal, "  name: Oak Street Bakery", "  profiles: "+dir+"\n  name: Oak Street Bakery", 1)
	c, err := Parse(strings.NewReader(strings.Replace(text, from, to, 1)), "n.yaml", env)
	return c, dir, err
}

func TestSiteBringsItsOwnProfiles(t *testing.T) {
	files := map[string]string{"our.yaml": ownProfile, "notes.txt": "no profile"}
	c, _, err := withProfiles(t, files, "profile: sunspec-meter", "profile: our-meter")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.DeviceProfile("our-meter"); err != nil || p.Maker != "ourselves" {
		t.Errorf("our-meter: %+v, %v", p, err)
	}
	if p, err := c.DeviceProfile("sunspec-storage"); err != nil || p.Name != "sunspec-storage" {
		t.Errorf("sunspec-storage: %+v, %v", p, err)
	}
	if _, err := c.DeviceProfile("keba-p30"); err == nil {
		t.Error("keba-p30 is kept though no device has it")
	}
}

func TestSiteProfileTakesThePlaceOfTheProgramsOwn(t *testing.T) {
	own := strings.Replace(ownProfile, "name: our-meter", "name: eastron-sdm630\nreplaces: eastron-sdm630", 1)
	c, _, err := withProfiles(t, map[string]string{"k.yaml": own}, "profile: sunspec-meter", "profile: eastron-sdm630")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.DeviceProfile("eastron-sdm630"); err != nil || p.Maker != "ourselves" {
		t.Errorf("eastron-sdm630: %+v, %v, want the site's own", p, err)
	}
}

func TestFaultsOfSiteProfilesNameTheFileAndItsLine(t *testing.T) {
	for what, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a mistake in one":  {map[string]string{"a.yaml": strings.Replace(ownProfile, "type: s32", "type: s33", 1)}, "/a.yaml:10: "},
		"a built-in name":   {map[string]string{"a.yaml": strings.Replace(ownProfile, "our-meter", "keba-p30", 1)}, "/a.yaml:1: profile keba-p30 has the name of a built-in one"},
		"one name for two":  {map[string]string{"a.yaml": ownProfile, "b.yaml": ownProfile}, "/b.yaml:1: profile our-meter is in "},
		"not even a YAML":   {map[string]string{"a.yaml": "["}, "/a.yaml:1: "},
		"an unknown key":    {map[string]string{"a.yaml": ownProfile + "colour: red\n"}, "/a.yaml:"},
		"a file of 3 bytes": {map[string]string{"a.yaml": "a: "}, "/a.yaml:"},
	} {
		_, dir, err := withProfiles(t, c.files, "", "")
		if got := fmt.Sprint(err); !strings.HasPrefix(got, "n.yaml:2: site.profiles: ") || !strings.Contains(got, dir+c.want) {
			t.Errorf("%s: got %s, want the config's line and %s", what, got, dir+c.want)
		}
	}
	env := testEnv()
	env.Library = openLibrary
	env.Profiles = nil // as on a real machine
	// Wherever the site stands: that then no device has a profile is no news.
	site, rest, _ := strings.Cut(minimal, "leap:")
	last := "leap:" + rest + site + "  profiles: /nowhere\n"
	if _, err := Parse(strings.NewReader(last), "n.yaml", env); !strings.HasPrefix(fmt.Sprint(err), "n.yaml:17: site.profiles: /nowhere can not be read") {
		t.Errorf("got %v, want it to name the directory", err)
	}
	_, err := Parse(strings.NewReader(strings.Replace(minimal, "  name: Oak", "  profiles: /nowhere\n  name: Oak", 1)), "n.yaml", env)
	if want := "n.yaml:2: site.profiles: /nowhere can not be read: no such file or directory; `nominald check --profile FILE` tests one"; fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestTwoBoxesOnOneUnitAreAWarning(t *testing.T) {
	env := testEnv()
	env.Library = openLibrary
	line := "  - {name: rs485, serial: /dev/serial/by-id/a, baud: 9600}\ndevices:\n" +
		"  - {name: w, kind: charger, profile: heidelberg-energy-control, bus: rs485, unit: 2, phases: 3, max_current_a: 16}\n" +
		"  - {name: m, kind: meter, profile: eastron-sdm630, bus: rs485, unit: 2}\n"
	c, err := Parse(strings.NewReader(strings.Replace(minimal, "devices:\n", line, 1)), "n.yaml", env)
	if err != nil {
		t.Fatal(err)
	}
	want := "devices[1]: m (eastron-sdm630) has unit 2 of rs485, as w (heidelberg-energy-control) has; two boxes on one line need unit ids of their own"
	if !slices.Contains(c.Warnings, want) {
		t.Errorf("warnings %q, want %q", c.Warnings, want)
	}
}

// A relay's config of an earlier version goes on working.
func TestShiftOfARelayIsAWarning(t *testing.T) {
	text := strings.Replace(minimal, "devices:\n", "devices:\n  - {name: r, kind: thermostat, gpio: GPIO5, rated_kw: 1, max_offset_k: 1}\n", 1)
	c, err := Parse(strings.NewReader(text), "n.yaml", testEnv())
	if err != nil {
		t.Fatal(err)
	}
	want := "devices[0].max_offset_k: means nothing to a relay; max_off bounds the time off"
	if !slices.Contains(c.Warnings, want) {
		t.Errorf("warnings %q, want %q", c.Warnings, want)
	}
}
