package sim

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/registers"
)

// freeBus returns a bus on a free port and the listener that keeps it free.
func freeBus(t *testing.T, name string) (config.Bus, net.Listener) {
	t.Helper()
	ln, addr, err := ListenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return config.Bus{Name: name, TCP: addr}, ln
}

// bakery is a site with a meter, a battery, a wallbox and a room on two buses,
// and with devices that can not be simulated.
func bakery(lan, wall config.Bus) *config.Config {
	return &config.Config{
		Path:  "bakery.yaml",
		Buses: []config.Bus{lan, wall, {Name: "rs485", Serial: "/dev/ttyUSB0"}, {Name: "far", TCP: "192.0.2.7:502"}},
		Devices: []config.Device{
			{Name: "main", Kind: drivers.Meter, Profile: "sunspec-meter", Bus: lan.Name, Unit: 200},
			{Name: "battery", Kind: drivers.Battery, Profile: "sunspec-storage", Bus: lan.Name, Unit: 1,
				MaxDischargeW: drivers.Some(5000), MaxChargeW: drivers.Some(5000), CapacityWh: drivers.Some(13_500)},
			{Name: "wallbox", Kind: drivers.Charger, Profile: "keba-p30", Bus: wall.Name, Unit: 255, Phases: 1, VoltageV: 230, MaxA: 16},
			{Name: "room", Kind: drivers.Thermostat, Profile: "intesis", Bus: lan.Name, Unit: 5, RatedW: 3500},
			{Name: "relay", Kind: drivers.Relay, Profile: "relay-inhibit", GPIO: "GPIO17"},
			{Name: "serial", Kind: drivers.Meter, Profile: "sunspec-meter", Bus: "rs485", Unit: 2},
			{Name: "remote", Kind: drivers.Meter, Profile: "sunspec-meter", Bus: "far", Unit: 2},
			{Name: "odd", Kind: drivers.Meter, Profile: "sdm630", Bus: lan.Name, Unit: 9},
		},
	}
}

// newSite returns a site that is stepped by the test.
func newSite(t *testing.T, opts SiteOptions) *Site {
	t.Helper()
	lan := config.Bus{Name: "lan", TCP: "127.0.0.1:1502"}
	s, err := NewSite(bakery(lan, config.Bus{Name: "wall", TCP: "127.0.0.1:1503"}), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// client talks Modbus with as little code as does it.
type client struct {
	t    *testing.T
	conn net.Conn
}

func newClient(t *testing.T, addr string) client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{t, c}
}

func (c client) ask(unit byte, pdu ...byte) []byte {
	c.t.Helper()
	if err := c.conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(append([]byte{0, 1, 0, 0, 0, byte(len(pdu) + 1), unit}, pdu...)); err != nil {
		c.t.Fatal(err)
	}
	head := make([]byte, 7)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		c.t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[4:])-1)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		c.t.Fatal(err)
	}
	if body[0] != pdu[0] {
		c.t.Fatalf("unit %d: % x answered % x", unit, pdu, body)
	}
	return body
}

// read returns a signed register.
func (c client) read(unit byte, addr uint16) int16 {
	c.t.Helper()
	b := c.ask(unit, 3, byte(addr>>8), byte(addr), 0, 1)
	return int16(binary.BigEndian.Uint16(b[2:]))
}

func (c client) write(unit byte, addr, v uint16) {
	c.t.Helper()
	c.ask(unit, 6, byte(addr>>8), byte(addr), byte(v>>8), byte(v))
}

// The addresses of the usual map: marker 2, model 1 68, then 103 52, 120 28.
const (
	addrStorage = 40_000 + 2 + 68 + 52 + 28
	addrMeter   = 40_000 + 2 + 68
)

// served is a bakery that is served on free ports and stepped by the test.
type served struct {
	*Site
	lanAddr   string
	lan, wall client
}

func newServed(t *testing.T, start time.Time) served {
	t.Helper()
	lan, lanLn := freeBus(t, "lan")
	wall, wallLn := freeBus(t, "wall")
	s, err := NewSite(bakery(lan, wall), SiteOptions{Seed: 1, Preset: Bakery, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	for addr, ln := range map[string]net.Listener{lan.TCP: lanLn, wall.TCP: wallLn} {
		if err := s.Use(addr, ln); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return served{s, lan.TCP, newClient(t, lan.TCP), newClient(t, wall.TCP)}
}

// discharge writes a rate in hundredths of a percent and switches it on.
func (s served) discharge(rate uint16) {
	s.lan.write(1, addrStorage+12, rate)
	s.lan.write(1, addrStorage+13, -rate)
	s.lan.write(1, addrStorage+5, 3)
}

func TestDispatchOfFourKilowattsIsInTheAccount(t *testing.T) {
	start := time.Date(2026, 7, 1, 14, 0, 0, 0, time.UTC)
	s := newServed(t, start)
	s.Step(time.Minute)
	before := s.Truth()
	if got := float64(s.lan.read(200, addrMeter+18)); math.Abs(got-before.SiteLoadW) > 0.03*before.SiteLoadW+10 {
		t.Errorf("meter reads %.0f W, the site draws %.0f W", got, before.SiteLoadW)
	}
	s.discharge(8000)
	s.Step(20 * time.Second) // dead time, ramp
	from := s.Truth().At
	s.Step(5 * time.Minute)
	now := s.Truth()
	if got := now.Devices["battery"]; math.Abs(got.PowerW-4000) > 5 || !got.Commanded {
		t.Errorf("battery %+v, want 4000 W commanded", got)
	}
	if mean, err := s.MeanReductionW(from, now.At); err != nil || math.Abs(mean-4000) > 10 {
		t.Errorf("mean reduction %.1f W, %v; want 4000 W", mean, err)
	}
	if math.Abs(now.UncontrolledW-now.SiteLoadW-4000) > 10 {
		t.Errorf("site %.0f W, uncontrolled %.0f W; want 4000 W between", now.SiteLoadW, now.UncontrolledW)
	}
	if got := now.At.Sub(start); got != 6*time.Minute+20*time.Second {
		t.Errorf("simulated time went on by %s", got)
	}
}

func TestWallboxAndRoomOverSockets(t *testing.T) {
	s := newServed(t, time.Time{})
	s.wall.write(255, 5014, 0)
	s.Step(time.Minute)
	if got := s.Truth().Devices["wallbox"]; got.PowerW != 0 || !got.Commanded {
		t.Errorf("wallbox %+v, want a commanded pause", got)
	}
	if got := s.lan.read(5, 4); got != 240 {
		t.Errorf("room's set-point reads %d", got)
	}
	s.lan.write(5, 4, 270)
	if got := s.Truth().Devices["room"]; !got.Commanded || got.TemperatureC < 20 {
		t.Errorf("room %+v, want it commanded", got)
	}
}

func TestDevicesBreakWhileTheyAreServed(t *testing.T) {
	s := newServed(t, time.Time{})
	s.Step(time.Minute)
	s.Faults("main").SetStuck(true)
	stuck := s.lan.read(200, addrMeter+18)
	s.discharge(8000)
	s.Step(time.Minute)
	if got := s.lan.read(200, addrMeter+18); got != stuck {
		t.Errorf("stuck meter went from %d W to %d W", stuck, got)
	}
	s.Faults("main").SetStuck(false)
	if got := s.lan.read(200, addrMeter+18); got > stuck-3000 {
		t.Errorf("meter that is no longer stuck reads %d W after %d W and a dispatch of 4 kW", got, stuck)
	}
	if s.Faults("battery").Writes() != 3 || s.Faults("nobody") != nil {
		t.Errorf("battery saw %d writes, want 3", s.Faults("battery").Writes())
	}
	s.DropConnections()
	if _, err := s.lan.conn.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives DropConnections")
	}
	if got := newClient(t, s.lanAddr).read(200, 40_000); got != 0x5375 {
		t.Errorf("after DropConnections the marker reads %#x", got)
	}
}

func TestNobodyCommandsNothingHappens(t *testing.T) {
	for _, preset := range []Preset{Home, Bakery} {
		s := newSite(t, SiteOptions{Seed: 5, Preset: preset, PVPeakW: 3000, SelfConsumption: preset == Home})
		for range 1200 {
			s.Step(time.Second)
			if now := s.Truth(); now.SiteLoadW != now.UncontrolledW {
				t.Fatalf("%s: %.3f W drawn, %.3f W uncontrolled", preset, now.SiteLoadW, now.UncontrolledW)
			}
		}
	}
}

func TestSelfConsumptionIsOffUnlessAsked(t *testing.T) {
	idle, covers := newSite(t, SiteOptions{Seed: 5, Preset: Bakery}), newSite(t, SiteOptions{Seed: 5, Preset: Bakery, SelfConsumption: true})
	for _, s := range []*Site{idle, covers} {
		s.Step(time.Minute)
	}
	if got := idle.Truth().Devices["battery"]; got.PowerW != 0 || got.Commanded {
		t.Errorf("battery %+v, want it at rest", got)
	}
	if got := covers.Truth().Devices["battery"]; got.PowerW < 4990 || got.Commanded {
		t.Errorf("battery %+v, want it to cover the site by itself", got)
	}
}

func TestSeedDecidesEverything(t *testing.T) {
	one, same, other := newSite(t, SiteOptions{Seed: 1}), newSite(t, SiteOptions{Seed: 1}), newSite(t, SiteOptions{Seed: 2})
	differs := false
	for range 600 {
		for _, s := range []*Site{one, same, other} {
			s.Step(time.Second)
		}
		if a, b := one.Truth().SiteLoadW, same.Truth().SiteLoadW; a != b {
			t.Fatalf("same seed: %f W and %f W", a, b)
		}
		differs = differs || one.Truth().SiteLoadW != other.Truth().SiteLoadW
	}
	if !differs {
		t.Error("two seeds give the same site")
	}
}

func TestBakeryLeavesRoomForFourKilowatts(t *testing.T) {
	for seed := range int64(4) {
		s := newSite(t, SiteOptions{Seed: seed, Preset: Bakery, EVWantWh: -1})
		for range 1800 {
			s.Step(time.Second)
			if w := s.Truth().BaseLoadW; w < 5000 || w > 7000 {
				t.Fatalf("seed %d: base load %.0f W, want 5-7 kW", seed, w)
			}
		}
	}
}

func TestMeanReductionBetweenRowsAndOutside(t *testing.T) {
	start := time.Date(2026, 7, 1, 14, 0, 0, 0, time.UTC)
	s := newSite(t, SiteOptions{Seed: 1, Start: start})
	s.Step(90 * time.Second)
	if w, err := s.MeanReductionW(start.Add(500*time.Millisecond), start.Add(70_250*time.Millisecond)); err != nil || w != 0 {
		t.Errorf("%f W, %v; want 0 W", w, err)
	}
	for name, d := range map[string][2]time.Duration{
		"empty": {time.Second, time.Second}, "backwards": {2 * time.Second, time.Second},
		"before the start": {-time.Second, time.Second}, "in the future": {time.Second, time.Hour},
	} {
		if w, err := s.MeanReductionW(start.Add(d[0]), start.Add(d[1])); err == nil {
			t.Errorf("%s: %f W without an error", name, w)
		}
	}
	var l ledger
	l.rows = []energy{{}}
	for range 100 {
		l.step(700*time.Millisecond, 1000, 3000)
	}
	if w, err := l.meanReductionW(10*time.Second, 69*time.Second+50*time.Millisecond); err != nil || math.Abs(w-2000) > 1e-6 {
		t.Errorf("%f W, %v; want 2000 W", w, err)
	}
}

func TestWhatIsNotSimulatedIsNoted(t *testing.T) {
	notes := strings.Join(newSite(t, SiteOptions{}).Notes(), "\n")
	for _, want := range []string{"relay: on GPIO GPIO17", "serial: bus rs485: /dev/ttyUSB0 belongs to real adapters", "remote: bus far", "odd: meter with profile \"sdm630\""} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes do not have %q:\n%s", want, notes)
		}
	}
	lan := config.Bus{Name: "lan", TCP: "192.0.2.1:502"}
	if _, err := NewSite(bakery(lan, lan), SiteOptions{}); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("a site without a device: %v", err)
	}
	lan.TCP = "127.0.0.1:1502"
	cfg := bakery(lan, lan)
	cfg.Devices[1].Unit = 200
	if _, err := NewSite(cfg, SiteOptions{}); err == nil || !strings.Contains(err.Error(), "unit 200") {
		t.Errorf("two devices at one unit: %v", err)
	}
	if _, err := NewSite(bakery(lan, lan), SiteOptions{Preset: "castle"}); err == nil {
		t.Error("an unknown preset is accepted")
	}
}

func TestPresetsOfDevicesAtRunTime(t *testing.T) {
	opt := registers.NewSunSpec()
	opt.Flavour = registers.Storage704
	s := newSite(t, SiteOptions{SoC: 35, EVWantWh: -1, SunSpec: map[string]registers.SunSpec{"battery": opt}})
	if got := s.Truth().Devices; math.Abs(got["battery"].SoC-35) > 1e-9 || got["wallbox"].PowerW != 0 {
		t.Errorf("at the start: %+v", got)
	}
	if err := s.SetSoC("battery", 70); err != nil {
		t.Fatal(err)
	}
	if err := s.Plug("wallbox", true, 10_000); err != nil {
		t.Fatal(err)
	}
	if err := s.SetFailsafe("wallbox", 8, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	s.Step(2 * time.Minute)
	got := s.Truth().Devices
	if math.Abs(got["battery"].SoC-70) > 1e-9 || math.Abs(got["wallbox"].PowerW-8*230) > 5 {
		t.Errorf("later: %+v", got)
	}
	for _, err := range []error{s.SetSoC("wallbox", 1), s.Plug("battery", true, 1), s.SetFailsafe("main", 6, 0)} {
		if err == nil {
			t.Error("a device of the wrong kind is accepted")
		}
	}
	if err := s.Use("127.0.0.1:9", nilListener{}); err == nil {
		t.Error("a listener for an unknown address is accepted")
	}
}

// nilListener only has an address.
type nilListener struct{ net.Listener }

func (nilListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }

func TestSiteKeepsToRealTime(t *testing.T) {
	lan, lanLn := freeBus(t, "lan")
	wall, wallLn := freeBus(t, "wall")
	s, err := NewSite(bakery(lan, wall), SiteOptions{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	lanLn.Close() // this one is opened by the site
	if err := s.Use(wall.TCP, wallLn); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 600*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("run ends %s after its start", took)
	}
	if at := s.Truth().At; at.Before(began.Add(300*time.Millisecond)) || at.After(time.Now()) {
		t.Errorf("simulated %s, began %s", at, began)
	}
	if _, err := net.DialTimeout("tcp", lan.TCP, time.Second); err == nil {
		t.Error("still listening")
	}
	if err := modbustcp.CheckLoopback(lan.TCP); err != nil {
		t.Error(err)
	}
}
