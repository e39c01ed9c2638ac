package main

import (
	"math"
	"time"
)

// score is what a run, or the runs of all seeds together, came to. Shares are
// percent of the target.
type score struct {
	rmse1, rmse15       float64
	delivered, capped   float64
	truly               float64 // delivered against the true counterfactual
	worst15, worst1h    float64
	firstFive           float64
	overshoot           float64 // the largest minute beyond the target
	travel, reversals   float64 // kW/h and 1/h
	switches            float64
	violations          float64
	rebound             float64 // W, the largest 15 min above the undisturbed site after the end
	firstResponse       float64 // s from the start until 90 % is given
	extras              []extra
	errors1, errors15   []float64 // shares of the target, for RMS over all seeds
	cappedWh, deliverWh float64
	trueWh, targetWh    float64
}

// bin is a stretch of active time.
type bin struct {
	target, settled, truly float64 // sums of W over n seconds
	n                      int
}

// bins cuts the active time of a record on a grid.
func (rc *record) bins(width time.Duration) []bin {
	var out []bin
	var current time.Time
	for i, s := range rc.samples {
		if s.targetW <= 0 {
			continue
		}
		start := rc.at(i).Truncate(width)
		if len(out) == 0 || !start.Equal(current) {
			out, current = append(out, bin{}), start
		}
		b := &out[len(out)-1]
		b.target, b.settled, b.truly, b.n = b.target+s.targetW, b.settled+s.settledW, b.truly+s.trueW, b.n+1
	}
	return out
}

// settlement is the grid that energy is settled on (domain.md 3).
const settlement = 15 * time.Minute

// rate works out the score of one run.
func (rc *record) rate() score {
	sc := score{worst15: math.Inf(1), worst1h: math.Inf(1), overshoot: math.Inf(-1), switches: float64(rc.switches), violations: rc.broken()}
	for _, b := range rc.bins(time.Minute) {
		sc.errors1 = append(sc.errors1, (b.settled-b.target)/b.target)
		sc.overshoot = math.Max(sc.overshoot, 100*(b.settled/b.target-1))
	}
	for _, b := range rc.bins(settlement) {
		share := b.settled / b.target
		if b.n >= 60 {
			sc.errors15 = append(sc.errors15, share-1)
			sc.worst15 = math.Min(sc.worst15, 100*share)
		}
		sc.targetWh += b.target / 3600
		sc.deliverWh += b.settled / 3600
		sc.trueWh += b.truly / 3600
		sc.cappedWh += math.Max(0, math.Min(b.settled, b.target)) / 3600
	}
	for _, b := range rc.bins(time.Hour) {
		sc.worst1h = math.Min(sc.worst1h, 100*b.settled/b.target)
	}
	sc.derive()
	rc.rateEdges(&sc)
	if rc.sc.check != nil {
		sc.extras = rc.sc.check(rc)
	}
	return sc
}

// derive works out the shares from the sums.
func (sc *score) derive() {
	sc.rmse1, sc.rmse15 = 100*rms(sc.errors1), 100*rms(sc.errors15)
	sc.delivered = 100 * sc.deliverWh / sc.targetWh
	sc.truly = 100 * sc.trueWh / sc.targetWh
	sc.capped = 100 * sc.cappedWh / sc.targetWh
}

// rateEdges looks at the beginning, the end and the moves.
func (rc *record) rateEdges(sc *score) {
	var five bin
	var active float64
	first, last := -1, -1
	sc.firstResponse = math.NaN()
	for i, s := range rc.samples {
		if s.targetW <= 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
		active++
		if i-first < 300 {
			five.target, five.settled = five.target+s.targetW, five.settled+s.settledW
		}
		if math.IsNaN(sc.firstResponse) && s.settledW >= 0.9*s.targetW {
			sc.firstResponse = float64(i - first)
		}
	}
	sc.firstFive = 100 * five.settled / five.target
	sc.travel = rc.travelW / 1000 / (active / 3600)
	sc.reversals = float64(rc.reversals) / (active / 3600)
	sc.rebound = rc.rebound(last + 1)
}

// rebound is the largest 15-min mean by which the site draws more than it
// would have, after the end.
func (rc *record) rebound(from int) float64 {
	const window = 900
	worst := 0.0
	var sum float64
	for i := from; i < len(rc.samples); i++ {
		sum -= rc.samples[i].trueW
		if i-from >= window {
			sum += rc.samples[i-window].trueW
		}
		if i-from >= window-1 {
			worst = math.Max(worst, sum/window)
		}
	}
	return worst
}

func rms(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum / math.Max(1, float64(len(v))))
}

// together is the score of all seeds: shares over all their energy, errors over
// all their intervals, and the worst of what is a worst.
func together(scores []score) score {
	all := score{worst15: math.Inf(1), worst1h: math.Inf(1), firstFive: math.Inf(1), overshoot: math.Inf(-1)}
	n := float64(len(scores))
	for _, s := range scores {
		all.errors1 = append(all.errors1, s.errors1...)
		all.errors15 = append(all.errors15, s.errors15...)
		all.targetWh, all.deliverWh = all.targetWh+s.targetWh, all.deliverWh+s.deliverWh
		all.cappedWh, all.trueWh = all.cappedWh+s.cappedWh, all.trueWh+s.trueWh
		all.worst15, all.worst1h = math.Min(all.worst15, s.worst15), math.Min(all.worst1h, s.worst1h)
		all.firstFive, all.overshoot = math.Min(all.firstFive, s.firstFive), math.Max(all.overshoot, s.overshoot)
		all.travel, all.reversals = all.travel+s.travel/n, all.reversals+s.reversals/n
		all.switches = math.Max(all.switches, s.switches)
		all.violations += s.violations
		all.rebound = math.Max(all.rebound, s.rebound)
		all.firstResponse = math.Max(all.firstResponse, s.firstResponse)
		all.extras = worstOf(all.extras, s.extras)
	}
	all.derive()
	return all
}

// worstOf keeps the worse of each extra figure; which way is worse stands in
// the gate, so both ends are kept where no name says it.
func worstOf(a, b []extra) []extra {
	if a == nil {
		return append([]extra(nil), b...)
	}
	for i := range a {
		switch a[i].name {
		case "min_to_mean", "higher_rank", "hand_over":
			a[i].value = math.Min(a[i].value, b[i].value)
		default:
			a[i].value = math.Max(a[i].value, b[i].value)
		}
	}
	return a
}

// value looks a figure up by its name.
func (sc *score) value(name string) float64 {
	switch name {
	case "capped":
		return sc.capped
	case "rmse15":
		return sc.rmse15
	case "worst15":
		return sc.worst15
	case "worst_hour":
		return sc.worst1h
	case "violations":
		return sc.violations
	}
	for _, e := range sc.extras {
		if e.name == name {
			return e.value
		}
	}
	return math.NaN()
}
