package scan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"nominald/drivers"
	"nominald/drivers/profile"
	"nominald/gateway/config"
	"nominald/gateway/scan"
)

// full is a config around what a scan prints.
const full = `site: {name: Test}
leap: {url: "http://127.0.0.1:1/v2", api_key: "env:NONE"}
meters:
  - {id: afce893d-ea68-487f-9f8c-778b1881f60a, type: utility_meter, measured_by: point, reference: device, devices: []}
`

// checkConfig loads what the scan printed inside a config, strictly.
func checkConfig(t testing.TB, r *scan.Result) {
	t.Helper()
	text := r.Config()
	if !strings.HasPrefix(text, "buses:\n") {
		t.Fatalf("there are no buses in\n%s", text)
	}
	// The meter of the config around it stands on a bus of its own.
	text = strings.Replace(text, "buses:\n", "buses:\n  - {name: point-bus, tcp: 127.0.0.1:65000}\n", 1)
	point := "  - {name: point, kind: meter, profile: sunspec-meter, bus: point-bus, unit: 1}\n"
	if strings.Contains(text, "devices:\n") {
		text = strings.Replace(text, "devices:\n", "devices:\n"+point, 1)
	} else {
		text += "devices:\n" + point
	}
	dir, err := os.MkdirTemp("", "scan")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "site.yaml")
	if err := os.WriteFile(path, []byte(full+text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.LoadWithoutSecrets(path)
	if err != nil {
		t.Fatalf("what the scan prints is refused: %v\n%s", err, text)
	}
	known := 0
	for _, f := range r.Found {
		if f.Profile != "" && !strings.Contains(text, "must speak at one speed") {
			known++
		}
	}
	if got := len(cfg.Devices) - 1; got < known {
		t.Errorf("%d devices in the config, %d were found:\n%s", got, known, text)
	}
}

// Whatever was found, and whatever a device wrote of itself, the config that is
// printed is accepted.
func TestPrintedConfigIsAccepted(t *testing.T) {
	profiles := profile.List()
	rapid.Check(t, func(rt *rapid.T) {
		r := &scan.Result{}
		used := map[string]bool{}
		for range rapid.IntRange(1, 8).Draw(rt, "devices") {
			p := rapid.SampledFrom(profiles).Draw(rt, "profile")
			if p.Bus != "modbus" {
				continue
			}
			f := scan.Found{Profile: p.Name, Profiles: []string{p.Name, "other"}, Kind: p.Kind, Channels: p.Channels,
				Manufacturer: rapid.String().Draw(rt, "maker"), Model: rapid.String().Draw(rt, "model"),
				Reading: &drivers.Reading{PowerW: drivers.Some(1), State: rapid.String().Draw(rt, "state")}}
			if rapid.IntRange(0, 3).Draw(rt, "unknown") == 0 {
				f.Profile, f.Answer = "", "answers"
			}
			f.Unit = rapid.IntRange(1, 247).Draw(rt, "unit")
			if rapid.Bool().Draw(rt, "serial") {
				f.Serial = rapid.SampledFrom([]string{"/dev/ttyUSB0", "/dev/serial/by-id/usb-1a86_USB 2.0, x-if00"}).Draw(rt, "path")
				f.Baud = rapid.SampledFrom([]int{9600, 19200}).Draw(rt, "baud")
				f.Format = rapid.SampledFrom([]string{"8N1", "8E1"}).Draw(rt, "format")
			} else {
				f.TCP = rapid.SampledFrom([]string{"192.168.1.20:502", "[fe80::1]:1502", "meter.local:502"}).Draw(rt, "address")
				f.RTU = rapid.Bool().Draw(rt, "rtu")
			}
			// One address is one bus, with one framing, as it is for the scan.
			if key := f.TCP + f.Place.String(); !used[key] && !used[f.TCP+map[bool]string{true: "tcp", false: "rtu"}[f.RTU]] {
				used[key], used[f.TCP+map[bool]string{true: "rtu", false: "tcp"}[f.RTU]] = true, f.TCP != ""
				r.Found = append(r.Found, f)
			}
		}
		if len(r.Found) > 0 {
			checkConfig(t, r)
		}
	})
}
