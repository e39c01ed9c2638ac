package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"nominald/drivers/drivertest/rtuslave"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/profile"
	"nominald/gateway/commission"
	"nominald/gateway/config"
	"nominald/gateway/scan"
	"nominald/gateway/sim"
	"nominald/gateway/sim/plant"
	"nominald/gateway/sim/registers"
)

// fieldTwin is a simulated device made from a profile.
func fieldTwin(t testing.TB, name string, powerW float64) rtuslave.Device {
	t.Helper()
	p, err := profile.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	d := twin.New(p, 1)
	d.Measure("power_w", powerW)
	return d
}

// fieldLines are two serial lines at different speeds with five makers'
// devices on them.
func fieldLines(t testing.TB) (a, b *rtuslave.Line) {
	t.Helper()
	dir := t.TempDir()
	open := func(name string, o rtuslave.Options) *rtuslave.Line {
		l, err := rtuslave.Open(filepath.Join(dir, name), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	a, b = open("ttyUSB0", rtuslave.Options{Baud: 9600, Bits: 10}), open("ttyUSB1", rtuslave.Options{Baud: 19200})
	a.Attach(1, fieldTwin(t, "eastron-sdm630", 4200))
	a.Attach(4, fieldTwin(t, "carlo-gavazzi-em340", 1100))
	b.Attach(1, fieldTwin(t, "schneider-iem3155", 2500))
	b.Attach(2, fieldTwin(t, "abb-b23", 3300))
	battery, err := registers.NewBasic(plant.NewBattery(plant.NewBatteryParams(5000, 13_500, 64)), registers.NewSunSpec(), "B-1047", 10)
	if err != nil {
		t.Fatal(err)
	}
	b.Attach(10, battery)
	return a, b
}

// field runs the program with a deadline and returns what it printed.
func field(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code = run(ctx, args, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestScanNamesFiveDevices(t *testing.T) {
	t.Parallel()
	a, b := fieldLines(t)
	code, out, errs := field(t, "scan", "--serial", a.Path(), "--serial", b.Path(), "--timeout", "120ms", "--profiles", "")
	if code != exitDone {
		t.Errorf("exit code %d: %s", code, errs)
	}
	for _, want := range []string{
		`ttyUSB0 9600 8N1 +1 +Eastron SDM630.* +- +eastron-sdm630 +4.20 kW`,
		`ttyUSB0 9600 8N1 +4 +Carlo Gavazzi .* +carlo-gavazzi-em340 +1.10 kW`,
		`ttyUSB1 19200 8E1 +1 +Schneider Electric .* +schneider-iem3155 +2.50 kW`,
		`ttyUSB1 19200 8E1 +2 +ABB .* +abb-b23 +3.30 kW`,
		`ttyUSB1 19200 8E1 +10 +nominald Battery 124 +B-1047 +sunspec-storage +0.00 kW, 64 % charged`,
		`- \{name: rs485, serial: /.*ttyUSB0, baud: 9600, format: 8N1\}`,
		`(?m)^    profile: abb-b23$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if !strings.HasPrefix(errs, "quick scan of 2 lines: ") || strings.Count(errs, "found ") != 5 {
		t.Errorf("progress: %s", errs)
	}
}

func TestScanWithoutSuccess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := rtuslave.Open(filepath.Join(dir, "tty"), rtuslave.Options{Baud: 4800})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Attach(1, fieldTwin(t, "eastron-sdm120", 800)) // at a speed that a quick scan leaves out
	code, out, errs := field(t, "scan", "--serial", l.Path(), "--unit", "1", "--timeout", "20ms", "--profiles", "")
	if code != exitFailed || out != "" || !strings.Contains(errs, "A and B") || !strings.Contains(errs, "--full tries all") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	code, out, errs = field(t, "scan", "--serial", l.Path(), "--unit", "1", "--timeout", "100ms", "--profiles", "", "--full", "--json")
	var r scan.Result
	if err := json.Unmarshal([]byte(out), &r); code != exitDone || err != nil || len(r.Found) != 1 || r.Found[0].Baud != 4800 {
		t.Errorf("exit code %d, %v\n%s%s", code, err, out, errs)
	}
	for _, args := range [][]string{{"scan"}, {"scan", "--serial", "/dev/x", "--baud", "9601"}, {"scan", "--tcp", "10.0.0.0/8"},
		{"scan", "--serial", "/dev/x", "--unit", "300"}, {"scan", "--serial", "/dev/x", "--quick", "--full"}} {
		if code, _, errs := field(t, args...); code != exitUsage || errs == "" {
			t.Errorf("%q: exit code %d, %s", args, code, errs)
		}
	}
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	ln, _, err := sim.ListenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// fieldSite is a simulated site with its config, on TCP and on a serial line.
func fieldSite(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	lan, leap := listenLoopback(t), listenLoopback(t)
	line, err := rtuslave.Open(filepath.Join(dir, "ttyUSB0"), rtuslave.Options{Baud: 9600, Bits: 10, Turnaround: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	line.Attach(7, fieldTwin(t, "eastron-sdm630", 1500))
	path = filepath.Join(dir, "site.yaml")
	text := fmt.Sprintf(`site: {name: Oak Street Bakery, timezone: America/Los_Angeles}
leap: {url: "http://%[1]s/v2", api_key: "file:%[2]s/leap.key"}
meters:
  - {id: %[3]s, type: utility_meter, measured_by: main, reference: device, devices: [battery]}
buses:
  - {name: lan, tcp: "%[4]s"}
  - {name: rs485, serial: %[2]s/ttyUSB0, baud: 9600, format: 8N1}
devices:
  - {name: main, kind: meter, profile: sunspec-meter, bus: lan, unit: 200}
  - {name: battery, kind: battery, profile: sunspec-storage, bus: lan, unit: 1, reserve_soc: 20}
  - {name: oven, kind: meter, profile: eastron-sdm630, bus: rs485, unit: 7}
store: {dir: %[2]s/store}
`, leap.Addr(), dir, testMeter, lan.Addr())
	for file, content := range map[string]string{path: text, filepath.Join(dir, "leap.key"): "key"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	site, err := sim.NewSite(cfg, sim.SiteOptions{Preset: sim.Bakery, Seed: 1})
	if err == nil {
		err = site.Use(lan.Addr().String(), lan)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { site.Run(ctx); done <- struct{}{} }()
	go func() {
		sim.NewLeap(sim.LeapOptions{Key: "key", Meters: []string{testMeter}}).Serve(ctx, leap)
		done <- struct{}{}
	}()
	t.Cleanup(func() { cancel(); <-done; <-done; line.Close() })
	return dir, path
}

func TestProbeTable(t *testing.T) {
	t.Parallel()
	dir, path := fieldSite(t)
	code, out, errs := field(t, "check", "--config", path, "--probe")
	if code != exitDone {
		t.Errorf("exit code %d: %s", code, errs)
	}
	for _, want := range []string{
		`(?m)^oven +meter +/.*ttyUSB0 9600 8N1 unit 7 +ok +\d+ ms +\d+ ms +none of \d+$`,
		`(?m)^battery +nominald Battery 124, serial number battery, firmware 1.0 +0.00 kW, 80 % charged, of 13.5 kWh.* +(after|its own timer)`,
		`(?m)^leap +api +http://127.0.0.1:\d+/v2 +ok`, `(?m)^oven +Eastron SDM630.* 1.50 kW`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if err := os.Remove(filepath.Join(dir, "ttyUSB0")); err != nil {
		t.Fatal(err)
	}
	code, out, errs = field(t, "check", "--config", path, "--probe", "--json")
	var rows []struct {
		Name    string
		OK      bool
		Latency *struct{ Polls int }
	}
	if err := json.Unmarshal([]byte(out), &rows); code != exitFailed || err != nil || len(rows) != 4 || rows[2].OK || rows[0].Latency == nil || rows[0].Latency.Polls != 5 {
		t.Errorf("exit code %d, %v, %+v\n%s", code, err, rows, errs)
	}
}

func TestCommissionCommand(t *testing.T) {
	t.Parallel()
	dir, path := fieldSite(t)
	if code, _, errs := field(t, "commission", "--config", path); code != exitFailed || !strings.Contains(errs, "not confirmed, nothing was done") || !strings.Contains(errs, "battery: hold 0 W") {
		t.Errorf("without an answer: exit code %d\n%s", code, errs)
	}
	for _, args := range [][]string{{"--power", "1"}, {"--power", "1GW"}, {"--for", "1s"}, {"--device", "batery"}} {
		if code, _, errs := field(t, append([]string{"commission", "--config", path}, args...)...); code != exitUsage {
			t.Errorf("%q: exit code %d\n%s", args, code, errs)
		}
	}
	if testing.Short() {
		t.Skip("the test itself takes its time")
	}
	code, out, errs := field(t, "commission", "--config", path, "--yes", "--json", "--out", dir, "--for", "8s", "--lease", "4s", "--noise", "2s", "--rest", "3s", "--back", "7s")
	var sheet commission.Sheet
	if err := json.Unmarshal([]byte(out), &sheet); code != exitDone || err != nil || sheet.Count(commission.Failed) != 0 || sheet.Device("battery").Test("sign").Verdict != commission.Passed {
		t.Errorf("exit code %d, %v\n%s\n%s", code, err, out, errs)
	}
	for _, pattern := range []string{"commissioning-*.md", "commissioning-*.json"} {
		if files, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(files) != 1 {
			t.Errorf("%s: %q, %v", pattern, files, err)
		}
	}
}
