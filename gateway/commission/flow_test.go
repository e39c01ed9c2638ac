package commission_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nominald/gateway"
	"nominald/gateway/commission"
	"nominald/gateway/config"
	"nominald/gateway/sim"
	"nominald/gateway/sim/registers"
)

// The flow runs against the simulated site behind real sockets, with the real
// drivers between. Times are short: a battery of 2 s dead time and 1 s lag, a
// vehicle of 5 s and 4 s set the least.

const testMeter = "afce893d-ea68-487f-9f8c-778b1881f60a"

// bench is a simulated site with a config for it.
type bench struct {
	t    *testing.T
	dir  string
	cfg  *config.Config
	site *sim.Site
	leap *sim.Leap

	mu    sync.Mutex
	lines []string
}

// benchOptions are the ways in which a site is other than it should be.
type benchOptions struct {
	inverted bool // the meter's transformer is turned
	noAPI    bool
	edit     func(yaml string) string
	sim      func(*sim.SiteOptions)
}

const benchConfig = `site: {name: Test Site, timezone: America/Los_Angeles, armed: false, max_import_kw: 40}
leap: {url: "http://%[1]s/v2", api_key: "file:%[2]s/leap.key", poll: 5s}
meters:
  - {id: %[3]s, type: utility_meter, measured_by: main, reference: device, devices: [battery]}
buses:
  - {name: lan, tcp: "%[4]s"}
  - {name: wall, tcp: "%[5]s"}
devices:
  - {name: main, kind: meter, profile: sunspec-meter, bus: lan, unit: 200}
  - {name: battery, kind: battery, profile: sunspec-storage, bus: lan, unit: 1, reserve_soc: 20, max_discharge_kw: 5, capacity_kwh: 13.5}
  - {name: wallbox, kind: charger, profile: keba-p30, bus: wall, unit: 255, phases: 1, voltage: 230, min_current_a: 6, max_current_a: 16}
  - {name: room, kind: thermostat, profile: intesis-inmbs, bus: wall, unit: 3, rated_kw: 3.5, allow_no_fallback: true}
http: {listen: "127.0.0.1:1"}
store: {dir: %[2]s/store}
`

func newBench(t *testing.T, o benchOptions) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	leapLn, lan, wall := b.listen(), b.listen(), b.listen()
	text := fmt.Sprintf(benchConfig, leapLn.Addr(), b.dir, testMeter, lan.Addr(), wall.Addr())
	if o.edit != nil {
		text = o.edit(text)
	}
	b.write("leap.key", "key-of-the-simulated-leap")
	wired := text
	if o.inverted {
		wired = strings.Replace(text, "unit: 200}", "unit: 200, invert: true}", 1)
	}
	// No vehicle and no compressor: nothing switches in the middle of a test.
	so := sim.SiteOptions{Preset: sim.Bakery, Seed: 1, EVWantWh: -1, OutdoorC: 15, SunSpec: map[string]registers.SunSpec{}}
	if o.sim != nil {
		o.sim(&so)
	}
	var err error
	if b.site, err = sim.NewSite(b.load("wired.yaml", wired), so); err != nil {
		t.Fatal(err)
	}
	b.cfg = b.load("nominald.yaml", text)
	for _, ln := range []net.Listener{lan, wall} {
		if err := b.site.Use(ln.Addr().String(), ln); err != nil {
			ln.Close() // a test without a device on it
		}
	}
	b.leap = sim.NewLeap(sim.LeapOptions{Key: "key-of-the-simulated-leap", Meters: []string{testMeter}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { b.site.Run(ctx); done <- struct{}{} }()
	if o.noAPI {
		leapLn.Close()
		done <- struct{}{}
	} else {
		go func() { b.leap.Serve(ctx, leapLn); done <- struct{}{} }()
	}
	t.Cleanup(func() { cancel(); <-done; <-done })
	return b
}

func (b *bench) listen() net.Listener {
	b.t.Helper()
	ln, _, err := sim.ListenLoopback()
	if err != nil {
		b.t.Fatal(err)
	}
	return ln
}

func (b *bench) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *bench) load(name, text string) *config.Config {
	b.t.Helper()
	cfg, err := config.Load(b.write(name, text))
	if err != nil {
		b.t.Fatal(err)
	}
	return cfg
}

// options are short times; progress is kept.
func (b *bench) options(names ...string) commission.Options {
	return commission.Options{Names: names, Version: "test", For: 8 * time.Second,
		Times: commission.Times{Poll: 100 * time.Millisecond, Noise: 2 * time.Second, Rest: 2 * time.Second, Back: 8 * time.Second,
			Follow: 24 * time.Second, Lease: 3 * time.Second, Hold: 500 * time.Millisecond, Call: 2 * time.Second},
		Tell: func(line string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.lines = append(b.lines, line)
			b.t.Log(line)
		}}
}

func (b *bench) said(part string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.lines, func(l string) bool { return strings.Contains(l, part) })
}

func (b *bench) run(ctx context.Context, o commission.Options) (*commission.Sheet, error) {
	b.t.Helper()
	c, err := gateway.OpenCommissioning(ctx, b.cfg, "test")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return commission.Run(ctx, c.Site, o)
}

func (b *bench) mustRun(o commission.Options) *commission.Sheet {
	b.t.Helper()
	sheet, err := b.run(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	if sheet.Devices == nil || sheet.Ended.IsZero() {
		b.t.Fatalf("the sheet is not whole: %+v", sheet)
	}
	return sheet
}

// verdict checks how a test ended, and why.
func (b *bench) verdict(s *commission.Sheet, device, test string, want commission.Verdict, why string) *commission.Test {
	b.t.Helper()
	d := s.Device(device)
	if d == nil || d.Test(test) == nil {
		b.t.Fatalf("there is no test %q of %s on the sheet:\n%s", test, device, s.Markdown())
	}
	got := d.Test(test)
	if got.Verdict != want || !strings.Contains(got.Why, why) {
		b.t.Errorf("%s, %s: %s (%s), want %s (%s)", device, test, got.Verdict, got.Why, want, why)
	}
	return got
}

// near checks a measured value.
func (b *bench) near(t *commission.Test, name string, want, tolerance float64) {
	b.t.Helper()
	got, ok := t.Value(name)
	if !ok || math.Abs(got-want) > tolerance {
		b.t.Errorf("%s: %s is %g (%v), want %g within %g", t.Name, name, got, ok, want, tolerance)
	}
}

// neutral checks by the site's truth that nobody is commanded any more.
func (b *bench) neutral() {
	b.t.Helper()
	for name, d := range b.site.Truth().Devices {
		if d.Commanded {
			b.t.Errorf("%s is still commanded", name)
		}
	}
}

func TestGoodSitePasses(t *testing.T) {
	t.Parallel()
	for _, flavour := range []registers.Flavour{registers.Storage124, registers.Storage704} {
		t.Run(string(flavour), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, benchOptions{sim: func(o *sim.SiteOptions) {
				s := registers.NewSunSpec()
				s.Flavour = flavour
				o.SunSpec["battery"] = s
				// One of them follows the load by itself while nobody commands it.
				o.SelfConsumption = flavour == registers.Storage704
			}})
			s := b.mustRun(b.options("battery", "room"))
			b.verdict(s, "main", "noise and refresh", commission.Passed, "")
			b.near(b.verdict(s, "battery", "sign", commission.Passed, ""), "change there", -1000, 250)
			step := b.verdict(s, "battery", "step", commission.Passed, "")
			b.near(step, "gain at the battery", 1, 0.05)
			b.near(step, "gain at the site's meter", 1, 0.25)
			b.near(step, "dead time at the battery", 2.3, 0.8)
			b.near(b.verdict(s, "battery", "fallback", commission.Passed, ""), "let go after", 5.2, 2)
			b.verdict(s, "room", "set-point", commission.Passed, "given back")
			if !s.Good() || len(s.Restored) != 2 {
				t.Errorf("not good: %+v, restored %+v", s.Count(commission.Failed), s.Restored)
			}
			b.neutral()
			b.sheets(s)
		})
	}
}

// sheets checks both forms of the sheet.
func (b *bench) sheets(s *commission.Sheet) {
	b.t.Helper()
	text := s.Markdown()
	for _, want := range []string{"# Commissioning: Test Site", "**Passed**", "| battery | battery | sunspec-storage |", "serial number",
		"**sign: passed**", "| gain at the battery |", "| installer |", "- battery: released"} {
		if !strings.Contains(text, want) {
			b.t.Errorf("the sheet lacks %q:\n%s", want, text)
		}
	}
	raw, err := json.Marshal(s)
	if err != nil {
		b.t.Fatal(err)
	}
	var back commission.Sheet
	if err := json.Unmarshal(raw, &back); err != nil || back.Markdown() != text {
		b.t.Errorf("the sheet does not come back from JSON (%v)", err)
	}
}

func TestInvertedMeterIsFound(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{inverted: true})
	s := b.mustRun(b.options("battery"))
	b.verdict(s, "battery", "sign", commission.Failed, "set invert: true on main")
	b.verdict(s, "battery", "fallback", commission.Skipped, "the sign comes first")
	if s.Good() {
		t.Error("the sheet says good")
	}
	b.neutral()
}

func TestBatteryWithoutFallbackIsNotCommanded(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{sim: func(o *sim.SiteOptions) {
		s := registers.NewSunSpec()
		s.Without = []registers.Point{{Model: 124, Offset: 15}}
		o.SunSpec["battery"] = s
	}})
	s := b.mustRun(b.options("battery"))
	b.verdict(s, "battery", "fallback", commission.Failed, "needs allow_no_fallback: true")
	if len(s.Restored) != 0 || s.Device("battery").Test("sign") != nil {
		t.Errorf("it was commanded: %+v", s.Restored)
	}
}

func TestBatteryAcceptedWithoutFallback(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{
		edit: func(s string) string {
			return strings.Replace(s, "capacity_kwh: 13.5}", "capacity_kwh: 13.5, allow_no_fallback: true}", 1)
		},
		sim: func(o *sim.SiteOptions) {
			s := registers.NewSunSpec()
			s.Without = []registers.Point{{Model: 124, Offset: 15}}
			o.SunSpec["battery"] = s
		}})
	s := b.mustRun(b.options("battery"))
	b.verdict(s, "battery", "fallback", commission.Skipped, "accepted by allow_no_fallback")
	b.verdict(s, "battery", "sign", commission.Passed, "")
	if !s.Good() || len(s.Warnings) == 0 {
		t.Errorf("good %v, warnings %q", s.Good(), s.Warnings)
	}
	b.neutral()
}

func TestChargerWithAVehicle(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a vehicle takes its time: a minute")
	}
	b := newBench(t, benchOptions{sim: func(o *sim.SiteOptions) { o.EVWantWh = 40_000 }})
	o := b.options("wallbox")
	o.Times.Noise, o.Times.Lease = 8*time.Second, 10*time.Second // until the vehicle draws; KEBA's least time
	s := b.mustRun(o)
	limit := b.verdict(s, "wallbox", "limit", commission.Passed, "")
	b.near(limit, "with the limit", 6*230, 80)
	b.near(limit, "seen by the site's meter", 1, 0.15)
	b.verdict(s, "wallbox", "pause", commission.Passed, "")
	b.verdict(s, "wallbox", "fallback", commission.Passed, "let go by itself")
	b.neutral()
}

func TestChargerWithoutAVehicleProvesRegistersOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	s := b.mustRun(b.options("wallbox"))
	b.verdict(s, "wallbox", "limit", commission.Passed, "proved registers only")
	b.verdict(s, "wallbox", "fallback", commission.Skipped, "no vehicle")
	b.neutral()
}

// open opens the commissioning until the test ends.
func (b *bench) open() *gateway.Commissioning {
	b.t.Helper()
	c, err := gateway.OpenCommissioning(b.t.Context(), b.cfg, "test")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}
