// Package plant holds models of what stands behind the registers of a
// simulated site: base load, photovoltaics, battery, electric vehicle, room
// with air conditioning, and the utility's meter.
//
// The models are pure: no goroutine, no clock, no lock. Step moves one forward
// by a duration; two that were made with the same seed and stepped alike are
// alike. Their constants are the reference scenario set of domain.md 4.6.
// Battery power is positive when it discharges, the power of a load when it
// consumes.
package plant

import (
	"math"
	"math/rand/v2"
	"time"
)

// LoadParams describes the part of a site's consumption that nobody controls.
type LoadParams struct {
	MinW              float64       // at night
	MaxW              float64       // in the higher of the two daily peaks
	NoiseW            float64       // standard deviation of slow noise
	AppliancesPerHour float64       // Poisson arrivals of 1.2-3 kW for 90 s to 20 min
	StartOfDay        time.Duration // time of day at which the model starts
}

// noiseTau is the correlation time of the base load's noise.
const noiseTau = 60.0 // s

// Load is base load with a double peak and appliances that come and go. It
// draws its random numbers on a grid of one second, so that what it does is
// the same whatever the length of the steps.
type Load struct {
	p          LoadParams
	rng        *rand.Rand
	elapsed    time.Duration
	drawn      time.Duration // random numbers are drawn up to here
	nextStart  time.Duration // of an appliance
	noiseW     float64
	appliances []appliance
}

type appliance struct {
	end    time.Duration
	powerW float64
}

// NewLoad returns the base load of a seed.
func NewLoad(p LoadParams, seed int64) *Load {
	l := &Load{p: p, rng: newRand(seed, 1)}
	l.nextStart = l.wait()
	return l
}

// newRand gives each model a stream of its own, so that adding one to a site
// does not change the others.
func newRand(seed int64, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(seed), stream))
}

// wait draws the time to the next appliance.
func (l *Load) wait() time.Duration {
	if l.p.AppliancesPerHour <= 0 {
		return math.MaxInt64
	}
	return time.Duration(l.rng.ExpFloat64() / l.p.AppliancesPerHour * float64(time.Hour))
}

// Step moves the load forward.
func (l *Load) Step(dt time.Duration) {
	l.elapsed += dt
	for l.drawn+time.Second <= l.elapsed {
		l.drawn += time.Second
		l.noiseW += -l.noiseW/noiseTau + l.p.NoiseW*math.Sqrt(2/noiseTau)*l.rng.NormFloat64()
		l.switchAppliances()
	}
}

func (l *Load) switchAppliances() {
	kept := l.appliances[:0]
	for _, a := range l.appliances {
		if a.end > l.drawn {
			kept = append(kept, a)
		}
	}
	l.appliances = kept
	for l.nextStart <= l.drawn {
		runs := 90*time.Second + time.Duration(l.rng.Float64()*float64(20*time.Minute-90*time.Second))
		l.appliances = append(l.appliances, appliance{end: l.nextStart + runs, powerW: 1200 + 1800*l.rng.Float64()})
		l.nextStart += l.wait()
	}
}

// PowerW returns the consumption, never negative.
func (l *Load) PowerW() float64 {
	w := l.p.MinW + (l.p.MaxW-l.p.MinW)*doublePeak(hourOfDay(l.p.StartOfDay+l.elapsed)) + l.noiseW
	for _, a := range l.appliances {
		w += a.powerW
	}
	return math.Max(0, w)
}

// doublePeak is 0 at night and 1 in the evening, with a lower peak at
// breakfast.
func doublePeak(hour float64) float64 {
	bell := func(at, width float64) float64 {
		x := (hour - at) / width
		return math.Exp(-x * x)
	}
	return math.Min(1, 0.7*bell(7.5, 1.5)+bell(19, 2.5))
}

func hourOfDay(d time.Duration) float64 {
	return math.Mod(d.Hours(), 24)
}

// PV is a photovoltaic generator under passing clouds.
type PV struct {
	peakW      float64
	startOfDay time.Duration
	rng        *rand.Rand
	elapsed    time.Duration
	drawn      time.Duration
	cloud      float64 // zero-mean noise; its size is the shade
}

// NewPV returns a generator of peakW that starts at a time of day.
func NewPV(peakW float64, startOfDay time.Duration, seed int64) *PV {
	return &PV{peakW: peakW, startOfDay: startOfDay, rng: newRand(seed, 2)}
}

// Step moves the sun and the clouds forward.
func (v *PV) Step(dt time.Duration) {
	const tau, sd = 300.0, 0.3 // s; share of the clear-sky power
	v.elapsed += dt
	for v.drawn+time.Second <= v.elapsed {
		v.drawn += time.Second
		v.cloud += -v.cloud/tau + sd*math.Sqrt(2/tau)*v.rng.NormFloat64()
	}
}

// PowerW returns the generation, from 0 at night to the peak power.
func (v *PV) PowerW() float64 {
	sun := math.Sin(math.Pi * (hourOfDay(v.startOfDay+v.elapsed) - 6) / 12)
	if sun <= 0 {
		return 0
	}
	return v.peakW * sun * math.Max(0.15, 1-math.Abs(v.cloud))
}

// Motor is a load that cycles, as a compressor of a cold store does.
type Motor struct {
	powerW  float64
	period  time.Duration
	elapsed time.Duration
}

// NewMotor returns a motor of powerW that runs the first half of each period
// (domain.md 4.6: 2.5 kW, 420 s), at a place in its period that follows from
// the seed.
func NewMotor(powerW float64, period time.Duration, seed int64) *Motor {
	return &Motor{powerW: powerW, period: period, elapsed: time.Duration(newRand(seed, 4).Float64() * float64(period))}
}

// Step moves the motor forward.
func (m *Motor) Step(dt time.Duration) { m.elapsed += dt }

// PowerW returns the consumption.
func (m *Motor) PowerW() float64 {
	if m.period > 0 && m.elapsed%m.period < m.period/2 {
		return m.powerW
	}
	return 0
}
