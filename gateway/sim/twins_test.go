package sim

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
	"nominald/gateway/config"
)

// direct lets the product's driver talk to a unit of the site without a wire.
type direct struct{ unit *shared }

func (d direct) Read(_ context.Context, function byte, addr uint16, dst []uint16) error {
	regs, err := d.unit.Read(function, addr, uint16(len(dst)))
	if err != nil {
		return drivers.ErrRefused
	}
	copy(dst, regs)
	return nil
}

func (d direct) Write(_ context.Context, function byte, addr uint16, values []uint16) error {
	if err := d.unit.Write(function, addr, values); err != nil {
		return drivers.ErrRefused
	}
	return nil
}

// clock is the simulated time, as the driver has it.
type clock struct {
	site *Site
	now  time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) step(d time.Duration) { c.site.Step(d); c.now = c.now.Add(d) }
func (c *clock) Now() time.Time       { return c.now }

// siteOf is a site of one device of a profile, a base load and a meter.
func siteOf(t *testing.T, p *profile.Profile, opts SiteOptions) (*Site, drivers.Device, *clock) {
	t.Helper()
	d := config.Device{Name: "it", Kind: p.Kind, Profile: p.Name, Bus: "a", Unit: 7, Phases: 1, VoltageV: 230, MinA: 6, MaxA: 16, RatedW: 2000, MaxOffsetK: 2}
	s, err := NewSite(&config.Config{
		Buses:   []config.Bus{{Name: "a", TCP: "127.0.0.1:1"}, {Name: "b", TCP: "127.0.0.1:2"}},
		Devices: []config.Device{d, {Name: "main", Kind: drivers.Meter, Profile: "sunspec-meter", Bus: "b", Unit: 1}},
	}, opts)
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	c.site = s
	driver := profile.New(p, direct{s.endpoints[0].units[7]}, profile.Params{
		Phases: 1, VoltageV: 230, MinA: 6, MaxA: 16, MaxOffsetK: 2, MaxDischargeW: drivers.Some(5000), AllowNoFallback: true, Now: c.Now})
	return s, driver, c
}

// TestEveryProfileHasAPlantBehindIt: whatever profile a config names, its
// simulated device does what the product's driver of that profile asks, at the
// plant and not in a register only.
func TestEveryProfileHasAPlantBehindIt(t *testing.T) {
	tried := map[drivers.Kind]int{}
	for _, p := range profile.List() {
		if p.Driver != "" || strings.HasPrefix(p.Name, "keba") || strings.HasPrefix(p.Name, "intesis") {
			continue
		}
		tried[p.Kind]++
		t.Run(p.Name, func(t *testing.T) {
			s, driver, c := siteOf(t, p, SiteOptions{Seed: 1, EVWantWh: 50_000})
			c.step(2 * time.Minute)
			r, err := driver.Read(t.Context())
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			before := s.Truth()
			if p.Kind == drivers.Meter {
				if math.Abs(r.PowerW.V-before.SiteLoadW) > 0.05*before.SiteLoadW+60 {
					t.Errorf("reads %.0f W, the site draws %.0f W", r.PowerW.V, before.SiteLoadW)
				}
				return
			}
			command := drivers.Command{PowerW: 1500, CurrentA: 8, OffsetK: 2, Inhibit: true}
			if p.Kind == drivers.Charger && r.Connected && r.PowerW.OK && math.Abs(r.PowerW.V-before.Devices["it"].PowerW) > 100 {
				t.Errorf("reads %.0f W, the vehicle draws %.0f W", r.PowerW.V, before.Devices["it"].PowerW)
			}
			for range 4 {
				if err := driver.Apply(t.Context(), command, 30*time.Second); err != nil {
					t.Fatalf("apply: %v", err)
				}
				c.step(5 * time.Second)
			}
			checkFollows(t, p, s.Truth().Devices["it"])
			if err := driver.Release(t.Context()); err != nil {
				t.Fatalf("release: %v", err)
			}
			c.step(time.Second)
			if s.Truth().Devices["it"].Commanded {
				t.Error("still commanded after the release")
			}
		})
	}
	for _, k := range []drivers.Kind{drivers.Meter, drivers.Battery, drivers.Charger, drivers.Thermostat, drivers.Relay} {
		if tried[k] == 0 {
			t.Errorf("no profile of kind %s was tried", k)
		}
	}
}

// checkFollows looks at the plant 20 s after a command.
func checkFollows(t *testing.T, p *profile.Profile, d DeviceTruth) {
	t.Helper()
	if !d.Commanded {
		t.Error("not commanded")
	}
	low, high := 0.0, 0.0
	switch p.Kind {
	case drivers.Battery:
		low, high = 1200, 1600 // some take whole percents
	case drivers.Charger:
		low, high = 0, 8.5*230 // some know steps of their own
	case drivers.Inverter:
		high = 1600
	case drivers.Thermostat, drivers.Relay:
	}
	if d.PowerW < low || d.PowerW > high {
		t.Errorf("gives or draws %.0f W, want %.0f to %.0f W", d.PowerW, low, high)
	}
}

func TestRelaysOfOneBoardAreTold(t *testing.T) {
	p, err := profile.Load("waveshare-modbus-relay")
	if err != nil {
		t.Fatal(err)
	}
	relay := func(name string, channel int) config.Device {
		return config.Device{Name: name, Kind: drivers.Relay, Profile: p.Name, Bus: "a", Unit: 3, Channel: channel, RatedW: 1000}
	}
	s, err := NewSite(&config.Config{Buses: []config.Bus{{Name: "a", TCP: "127.0.0.1:1"}},
		Devices: []config.Device{relay("one", 1), relay("two", 2), relay("eight", 8)}}, SiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	c.site = s
	two := profile.New(p, direct{s.endpoints[0].units[3]}, profile.Params{Channel: 2, AllowNoFallback: true, Now: c.Now})
	if _, err := two.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := two.Apply(t.Context(), drivers.Command{Inhibit: true}, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	c.step(time.Second)
	for name, want := range map[string]bool{"one": false, "two": true, "eight": false} {
		if got := s.Truth().Devices[name]; got.Commanded != want || (got.PowerW == 0) != want {
			t.Errorf("%s: %+v, want held off %v", name, got, want)
		}
	}
	if r, err := two.Read(t.Context()); err != nil || !r.Inhibited {
		t.Errorf("the board shows %+v, %v", r, err)
	}
}

// serialSite is a meter and a relay board on a pseudo terminal.
func serialSite(t *testing.T, path string) (*Site, error) {
	t.Helper()
	return NewSite(&config.Config{
		Buses: []config.Bus{{Name: "rs485", Serial: path, Baud: 115200, Format: "8N1"}},
		Devices: []config.Device{
			{Name: "main", Kind: drivers.Meter, Profile: "eastron-sdm630", Bus: "rs485", Unit: 1},
			{Name: "pump", Kind: drivers.Relay, Profile: "waveshare-modbus-relay", Bus: "rs485", Unit: 2, RatedW: 1000},
		}}, SiteOptions{})
}

func TestSerialPathComesAndGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ttyA")
	if err := os.Symlink("/dev/pts/987654", path); err != nil { // what a killed simulation leaves
		t.Fatal(err)
	}
	s, err := serialSite(t, path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	go func() { done <- s.Serve(ctx) }()
	there := func() bool { info, err := os.Stat(path); return err == nil && info.Mode()&os.ModeCharDevice != 0 }
	if !there() {
		t.Error("no terminal at the path")
	}
	if err := s.UnplugBus("rs485"); err != nil || there() {
		t.Errorf("unplugged: %v, the path is there: %v", err, there())
	}
	if err := s.PlugBus("rs485"); err != nil || !there() {
		t.Errorf("plugged: %v, the path is there: %v", err, there())
	}
	if err := s.UnplugBus("lan"); err == nil {
		t.Error("a bus that does not exist was unplugged")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the path was left behind")
	}
}

func TestSerialPathsOfOthersAreLeftAlone(t *testing.T) {
	taken := filepath.Join(t.TempDir(), "ttyA")
	if err := os.WriteFile(taken, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{taken: "exists, and is left alone", "/dev/ttyUSB9": "belongs to real adapters"} {
		if _, err := serialSite(t, path); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", path, err, why)
		}
	}
	if data, err := os.ReadFile(taken); err != nil || string(data) != "theirs" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

const roofProfile = `name: our-roof
kind: inverter
maker: ourselves
bus: modbus
source: this test
tested: by this test
points:
  - {name: power, address: 10, type: s32, unit: W, meaning: power_w}
  - {name: limit_shown, address: 20, type: u16, unit: W}
writable:
  - {name: limit, address: 20, type: u16, function: 6, unit: W, min: 0, max: 60000}
command:
  apply: [{write: limit, value: command}]
  release: [{write: limit, value: 60000}]
`

const roofConfig = `site: {name: Roof, profiles: %[1]s}
leap: {url: "http://127.0.0.1:1/v2", api_key: "file:%[1]s/leap.key"}
meters:
  - {id: afce893d-ea68-487f-9f8c-778b1881f60a, type: utility_meter, measured_by: main, reference: device, devices: [battery]}
buses:
  - {name: a, tcp: "127.0.0.1:1"}
devices:
  - {name: it, kind: inverter, profile: our-roof, bus: a, unit: 7}
  - {name: main, kind: meter, profile: sunspec-meter, bus: a, unit: 1}
  - {name: battery, kind: battery, profile: sunspec-storage, bus: a, unit: 2}
store: {dir: %[1]s}
`

// TestInverterIsTheSitesRoof: an inverter that a site describes itself feeds in
// what the simulated roof gives.
func TestInverterIsTheSitesRoof(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"leap.key": "key-of-no-worth", "roof.yaml": roofProfile, "site.conf": fmt.Sprintf(roofConfig, dir)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "site.conf"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSite(cfg, SiteOptions{Seed: 1, PVPeakW: 3000})
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	c.site = s
	p, err := cfg.DeviceProfile("our-roof")
	if err != nil {
		t.Fatal(err)
	}
	driver := profile.New(p, direct{s.endpoints[0].units[7]}, profile.Params{AllowNoFallback: true, Now: c.Now})
	c.step(time.Minute)
	tr := s.Truth()
	if tr.PVW != 0 || tr.Devices["it"].PowerW < 400 {
		t.Errorf("at noon: %+v", tr)
	}
	if r, err := driver.Read(t.Context()); err != nil || math.Abs(r.PowerW.V-tr.Devices["it"].PowerW) > 20 {
		t.Errorf("reads %+v, %v; it feeds in %.0f W", r, err, tr.Devices["it"].PowerW)
	}
}
