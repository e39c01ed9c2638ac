package sunspec_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/sunspec"
)

// watch is a clock that a test sets.
type watch struct{ t time.Time }

func newWatch() *watch                { return &watch{time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)} }
func (w *watch) now() time.Time       { return w.t }
func (w *watch) pass(d time.Duration) { w.t = w.t.Add(d) }

func storage(t *testing.T, s *sim, o sunspec.StorageOptions) drivers.Device {
	u := s.registers(t)
	o.Allow = allower(u)
	return sunspec.NewStorage(u, o)
}

func apply(d drivers.Device, w float64) error {
	return d.Apply(context.Background(), drivers.Command{PowerW: w}, drivertest.Lease)
}

func mustApply(t *testing.T, d drivers.Device, w float64) {
	t.Helper()
	if err := apply(d, w); err != nil {
		t.Fatalf("Apply %g W: %v", w, err)
	}
}

func TestStorageReadsWhatTheDeviceStates(t *testing.T) {
	r := read(t, storage(t, storage124(t, 40000, -2), sunspec.StorageOptions{}))
	if r.SoC.V != 55.5 || r.CapacityWh.V != 10240 || r.MaxDischargeW.V != 4500 || r.MaxChargeW.V != 5000 || r.State != "holding" {
		t.Errorf("124: %+v, want SoC 55.5, 10240 Wh, 4500 W, 5000 W, holding", r)
	}
	d := storage(t, storage704(t, 0, 0), sunspec.StorageOptions{
		MaxDischargeW: drivers.Some(2000), MaxChargeW: drivers.Some(9000), CapacityWh: drivers.Some(12000),
	})
	r = read(t, d)
	if r.SoC.V != 66.1 || r.CapacityWh.V != 12000 || r.MaxDischargeW.V != 2000 || r.MaxChargeW.V != 5000 {
		t.Errorf("704: %+v, want SoC 66.1, 12000 Wh (config), 2000 W (config), 5000 W (rating)", r)
	}
	if about := d.Describe(); about.Serial != "SN704" || !about.Fallback || !strings.Contains(about.Detail, "model 704") {
		t.Errorf("Describe: %+v", about)
	}
}

func TestSourcesStandInForEachOther(t *testing.T) {
	s := storage124(t, 40000, 0)
	d := storage(t, s, sunspec.StorageOptions{})
	s.set(802, 47, neg(-40))
	if got := read(t, d).PowerW; got.V != -400 {
		t.Errorf("802.W: %+v, want -400 W", got)
	}
	s.set(802, 47, 0x8000)
	s.set(103, 14, neg(-250))
	if got := read(t, d).PowerW; got.V != -250 {
		t.Errorf("103.W: %+v, want -250 W", got)
	}
	s.set(103, 14, 0x8000)
	s.set(802, 44, neg(-150)) // -1.50 A at 400.0 V
	if got := read(t, d).PowerW; got.V != -600 {
		t.Errorf("802 volts times amperes: %+v, want -600 W", got)
	}
	s.set(802, 11, 0xFFFF)
	if got := read(t, d).SoC; got.V != 61.2 {
		t.Errorf("SoC %+v, want 61.2 from 124.ChaState", got)
	}
	s.set(124, 22, 11) // not a scale factor
	if got := read(t, d).SoC; got.OK {
		t.Errorf("SoC %+v with a scale factor of 11, want unknown", got)
	}
}

func TestTwoBatteriesAddUp(t *testing.T) {
	s := storage124(t, 40000, 0)
	s.model(802, 62) // behind the first; the end moves
	s.set(802, 3, 512)
	s.set(802, 11, 855)
	s.set(802, 47, 100)
	s.set(802, 53, 1, 1)
	s.set(802, 56, neg(-1))
	s.set(802, 63, 1)
	s.model(802, 62) // an empty place for a third
	s.set(802, 47, 0x8000)
	s.set(802, 44, 0x8000)
	s.end()
	r := read(t, storage(t, s, sunspec.StorageOptions{}))
	if r.PowerW.V != 1000 || r.CapacityWh.V != 15360 || math.Abs(r.SoC.V-65.5) > 1e-9 {
		t.Errorf("power %+v capacity %+v SoC %+v, want 1000 W, 15360 Wh, 65.5 %%", r.PowerW, r.CapacityWh, r.SoC)
	}
}

func TestSignThatContradictsTheStatusIsTurnedAndSaid(t *testing.T) {
	s := storage124(t, 40000, 0)
	d := storage(t, s, sunspec.StorageOptions{})
	s.set(802, 16, 3) // discharging
	s.set(802, 47, neg(-200))
	for range 3 {
		read(t, d)
	}
	r := read(t, d)
	if r.PowerW.V != 2000 || !strings.Contains(r.State, "802.W contradicts ChaSt") {
		t.Errorf("power %+v state %q, want 2000 W and the turned sign named", r.PowerW, r.State)
	}
}

func TestScaleFactorsMayChangeAtRunTime(t *testing.T) {
	s := storage124(t, 40000, -2)
	b := bench124(t, s, sunspec.StorageOptions{})
	read(t, b.Device)
	s.set(124, 25, neg(-1))
	s.set(124, 12, 1000, 1000)
	read(t, b.Device)
	mustApply(t, b.Device, 2500)
	if got := s.get(124, 12); got != 500 {
		t.Errorf("OutWRte %d, want 500 (50.0 %%)", got)
	}
}

func TestConfigLimitIsNotExceededByRounding(t *testing.T) {
	s := storage124(t, 40000, 0)
	d := storage(t, s, sunspec.StorageOptions{MaxDischargeW: drivers.Some(2490)})
	read(t, d)
	mustApply(t, d, 5000) // 49.8 % would round to 50 %, which is 2500 W
	if got := s.get(124, 12); got != 49 {
		t.Errorf("OutWRte %d, want 49", got)
	}
}

func TestDeviceThatTakesFunction6Only(t *testing.T) {
	s := storage124(t, 40000, -2)
	s.slave.Break(func(r drivertest.Request) drivertest.Fault {
		if r.Function == 16 {
			return drivertest.Fault{Exception: 2}
		}
		return drivertest.Fault{}
	})
	d := storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	mustApply(t, d, -1000)
	if got := s.slave.Get(unitID, s.at[124]+12, 2); got[0] != neg(-2000) || got[1] != 2000 {
		t.Errorf("rates %v, want -20 %% and 20 %%", got)
	}
	s.slave.Requests()
	mustApply(t, d, -1000)
	for _, r := range s.slave.Requests() {
		if r.Function == 16 {
			t.Errorf("function 16 tried again: %+v", r)
		}
	}
}

func TestWithoutReversionTimerConsentIsNeeded(t *testing.T) {
	s := storage124(t, 40000, -2)
	s.set(124, 15, 0xFFFF)
	d := storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	if err := apply(d, 1000); !errors.Is(err, drivers.ErrRefused) || d.Describe().Fallback || s.get(124, 5) != 0 {
		t.Errorf("no timer: error %v, fallback %v, mode %d", err, d.Describe().Fallback, s.get(124, 5))
	}
	d = storage(t, s, sunspec.StorageOptions{AllowNoFallback: true})
	mustApply(t, d, 1000)
	if s.get(124, 15) != 0xFFFF || s.get(124, 5) != 3 {
		t.Errorf("with consent: timer %d mode %d, want untouched and 3", s.get(124, 15), s.get(124, 5))
	}
}

func TestWhatTheOwnerHadSetComesBack(t *testing.T) {
	s := storage124(t, 40000, -2)
	s.set(124, 15, 3600) // another tool's timer
	s.set(124, 17, 0)
	d := storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	mustApply(t, d, -1000)
	if s.get(124, 17) != 1 || s.get(124, 15) != 30 {
		t.Errorf("charging: ChaGriSet %d timer %d, want 1 and 30", s.get(124, 17), s.get(124, 15))
	}
	if err := d.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s.get(124, 17) != 0 || s.get(124, 15) != 3600 || s.get(124, 5) != 0 {
		t.Errorf("released: ChaGriSet %d timer %d mode %d, want 0, 3600, 0", s.get(124, 17), s.get(124, 15), s.get(124, 5))
	}
}

// A device that confirms writes and ignores them, and one that somebody else
// commands, look the same.
func TestOtherControllerStopsUsAndIsNamed(t *testing.T) {
	s, w := storage124(t, 40000, -2), newWatch()
	d := storage(t, s, sunspec.StorageOptions{Now: w.now})
	s.slave.OnWrite(func(drivertest.Request) { s.set(124, 5, 0) })
	var err error
	var state string
	for range 12 {
		state = read(t, d).State
		if err = apply(d, 2000); err != nil {
			break
		}
		w.pass(2 * time.Second)
	}
	if !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "another controller") ||
		!strings.Contains(state, "StorCtl_Mod reads 0, commanded 3") {
		t.Fatalf("error %v, state %q, want the conflict named", err, state)
	}
	s.slave.OnWrite(nil)
	w.pass(59 * time.Second)
	read(t, d)
	if err := apply(d, 2000); err == nil {
		t.Error("still within a minute: written again")
	}
	w.pass(2 * time.Second)
	read(t, d)
	mustApply(t, d, 2000)
	w.pass(10 * time.Second)
	if r := read(t, d); strings.Contains(r.State, "commanded") || s.get(124, 5) != 3 {
		t.Errorf("alone again: state %q, mode %d", r.State, s.get(124, 5))
	}
}

func TestLapsedTimerIsNoConflict(t *testing.T) {
	s, w := storage704(t, 40000, 0), newWatch()
	d := storage(t, s, sunspec.StorageOptions{Now: w.now})
	read(t, d)
	mustApply(t, d, 2000)
	w.pass(drivertest.Lease + time.Second)
	s.set(704, 22, s.get(704, 30)) // the device reverts
	if r := read(t, d); s.get(704, 22) != 0 || strings.Contains(r.State, "commanded") {
		t.Errorf("state %q, enabled %d, want a plain neutral device", r.State, s.get(704, 22))
	}
	mustApply(t, d, 2000)
}

func TestPercentOnlyDeviceIsCommandedInPercent(t *testing.T) {
	s := storage704(t, 40000, 0)
	s.set(704, 24, 0x8000, 0)
	s.set(704, 28, 0, 0)
	s.set(704, 56, neg(-1))
	d := storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	mustApply(t, d, -2750) // of WMax 5500 W
	if got := int16(s.get(704, 28)); got != -500 || s.get(704, 23) != 0 || s.get(704, 22) != 1 {
		t.Errorf("WSetPct %d mode %d enabled %d, want -500, 0, 1", got, s.get(704, 23), s.get(704, 22))
	}
}

func TestModel704WithoutSetPointFallsBackTo124(t *testing.T) {
	s := storage124(t, 40000, -2)
	s.model(704, 65)
	s.set(704, 24, 0x8000, 0)
	s.set(704, 28, 0x8000)
	s.end()
	d := storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	if about := d.Describe().Detail; !strings.Contains(about, "commanded through model 124") {
		t.Errorf("Describe: %q, want model 124", about)
	}
}

func TestNewDeviceBehindTheSameAddressIsNoticed(t *testing.T) {
	s, w := storage124(t, 40000, -2), newWatch()
	d := storage(t, s, sunspec.StorageOptions{Now: w.now})
	read(t, d)
	w.pass(54 * time.Second)
	mustApply(t, d, 2000)
	s.text(1, 50, "OTHER")
	s.set(124, 5, 0) // the new one was never commanded
	w.pass(7 * time.Second)
	if r := read(t, d); strings.Contains(r.State, "commanded") {
		t.Errorf("state %q: the new device is held against the old one's command", r.State)
	}
	if got := d.Describe().Serial; got != "OTHER" {
		t.Errorf("serial %q, want the new device's", got)
	}
}
