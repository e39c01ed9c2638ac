package sunspec_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/sunspec"
)

func identify(t *testing.T, s *sim) (sunspec.Identity, error) {
	t.Helper()
	id, err := sunspec.Identify(context.Background(), s.registers(t))
	for _, r := range s.slave.Requests() {
		if r.Values != nil {
			t.Errorf("a scan wrote %+v", r)
		}
	}
	return id, err
}

func TestIdentifyNamesDeviceAndProfiles(t *testing.T) {
	empty124 := newSim(t, 40000) // an inverter that carries the model and has no battery
	empty124.common("PV1")
	empty124.model(103, 50)
	empty124.model(124, 24)
	empty124.set(124, 5, 0)
	empty124.set(124, 12, 0, 0)
	empty124.end()
	pv704 := newSim(t, 50000)
	pv704.common("PV2")
	pv704.model(701, 153)
	pv704.model(702, 50)
	pv704.set(702, 10, 0, 0)
	pv704.model(704, 65)
	pv704.set(704, 22, 0, 1, 0, 0)
	pv704.end()
	nothing := newSim(t, 40000)
	nothing.common("X")
	nothing.end()
	for _, c := range []struct {
		name     string
		s        *sim
		serial   string
		base     uint16
		models   []uint16
		profiles []string
	}{
		{"hybrid with 124", storage124(t, 40000, -2), "SN124", 40000, []uint16{1, 103, 120, 124, 802}, []string{"sunspec-storage", "sunspec-inverter"}},
		{"battery with 704", storage704(t, 1, 0), "SN704", 1, []uint16{1, 701, 702, 713, 704}, []string{"sunspec-storage", "sunspec-inverter"}},
		{"meter", meterSim(t, 50001), "A1", 50001, []uint16{1, 203}, []string{"sunspec-meter"}},
		{"inverter with an empty 124", empty124, "PV1", 40000, []uint16{1, 103, 124}, []string{"sunspec-inverter"}},
		{"inverter with 704", pv704, "PV2", 50000, []uint16{1, 701, 702, 704}, []string{"sunspec-inverter"}},
		{"neither", nothing, "X", 40000, []uint16{1}, nil},
	} {
		id, err := identify(t, c.s)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		profile := append(c.profiles, "")[0]
		if id.Manufacturer != "Maker" || id.Model != "Model X" || id.Serial != c.serial || id.Base != c.base ||
			!slices.Equal(id.Models, c.models) || !slices.Equal(id.Profiles, c.profiles) || id.Profile != profile {
			t.Errorf("%s: %+v, want serial %s, base %d, models %v, profiles %v", c.name, id, c.serial, c.base, c.models, c.profiles)
		}
	}
}

func TestIdentifyFindsADeviceThatIgnoresOtherAddresses(t *testing.T) {
	s := meterSim(t, 1)
	s.slave.Break(func(r drivertest.Request) drivertest.Fault {
		return drivertest.Fault{Silent: r.Addr < 1 || r.Addr >= s.next+2}
	})
	if id, err := identify(t, s); err != nil || id.Base != 1 {
		t.Errorf("%+v, %v, want the device at 1", id, err)
	}
}

func TestIdentifyOfWhatIsNoSunSpecDevice(t *testing.T) {
	s := newSim(t, 40000)
	s.slave = drivertest.NewSlave(t)
	s.slave.Set(unitID, 40000, 1, 2)
	if _, err := identify(t, s); !errors.Is(err, drivers.ErrWrongDevice) {
		t.Errorf("another device: error %v, want wrong device", err)
	}
	s.slave.Break(func(drivertest.Request) drivertest.Fault { return drivertest.Fault{Silent: true} })
	if _, err := identify(t, s); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("nobody: error %v, want offline", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := sunspec.Identify(ctx, s.registers(t)); err == nil {
		t.Error("cancelled: no error")
	}
}
