package gateway

import "math"

// lag measures how late a battery follows: the shift by which its measured
// power fits the commands of the last minutes best. Dead time, lag and ramp
// together count, whatever they come from (domain.md 4.4, "the measured dead
// time").
type lag struct {
	told, gave []float64 // W, one a round, oldest first
	rounds     int       // the last measured; 0 until there is one
}

const (
	lagWindow = 90 // rounds
	lagMost   = 30 // rounds: a device that is later than that does not follow
	// lagMoves is the least that commands must have moved in the window for
	// their echo to be found.
	lagMoves = 400 // W
)

// note takes one round. Without a command, or a reading, it begins anew.
func (l *lag) note(commanded, known bool, toldW, gaveW float64) {
	if !commanded || !known {
		l.told, l.gave = l.told[:0], l.gave[:0]
		return
	}
	if len(l.told) == lagWindow {
		copy(l.told, l.told[1:])
		copy(l.gave, l.gave[1:])
		l.told, l.gave = l.told[:lagWindow-1], l.gave[:lagWindow-1]
	}
	l.told, l.gave = append(l.told, toldW), append(l.gave, gaveW)
	const every = 5 // rounds: it changes slowly, and so do we
	if len(l.told) >= lagWindow/2 && len(l.told)%every == 0 && moved(l.told) >= lagMoves {
		l.rounds = l.best()
	}
}

// best is the shift with the smallest mean difference.
func (l *lag) best() int {
	best, least := 0, math.Inf(1)
	for shift := 0; shift <= min(lagMost, len(l.told)/2); shift++ {
		var sum float64
		for i := shift; i < len(l.gave); i++ {
			sum += math.Abs(l.gave[i] - l.told[i-shift])
		}
		if mean := sum / float64(len(l.gave)-shift); mean < least {
			best, least = shift, mean
		}
	}
	return best
}

func moved(v []float64) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, x := range v {
		low, high = math.Min(low, x), math.Max(high, x)
	}
	return high - low
}
