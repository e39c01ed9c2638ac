package profile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
)

// site is a device described by a text, on a real socket, with a clock and a
// memory that outlive the driver.
type site struct {
	*drivertest.Slave
	t      *testing.T
	p      *profile.Profile
	params profile.Params
	now    time.Time
	kept   []byte
}

func (s *site) Load() ([]byte, error)  { return s.kept, nil }
func (s *site) Save(data []byte) error { s.kept = data; return nil }

func newSite(t *testing.T, text string) *site {
	t.Helper()
	p, err := profile.Parse("x.yaml", []byte("name: x\nmaker: M\nbus: modbus\nsource: S\ntested: no\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Slave: drivertest.NewSlave(t), t: t, p: p, now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	s.Set(unitID, 0, make([]uint16, 64)...)
	s.SetCoil(unitID, 0, make([]uint16, 16)...)
	s.params = profile.Params{MaxDischargeW: drivers.Some(1e6), MaxChargeW: drivers.Some(1e6), AllowNoFallback: true, Remember: s, Now: func() time.Time { return s.now }}
	return s
}

// open starts the driver, as after a restart of the program.
func (s *site) open() drivers.Device {
	u, allow := bus(s.t, s.Slave)
	params := s.params
	params.Allow = allow
	return profile.New(s.p, u, params)
}

// written lists the writes since the last call: "6@10=[1] 16@20=[2 3]".
func (s *site) written() string {
	var all []string
	for _, r := range s.Requests() {
		if r.Values != nil {
			all = append(all, fmt.Sprintf("%d@%d=%v", r.Function, r.Addr, r.Values))
		}
	}
	return strings.Join(all, " ")
}

func (s *site) wrote(want string) {
	s.t.Helper()
	if got := s.written(); got != want {
		s.t.Errorf("written %q, want %q", got, want)
	}
}

func (s *site) apply(d drivers.Device, c drivers.Command) {
	s.t.Helper()
	if err := d.Apply(context.Background(), c, 30*time.Second); err != nil {
		s.t.Fatalf("Apply %+v: %v", c, err)
	}
}

func refused(t *testing.T, err error, words string) {
	t.Helper()
	if !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v, want a refusal with %q", err, words)
	}
}

const limiter = `kind: inverter
points:
  - {name: limit, address: 10, type: u16, scale: 10, unit: W}
writable:
  - {name: limit, address: 10, type: u16, function: 6, scale: 10, unit: W, max: 5000, interval: 10s, per_day: 3, changed: true}
command:
  apply: [{write: limit, value: command}]
  release: [{write: limit, value: 5000}]
`

func TestWriteBudget(t *testing.T) {
	s := newSite(t, limiter)
	d := s.open()
	mustRead(t, d)
	try := func(w float64) error {
		return d.Apply(context.Background(), drivers.Command{PowerW: w}, 30*time.Second)
	}
	s.apply(d, drivers.Command{PowerW: 1009})
	s.wrote("6@10=[100]")
	refused(t, try(2000), "write budget of limit: once in 10s")
	s.now = s.now.Add(10 * time.Second)
	s.apply(d, drivers.Command{PowerW: 2000})
	s.now = s.now.Add(time.Minute)
	s.Set(unitID, 10, 300)
	s.apply(d, drivers.Command{PowerW: 3000}) // it holds that already
	s.wrote("6@10=[200]")
	s.apply(d, drivers.Command{PowerW: 4000})
	s.now = s.now.Add(time.Minute)
	d = s.open() // a restart does not fill it up again
	mustRead(t, d)
	refused(t, try(1000), "write budget of limit: 3 in 24 h are used up, again in 23h57m")
	release(t, d)
	s.wrote("6@10=[400] 6@10=[500]")
	s.now = s.now.Add(24*time.Hour - 3*time.Minute)
	refused(t, try(1000), "3 in 24 h are used up") // the release counted
	s.now = s.now.Add(2 * time.Minute)
	s.apply(d, drivers.Command{PowerW: 1000})
}

func TestRefusedWriteCostsNoBudget(t *testing.T) {
	s := newSite(t, limiter)
	d := s.open()
	mustRead(t, d)
	s.Break(func(r drivertest.Request) drivertest.Fault {
		if r.Values == nil {
			return drivertest.Fault{}
		}
		return drivertest.Fault{Exception: 6}
	})
	if err := d.Apply(context.Background(), drivers.Command{PowerW: 1000}, time.Minute); !errors.Is(err, drivers.ErrBusy) {
		t.Errorf("error %v, want busy", err)
	}
	s.Break(nil)
	s.apply(d, drivers.Command{PowerW: 1000})
}

const keeper = `kind: battery
points:
  - {name: w, address: 10, type: s16, unit: W, meaning: power_w}
writable:
  - {name: mode, address: 20, type: u16, function: 6}
  - {name: w, address: 10, type: s16, function: 16, unit: W, min: -3000, max: 3000}
  - {name: alive, address: 30, type: u16, function: 6}
command:
  apply: [{write: w, value: command}, {write: mode, value: 2}]
  release: [{write: mode, value: 0}, {write: w, value: 0}]
fallback: {after: 10s, renew: 4s, keep_alive: [{write: alive, value: 0x55AA}]}
`

func TestKeepAliveEndsWithTheLease(t *testing.T) {
	s := newSite(t, keeper)
	d := s.open()
	mustRead(t, d)
	s.apply(d, drivers.Command{PowerW: -5000})
	s.wrote("16@10=[62536] 6@20=[2]") // clamped to -3000
	beats := 0
	for range 60 {
		s.now = s.now.Add(time.Second)
		mustRead(t, d)
		if s.written() == "6@30=[21930]" {
			beats++
		}
	}
	if beats != 5 { // at 4, 8, 12, 16, 20 s; what was renewed at 20 s lasts until the lease ends at 30 s
		t.Errorf("%d renewals of a lease of 30 s, want 5", beats)
	}
	s.apply(d, drivers.Command{PowerW: -5000})
	s.wrote("16@10=[62536] 6@20=[2]") // the device ended it: the whole again
	if about := d.Describe(); !about.Fallback || about.FallbackAfter != 10*time.Second {
		t.Errorf("Describe %+v, want a fallback after 10 s", about)
	}
}

func TestSequenceThatFailsMidwayIsRepeatedWhole(t *testing.T) {
	s := newSite(t, keeper)
	d := s.open()
	mustRead(t, d)
	s.Break(func(r drivertest.Request) drivertest.Fault {
		if r.Addr == 20 && r.Values != nil {
			return drivertest.Fault{Exception: 4}
		}
		return drivertest.Fault{}
	})
	refused(t, d.Apply(context.Background(), drivers.Command{PowerW: 100}, 30*time.Second), "write mode")
	s.written()
	s.Break(nil)
	s.apply(d, drivers.Command{PowerW: 100})
	s.wrote("16@10=[100] 6@20=[2]")
	release(t, s.open()) // a program that knows nothing of it
	s.wrote("6@20=[0] 16@10=[0]")
}

func TestCommandThatComesTooSoonIsSentWhenItsTimeHasCome(t *testing.T) {
	s := newSite(t, keeper+"min_interval: 5s\n")
	d := s.open()
	mustRead(t, d)
	for w := range 4 {
		s.apply(d, drivers.Command{PowerW: float64(w)})
		s.now = s.now.Add(time.Second)
		mustRead(t, d)
	}
	s.wrote("16@10=[0] 6@20=[2] 6@30=[21930]") // the last is the keep-alive of the first
	s.now = s.now.Add(time.Second)
	mustRead(t, d)
	s.wrote("16@10=[3] 6@20=[2]")
	s.apply(d, drivers.Command{PowerW: 4})
	release(t, d)
	s.written()
	s.now = s.now.Add(10 * time.Second)
	mustRead(t, d)
	s.wrote("")
}

// A connection that breaks and is mended under a request may be a restart of the
// device. One that breaks while another unit is talked to is not.
func TestBrokenConnectionHasTheCommandWrittenAgain(t *testing.T) {
	s := newSite(t, keeper)
	u, allow := bus(t, s.Slave)
	s.params.Allow = allow
	d := profile.New(s.p, u, s.params)
	mustRead(t, d)
	s.apply(d, drivers.Command{PowerW: 100})
	const whole = "16@10=[100] 6@20=[2]"
	s.wrote(whole)
	once := func(when func(drivertest.Request) bool) {
		s.Break(func(r drivertest.Request) drivertest.Fault {
			if !when(r) {
				return drivertest.Fault{}
			}
			s.Break(nil)
			return drivertest.Fault{Drop: true}
		})
	}
	once(func(r drivertest.Request) bool { return r.Values == nil })
	mustRead(t, d)
	s.wrote(whole)
	mustRead(t, d)
	s.wrote("")
	once(func(r drivertest.Request) bool { return true })
	if err := u.ReadHolding(context.Background(), 0, make([]uint16, 1)); err != nil { // somebody else on the line
		t.Fatal(err)
	}
	mustRead(t, d)
	s.wrote("")
}

const shower = `kind: charger
points:
  - {name: applied, address: 11, type: u16, scale: 0.1, unit: A}
writable:
  - {name: limit, address: 10, type: u16, function: 6, scale: 0.1, unit: A, min: 0, max: 32}
command:
  apply: [{write: limit, value: command}]
  pause: [{write: limit, value: 0}]
  release: [{write: limit, value: max}]
read_back: {point: applied, after: 5s, tolerance: 0.5}
`

func TestCommandThatIsNotHeldIsWrittenOnceMoreThenReported(t *testing.T) {
	s := newSite(t, shower)
	d := s.open()
	mustRead(t, d)
	at := func(sec int, state, writes string) {
		t.Helper()
		s.now = time.Date(2026, 7, 1, 12, 0, sec, 0, time.UTC)
		if r := mustRead(t, d); r.State != state {
			t.Errorf("%d s: state %q, want %q", sec, r.State, state)
		}
		s.wrote(writes)
	}
	s.apply(d, drivers.Command{CurrentA: 10.19})
	at(4, "", "6@10=[101]")
	at(5, "", "6@10=[101]")
	at(9, "", "")
	const fault = "does not hold the command: applied reads 0 A, commanded 10.19 A"
	at(10, fault, "")
	refused(t, d.Apply(context.Background(), drivers.Command{CurrentA: 10.19}, 30*time.Second), fault)
	at(11, fault, "6@10=[101]") // a device that heals gets it
	s.Set(unitID, 11, 101)
	at(12, "", "")
	s.apply(d, drivers.Command{CurrentA: 10.19})
	s.Set(unitID, 11, 60)
	s.apply(d, drivers.Command{CurrentA: 6})
	at(20, "", "6@10=[60]")
}

const relays = `kind: relay
channels: 4
points:
  - {name: relay, table: coil, address: 0, stride: 1, meaning: inhibited}
writable:
  - {name: relay, table: coil, address: 0, stride: 1, function: 5}
command:
  inhibit: [{write: relay, value: 1}]
  release: [{write: relay, value: 0}]
`

func TestRelayOfAChannelKeepsItsTimes(t *testing.T) {
	s := newSite(t, relays)
	s.params.Channel, s.params.MinOff, s.params.MaxOff = 3, time.Minute, 3*time.Minute
	d := s.open()
	mustRead(t, d)
	inhibit := drivers.Command{Inhibit: true}
	s.apply(d, inhibit)
	s.wrote("5@2=[65280]")
	release(t, d)
	s.wrote("") // min_off
	s.now = s.now.Add(59 * time.Second)
	if r := mustRead(t, d); !r.Inhibited || r.State != "off for 1s more (min_off)" {
		t.Errorf("%+v, want still inhibited", r)
	}
	s.now = s.now.Add(time.Second)
	mustRead(t, d)
	s.wrote("5@2=[0]")
	s.apply(d, inhibit)
	for range 130 {
		s.now = s.now.Add(time.Second)
		mustRead(t, d)
		_ = d.Apply(context.Background(), inhibit, 30*time.Second)
	}
	refused(t, d.Apply(context.Background(), inhibit, 30*time.Second), "max_off 3m0s")
	s.wrote("5@2=[65280] 5@2=[0]")
	s.now = s.now.Add(10 * time.Minute)
	s.apply(d, inhibit)
	s.written()
	release(t, s.open()) // a program that did not begin it lets go at once
	s.wrote("5@2=[0]")
	if err := d.Apply(context.Background(), inhibit, -1); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("negative lease: %v", err)
	}
}

const modes = `kind: battery
points:
  - {name: charge, address: 1, type: u16, scale: -10, unit: W, meaning: power_w}
  - {name: discharge, address: 2, type: u16, scale: 10, unit: W, meaning: power_w, unset: [0xFFFF]}
  - {name: rating, address: 3, type: u16, unit: W, meaning: max_charge_w, slow: true}
  - {name: capacity, address: 4, type: u32, unit: Wh, meaning: capacity_wh, slow: true}
writable:
  - {name: mode, address: 20, type: u16, function: 16}
  - {name: power, address: 21, type: u32sw, function: 16, unit: W, max: 10000}
  - {name: seconds, address: 30, type: u16, function: 6, scale: 60, unit: s}
command:
  charge: [{write: seconds, value: timer}, {write: mode, value: 0xAA, also: [{write: power, value: charge}]}]
  discharge: [{write: seconds, value: timer}, {write: mode, value: 0xBB, also: [{write: power, value: discharge}]}]
  hold: [{write: seconds, value: timer}, {write: mode, value: 0xCC}]
  release: [{write: mode, value: 0}, {write: seconds, value: 0}]
fallback: {register: seconds, min: 2m, max: 1h}
`

func TestBatteryByModes(t *testing.T) {
	s := newSite(t, modes)
	s.params.MaxDischargeW = drivers.Some(4000)
	s.Set(unitID, 1, 150, 0, 2500, 1, 0x86A0)
	d := s.open()
	if r := mustRead(t, d); r.PowerW.V != -1500 || r.MaxChargeW.V != 2500 || r.CapacityWh.V != 100000 || r.MaxDischargeW.OK {
		t.Errorf("%+v, want -1500 W, rated 2500 W, 100 kWh", r)
	}
	s.Set(unitID, 2, 0xFFFF)
	if r := mustRead(t, d); r.PowerW.OK {
		t.Errorf("half of the power is unknown, Read says %g W", r.PowerW.V)
	}
	for _, c := range []struct {
		w    float64
		want string
	}{
		{9000, "6@30=[2] 16@20=[187 4000 0]"},
		{-9000, "6@30=[2] 16@20=[170 2500 0]"},
		{-1234.9, "6@30=[2] 16@20=[170 1234 0]"},
		{12, "6@30=[2] 16@20=[204]"},
		{-12, ""}, // the same
	} {
		s.apply(d, drivers.Command{PowerW: c.w})
		s.wrote(c.want)
	}
	if about := d.Describe(); about.FallbackAfter != 2*time.Minute {
		t.Errorf("fallback after %v, want 2m", about.FallbackAfter)
	}
	release(t, d)
	s.wrote("16@20=[0] 6@30=[0]")
}

func TestInvertedMeterTurnsEnergyToo(t *testing.T) {
	s := newSite(t, `kind: meter
points:
  - {name: w, address: 1, type: s16, meaning: power_w}
  - {name: in, address: 2, type: u16, meaning: import_wh}
  - {name: out, address: 3, type: u16, meaning: export_wh}
`)
	s.Set(unitID, 1, 0xFFFF, 7, 9)
	s.params.Invert = true
	d := s.open()
	if r := mustRead(t, d); r.PowerW.V != 1 || r.ImportWh.V != 9 || r.ExportWh.V != 7 {
		t.Errorf("%+v, want 1 W, import 9, export 7", r)
	}
	refused(t, d.Apply(context.Background(), drivers.Command{PowerW: 1}, time.Minute), "takes no command")
}

func TestOnlyTheWritableRegistersOfTheChannelAreAllowed(t *testing.T) {
	s := newSite(t, relays)
	line := modbus.NewTCP(s.Addr(), modbus.Options{})
	t.Cleanup(func() { _ = line.Close() })
	var got []string
	profile.New(s.p, line.Unit(unitID), profile.Params{Channel: 2, Allow: func(table string, first, last uint16) {
		got = append(got, fmt.Sprint(table, " ", first, "-", last))
	}})
	if fmt.Sprint(got) != "[coil 1-1]" {
		t.Errorf("allowed %v, want coil 1 only", got)
	}
}

// A renewal that was lost is a device that was lost, which the bus looks for at
// once: it waits ten seconds only.
func TestLostRenewalHasTheCommandAppliedAgain(t *testing.T) {
	s := newSite(t, keeper)
	d := s.open()
	mustRead(t, d)
	s.apply(d, drivers.Command{PowerW: 100})
	s.written()
	s.Break(func(r drivertest.Request) drivertest.Fault {
		return drivertest.Fault{Silent: r.Addr == 30 && r.Values != nil}
	})
	s.now = s.now.Add(4 * time.Second)
	if _, err := d.Read(context.Background()); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("its keep-alive found nobody, Read says %v", err)
	}
	s.written()
	s.Break(nil)
	s.now = s.now.Add(2 * time.Second)
	mustRead(t, d)
	s.apply(d, drivers.Command{PowerW: 100}) // as the bus does once it answers
	s.wrote("16@10=[100] 6@20=[2]")
	s.now = s.now.Add(4 * time.Second)
	mustRead(t, d)
	s.wrote("6@30=[21930]")
}

// A program that ends has nobody to come back after min_off.
func TestProgramThatEndsLetsGoAtOnce(t *testing.T) {
	s := newSite(t, relays)
	s.params.Channel, s.params.MinOff = 3, time.Hour
	d := s.open()
	mustRead(t, d)
	s.apply(d, drivers.Command{Inhibit: true})
	s.written()
	release(t, d)
	s.wrote("")
	last, ok := d.(interface{ LetGo(context.Context) error })
	if !ok {
		t.Fatal("a relay can not be let go at once")
	}
	if err := last.LetGo(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.wrote("5@2=[0]")
}
