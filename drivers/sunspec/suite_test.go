package sunspec_test

import (
	"fmt"
	"math"
	"testing"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/sunspec"
)

func TestStorage124Conforms(t *testing.T) {
	for _, base := range []uint16{40000, 50000, 0, 40001, 50001, 1} {
		for _, sf := range []int{-2, 0} {
			t.Run(fmt.Sprintf("base %d sf %d", base, sf), func(t *testing.T) {
				t.Parallel() // most of it is waiting for a device that is silent
				drivertest.Run(t, func(t *testing.T) *drivertest.Bench {
					return quick(bench124(t, storage124(t, base, sf), sunspec.StorageOptions{}), base == 40000 && sf == -2)
				})
			})
		}
	}
}

func TestStorage704Conforms(t *testing.T) {
	for _, base := range []uint16{40000, 1} {
		for _, sf := range []int{-2, 0, 1} {
			t.Run(fmt.Sprintf("base %d sf %d", base, sf), func(t *testing.T) {
				t.Parallel() // most of it is waiting for a device that is silent
				drivertest.Run(t, func(t *testing.T) *drivertest.Bench {
					return quick(bench704(t, storage704(t, base, sf), sunspec.StorageOptions{}), base == 1 && sf == 0)
				})
			})
		}
	}
}

func TestMeterConforms(t *testing.T) {
	for id := uint16(201); id <= 204; id++ {
		for _, invert := range []bool{false, true} {
			t.Run(fmt.Sprintf("model %d invert %v", id, invert), func(t *testing.T) {
				t.Parallel()
				drivertest.Run(t, func(t *testing.T) *drivertest.Bench { return quick(benchMeter(t, id, invert), id == 203 && invert) })
			})
		}
		t.Run(fmt.Sprintf("model %d", id+10), func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(t *testing.T) *drivertest.Bench { return quick(benchMeter(t, id+10, false), id == 201) })
		})
	}
}

// quick leaves out the faults where another variant of the same driver has them
// already: waiting for a silent device takes real time.
func quick(b *drivertest.Bench, faults bool) *drivertest.Bench {
	if !faults {
		b.Faults = nil
	}
	return b
}

// benchMeter plays a meter with an integer (20x) or float (21x) model.
func benchMeter(t *testing.T, id uint16, invert bool) *drivertest.Bench {
	s := newSim(t, 40000)
	s.common("SNM")
	sign := 1.0
	if invert {
		sign = -1
	}
	measure := func(w float64) { s.set(id, 18, neg(int(sign*w/10))) }
	blank := func() { s.set(id, 18, 0x8000, 0x8000, 0x8000, 0x8000) }
	if id < 210 {
		s.model(id, 105)
		blank()
		s.set(id, 22, 1)
	} else {
		s.model(id, 124)
		measure = func(w float64) {
			u := math.Float32bits(float32(w))
			s.set(id, 28, uint16(u>>16), uint16(u))
		}
		blank = func() { s.set(id, 28, 0x7FC0, 0, 0x7FC0, 0, 0x7FC0, 0, 0x7FC0, 0) }
		blank()
	}
	s.end()
	return &drivertest.Bench{
		Device: sunspec.NewMeter(s.registers(t), sunspec.MeterOptions{Invert: invert}), Kind: drivers.Meter,
		StepW: 10, Measure: measure, Blank: blank,
		Break: s.fault, Faults: drivertest.ModbusFaults(),
		StrayWrites: func() []drivertest.Request { return s.stray(id) },
	}
}
