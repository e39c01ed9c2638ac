package sunspec_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/sunspec"
)

func read(t *testing.T, d drivers.Device) drivers.Reading {
	t.Helper()
	r, err := d.Read(context.Background())
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return r
}

// meterSim is 1, 203, end with 1234 W.
func meterSim(t *testing.T, base uint16) *sim {
	s := newSim(t, base)
	s.common("A1")
	s.model(203, 105)
	s.set(203, 18, 1234)
	s.set(203, 22, 0)
	s.end()
	return s
}

func newMeter(t *testing.T, s *sim) drivers.Device {
	return sunspec.NewMeter(s.registers(t), sunspec.MeterOptions{})
}

// Silence at addresses a device does not have is as common as a refusal.
func TestDeviceThatIgnoresOtherAddressesIsFound(t *testing.T) {
	s := meterSim(t, 50001)
	s.slave.Break(func(r drivertest.Request) drivertest.Fault {
		return drivertest.Fault{Silent: r.Addr < 50001 || r.Addr >= s.next+2}
	})
	d := newMeter(t, s)
	var err error
	for range 6 {
		var r drivers.Reading
		if r, err = d.Read(context.Background()); err == nil {
			if r.PowerW.V != 1234 {
				t.Errorf("power %+v, want 1234 W", r.PowerW)
			}
			return
		}
		if !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("while looking: error %v, want offline", err)
		}
	}
	t.Fatalf("not found: %v", err)
}

func TestMapWithoutEndMarkerEnds(t *testing.T) {
	for _, silent := range []bool{false, true} {
		s := newSim(t, 40000)
		s.model(203, 105)
		s.set(203, 18, 77)
		s.set(203, 22, 0)
		end := s.next
		if silent {
			s.slave.Break(func(r drivertest.Request) drivertest.Fault { return drivertest.Fault{Silent: r.Addr >= end} })
		}
		d := newMeter(t, s)
		r, err := d.Read(context.Background())
		if silent && err != nil {
			r, err = d.Read(context.Background()) // silence has to come twice
		}
		if err != nil || r.PowerW.V != 77 {
			t.Errorf("silent %v: %+v, %v, want 77 W", silent, r.PowerW, err)
		}
	}
}

// One exception in the middle of a walk must not hide the models behind it.
func TestPassingFaultDoesNotCutTheMap(t *testing.T) {
	for _, code := range []byte{2, 4, 6} {
		s := storage124(t, 40000, -2)
		at, failed := s.at[802], false
		s.slave.Break(func(r drivertest.Request) drivertest.Fault {
			if r.Addr == at && r.Count == 2 && !failed {
				failed = true
				return drivertest.Fault{Exception: code}
			}
			return drivertest.Fault{}
		})
		d := sunspec.NewStorage(s.registers(t), sunspec.StorageOptions{})
		var r drivers.Reading
		for range 2 {
			r, _ = d.Read(context.Background())
		}
		if r.SoC.V != 55.5 || !failed {
			t.Errorf("exception %d once: SoC %+v, want 55.5 from model 802", code, r.SoC)
		}
	}
}

func TestRequestsStayInsideModels(t *testing.T) {
	for _, s := range []*sim{storage124(t, 40000, -2), storage704(t, 0, 0), meterSim(t, 50000)} {
		d := sunspec.NewStorage(s.registers(t), sunspec.StorageOptions{})
		if s.at[203] != 0 {
			d = newMeter(t, s)
		}
		for range 3 {
			read(t, d)
		}
		for _, r := range s.slave.Requests() {
			inside := r.Count == 2 // the marker, or a header
			for id, addr := range s.at {
				last := addr + 2 + s.get(id, 1)
				inside = inside || (r.Addr >= addr && r.Addr+uint16(r.Count) <= last)
			}
			if !inside {
				t.Errorf("base %d: request %d+%d crosses models", s.base, r.Addr, r.Count)
			}
		}
	}
}

func TestLengthsOtherThanTheStandardsAreFollowed(t *testing.T) {
	s := newSim(t, 40000)
	s.model(1, 65)
	s.model(64999, 0) // a vendor's empty model
	s.model(203, 130)
	s.set(203, 18, 55)
	s.set(203, 22, 1)
	s.end()
	if r := read(t, newMeter(t, s)); r.PowerW.V != 550 {
		t.Errorf("long model: power %+v, want 550 W", r.PowerW)
	}
	s = newSim(t, 40000)
	s.model(203, 19) // ends before W_SF
	s.set(203, 18, 55)
	s.end()
	s.slave.Set(unitID, s.at[203]+22, 1) // what follows is not the model's
	if r := read(t, newMeter(t, s)); r.PowerW.OK {
		t.Errorf("model cut before its scale factor: power %+v, want unknown", r.PowerW)
	}
}

func TestRepeatedModelsTheFirstThatMeasuresCounts(t *testing.T) {
	s := newSim(t, 40000)
	s.common("INVERTER")
	s.model(203, 105) // not wired
	s.set(203, 18, 0x8000, 0x8000)
	s.common("METER-2")
	s.model(203, 105)
	s.set(203, 18, 0x8000, 100, 200, 0x8000, 0)
	s.common("METER-3")
	s.model(201, 105)
	s.set(201, 18, 0x8000, neg(-321), 0x8000, 0x8000, neg(-1))
	s.end()
	d := newMeter(t, s)
	if r := read(t, d); r.PowerW.V != -32.1 {
		t.Errorf("power %+v, want -32.1 W, the one phase of the third meter", r.PowerW)
	}
	if got := d.Describe().Serial; got != "METER-3" {
		t.Errorf("serial %q, want that of the common model before the meter", got)
	}
}

func TestWrongDeviceSaysWhatWasFound(t *testing.T) {
	s := meterSim(t, 40000)
	_, err := sunspec.NewStorage(s.registers(t), sunspec.StorageOptions{}).Read(context.Background())
	if !errors.Is(err, drivers.ErrWrongDevice) || !strings.Contains(err.Error(), "models 1, 203 at 40000") ||
		!strings.Contains(err.Error(), "124") {
		t.Errorf("error %v, want it to name what was found and wanted", err)
	}
	empty := drivertest.NewSlave(t)
	empty.Set(unitID, 40000, 1, 2)
	s.slave = empty
	_, err = newMeter(t, s).Read(context.Background())
	if !errors.Is(err, drivers.ErrWrongDevice) || !strings.Contains(err.Error(), "SunS") {
		t.Errorf("no marker: error %v, want wrong device", err)
	}
}

func TestMovedMapIsFoundAgain(t *testing.T) {
	s := meterSim(t, 40000)
	d := newMeter(t, s)
	read(t, d)
	// A firmware update puts another model before the meter.
	s.next = s.base + 2
	s.common("A1")
	s.model(160, 48)
	s.model(203, 105)
	s.set(203, 18, 99)
	s.set(203, 22, 0)
	s.end()
	if r, err := d.Read(context.Background()); err == nil && r.PowerW.V != 99 {
		t.Errorf("the map moved: power %+v, want an error or 99 W", r.PowerW)
	}
	if r := read(t, d); r.PowerW.V != 99 {
		t.Errorf("after the move: power %+v, want 99 W", r.PowerW)
	}
}

func TestFloatCountersAndInvert(t *testing.T) {
	s := newSim(t, 1)
	s.model(213, 124)
	f := func(offset int, v float32) {
		u := math.Float32bits(v)
		s.set(213, offset, uint16(u>>16), uint16(u))
	}
	f(28, -1500.5)
	f(60, 4000)
	f(68, 9000)
	s.end()
	r := read(t, sunspec.NewMeter(s.registers(t), sunspec.MeterOptions{Invert: true}))
	if r.PowerW.V != 1500.5 || r.ImportWh.V != 4000 || r.ExportWh.V != 9000 {
		t.Errorf("inverted: %+v import %+v export %+v, want 1500.5, 4000, 9000", r.PowerW, r.ImportWh, r.ExportWh)
	}
}

// A device that dies in the middle of a walk costs one unanswered request a
// poll, or it would keep the others of its line waiting twice as long.
func TestDeadInMidWalkCostsOneTimeoutAPoll(t *testing.T) {
	s := meterSim(t, 40000)
	first := s.at[203]
	s.slave.Break(func(r drivertest.Request) drivertest.Fault { return drivertest.Fault{Silent: r.Addr > first} })
	d := newMeter(t, s)
	if _, err := d.Read(context.Background()); !errors.Is(err, drivers.ErrOffline) {
		t.Fatalf("error %v, want offline", err)
	}
	s.slave.Break(func(drivertest.Request) drivertest.Fault { return drivertest.Fault{Silent: true} })
	s.slave.Requests()
	for i := range 3 {
		if _, err := d.Read(context.Background()); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("poll %d: error %v, want offline", i, err)
		}
		if asked := s.slave.Requests(); len(asked) != 1 {
			t.Errorf("poll %d asked %d times, want once: %+v", i, len(asked), asked)
		}
	}
}
