package sunspec_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/sunspec"
)

// inverter123 makes an inverter: 1, the given inverter model, 120 to 123, end.
// Its WMax is 8000 W.
func inverter123(t *testing.T, id uint16, base uint16, sf int) *sim {
	s := newSim(t, base)
	s.common("SN" + map[bool]string{true: "INT", false: "FLOAT"}[id < 110])
	if id < 110 {
		s.model(id, 50)
		s.set(id, 14, 0, 1)
		s.set(id, 24, 0, 123, 2)
		s.set(id, 38, 4)
	} else {
		s.model(id, 60)
		s.float(id, 22, 0)
		s.float(id, 32, 12300)
		s.set(id, 48, 4)
	}
	s.model(120, 26)
	s.set(120, 3, 820, 1)
	s.model(121, 30)
	s.set(121, 2, 800)
	s.set(121, 22, 1)
	s.model(122, 44)
	s.set(122, 2, 7, 0, 1)
	s.model(123, 24)
	s.set(123, 4, 1, uint16(100*math.Pow10(-sf)), 0, 0, 0, 0)
	s.set(123, 23, neg(sf))
	s.end()
	return s
}

// inverter704 makes a DER without a battery: 1, 701, 702, 704, end. Its WMax is
// 8000 W.
func inverter704(t *testing.T, base uint16) *sim {
	s := newSim(t, base)
	s.common("SN704")
	s.model(701, 153)
	s.set(701, 4, 3, 1)
	s.set(701, 10, 0)
	s.set(701, 19, 0, 0, 0, 4567)
	s.set(701, 116, 1)
	s.set(701, 120, 1)
	s.model(702, 50)
	s.set(702, 2, 820)
	s.set(702, 26, 800)
	s.set(702, 45, 1)
	s.model(703, 17)
	s.set(703, 2, 1)
	s.model(704, 65)
	s.set(704, 14, 0, 1000, 0xFFFF, 1, 0, 0, 0, 0)
	s.set(704, 54, neg(-1))
	s.end()
	return s
}

func (s *sim) float(id uint16, offset int, v float32) {
	u := math.Float32bits(v)
	s.set(id, offset, uint16(u>>16), uint16(u))
}

// measures has the device measure a power in W.
func (s *sim) measures(w float64) {
	for _, id := range []uint16{101, 102, 103} {
		if s.at[id] != 0 {
			s.set(id, 14, neg(int(w/10)))
		}
	}
	for _, id := range []uint16{111, 112, 113} {
		if s.at[id] != 0 {
			s.float(id, 22, float32(w))
		}
	}
	if s.at[701] != 0 {
		s.set(701, 10, neg(int(w/10)))
	}
}

// blank leaves the power unimplemented.
func (s *sim) blank() {
	for id, offset := range map[uint16]int{101: 14, 102: 14, 103: 14, 701: 10} {
		if s.at[id] != 0 {
			s.set(id, offset, 0x8000)
		}
	}
	for _, id := range []uint16{111, 112, 113} {
		if s.at[id] != 0 {
			s.set(id, 22, 0x7FC0, 0)
		}
	}
}

func limitCases() []drivertest.Case {
	return []drivertest.Case{
		{Command: drivers.Command{PowerW: 3000}, Want: 3000},
		{Command: drivers.Command{PowerW: 0}, Want: 0},
		{Command: drivers.Command{PowerW: 99000}, Want: 8000},
		{Command: drivers.Command{PowerW: -99000}, Want: 0},
	}
}

// bench123 plays an inverter behind model 123.
func bench123(t *testing.T, s *sim) *drivertest.Bench {
	u := s.registers(t)
	percent := func() float64 { return float64(s.get(123, 5)) * math.Pow10(int(int16(s.get(123, 23)))) }
	return &drivertest.Bench{
		Device: sunspec.NewInverter(u, sunspec.InverterOptions{Allow: allower(u)}), Kind: drivers.Inverter,
		StepW: 10, Step: 8000 * math.Pow10(int(int16(s.get(123, 23)))) / 100,
		Measure: s.measures, Blank: s.blank, Cases: limitCases(),
		Commanded: func() (float64, bool) {
			return percent() / 100 * 8000, s.get(123, 9) != 0 || percent() != 100
		},
		Fallback:      func() time.Duration { return time.Duration(s.get(123, 7)) * time.Second },
		ClearFallback: func() { s.set(123, 7, 0) },
		Break:         s.fault, Faults: drivertest.ModbusFaults(),
		Reboot:      s.rebooter(func() { s.set(123, 5, uint16(100*math.Pow10(-int(int16(s.get(123, 23)))))); s.set(123, 9, 0) }),
		StrayWrites: func() []drivertest.Request { return s.stray(123, 5, 6, 7, 9) },
	}
}

// benchLimit704 plays an inverter behind model 704.
func benchLimit704(t *testing.T, s *sim) *drivertest.Bench {
	u := s.registers(t)
	percent := func() float64 { return float64(s.get(704, 15)) / 10 }
	return &drivertest.Bench{
		Device: sunspec.NewInverter(u, sunspec.InverterOptions{Allow: allower(u)}), Kind: drivers.Inverter,
		StepW: 10, Step: 8,
		Measure: s.measures, Blank: s.blank, Cases: limitCases(),
		Commanded: func() (float64, bool) {
			if s.get(704, 14) == 1 && s.get(704, 17) != 0 {
				return math.NaN(), true
			}
			return percent() / 100 * 8000, s.get(704, 14) != 0 || percent() != 100
		},
		Fallback:      func() time.Duration { return time.Duration(s.get(704, 19)) * time.Second },
		ClearFallback: func() { s.set(704, 18, 0, 0) },
		Break:         s.fault, Faults: drivertest.ModbusFaults(),
		Reboot:      s.rebooter(func() { s.set(704, 14, 0, 1000) }),
		StrayWrites: func() []drivertest.Request { return s.stray(704, 14, 15, 16, 17, 18, 19) },
	}
}

func TestInverter123Conforms(t *testing.T) {
	for _, id := range []uint16{101, 102, 103, 111, 112, 113} {
		t.Run(fmt.Sprintf("model %d", id), func(t *testing.T) {
			t.Parallel() // most of it is waiting for a device that is silent
			drivertest.Run(t, func(t *testing.T) *drivertest.Bench {
				return quick(bench123(t, inverter123(t, id, 40000, -2+2*int(id%2))), id == 103)
			})
		})
	}
}

func TestInverter704Conforms(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, func(t *testing.T) *drivertest.Bench { return benchLimit704(t, inverter704(t, 50000)) })
}
