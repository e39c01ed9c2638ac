package plant

import (
	"math"
	"math/rand/v2"
	"time"
)

// Meter measures a power as a cheap meter does: 1 s late, with 0.5 % of noise,
// in steps of 10 W (domain.md 4.6). Its energy counters are exact, as those of
// a real one nearly are.
type Meter struct {
	rng      *rand.Rand
	late     delay
	elapsed  time.Duration
	drawn    time.Duration
	gain     float64 // this second's noise
	readingW float64
	importWh float64
	exportWh float64
}

const (
	meterNoise       = 0.005
	meterResolutionW = 10.0
)

// NewMeter returns a meter that starts at a power.
func NewMeter(seed int64, initialW float64) *Meter {
	return &Meter{rng: newRand(seed, 3), late: newDelay(time.Second, initialW), gain: 1, readingW: initialW}
}

// Step moves the meter forward over a step of constant true power in W, import
// positive.
func (m *Meter) Step(dt time.Duration, trueW float64) {
	m.elapsed += dt
	for m.drawn+time.Second <= m.elapsed {
		m.drawn += time.Second
		m.gain = 1 + meterNoise*m.rng.NormFloat64()
	}
	m.readingW = math.Round(m.late.step(dt, trueW)*m.gain/meterResolutionW) * meterResolutionW
	if wh := trueW * dt.Hours(); wh >= 0 {
		m.importWh += wh
	} else {
		m.exportWh -= wh
	}
}

// PowerW returns the measured power, import positive.
func (m *Meter) PowerW() float64 { return m.readingW }

// ImportWh returns the counter of imported energy.
func (m *Meter) ImportWh() float64 { return m.importWh }

// ExportWh returns the counter of exported energy.
func (m *Meter) ExportWh() float64 { return m.exportWh }
