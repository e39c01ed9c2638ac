package sunspec_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/sunspec"
)

func newInverter(t *testing.T, s *sim, o sunspec.InverterOptions) drivers.Device {
	u := s.registers(t)
	o.Allow = allower(u)
	return sunspec.NewInverter(u, o)
}

func release(t *testing.T, d drivers.Device) {
	t.Helper()
	if err := d.Release(context.Background()); err != nil {
		t.Fatalf("Release: %v", err)
	}
}

func TestInverterReadsWhatTheDeviceStates(t *testing.T) {
	for name, c := range map[string]struct {
		s      *sim
		energy float64
		model  string
	}{
		"integer": {inverter123(t, 103, 40000, -2), 12300, "inverter model 103 at 40070; limited through model 123"},
		"float":   {inverter123(t, 111, 1, 0), 12300, "inverter model 111 at 71; limited through model 123"},
		"704":     {inverter704(t, 0), 45670, "inverter model 701 at 70; limited through model 704"},
	} {
		d := newInverter(t, c.s, sunspec.InverterOptions{})
		c.s.measures(4560)
		r := read(t, d)
		if r.PowerW.V != 4560 || r.ExportWh.V != c.energy || r.MaxDischargeW.V != 8000 || r.State != "running" || r.SoC.OK {
			t.Errorf("%s: %+v, want 4560 W, %g Wh, 8000 W, running", name, r, c.energy)
		}
		about := d.Describe()
		if !about.Fallback || !strings.Contains(about.Detail, c.model) {
			t.Errorf("%s: Describe %+v, want %q and a fallback", name, about, c.model)
		}
	}
}

func TestInverterSaysWhatIsWrong(t *testing.T) {
	s := inverter123(t, 103, 40000, -2)
	s.set(103, 38, 7)
	s.set(122, 2, 0, 0, 0)
	s.set(123, 4, 0, 6000, 0, 0, 0, 1)
	want := "fault; not connected to its panels; not connected to the grid; disconnected by its control (123.Conn is 0); limited to 4800 W"
	if got := read(t, newInverter(t, s, sunspec.InverterOptions{})).State; got != want {
		t.Errorf("state %q, want %q", got, want)
	}
	s = inverter704(t, 40000)
	s.set(701, 4, 7, 0)
	s.set(703, 2, 0)
	want = "standby; not connected to the grid; not permitted to enter service (703.ES is 0)"
	if got := read(t, newInverter(t, s, sunspec.InverterOptions{})).State; got != want {
		t.Errorf("704: state %q, want %q", got, want)
	}
}

// A limit may not be exceeded, so what lies between two steps goes down.
func TestLimitIsRoundedDown(t *testing.T) {
	s := inverter123(t, 103, 40000, 0)
	d := newInverter(t, s, sunspec.InverterOptions{})
	mustApply(t, d, 4799) // 59.99 % of 8000 W
	if got := s.get(123, 5); got != 59 {
		t.Errorf("WMaxLimPct %d, want 59", got)
	}
	if got := read(t, d).State; got != "running; limited to 4720 W" {
		t.Errorf("state %q", got)
	}
}

// The order matters: with the enable before the timer or the percentage, a
// device would follow an old one for a moment.
func TestLimitIsWrittenTimerFirstAndEnableLast(t *testing.T) {
	s := inverter123(t, 103, 40000, -2)
	d := newInverter(t, s, sunspec.InverterOptions{})
	read(t, d)
	for range 2 { // the refresh writes the percentage and the enable again
		s.slave.Requests()
		mustApply(t, d, 4000)
		var order []int
		for _, r := range s.slave.Requests() {
			if r.Values != nil {
				order = append(order, int(r.Addr-s.at[123]))
			}
		}
		if len(order) != 3 || order[0] != 7 || order[1] != 5 || order[2] != 9 {
			t.Errorf("offsets written %v, want 7, 5, 9", order)
		}
	}
}

// A timer or a random delay that another tool left behind must not outlive us
// or delay us, and is back when we go.
func TestLeftOverTimerAndWindowOfALimit(t *testing.T) {
	s := inverter123(t, 103, 40000, -2)
	s.set(123, 6, 300, 3600)
	d := newInverter(t, s, sunspec.InverterOptions{})
	mustApply(t, d, 2000)
	if s.get(123, 6) != 0 || s.get(123, 7) != 30 || s.get(123, 5) != 2500 || s.get(123, 9) != 1 {
		t.Errorf("limited: window %d timer %d percent %d enable %d, want 0, 30, 2500, 1",
			s.get(123, 6), s.get(123, 7), s.get(123, 5), s.get(123, 9))
	}
	if about := d.Describe(); about.FallbackAfter != drivertest.Lease {
		t.Errorf("Describe: falls back after %v, want %v", about.FallbackAfter, drivertest.Lease)
	}
	release(t, d)
	if s.get(123, 6) != 300 || s.get(123, 7) != 3600 || s.get(123, 5) != 10000 || s.get(123, 9) != 0 {
		t.Errorf("released: window %d timer %d percent %d enable %d, want 300, 3600, 10000, 0",
			s.get(123, 6), s.get(123, 7), s.get(123, 5), s.get(123, 9))
	}
	// What stands there after a crash of this program is no wish of the owner.
	s.set(123, 5, 2500, 0, 30, 0, 1)
	d = newInverter(t, s, sunspec.InverterOptions{})
	release(t, d)
	if s.get(123, 9) != 0 || s.get(123, 5) != 10000 {
		t.Errorf("after a crash: percent %d enable %d, want 10000 and 0", s.get(123, 5), s.get(123, 9))
	}
}

func TestLimitOfADeviceThatTakesFunction6Only(t *testing.T) {
	s := inverter123(t, 103, 40000, -2)
	s.slave.Break(func(r drivertest.Request) drivertest.Fault {
		if r.Function == 16 {
			return drivertest.Fault{Exception: 2}
		}
		return drivertest.Fault{}
	})
	d := newInverter(t, s, sunspec.InverterOptions{})
	mustApply(t, d, 4000)
	if s.get(123, 5) != 5000 || s.get(123, 9) != 1 || s.get(123, 7) != 30 {
		t.Errorf("percent %d enable %d timer %d, want 5000, 1, 30", s.get(123, 5), s.get(123, 9), s.get(123, 7))
	}
}

func TestInverterThatCanNotBeLimited(t *testing.T) {
	s := newSim(t, 40000)
	s.common("OLD")
	s.model(101, 50)
	s.set(101, 14, 2000, 0)
	s.end()
	d := newInverter(t, s, sunspec.InverterOptions{})
	if r := read(t, d); r.PowerW.V != 2000 {
		t.Errorf("power %+v, want 2000 W", r.PowerW)
	}
	if err := apply(d, 1000); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "neither model 704 nor 123") {
		t.Errorf("Apply: %v", err)
	}
	release(t, d)
	if about := d.Describe(); about.Fallback || !strings.Contains(about.Detail, "can not be limited") {
		t.Errorf("Describe: %+v", about)
	}
	s = inverter123(t, 103, 40000, -2)
	s.set(123, 7, 0xFFFF) // no timer
	d = newInverter(t, s, sunspec.InverterOptions{})
	if err := apply(d, 1000); !errors.Is(err, drivers.ErrRefused) || s.get(123, 9) != 0 {
		t.Errorf("without a timer and without consent: %v, enable %d", err, s.get(123, 9))
	}
	mustApply(t, newInverter(t, s, sunspec.InverterOptions{AllowNoFallback: true}), 1000)
	s = inverter123(t, 103, 40000, -2)
	s.set(120, 3, 0xFFFF)
	s.set(121, 2, 0xFFFF)
	if err := apply(newInverter(t, s, sunspec.InverterOptions{}), 1000); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("without a rating: %v", err)
	}
}

// An inverter that sleeps may know no power; the model it measures by is not
// another because of that, and what measures is found when it wakes.
func TestSleepingInverterIsNotAnotherDevice(t *testing.T) {
	s := inverter123(t, 103, 40000, -2)
	s.blank()
	s.set(103, 38, 2)
	d := newInverter(t, s, sunspec.InverterOptions{})
	if r := read(t, d); r.PowerW.OK || r.State != "sleeping" {
		t.Errorf("asleep: %+v, want an unknown power and sleeping", r)
	}
	s.measures(300)
	if r := read(t, d); r.PowerW.V != 300 {
		t.Errorf("awake: %+v, want 300 W", r.PowerW)
	}
}

func TestOtherControllerOfALimitIsNamed(t *testing.T) {
	s, w := inverter123(t, 103, 40000, -2), newWatch()
	d := newInverter(t, s, sunspec.InverterOptions{Now: w.now})
	s.slave.OnWrite(func(drivertest.Request) { s.set(123, 9, 0) })
	var err error
	for range 12 {
		read(t, d)
		if err = apply(d, 2000); err != nil {
			break
		}
		w.pass(2 * time.Second)
	}
	if !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "WMaxLim_Ena reads 0, commanded 1") {
		t.Errorf("error %v, want the conflict named", err)
	}
}

// A model that the device lists and refuses to have read takes only what it
// would say with it, and does not have the map walked again and again.
func TestRefusedStatusModelIsDoneWithout(t *testing.T) {
	s := inverter123(t, 103, 40000, -2)
	status := s.at[122]
	s.slave.Break(func(r drivertest.Request) drivertest.Fault {
		if r.Addr == status && r.Count > 2 {
			return drivertest.Fault{Exception: 2}
		}
		return drivertest.Fault{}
	})
	d := newInverter(t, s, sunspec.InverterOptions{})
	s.measures(700)
	if r := read(t, d); r.PowerW.V != 700 || r.State != "running" {
		t.Errorf("%+v, want 700 W, running", r)
	}
	s.slave.Requests()
	read(t, d)
	if n := len(s.slave.Requests()); n != 2 { // the control model and the measuring one
		t.Errorf("a poll takes %d requests, want 2", n)
	}
}

func TestMeterIsNoInverter(t *testing.T) {
	_, err := newInverter(t, meterSim(t, 40000), sunspec.InverterOptions{}).Read(context.Background())
	if !errors.Is(err, drivers.ErrWrongDevice) || !strings.Contains(err.Error(), "models 1, 203 at 40000") {
		t.Errorf("error %v, want wrong device with what was found", err)
	}
}
