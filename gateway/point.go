package gateway

import (
	"math"
	"time"

	"nominald/dispatch/plan"
	"nominald/drivers"
)

// pointWatch follows a place where net power is measured: its load, and what
// the load would be if no device followed us.
type pointWatch struct {
	name    string // of the device that measures
	recent  []float64
	counted string       // the batteries that recent counts
	minutes []minuteMean // of what loads draw that are not ours, oldest first
	seen    drivers.Opt  // the last known uncontrolled load
	low     drivers.Opt
	othersW float64 // of seen, what loads that are not ours draw
}

const (
	// pointMean is in rounds. A meter lags behind a battery's own
	// reading by a round (domain.md 4.6: 1 s). The mean of n rounds makes the
	// loop stable for any dead time of the battery as long as the lag is less
	// than n/2 rounds (packaging/docs/control.md); and it takes the noise of the
	// meter out.
	pointMean = 3
	// pointLow is how many rounds back the lowest load counts, beside the time
	// by which the batteries are late: what they are told now acts only then.
	pointLow = 3
	// pointFloor is how many minutes back the least load of others is kept by
	// when the meter is silent: what was switched off then may be so again.
	pointFloor = 30
	// silentMargin is how much of that is taken for granted then.
	silentMargin = 0.8
)

// note takes one round and returns the point as the planner sees it; g is what
// the devices give and draw.
func (p *pointWatch) note(now time.Time, d *plan.Device, age time.Duration, g given) plan.Point {
	pt := plan.Point{Name: p.name, Age: age}
	if d == nil || !d.Fresh || !d.PowerW.OK {
		p.recent = nil
		pt.UncontrolledW, pt.UncontrolledLowW = p.seen, p.low
		if p.seen.OK {
			// Others draw what they drew last, and may draw as little as they
			// lately did; what our own loads draw is measured at them.
			pt.UncontrolledW = drivers.Some(p.othersW + g.normalLoadW)
			pt.UncontrolledLowW = drivers.Some(silentMargin*math.Max(0, p.othersLowW()) + math.Min(0, p.othersLowW()) + g.normalLoadW)
		}
		return pt
	}
	if g.counted != p.counted {
		p.recent, p.counted = nil, g.counted
	}
	pt.LoadW, pt.Fresh = d.PowerW, true
	p.recent = last(append(p.recent, d.PowerW.V+g.sumW), pointLow+g.lagRounds)
	p.seen = drivers.Some(mean(last(p.recent, pointMean)))
	p.low = drivers.Some(lowest(p.recent) - p.falls())
	p.othersW = p.seen.V - g.normalLoadW
	p.keepOthers(now)
	pt.UncontrolledW, pt.UncontrolledLowW = p.seen, p.low
	return pt
}

// falls is by how much the load falls on, at its pace of the last rounds, until
// the batteries follow: the sun comes out slowly.
func (p *pointWatch) falls() float64 {
	half := len(p.recent) / 2
	if half < pointMean {
		return 0 // as fast as the meter: there is nothing to see ahead
	}
	return math.Max(0, mean(p.recent[:half])-mean(p.recent[len(p.recent)-half:]))
}

// minuteMean is the mean of a minute so far.
type minuteMean struct {
	minute int64
	sum, n float64
}

// keepOthers adds to the mean of this minute. Shorter than a minute the mean
// would show how a meter lags behind our own loads.
func (p *pointWatch) keepOthers(now time.Time) {
	minute := now.Unix() / 60
	if n := len(p.minutes); n == 0 || p.minutes[n-1].minute != minute {
		if n == pointFloor {
			p.minutes = append(p.minutes[:0], p.minutes[1:]...)
		}
		p.minutes = append(p.minutes, minuteMean{minute: minute})
	}
	newest := &p.minutes[len(p.minutes)-1]
	newest.sum += p.othersW
	newest.n++
}

// othersLowW is the least that others drew in a minute of the last half hour.
func (p *pointWatch) othersLowW() float64 {
	low := p.othersW
	for _, m := range p.minutes {
		low = math.Min(low, m.sum/m.n)
	}
	return low
}

func last(v []float64, n int) []float64 {
	if len(v) > n {
		return v[len(v)-n:]
	}
	return v
}

func mean(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func lowest(v []float64) float64 {
	low := math.Inf(1)
	for _, x := range v {
		low = math.Min(low, x)
	}
	return low
}

// given is what the devices of a site give together.
type given struct {
	sumW        float64
	normalLoadW float64 // what the loads among them draw, and what they give
	lagRounds   int     // by which the slowest commanded battery is late
	// counted names the batteries in sumW: what can not be read is part of what
	// the meter shows, and readings that count different ones have no mean.
	counted string
}

// lagOf is how many rounds late a battery is: as measured, else as late as a
// slow one (domain.md 4.6: 10 s).
func lagOf(d *plan.Device) int {
	const slow = 10
	if d.Lag <= 0 {
		return slow
	}
	return int(d.Lag / time.Second)
}

func givenBy(devices []plan.Device) given {
	var out given
	for i := range devices {
		d := &devices[i]
		if !d.Kind.Dispatched() {
			continue
		}
		g := d.GivenW()
		if !g.OK {
			continue
		}
		out.sumW += g.V
		if d.Kind == drivers.Battery {
			out.counted += d.Name + " "
			if d.Commanded != nil {
				out.lagRounds = max(out.lagRounds, lagOf(d))
			}
		} else {
			out.normalLoadW += g.V + d.PowerW.Or(0)
		}
	}
	return out
}
