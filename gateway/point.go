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
	name   string // of the device that measures
	recent []float64
	seen   drivers.Opt // the last known uncontrolled load
	low    drivers.Opt
	at     time.Time
}

const (
	// pointMean and pointLow are rounds: long enough to take the noise of a
	// meter out and to cover the time by which it lags behind a battery's own
	// reading (domain.md 4.6: 1 s), short enough to follow an appliance.
	pointMean = 3
	pointLow  = 3
	// pointForget is how long uncontrolled load stands still before it is
	// taken from the meter alone, when a commanded device is silent.
	pointForget = 5 * time.Minute
)

// note takes one round and returns the point as the planner sees it. givenW
// is what all devices give, unknown while a commanded one is silent.
func (p *pointWatch) note(now time.Time, d *plan.Device, age time.Duration, givenW drivers.Opt) plan.Point {
	pt := plan.Point{Name: p.name, Age: age}
	if d != nil && d.Fresh && d.PowerW.OK {
		pt.LoadW, pt.Fresh = d.PowerW, true
		if givenW.OK || now.Sub(p.at) > pointForget {
			p.recent = append(p.recent, d.PowerW.V+givenW.Or(0))
			if len(p.recent) > pointLow {
				p.recent = p.recent[len(p.recent)-pointLow:]
			}
			p.seen, p.low = drivers.Some(mean(last(p.recent, pointMean))), drivers.Some(lowest(p.recent))
			p.at = now
		}
	} else {
		p.recent = nil
	}
	pt.UncontrolledW, pt.UncontrolledLowW = p.seen, p.low
	return pt
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

// given adds up what the devices give. It is unknown while a battery or a
// charger that holds a command can not be read.
func given(devices []plan.Device) drivers.Opt {
	var sum float64
	for i := range devices {
		d := &devices[i]
		if !d.Kind.Dispatched() {
			continue
		}
		g := d.GivenW()
		held := d.Commanded != nil || d.Held
		if !g.OK && held && (d.Kind == drivers.Battery || d.Kind == drivers.Charger) {
			return drivers.Opt{}
		}
		sum += g.Or(0)
	}
	return drivers.Some(sum)
}
