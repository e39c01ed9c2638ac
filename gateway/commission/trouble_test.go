package commission_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest/rtuslave"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
	"nominald/gateway/commission"
	"nominald/gateway/config"
	"nominald/gateway/sim"
)

// At its reserve a battery is not discharged: the sign is proved by charging.
func TestAtTheReserveItCharges(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{sim: func(o *sim.SiteOptions) { o.SoC = 20.5 }})
	s := b.mustRun(b.options("battery"))
	sign := b.verdict(s, "battery", "sign", commission.Passed, "proved by charging")
	b.near(sign, "commanded", -1000, 0)
	b.near(sign, "change there", 1000, 250)
	b.verdict(s, "battery", "fallback", commission.Passed, "")
	b.neutral()
}

// A battery that falls silent in the middle fails, and the sheet says that it
// could not be released.
func TestDeviceLostInTheMiddle(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	o := b.options("battery")
	o.Times.Call = 500 * time.Millisecond
	tell := o.Tell
	o.Tell = func(line string) {
		tell(line)
		if strings.Contains(line, "discharges") {
			time.AfterFunc(2*time.Second, func() { b.site.Faults("battery").SetOffline(true) })
		}
	}
	s := b.mustRun(o)
	b.verdict(s, "battery", "step", commission.Failed, "")
	if s.Good() || len(s.Restored) != 1 || s.Restored[0].Problem == "" {
		t.Errorf("good %v, restored %+v", s.Good(), s.Restored)
	}
	if !strings.Contains(s.Markdown(), "NOT RELEASED") {
		t.Error("the sheet does not say it")
	}
}

// A device that is silent from the beginning fails its identity, and the others
// are tested.
func TestDeadDeviceDoesNotKeepTheOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	b.site.Faults("battery").SetOffline(true)
	o := b.options()
	o.Times.Call = 300 * time.Millisecond
	s := b.mustRun(o)
	b.verdict(s, "battery", "identity", commission.Failed, "")
	b.verdict(s, "wallbox", "limit", commission.Passed, "")
	b.verdict(s, "room", "set-point", commission.Passed, "")
}

// A meter that always shows the same is not believed.
func TestStuckMeterFails(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	b.site.Faults("main").SetStuck(true)
	s := b.mustRun(b.options("main"))
	b.verdict(s, "main", "noise and refresh", commission.Failed, "did not change once")
}

// relayBench is a relay board behind TCP, made from its profile.
func relayBench(t *testing.T, minOff time.Duration) (site commission.Site, board *twin.Twin) {
	t.Helper()
	return inhibitBench(t, "waveshare-modbus-relay", config.Device{Name: "boiler", Kind: drivers.Relay, MinOff: minOff, MaxOff: time.Hour})
}

// inhibitBench is a device that holds a load off, behind TCP, made from its
// profile, with time passing in it.
func inhibitBench(t *testing.T, name string, d config.Device) (site commission.Site, board *twin.Twin) {
	t.Helper()
	p, err := profile.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	board = twin.New(p, 1)
	server, err := rtuslave.Listen("127.0.0.1:0", rtuslave.Options{Framing: rtuslave.TCP})
	if err != nil {
		t.Fatal(err)
	}
	if d.Kind == drivers.Charger {
		board.Measure("power_w", 11_000)
		board.Measure("current_a", 16)
		board.Follow(500 * time.Millisecond)
	}
	server.Attach(1, board)
	line := modbus.NewTCP(server.Path(), modbus.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := time.Now(); ctx.Err() == nil; {
			time.Sleep(20 * time.Millisecond)
			board.Step(time.Since(last))
			last = time.Now()
		}
	}()
	t.Cleanup(func() { cancel(); <-done; line.Close(); server.Close() })
	d.Profile = p.Name
	kept := &kept{}
	anew := func() (drivers.Device, error) {
		unit := line.Unit(1)
		return profile.New(p, unit, profile.Params{MinOff: d.MinOff, MinOn: d.MinOn, MaxOff: d.MaxOff, Phases: d.Phases, VoltageV: d.VoltageV, MinA: d.MinA, MaxA: d.MaxA, AllowNoFallback: d.AllowNoFallback, Remember: kept,
			Allow: func(table string, first, last uint16) {
				of := modbus.Holding
				if table == "coil" {
					of = modbus.Coil
				}
				unit.Allow(modbus.Range{Table: of, First: first, Last: last})
			}}), nil
	}
	driver, _ := anew()
	return commission.Site{Config: &config.Config{Path: "site.yaml", Site: config.Site{Name: "Test", Timezone: time.UTC}}, Devices: []commission.Device{{
		Config: d, Where: server.Path(), ReadsBack: d.Kind == drivers.Relay, Driver: driver, Anew: anew}}}, board
}

// kept is what a driver remembers.
type kept struct{ data []byte }

func (k *kept) Load() ([]byte, error)  { return k.data, nil }
func (k *kept) Save(data []byte) error { k.data = data; return nil }

func relayOptions(t *testing.T, heard bool) commission.Options {
	return commission.Options{Version: "test", Tell: func(l string) { t.Log(l) },
		Confirm: func(context.Context, string) (bool, error) { return heard, nil },
		Times:   commission.Times{Poll: 50 * time.Millisecond, Hold: time.Second, Lease: 10 * time.Second, Call: time.Second}}
}

func TestRelayClicksAndLetsGoByItself(t *testing.T) {
	t.Parallel()
	site, board := relayBench(t, 3*time.Second)
	s, err := commission.Run(t.Context(), site, relayOptions(t, true))
	if err != nil {
		t.Fatal(err)
	}
	d := s.Device("boiler")
	click, fallback := d.Test("relay click"), d.Test("fallback")
	if click == nil || click.Verdict != commission.Passed || fallback == nil || fallback.Verdict != commission.Passed {
		t.Errorf("%s", s.Markdown())
	}
	if held, ok := click.Value("held off for"); !ok || held < 20 || held > 30 {
		t.Errorf("held for %g s; renewed for 15 s, then the timer of 10 s", held)
	}
	if _, active := board.Commanded(); active {
		t.Error("the board is still commanded")
	}
}

func TestRelayThatNobodyHears(t *testing.T) {
	t.Parallel()
	site, board := relayBench(t, 0)
	s, err := commission.Run(t.Context(), site, relayOptions(t, false))
	if err != nil {
		t.Fatal(err)
	}
	if click := s.Device("boiler").Test("relay click"); click.Verdict != commission.Failed || !strings.Contains(click.Why, "nothing clicked") {
		t.Errorf("got %+v", click)
	}
	if _, active := board.Commanded(); active {
		t.Error("the board is still commanded")
	}
}

// A vehicle that begins to charge in the middle of the step is no inverted
// meter: the step is made once more.
func TestLoadThatSwitchesIsNoInvertedMeter(t *testing.T) {
	t.Parallel()
	b := newBench(t, benchOptions{})
	o := b.options("battery")
	tell, once := o.Tell, false
	o.Tell = func(line string) {
		tell(line)
		if strings.Contains(line, "discharges") && !once {
			once = true
			if err := b.site.Plug("wallbox", true, 40_000); err != nil {
				t.Error(err)
			}
		}
	}
	s := b.mustRun(o)
	sign := b.verdict(s, "battery", "sign", commission.Passed, "")
	if tries, ok := sign.Value("tries"); !ok || tries < 2 || !b.said("once more (2 of 3)") {
		t.Errorf("%g tries", tries)
	}
	b.verdict(s, "battery", "step", commission.Passed, "")
	b.neutral()
}
