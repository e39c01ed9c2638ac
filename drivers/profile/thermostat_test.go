package profile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/profile"
)

// ac is an air conditioner with a clock and a memory that outlives the driver.
type ac struct {
	*drivertest.Slave
	now  time.Time
	kept []byte
	open func() drivers.Device
}

func (a *ac) Load() ([]byte, error)  { return a.kept, nil }
func (a *ac) Save(data []byte) error { a.kept = data; return nil }
func (a *ac) pass(d time.Duration)   { a.now = a.now.Add(d) }
func (a *ac) setpoint() int          { return int(int16(a.Get(unitID, 4, 1)[0])) }

func newAC(t *testing.T) *ac {
	a := &ac{Slave: newIntesis(t), now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	a.open = func() drivers.Device {
		u, allow := bus(t, a.Slave)
		return profile.New(load(t, "intesis-inmbs"), u, profile.Params{
			MaxOffsetK: 3, AllowNoFallback: true, Allow: allow, Remember: a, Now: func() time.Time { return a.now },
		})
	}
	return a
}

func shiftBy(d drivers.Device, k float64) error {
	return d.Apply(context.Background(), drivers.Command{OffsetK: k}, time.Minute)
}

func mustRead(t *testing.T, d drivers.Device) drivers.Reading {
	t.Helper()
	r, err := d.Read(context.Background())
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return r
}

func release(t *testing.T, d drivers.Device) {
	t.Helper()
	if err := d.Release(context.Background()); err != nil {
		t.Fatalf("Release: %v", err)
	}
}

func TestThermostatReads(t *testing.T) {
	a := newAC(t)
	r := mustRead(t, a.open())
	if r.SetpointC.V != 22 || r.TemperatureC.V != 25.1 || r.State != "cool" || r.PowerW.OK {
		t.Errorf("%+v, want 22.0 C, 25.1 C, cool and no power", r)
	}
	a.Set(unitID, 4, 0x8000)
	if r := mustRead(t, a.open()); r.SetpointC.OK {
		t.Errorf("set-point %+v, want unknown: the gateway is not initialised", r.SetpointC)
	}
	a.Set(unitID, 11, 65535)
	if r := mustRead(t, a.open()); !strings.Contains(r.State, "no link") {
		t.Errorf("state %q, want the lost link named", r.State)
	}
}

func TestHeatingShiftsDownAndStaysInLimits(t *testing.T) {
	for _, c := range []struct {
		mode, before uint16
		offset       float64
		want         int
	}{
		{4, 220, 2, 240},  // cool
		{1, 210, 2, 190},  // heat
		{1, 170, 3, 160},  // heat, not below 16
		{4, 310, 3, 320},  // cool, not above 32
		{0, 220, 2, 240},  // auto, room 25.1: cooling
		{0, 270, 2, 250},  // auto, room 25.1: heating
		{1, 150, 2, 150},  // below the limit already: not moved further
		{4, 220, 10, 250}, // largest shift
	} {
		a := newAC(t)
		a.Set(unitID, 1, c.mode)
		a.Set(unitID, 4, c.before)
		d := a.open()
		mustRead(t, d)
		if err := shiftBy(d, c.offset); err != nil || a.setpoint() != c.want {
			t.Errorf("mode %d, %d + %g K: %d, %v, want %d", c.mode, c.before, c.offset, a.setpoint(), err, c.want)
		}
	}
}

func TestNothingToShift(t *testing.T) {
	a := newAC(t)
	a.Set(unitID, 1, 3) // fan
	d := a.open()
	mustRead(t, d)
	if err := shiftBy(d, 2); !errors.Is(err, drivers.ErrRefused) || a.setpoint() != 220 {
		t.Errorf("fan: error %v, set-point %d", err, a.setpoint())
	}
	a.Set(unitID, 1, 4)
	a.Set(unitID, 4, 22) // whole degrees by DIP switch
	mustRead(t, d)
	if err := shiftBy(d, 2); !errors.Is(err, drivers.ErrRefused) || a.setpoint() != 22 {
		t.Errorf("whole degrees: error %v, set-point %d", err, a.setpoint())
	}
}

func TestConsentIsNeededWithoutATimer(t *testing.T) {
	s := newIntesis(t)
	u, allow := bus(t, s)
	d := profile.New(load(t, "intesis-inmbs"), u, profile.Params{Allow: allow})
	mustRead(t, d)
	if err := shiftBy(d, 2); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "allow_no_fallback") {
		t.Errorf("error %v, want a refusal that names allow_no_fallback", err)
	}
	if d.Describe().Fallback {
		t.Error("Describe: fallback, want none")
	}
}

func TestOccupantsChangeWins(t *testing.T) {
	a := newAC(t)
	d := a.open()
	mustRead(t, d)
	if err := shiftBy(d, 2); err != nil {
		t.Fatal(err)
	}
	a.pass(time.Minute)
	a.Set(unitID, 4, 205)
	if r := mustRead(t, d); !strings.Contains(r.State, "override") {
		t.Errorf("state %q, want override", r.State)
	}
	if err := shiftBy(d, 2); !errors.Is(err, drivers.ErrRefused) || a.setpoint() != 205 {
		t.Errorf("after the override: error %v, set-point %d, want refused and 205", err, a.setpoint())
	}
	release(t, d)
	if a.setpoint() != 205 {
		t.Errorf("released: set-point %d, want the occupant's 205", a.setpoint())
	}
	mustRead(t, d)
	if err := shiftBy(d, 1); err != nil || a.setpoint() != 215 {
		t.Errorf("next event: %v, set-point %d, want 215", err, a.setpoint())
	}
}

func TestChangeRightAfterAWriteIsAnOverride(t *testing.T) {
	a := newAC(t)
	d := a.open()
	mustRead(t, d)
	if err := shiftBy(d, 2); err != nil {
		t.Fatal(err)
	}
	a.pass(3 * time.Second)
	a.Set(unitID, 4, 205) // neither what was written nor what stood there
	if r := mustRead(t, d); !strings.Contains(r.State, "override") {
		t.Errorf("state %q, want override", r.State)
	}
}

func TestSlowGatewayIsNoOverride(t *testing.T) {
	a := newAC(t)
	d := a.open()
	mustRead(t, d)
	if err := shiftBy(d, 2); err != nil {
		t.Fatal(err)
	}
	a.Set(unitID, 4, 220) // not processed yet
	a.pass(3 * time.Second)
	if r := mustRead(t, d); strings.Contains(r.State, "override") {
		t.Errorf("3 s after the write: state %q", r.State)
	}
	a.Set(unitID, 4, 240)
	a.pass(30 * time.Second)
	if r := mustRead(t, d); strings.Contains(r.State, "override") {
		t.Errorf("processed: state %q", r.State)
	}
}

func TestOccupantsSetPointOutlivesARestart(t *testing.T) {
	a := newAC(t)
	d := a.open()
	mustRead(t, d)
	if err := shiftBy(d, 2); err != nil {
		t.Fatal(err)
	}
	d = a.open() // the program was killed
	mustRead(t, d)
	a.pass(time.Minute)
	if err := shiftBy(d, 1); err != nil || a.setpoint() != 230 {
		t.Errorf("mid-shift after a restart: %v, set-point %d, want 230, not 250", err, a.setpoint())
	}
	d = a.open()
	release(t, d)
	if a.setpoint() != 220 || a.kept != nil {
		t.Errorf("released after another restart: set-point %d, kept %s, want 220 and nothing", a.setpoint(), a.kept)
	}
}

// A write whose answer is lost may have arrived. What the occupant had must
// survive either way.
func TestLostAnswerDoesNotLoseTheSetPoint(t *testing.T) {
	for _, arrived := range []bool{false, true} {
		a := newAC(t)
		d := a.open()
		mustRead(t, d)
		a.Break(func(r drivertest.Request) drivertest.Fault {
			if r.Values != nil && arrived {
				a.Set(unitID, r.Addr, r.Values...)
			}
			return drivertest.Fault{Silent: r.Values != nil}
		})
		if err := shiftBy(d, 2); !errors.Is(err, drivers.ErrOffline) {
			t.Fatalf("error %v, want offline", err)
		}
		a.Break(nil)
		mustRead(t, d)
		if err := shiftBy(d, 2); err != nil || a.setpoint() != 240 {
			t.Errorf("arrived %v: again: %v, set-point %d, want 240", arrived, err, a.setpoint())
		}
		release(t, d)
		if a.setpoint() != 220 {
			t.Errorf("arrived %v: released to %d, want 220", arrived, a.setpoint())
		}
	}
}

func TestSteadyCommandIsWrittenOnce(t *testing.T) {
	a := newAC(t)
	d := a.open()
	mustRead(t, d)
	for range 20 {
		if err := shiftBy(d, 2); err != nil {
			t.Fatal(err)
		}
		a.pass(5 * time.Second)
		mustRead(t, d)
	}
	writes := 0
	for _, r := range a.Requests() {
		if r.Values != nil {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("%d writes for one steady command, want 1", writes)
	}
}
