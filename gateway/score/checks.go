package main

import (
	"math"
	"time"
)

// flatness is how even a scenario with too little energy is: the lowest
// settlement interval over the mean of all.
func flatness(rc *record) []extra {
	low, sum, n := math.Inf(1), 0.0, 0.0
	for _, b := range rc.bins(settlement) {
		w := b.settled / float64(b.n)
		low, sum, n = math.Min(low, w), sum+w, n+1
	}
	return []extra{{"min_to_mean", low / (sum / n)}}
}

// higherRank is the share of the higher-ranked timeslot, the second, in percent.
func higherRank(rc *record) []extra {
	var given, asked float64
	second := rc.sc.start().Add(rc.sc.slots[1].from)
	for i, s := range rc.samples {
		if s.targetW > 0 && !rc.at(i).Before(second) {
			given, asked = given+math.Min(s.settledW, s.targetW), asked+s.targetW
		}
	}
	return []extra{{"higher_rank", 100 * given / asked}}
}

func toggles(rc *record) []extra { return []extra{{"toggles", float64(rc.switches)}} }

// window is the mean given over some seconds, in percent of a target.
func (rc *record) window(from, n int, targetW float64) float64 {
	var sum float64
	for _, s := range rc.samples[from : from+n] {
		sum += s.settledW
	}
	return 100 * sum / float64(n) / targetW
}

// handOver is the lowest half minute around the hand-overs, in percent of the
// smaller of the two targets.
func handOver(rc *record) []extra {
	const around, width = 60, 30
	low := math.Inf(1)
	for i := 1; i < len(rc.samples); i++ {
		a, b := rc.samples[i-1].targetW, rc.samples[i].targetW
		if a <= 0 || b <= 0 || a == b {
			continue
		}
		for from := i - around; from < i+around-width; from++ {
			low = math.Min(low, rc.window(from, width, math.Min(a, b)))
		}
	}
	return []extra{{"hand_over", low}}
}

// recovery is how many seconds after a device failed the site gives 95 % again
// and goes on doing so for half a minute.
func recovery(rc *record) []extra {
	broke := rc.sc.start().Add(rc.sc.actions[0].at)
	const width = 30
	for i := range rc.samples {
		since := rc.at(i).Sub(broke)
		if since < 0 || rc.samples[i].settledW < 0.95*rc.samples[i].targetW {
			continue
		}
		if since > 0 && i+width < len(rc.samples) && rc.window(i, width, rc.samples[i].targetW) >= 95 && rc.dipped(broke, i) {
			return []extra{{"back_in", since.Seconds()}}
		}
	}
	return []extra{{"back_in", math.Inf(1)}}
}

// dipped tells whether the failure has shown before sample i.
func (rc *record) dipped(broke interface{ Unix() int64 }, i int) bool {
	for j := i; j >= 0 && rc.at(j).Unix() >= broke.Unix(); j-- {
		if rc.samples[j].settledW < 0.9*rc.samples[j].targetW {
			return true
		}
	}
	return false
}

// runaway looks at the time in which the meter is silent: what was exported,
// and the seconds in which the battery gave a quarter more than the target or
// what it gave in the minute before, and no load that measures itself says why.
func runaway(rc *record) []extra {
	from, to := rc.sc.start().Add(rc.sc.actions[0].at), rc.sc.start().Add(rc.sc.actions[1].at)
	var export, away, before float64
	for i, s := range rc.samples {
		switch since := rc.at(i).Sub(from); {
		case since >= -time.Minute && since < 0:
			before = math.Max(before, s.batteryW)
		case since < 0 || rc.at(i).After(to):
		default:
			export += math.Max(0, -s.netW) / 3600
			if s.batteryW > 1.25*math.Max(before, s.targetW)+s.loadW {
				away++
			}
		}
	}
	return []extra{{"export_wh", export}, {"runaway", away}}
}
