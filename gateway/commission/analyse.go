package commission

import (
	"math"
	"slices"
	"time"

	"nominald/drivers"
)

// This file is arithmetic on samples alone: no device, no clock.

// Sample is one measurement: W at a time since the recording began.
type Sample struct {
	At time.Duration `json:"at_ns"`
	W  float64       `json:"w"`
}

// Noise says how restless a measurement is while nobody commands anything.
type Noise struct {
	MeanW   float64 `json:"mean_w"`
	NoiseW  float64 `json:"noise_w"`   // one standard deviation, by the median deviation
	SpreadW float64 `json:"spread_w"`  // between the largest and the smallest value
	StepW   float64 `json:"step_w"`    // the smallest change seen: the resolution; 0 where nothing changed
	Samples int     `json:"samples"`   //
	Refresh float64 `json:"refresh_s"` // between two changes of the value, median; 0 where it changed less than twice
}

// madToSigma turns a median absolute deviation into the standard deviation of
// a normal distribution. The median is taken because one appliance that
// switches within the recording is no noise.
const madToSigma = 1.4826

// MeasureNoise judges samples that were taken while nothing was commanded.
func MeasureNoise(samples []Sample) Noise {
	n := Noise{Samples: len(samples)}
	if len(samples) == 0 {
		return n
	}
	values := watts(samples)
	middle := median(values)
	deviations := make([]float64, len(values))
	low, high, sum := values[0], values[0], 0.0
	for i, v := range values {
		deviations[i] = math.Abs(v - middle)
		low, high, sum = min(low, v), max(high, v), sum+v
	}
	n.MeanW, n.SpreadW = sum/float64(len(values)), high-low
	var gaps []float64
	changed := time.Duration(-1)
	for i := 1; i < len(samples); i++ {
		d := math.Abs(samples[i].W - samples[i-1].W)
		if d == 0 {
			continue
		}
		if n.StepW == 0 || d < n.StepW {
			n.StepW = d
		}
		if changed >= 0 {
			gaps = append(gaps, (samples[i].At - changed).Seconds())
		}
		changed = samples[i].At
	}
	if len(gaps) > 0 {
		n.Refresh = median(gaps)
	}
	// A coarse meter that shows one value is not without noise: it hides up to
	// half of its step.
	n.NoiseW = max(madToSigma*median(deviations), n.StepW/2)
	return n
}

// Response is how a measurement followed one change of a command.
type Response struct {
	BeforeW  float64 `json:"before_w"`  // before the command
	AfterW   float64 `json:"after_w"`   // once it had settled
	ChangeW  float64 `json:"change_w"`  // the difference
	Gain     float64 `json:"gain"`      // change / change commanded
	NoiseW   float64 `json:"noise_w"`   // of the samples before the command
	Moved    bool    `json:"moved"`     // the change is beyond the noise
	DeadTime float64 `json:"dead_s"`    // until the first change beyond the noise; only where it moved
	Rise90   float64 `json:"rise_90_s"` // until 90 % of the change; only where it moved
}

// The judgement of steps.
const (
	beyondNoise = 3.0 // standard deviations
	leastStep   = 0.1 // of the commanded change: less is not taken for an answer to it
	settledPart = 1.0 / 3
)

// Analyse judges how samples followed a command that changed by commandedW at
// a time, with the samples up to until. noiseW is what is known of the
// measurement's noise; the samples before the command can raise it.
func Analyse(samples []Sample, at, until time.Duration, commandedW, noiseW float64) (Response, bool) {
	var before, after []Sample
	for _, s := range samples {
		switch {
		case s.At <= at:
			before = append(before, s)
		case s.At <= until:
			after = append(after, s)
		}
	}
	settled := last(after, settledPart)
	if len(before) == 0 || len(settled) == 0 || commandedW == 0 {
		return Response{}, false
	}
	r := Response{BeforeW: median(watts(before)), AfterW: median(watts(settled))}
	r.NoiseW = max(noiseW, MeasureNoise(before).NoiseW)
	r.ChangeW = r.AfterW - r.BeforeW
	r.Gain = r.ChangeW / commandedW
	threshold := max(beyondNoise*r.NoiseW, leastStep*math.Abs(commandedW))
	r.Moved = math.Abs(r.ChangeW) > threshold
	if !r.Moved {
		return r, true
	}
	r.DeadTime = reached(after, at, r.BeforeW, r.ChangeW, threshold)
	r.Rise90 = reached(after, at, r.BeforeW, r.ChangeW, max(threshold, 0.9*math.Abs(r.ChangeW)))
	return r, true
}

// reached returns the seconds from at until the samples have moved by a
// distance in the direction of the change and are still so in the next sample:
// one value alone may be noise.
func reached(after []Sample, at time.Duration, beforeW, changeW, distance float64) float64 {
	beyond := func(s Sample) bool { return (s.W-beforeW)*math.Copysign(1, changeW) >= distance }
	for i, s := range after {
		if beyond(s) && (i+1 == len(after) || beyond(after[i+1])) {
			return (s.At - at).Seconds()
		}
	}
	return (after[len(after)-1].At - at).Seconds()
}

// Left returns when samples left a level for good: the time of the first one
// beyond the tolerance after which none came back to it. It is how a device is
// seen to end a command by itself.
func Left(samples []Sample, levelW, toleranceW float64) (time.Duration, bool) {
	left, found := time.Duration(0), false
	for _, s := range samples {
		outside := math.Abs(s.W-levelW) > toleranceW
		if outside && !found {
			left = s.At
		}
		found = outside
	}
	if !found {
		return 0, false
	}
	return left, true
}

// WrongWay tells whether the last samples all lie beyond the noise on the side
// that the command can not have moved them to.
func WrongWay(samples []Sample, beforeW, expectedW, noiseW float64, count int) bool {
	if len(samples) < count {
		return false
	}
	threshold := max(beyondNoise*noiseW, 0.5*math.Abs(expectedW))
	for _, s := range samples[len(samples)-count:] {
		if (s.W-beforeW)*math.Copysign(1, expectedW) > -threshold {
			return false
		}
	}
	return true
}

// since are the samples after a time.
func since(samples []Sample, at time.Duration) []Sample {
	for i, s := range samples {
		if s.At > at {
			return samples[i:]
		}
	}
	return nil
}

func watts(samples []Sample) []float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = s.W
	}
	return values
}

// last returns the last part of the samples, at least one where there is one.
func last(samples []Sample, part float64) []Sample {
	n := int(math.Ceil(float64(len(samples)) * part))
	return samples[len(samples)-n:]
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Limits bound the power of a test: what the owner and the device allow.
type Limits struct {
	WantW         float64     // asked for
	NetW          float64     // at the grid connection with the battery at rest, import positive
	MaxImportW    float64     // 0: not given
	MaxExportW    float64     //
	MaxDischargeW drivers.Opt // the device's, or the owner's where smaller
	MaxChargeW    drivers.Opt //
	SoC           drivers.Opt // percent
	ReserveSoC    float64     // percent
	NoiseW        float64     // of the site's meter
}

const (
	leastTestW   = 200.0 // less is not told from the noise of a house
	socMargin    = 2.0   // percent above the reserve, and below full
	fullSoC      = 98.0
	marginOfBand = 100.0 // W kept to the import and export limits
)

// least is the smallest power that this meter's noise does not hide.
func (l Limits) least() float64 { return max(leastTestW, 2*beyondNoise*l.NoiseW) }

// Choose returns the power of a test, discharge positive: the wanted discharge
// as far as no limit is touched, else a charge, else 0 and why.
func (l Limits) Choose() (powerW float64, why string) {
	least := l.least()
	margin := max(marginOfBand, beyondNoise*l.NoiseW)
	discharge := min(l.WantW, l.MaxDischargeW.Or(l.WantW), l.NetW+l.MaxExportW-margin)
	charge := min(l.WantW, l.MaxChargeW.Or(l.WantW))
	if l.MaxImportW > 0 {
		// Until the sign is proved an export may be an import.
		charge = min(charge, l.MaxImportW-math.Abs(l.NetW)-margin)
	}
	switch {
	case !l.SoC.OK:
		return 0, "the state of charge is not known, so the reserve could be touched"
	case l.SoC.V >= l.ReserveSoC+socMargin && discharge >= least:
		return discharge, ""
	case l.SoC.V <= fullSoC && charge >= least:
		return -charge, ""
	}
	return 0, explain(l, discharge, charge, least)
}
