package profile_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
)

const unitID = 255

// bus opens a real connection to the simulated device.
func bus(t *testing.T, s *drivertest.Slave) (*modbus.Unit, func(table string, first, last uint16)) {
	line := modbus.NewTCP(s.Addr(), modbus.Options{Timeout: timeout})
	t.Cleanup(func() { _ = line.Close() })
	u := line.Unit(unitID)
	return u, func(table string, first, last uint16) {
		in := modbus.Holding
		if table == "coil" {
			in = modbus.Coil
		}
		u.Allow(modbus.Range{Table: in, First: first, Last: last})
	}
}

// timeout is of one transaction on the loopback line.
const timeout = 150 * time.Millisecond

func breaker(s *drivertest.Slave, healthy func(drivertest.Request) drivertest.Fault) func(drivertest.FaultKind) {
	return func(f drivertest.FaultKind) {
		if f == drivertest.FaultNone {
			s.Break(healthy)
			return
		}
		s.Break(func(r drivertest.Request) drivertest.Fault { return f.On(r, timeout) })
	}
}

func stray(s *drivertest.Slave, allowed ...uint16) []drivertest.Request {
	var found []drivertest.Request
	for _, r := range s.Requests() {
		for i := range r.Values {
			if !slices.Contains(allowed, r.Addr+uint16(i)) {
				found = append(found, r)
			}
		}
	}
	return found
}

func load(t *testing.T, name string) *profile.Profile {
	t.Helper()
	p, err := profile.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// keba plays a KEBA P30: two registers a value, no blocks, FC6 only.
type keba struct {
	*drivertest.Slave
}

func newKeba(t *testing.T) keba {
	k := keba{drivertest.NewSlave(t)}
	k.Set(unitID, 1000, 0, 2)
	k.Set(unitID, 1004, 0, 7)
	k.Set(unitID, 1016, 0x0004, 0xC6C4) // product 313028
	for _, addr := range []uint16{1008, 1010, 1012, 1020, 1036, 1600, 1602} {
		k.Set(unitID, addr, 0, 0)
	}
	k.Set(unitID, 5004, 16000)
	k.Set(unitID, 5014, 1)
	k.Set(unitID, 5018, 0)
	k.OnWrite(func(r drivertest.Request) {
		if r.Addr == 5018 {
			k.Set(unitID, 1602, 0, r.Values[0])
		}
	})
	k.Break(kebaRefuses)
	return k
}

// kebaRefuses is what the real one refuses: blocks, odd counts, FC16.
func kebaRefuses(r drivertest.Request) drivertest.Fault {
	if (r.Function == 3 && r.Count != 2) || r.Function == 16 || r.Function == 4 {
		return drivertest.Fault{Exception: 2}
	}
	return drivertest.Fault{}
}

func (k keba) milliwatts(w float64) {
	mw := uint32(math.Round(w * 1000))
	k.Set(unitID, 1020, uint16(mw>>16), uint16(mw))
}

func TestKebaConforms(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) *drivertest.Bench {
		k := newKeba(t)
		u, allow := bus(t, k.Slave)
		charge := func(a, want float64) drivertest.Case {
			return drivertest.Case{Command: drivers.Command{CurrentA: a}, Want: want}
		}
		return &drivertest.Bench{
			Device: profile.New(load(t, "keba-p30"), u, profile.Params{Phases: 3, VoltageV: 230, MinA: 6, MaxA: 16, Allow: allow}),
			Kind:   drivers.Charger, StepW: 0.001, Measure: k.milliwatts, Step: 1e-9,
			Cases: []drivertest.Case{charge(10, 10), charge(12.3456, 12.345), charge(0, 0), charge(5.9, 0), charge(99, 16), charge(6, 6), charge(15.999999, 15.999)},
			Commanded: func() (float64, bool) {
				a := float64(k.Get(unitID, 5004, 1)[0]) / 1000
				if k.Get(unitID, 5014, 1)[0] == 0 {
					return 0, true
				}
				return a, a != 16 || k.Get(unitID, 5018, 1)[0] != 0
			},
			Fallback:      func() time.Duration { return time.Duration(k.Get(unitID, 5018, 1)[0]) * time.Second },
			ClearFallback: func() { k.Set(unitID, 5018, 0); k.Set(unitID, 1602, 0, 0) },
			Break:         breaker(k.Slave, kebaRefuses), Faults: drivertest.ModbusFaults(),
			StrayWrites: func() []drivertest.Request { return stray(k.Slave, 5004, 5014, 5018) },
		}
	})
}

// intesis plays an air conditioner's gateway, cooling to 22.0 C.
func newIntesis(t *testing.T) *drivertest.Slave {
	s := drivertest.NewSlave(t)
	s.Set(unitID, 0, 1, 4, 0)
	s.Set(unitID, 4, 220, 251)
	s.Set(unitID, 11, 0)
	return s
}

func TestIntesisConforms(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) *drivertest.Bench {
		s := newIntesis(t)
		u, allow := bus(t, s)
		now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
		shift := func(k, want float64) drivertest.Case {
			return drivertest.Case{Command: drivers.Command{OffsetK: k}, Want: want}
		}
		return &drivertest.Bench{
			Device: profile.New(load(t, "intesis-inmbs"), u, profile.Params{
				MaxOffsetK: 3, AllowNoFallback: true, Allow: allow,
				Now: func() time.Time { now = now.Add(time.Minute); return now },
			}),
			Kind: drivers.Thermostat, Step: 0.05,
			Cases: []drivertest.Case{shift(2, 2), shift(1.5, 1.5), shift(99, 3), shift(-1, -1)},
			Commanded: func() (float64, bool) {
				c := float64(int16(s.Get(unitID, 4, 1)[0]))/10 - 22
				return c, c != 0
			},
			Break: breaker(s, nil), Faults: drivertest.ModbusFaults(),
			StrayWrites: func() []drivertest.Request { return stray(s, 4) },
		}
	})
}
