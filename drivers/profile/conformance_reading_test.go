package profile_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
)

// quantities are values to measure, by meaning, in the gateway's units and
// signs. A point that can not show one is asked for the others.
func quantities() map[string][]float64 {
	return map[string][]float64{
		"power_w":         {0, 1, -1, 37.5, 1500, -1500, 4200, -2300, 7360, -7360, 11040, 22080.5, -31999},
		"current_a":       {0, 6, 9.75, 15.9, 16, 31.5},
		"soc":             {0, 1, 49.5, 61, 99.9, 100},
		"capacity_wh":     {5000, 9800, 15360},
		"max_discharge_w": {1500, 5000, 10_000},
		"max_charge_w":    {1500, 5000, 10_000},
		"temperature_c":   {-12.5, 0, 18, 21.3, 24.5, 31},
		"setpoint_c":      {18, 20.5, 21, 24},
		"import_wh":       {0, 100, 123_400, 9_876_500, 123_456_000},
		"export_wh":       {0, 100, 123_400, 9_876_500, 123_456_000},
	}
}

// field is what a meaning fills of a reading.
func field(r drivers.Reading, meaning string) drivers.Opt {
	return map[string]drivers.Opt{
		"power_w": r.PowerW, "current_a": r.CurrentA, "soc": r.SoC, "capacity_wh": r.CapacityWh,
		"max_discharge_w": r.MaxDischargeW, "max_charge_w": r.MaxChargeW, "temperature_c": r.TemperatureC,
		"setpoint_c": r.SetpointC, "import_wh": r.ImportWh, "export_wh": r.ExportWh,
	}[meaning]
}

// meant tells whether any point of a profile has the meaning.
func meant(p *profile.Profile, meaning string) bool {
	return slices.ContainsFunc(p.Points, func(pt profile.Point) bool { return pt.Meaning == meaning })
}

// TestReadingsAreInUnitAndSign has each device measure and reads it.
func TestReadingsAreInUnitAndSign(t *testing.T) {
	forEach(t, nil, func(r *rig) {
		for meaning, values := range quantities() {
			if !meant(r.p, meaning) {
				continue
			}
			shown := 0
			for _, v := range values {
				want, ok := r.twin.Measure(meaning, v)
				if !ok {
					continue
				}
				shown++
				if step := coarsest(r.p, meaning); math.Abs(want-v) > step {
					r.t.Fatalf("%s: the simulated device shows %g for %g, its step is %g", meaning, want, v, step)
				}
				r.pass(2 * time.Minute) // slow points are read once a minute
				got := field(r.read(), meaning)
				if !got.OK || math.Abs(got.V-want) > 1e-6*math.Max(1, math.Abs(want)) {
					r.t.Errorf("%s: the device shows %g, Read says %+v", meaning, want, got)
				}
			}
			if shown < min(2, len(values)) {
				r.t.Errorf("%s: the device can show %d of %v", meaning, shown, values)
			}
			r.twin.Measure(meaning, values[1])
		}
	})
}

// coarsest is the step of the finest point of a meaning, in its unit.
func coarsest(p *profile.Profile, meaning string) float64 {
	step := math.Inf(1)
	for _, pt := range p.Points {
		if pt.Meaning == meaning {
			s := math.Abs(pt.Scale)
			if pt.Type[0] == 'f' {
				s = 100 * s // of a hundred megawatt hours, a float32 keeps about 8 Wh
			}
			step = math.Min(step, s)
		}
	}
	return step
}

// TestWhatTheDeviceDoesNotKnowIsUnknown: never 0, never the raw marker.
func TestWhatTheDeviceDoesNotKnowIsUnknown(t *testing.T) {
	forEach(t, nil, func(r *rig) {
		r.read()
		for meaning, values := range quantities() {
			if r.estimated(meaning) || !meant(r.p, meaning) || !r.twin.Unset(meaning) {
				continue
			}
			r.pass(2 * time.Minute)
			if got := field(r.read(), meaning); got.OK {
				r.t.Errorf("%s: the device has none, Read says %g", meaning, got.V)
			}
			if _, ok := r.twin.Measure(meaning, values[1]); !ok {
				continue
			}
			r.pass(2 * time.Minute)
			if got := field(r.read(), meaning); !got.OK {
				r.t.Errorf("%s: the device has %g again, Read says unknown", meaning, values[1])
			}
		}
	})
}

// estimated tells whether a quantity is taken from another one where it is not
// known itself: a charger's power from its current. The other one is unset, or
// there would be nothing to see.
func (r *rig) estimated(meaning string) bool {
	return meaning == "power_w" && r.p.Kind == drivers.Charger && meant(r.p, "current_a") && !r.twin.Unset("current_a")
}

// TestImplausibleIsUnknown puts values outside a point's limits on the wire. Of
// a sum one part is enough; of currents it has to be all.
func TestImplausibleIsUnknown(t *testing.T) {
	forEach(t, nil, func(r *rig) {
		r.read()
		for _, pt := range r.p.Points {
			values, known := quantities()[pt.Meaning]
			if !known || r.estimated(pt.Meaning) {
				continue
			}
			for _, limit := range []*float64{pt.Min, pt.Max} {
				if limit == nil || !r.force(pt, *limit+math.Copysign(2*math.Max(math.Abs(pt.Scale), 0.5), *limit-middle(pt))) {
					continue
				}
				r.pass(2 * time.Minute)
				if v := field(r.read(), pt.Meaning); v.OK {
					r.t.Errorf("%s: the wire shows a value beyond %g %s, Read says %g", pt.Name, *limit, pt.Unit, v.V)
				}
				r.twin.Measure(pt.Meaning, values[1])
			}
		}
	})
}

// force puts a value on the wire, plausible or not.
func (r *rig) force(pt profile.Point, v float64) (ok bool) {
	for _, other := range r.p.Points {
		if other.Name == pt.Name || (pt.Meaning == "current_a" && other.Meaning == pt.Meaning) {
			if ok = r.twin.Force(other.Name, v); !ok {
				return false
			}
		}
	}
	return ok
}

// middle is a value well within a point's limits.
func middle(pt profile.Point) float64 {
	low, high := -1e12, 1e12
	if pt.Min != nil {
		low = *pt.Min
	}
	if pt.Max != nil {
		high = *pt.Max
	}
	return (low + high) / 2
}

// TestStatesHaveTheirWords shows each of the device's own words.
func TestStatesHaveTheirWords(t *testing.T) {
	hasWords := func(p *profile.Profile) bool { return meant(p, "state") }
	forEach(t, hasWords, func(r *rig) {
		for _, pt := range r.p.Points {
			if pt.Meaning != "state" {
				continue
			}
			for raw, word := range pt.Words {
				if _, ok := r.twin.Measure("state", float64(raw)*scaleOr1(pt.Scale)); !ok {
					r.t.Errorf("the point can not hold %d, which has the word %q", raw, word)
					continue
				}
				got, err := r.device.Read(r.context())
				if err != nil {
					r.t.Errorf("state %d (%s): %v", raw, word, err)
				} else if got.State != word && !startsWith(got.State, word) {
					r.t.Errorf("state %d: Read says %q, want %q", raw, got.State, word)
				}
			}
		}
	})
}

func scaleOr1(s float64) float64 {
	if s == 0 {
		return 1
	}
	return s
}

func startsWith(s, word string) bool { return len(s) > len(word) && s[:len(word)+1] == word+";" }

// TestAVehicleIsSeen plugs and unplugs.
func TestAVehicleIsSeen(t *testing.T) {
	plugged := func(p *profile.Profile) bool { return meant(p, "connected") }
	forEach(t, plugged, func(r *rig) {
		for _, want := range []bool{true, false, true} {
			v := 0.0
			if want {
				v = 1
			}
			if _, ok := r.twin.Measure("connected", v); !ok {
				r.t.Fatalf("the point can not show %v", want)
			}
			r.restart()
			if got := r.read().Connected; got != want {
				r.t.Errorf("vehicle connected %v, Read says %v", want, got)
			}
		}
	})
}
