package scan_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nominald/drivers/drivertest/rtuslave"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
	"nominald/gateway/scan"
	"nominald/gateway/sim/plant"
	"nominald/gateway/sim/registers"
)

// The lines are pseudo terminals whose other end paces its bytes and hears its
// own speed only; the devices on them are made from the profiles by code of
// their own, or from the SunSpec models.

func load(t *testing.T, name string) *profile.Profile {
	t.Helper()
	p, err := profile.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func device(t *testing.T, name string, powerW float64) *twin.Twin {
	t.Helper()
	d := twin.New(load(t, name), 1)
	if _, ok := d.Measure("power_w", powerW); !ok {
		t.Fatalf("%s does not show %g W", name, powerW)
	}
	return d
}

// battery is a SunSpec battery with a serial number.
func battery(t *testing.T, name string, unit byte) rtuslave.Device {
	t.Helper()
	b, err := registers.NewBasic(plant.NewBattery(plant.NewBatteryParams(5000, 13_500, 64)), registers.NewSunSpec(), name, unit)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t *testing.T, name string, o rtuslave.Options) *rtuslave.Line {
	t.Helper()
	l, err := rtuslave.Open(filepath.Join(t.TempDir(), name), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func run(t *testing.T, o scan.Options) *scan.Result {
	t.Helper()
	if o.Profiles == nil {
		o.Profiles = profile.List()
	}
	if o.Timeout == 0 {
		o.Timeout = 120 * time.Millisecond // the machine that runs the tests is busy
	}
	if o.Pause == 0 {
		o.Pause = time.Millisecond
	}
	r, err := scan.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fiveDevices are five makers' devices on two lines of different speed.
func fiveDevices(t *testing.T) (a, b *rtuslave.Line) {
	t.Helper()
	a = open(t, "ttyA", rtuslave.Options{Baud: 9600, Bits: 10})
	a.Attach(1, device(t, "eastron-sdm630", 4200))
	a.Attach(4, device(t, "carlo-gavazzi-em340", 1100))
	b = open(t, "ttyB", rtuslave.Options{Baud: 19200})
	b.Attach(1, device(t, "schneider-iem3155", 2500))
	b.Attach(2, device(t, "abb-b23", 3300))
	b.Attach(10, battery(t, "B-1047", 10))
	return a, b
}

func TestFiveDevicesOnTwoLines(t *testing.T) {
	t.Parallel()
	a, b := fiveDevices(t)
	r := run(t, scan.Options{Serial: []string{a.Path(), b.Path()}})
	var got []string
	for _, f := range r.Found {
		got = append(got, fmt.Sprintf("%s %d %s unit %d: %s", filepath.Base(f.Serial), f.Baud, f.Format, f.Unit, f.Profile))
	}
	want := []string{"ttyA 9600 8N1 unit 1: eastron-sdm630", "ttyA 9600 8N1 unit 4: carlo-gavazzi-em340",
		"ttyB 19200 8E1 unit 1: schneider-iem3155", "ttyB 19200 8E1 unit 2: abb-b23", "ttyB 19200 8E1 unit 10: sunspec-storage"}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(r.Problems) > 0 {
		t.Errorf("problems: %+v", r.Problems)
	}
	live := map[int]string{0: "4.20 kW", 1: "1.10 kW", 2: "2.50 kW", 3: "3.30 kW", 4: "64 % charged"}
	for i, f := range r.Found {
		if !strings.Contains(f.Live(), live[i]) {
			t.Errorf("%s shows %q, want %q", f.Place, f.Live(), live[i])
		}
	}
	if f := r.Found[len(r.Found)-1]; f.SerialNumber != "B-1047" || f.Model != "Battery 124" {
		t.Errorf("the battery is %q, serial number %q", f.Model, f.SerialNumber)
	}
	for _, l := range []*rtuslave.Line{a, b} {
		if w := l.Writes(); len(w) > 0 {
			t.Errorf("the scan wrote: %+v", w)
		}
	}
	checkConfig(t, r)
}

// A full scan goes on behind the setting that answered, and shows a device once
// though it does not mind the stop bits.
func TestFullScanGoesOn(t *testing.T) {
	t.Parallel()
	l := open(t, "tty", rtuslave.Options{Baud: 9600, Bits: 10})
	l.Attach(7, device(t, "eastron-sdm120", 800))
	r := run(t, scan.Options{Serial: []string{l.Path()}, Full: true, Bauds: []int{9600, 19200}, Units: []int{6, 7}})
	if len(r.Found) != 1 || !strings.Contains(r.Found[0].Note, "8E1") {
		t.Errorf("found %+v, want one that answers with other formats too", r.Found)
	}
	if r.Probes != 16 {
		t.Errorf("%d probes, want 16: 2 units, 2 speeds, 4 formats", r.Probes)
	}
}

// Without --full the settings behind the one that answered are left out.
func TestSettingThatAnswersIsCompletedFirst(t *testing.T) {
	t.Parallel()
	l := open(t, "tty", rtuslave.Options{Baud: 19200})
	l.Attach(3, device(t, "abb-b23", 900))
	r := run(t, scan.Options{Serial: []string{l.Path()}, Bauds: []int{9600, 19200, 115200}, Formats: []string{"8N1", "8E1"}, Units: []int{1, 2, 3, 4}})
	if len(r.Found) != 1 || r.Found[0].Unit != 3 || r.Probes%4 != 0 || r.Probes > 16 {
		t.Errorf("%d probes, found %+v", r.Probes, r.Found)
	}
}

func TestUnknownDeviceIsShownToo(t *testing.T) {
	t.Parallel()
	l := open(t, "tty", rtuslave.Options{})
	l.Attach(9, refusing{})
	r := run(t, scan.Options{Serial: []string{l.Path()}, Bauds: []int{9600}, Formats: []string{"8N1"}})
	if len(r.Found) != 1 || r.Found[0].Profile != "" || r.Found[0].Unit != 9 || r.Found[0].Answer != "answers with an exception" {
		t.Errorf("found %+v", r.Found)
	}
	checkConfig(t, r)
}

// refusing answers everything with exception 2.
type refusing struct{}

func (refusing) Read(byte, uint16, uint16) ([]uint16, error) { return nil, twin.Exception(2) }
func (refusing) Write(byte, uint16, []uint16) error          { return twin.Exception(2) }

func TestNothingFound(t *testing.T) {
	t.Parallel()
	l := open(t, "tty", rtuslave.Options{})
	r := run(t, scan.Options{Serial: []string{l.Path()}, Units: []int{1, 2}, Timeout: 10 * time.Millisecond})
	if len(r.Found)+len(r.Problems) != 0 || r.Interrupted {
		t.Errorf("got %+v", r)
	}
	if text := r.Nothing(scan.Options{Serial: []string{l.Path()}}); !strings.Contains(text, "A and B") || !strings.Contains(text, "--full") {
		t.Errorf("the help says %q", text)
	}
}

func TestLineThatIsNotThere(t *testing.T) {
	t.Parallel()
	o := scan.Options{Serial: []string{filepath.Join(t.TempDir(), "ttyNone")}}
	r := run(t, o)
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Text, "/dev/serial/by-id") {
		t.Errorf("got %+v", r.Problems)
	}
	// Nobody was asked, so there is nothing to check at the devices; but on a
	// line beside it there is.
	if text := r.Nothing(o); text != "" {
		t.Errorf("the help says %q", text)
	}
	o.Serial = append(o.Serial, "another")
	if text := r.Nothing(o); !strings.Contains(text, "A and B") {
		t.Errorf("with another line the help says %q", text)
	}
}

// The gateway, or whoever else, holds the line: that is told, and the scan does
// not talk into it.
func TestLineThatSomebodyHolds(t *testing.T) {
	t.Parallel()
	l := open(t, "tty", rtuslave.Options{Baud: 9600, Bits: 10})
	l.Attach(1, device(t, "eastron-sdm120", 800))
	holder := modbus.NewSerial(modbus.Serial{Path: l.Path()}, modbus.Options{})
	defer holder.Close()
	if err := holder.Unit(1).ReadInput(t.Context(), 0, make([]uint16, 2)); err != nil {
		t.Fatal(err)
	}
	before := l.Stats().Requests
	r := run(t, scan.Options{Serial: []string{l.Path()}})
	if len(r.Found) != 0 || len(r.Blocked) != 1 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Text, "systemctl stop nominald") {
		t.Errorf("found %+v, problems %+v", r.Found, r.Problems)
	}
	if after := l.Stats().Requests; after != before {
		t.Errorf("%d requests on a line that is not free", after-before)
	}
}

// Garbage in answer to everything is no device, and is told.
func TestGarbageIsNoDevice(t *testing.T) {
	t.Parallel()
	l := open(t, "tty", rtuslave.Options{})
	l.Attach(1, device(t, "eastron-sdm120", 800))
	l.Break(func(rtuslave.Request) rtuslave.Fault { return rtuslave.Fault{Kind: rtuslave.Garbage} })
	r := run(t, scan.Options{Serial: []string{l.Path()}, Bauds: []int{9600}, Formats: []string{"8N1"}, Units: []int{1, 2}})
	if len(r.Found) != 0 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Text, "another speed") {
		t.Errorf("found %+v, problems %+v", r.Found, r.Problems)
	}
}

// Ctrl-C: what was found by then is there.
func TestInterruptedScanKeepsWhatItFound(t *testing.T) {
	t.Parallel()
	a, b := fiveDevices(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	found := 0
	r, err := scan.Run(ctx, scan.Options{Serial: []string{a.Path(), b.Path()}, Profiles: profile.List(), Timeout: 120 * time.Millisecond,
		Progress: func(p scan.Progress) {
			mu.Lock()
			defer mu.Unlock()
			if p.Found != nil {
				if found++; found == 2 {
					cancel()
				}
			}
		}})
	if err != nil || !r.Interrupted || len(r.Found) != 2 {
		t.Errorf("found %d, interrupted %v, error %v", len(r.Found), r.Interrupted, err)
	}
}
