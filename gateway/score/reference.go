package main

import (
	"math"
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
)

// The two controllers that ours is compared with. Both know the target, the
// baseline and every reading, and neither knows more than that.

// openLoop tells the devices the target and looks no further: a battery's
// set-point is the target, a vehicle's limit is lowered by it, air conditioners
// are shifted all together.
type openLoop struct{}

func (openLoop) setSchedule(*run) error { return nil }
func (openLoop) restart() error         { return nil }

func (openLoop) round(r *run) {
	give(r, r.targetW(r.world.now))
}

// pi is a plain proportional-integral controller of 1 s on the site's error.
type pi struct {
	integralW float64
}

// The gains of OpenEMS' default controller (domain.md 4.4).
const (
	piProportional = 0.3
	piIntegral     = 0.3 // a second
)

func (*pi) setSchedule(*run) error { return nil }
func (p *pi) restart() error       { p.integralW = 0; return nil }

func (p *pi) round(r *run) {
	target := r.targetW(r.world.now)
	if target == 0 {
		p.integralW = 0
		give(r, 0)
		return
	}
	errorW := target - measuredW(r)
	most := mostW(r)
	p.integralW = math.Max(0, math.Min(most, p.integralW+piIntegral*errorW))
	give(r, math.Max(0, math.Min(most, p.integralW+piProportional*errorW)))
}

// measuredW is what the site is seen to give.
func measuredW(r *run) float64 {
	if r.sc.reference == config.ByBaseline {
		return r.own(r.world.now) - r.world.meter.reading.PowerW.V
	}
	var sum float64
	for _, d := range r.world.devices {
		switch {
		case d.battery != nil:
			sum += d.reading.PowerW.V
		case d.ev != nil:
			sum += d.cfg.MaxA*d.cfg.VoltageV - d.reading.PowerW.V
		}
	}
	return sum
}

// mostW is all that the devices could give together.
func mostW(r *run) float64 {
	var sum float64
	for _, d := range r.world.devices {
		switch {
		case d.battery != nil:
			sum += d.cfg.MaxDischargeW.V
		case d.ev != nil:
			sum += d.cfg.MaxA * d.cfg.VoltageV
		default:
			sum += d.cfg.RatedW
		}
	}
	return sum
}

// give shares w over the site: batteries by their ratings, else the vehicle,
// else the air conditioners.
func give(r *run, w float64) {
	var ratedW float64
	for _, d := range r.world.devices {
		if d.battery != nil {
			ratedW += d.cfg.MaxDischargeW.V
		}
	}
	rooms := 0
	for _, d := range r.world.devices {
		switch {
		case w == 0:
			d.Neutral()
		case d.battery != nil:
			share := math.Min(w*d.cfg.MaxDischargeW.V/ratedW, d.cfg.MaxDischargeW.V)
			if d.reading.SoC.V <= d.cfg.ReserveSoC {
				share = 0
			}
			tell(d, drivers.Command{PowerW: math.Round(share)})
		case ratedW > 0: // the battery does it
		case d.ev != nil:
			amps := math.Floor(d.cfg.MaxA - w/d.cfg.VoltageV)
			if amps < d.cfg.MinA {
				amps = 0
			}
			tell(d, drivers.Command{CurrentA: amps})
		case d.room != nil:
			rooms++
			shiftRoom(r, d, w, rooms)
		}
	}
}

// shiftRoom shifts all rooms by 2 K in open loop; under the PI controller as
// many are held off as its output asks for.
func shiftRoom(r *run, d *device, w float64, n int) {
	if _, open := r.driver.(openLoop); open {
		tell(d, drivers.Command{OffsetK: 2})
		return
	}
	tell(d, drivers.Command{Inhibit: float64(n)*d.cfg.RatedW <= w+d.cfg.RatedW/2})
}

func tell(d *device, c drivers.Command) {
	d.Lease(drivers.Lease{Command: c, Until: d.now().Add(10 * time.Second)})
}
