package plan

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// reachable is the power that a battery can be counted on for: what it can
// afford, and no more than it gives where it does not follow its command.
func (rd *round) reachable(d *Device, r *dispatch.Record, end time.Time) (float64, Reason) {
	a := rd.affordable(d, r, end)
	switch {
	case d.Refused:
		return math.Min(a.power, math.Max(0, d.PowerW.Or(0))), CommandRefused
	case d.Unresponsive:
		return math.Min(a.power, math.Max(0, d.PowerW.Or(0))), NoResponse
	}
	return a.power, a.reason
}

// batteryPower is what the batteries can hold until end, and what limits them.
func (rd *round) batteryPower(devices []*Device, r *dispatch.Record, end time.Time) (float64, Reason) {
	var sum float64
	why := ShortOfPower
	for _, dev := range devices {
		if dev.Kind != drivers.Battery {
			continue
		}
		p, reason := rd.reachable(dev, r, end)
		switch reason {
		case PowerLimit:
		case NoResponse, CommandRefused:
			why = reason
		default:
			why = ShortOfEnergy
		}
		sum += p
	}
	return sum, why
}

// sustainedW is what the batteries could give evenly until end: what the coarse
// devices are placed by.
func (rd *round) sustainedW(devices []*Device, r *dispatch.Record, end time.Time) float64 {
	var sum float64
	for _, dev := range devices {
		if dev.Kind == drivers.Battery {
			p, _ := rd.reachable(dev, r, end)
			sum += math.Min(p, rd.affordable(dev, r, end).evenW)
		}
	}
	return sum
}

// batteries shares restW over the batteries and returns what they give. What
// an earlier demand asked of one counts for this one too; the others take the
// rest in proportion to what each has left. A rest below zero is charged, where
// the policy lets it.
func (rd *round) batteries(devices []*Device, r *dispatch.Record, end time.Time, restW float64, bounded bool) float64 {
	var fixed, spare, room float64
	for _, dev := range devices {
		if dev.Kind == drivers.Battery {
			p, _ := rd.reachable(dev, r, end)
			fixed += rd.share(dev).giveW
			spare += math.Max(0, p-rd.share(dev).giveW)
			room += rd.chargeW(dev)
		}
	}
	missing := restW - fixed
	more := clamp(missing, 0, spare)
	less := clamp(-missing, 0, math.Min(room, rd.importRoomW()))
	var given float64
	for _, dev := range devices {
		if dev.Kind != drivers.Battery {
			continue
		}
		s := rd.share(dev)
		p, why := rd.reachable(dev, r, end)
		if left := math.Max(0, p-s.giveW); left > 0 && spare > 0 {
			s.giveW += more * left / spare
		}
		if less > 0 && s.giveW <= 0 {
			s.giveW = math.Min(s.giveW, -less*rd.chargeW(dev)/room)
		}
		s.reason = Following
		switch {
		case dev.Unresponsive, dev.Refused, p == 0 && s.giveW == 0, s.giveW >= p && missing > more:
			s.reason = why
		case s.giveW < 0:
			s.reason = Charging
		case s.giveW == 0:
			s.reason = NotNeeded
		}
		s.used, s.bounded = true, s.bounded || bounded
		rd.probe(dev, s, r, end, restW)
		given += s.giveW
	}
	return given
}

// fitProbes keeps probes within what a bound leaves of roomW: the battery may
// follow again in this very round, and others may still be on their way down.
func (rd *round) fitProbes(devices []*Device, roomW float64) {
	for _, dev := range devices {
		if dev.Kind != drivers.Battery {
			continue
		}
		gives := math.Max(0, rd.share(dev).giveW)
		if dev.Commanded != nil {
			gives = math.Max(gives, dev.Commanded.PowerW)
		}
		roomW -= gives
	}
	for _, dev := range devices {
		s := rd.share(dev)
		if s.probeW <= s.giveW {
			continue
		}
		s.probeW = math.Min(s.probeW, s.giveW+math.Max(0, roomW))
		roomW -= s.probeW - s.giveW
	}
}

// probe sets what a battery that does not follow is told all the same, and
// whether one may give anything at all.
func (rd *round) probe(dev *Device, s *share, r *dispatch.Record, end time.Time, restW float64) {
	afford := rd.affordable(dev, r, end).power
	s.barred, s.probeW = s.giveW <= 0 && afford == 0, 0
	if (dev.Unresponsive || dev.Refused) && !s.barred {
		s.probeW = math.Max(0, math.Min(math.Min(afford, restW), probeW))
	}
}

// fullSoC is where a battery is left alone rather than charged further: near
// the top it takes less than it is told.
const fullSoC = 97

// chargeW is what a battery may take to keep the site from giving more than it
// is asked.
func (rd *round) chargeW(d *Device) float64 {
	if !rd.in.Policy.ChargeToTarget || !d.SoC.OK || d.SoC.V >= fullSoC || d.Unresponsive || d.Refused {
		return 0
	}
	return math.Max(0, d.MaxChargeW.Or(0))
}

// importRoomW is how much more the site may draw, as far as is known.
func (rd *round) importRoomW() float64 {
	pt := rd.in.Site.Point
	switch {
	case pt == nil || !pt.Fresh || !pt.LoadW.OK:
		return 0 // what is not known is not drawn
	case rd.in.Site.MaxImportW <= 0:
		return math.Inf(1)
	}
	return math.Max(0, rd.in.Site.MaxImportW-pt.UncontrolledW.Or(pt.LoadW.V))
}

// probeW is what a battery that does not follow is still told to give: enough
// to see that it follows again, little enough to do no harm when it does.
const probeW = 500
