package plan

import (
	"math"
	"time"

	"nominald/drivers"
)

// slewW is how fast a battery's set-point may move, in W a second: 10 % of its
// power (domain.md 4.4).
func slewW(d *Device) float64 {
	return math.Max(0.1*d.MaxDischargeW.Or(0), 100)
}

// deadbandW keeps a set-point from being rewritten for nothing (domain.md 4.4:
// the larger of 50 W and 1 % of the target).
func deadbandW(target float64) float64 {
	return math.Max(50, 0.01*math.Abs(target))
}

// Bounds of the correction for a device that follows its command with a
// constant error. Beyond them it is a fault, not an error of scale.
const (
	lowestGain  = 0.8
	highestGain = 1.25
)

// command turns a device's share into what it shall be told.
func (rd *round) command(d *Device) DeviceDecision {
	s := rd.share(d)
	out := DeviceDecision{Name: d.Name, Action: Neutral, GiveW: s.giveW, Reason: s.reason}
	switch {
	case !d.Kind.Dispatched():
		out.Action = Leave
		return out
	case rd.in.Stopped:
		out.Reason = OwnerStop
		return out
	case !d.Fresh && rd.busy(d):
		// Not refreshing lets the lease, and after it the device's own timer,
		// run out (design.md 2.4).
		out.Action, out.Reason, out.GiveW = Leave, DeviceStale, 0
		return out
	case !s.used:
		return out
	}
	out.Action = Follow
	switch d.Kind {
	case drivers.Battery:
		out.Command.PowerW, out.AimW, out.ClampedBy = rd.batteryCommand(d, s)
	case drivers.Charger:
		out.Command.CurrentA, out.AimW, out.ClampedBy = s.amps, s.giveW, s.clamped
	default:
		if !s.inhibit && s.offsetK == 0 {
			out.Action = Neutral
		}
		out.Command.Inhibit, out.Command.OffsetK, out.AimW = s.inhibit, s.offsetK, s.giveW
	}
	return out
}

// busy tells whether a device is or was just wanted by a timeslot.
func (rd *round) busy(d *Device) bool {
	if d.Commanded != nil {
		return true
	}
	for _, m := range rd.serving[rd.deviceAt[d.Name]] {
		if len(rd.candidates[m]) > 0 {
			return true
		}
	}
	return false
}

// What keeps a command from its aim in a round.
const (
	byRamp     = "ramp"
	byDeadband = "deadband"
	byDwell    = "dwell"
	byLimit    = "limit"
)

// batteryCommand moves the set-point towards the battery's share: corrected
// by the gain that was measured, ramped, kept inside its limits, and left as
// it is for less than the deadband. It returns the aim, too, and what keeps the
// command from it.
func (rd *round) batteryCommand(d *Device, s *share) (command, aimW float64, clampedBy string) {
	limit, low := d.MaxDischargeW.Or(0), -rd.chargeW(d)
	if s.precharge {
		low = -d.MaxChargeW.Or(0)
	}
	wanted := rd.corrected(d, s)
	target := clamp(wanted, low, limit)
	from := 0.0
	switch {
	case d.Commanded != nil:
		from = d.Commanded.PowerW
	case d.PowerW.OK:
		from = clamp(d.PowerW.V, low, limit)
	}
	if rd.stands(d, s, target, from) && from <= limit && from >= low {
		return from, target, byDeadband
	}
	step := slewW(d) * math.Max(rd.in.Period.Seconds(), 1e-3)
	up, down := step, step
	if s.bounded {
		// Near the export limit the meter shows our own ramp late; approach it
		// so slowly that the delay can not carry us over.
		up = math.Min(step, math.Max(20, 0.3*(target-from)))
	}
	if s.bounded || s.barred || from > limit || from < low {
		down = math.Inf(1) // the owner's limits are obeyed at once
	}
	if from < low {
		up = math.Inf(1)
	}
	command = clamp(target, from-down, from+up)
	if s.bounded {
		command = math.Trunc(command) // never a watt beyond the limit
	}
	command = math.Round(command)
	switch {
	case math.Abs(command-target) >= 1:
		clampedBy = byRamp
	case target != wanted:
		clampedBy = byLimit
	}
	return command, target, clampedBy
}

// corrected is a battery's share, divided by the gain that was measured.
func (rd *round) corrected(d *Device, s *share) float64 {
	if d.Unresponsive || d.Refused {
		return math.Max(s.giveW, s.probeW)
	}
	if !d.Gain.OK || s.bounded {
		return s.giveW
	}
	// The correction alone never reaches beyond the export limit.
	room := math.Inf(1)
	if rd.in.Site.Point != nil {
		room = math.Max(s.giveW, boundW(rd.in.Site.Point, -rd.in.Site.MaxExportW))
	}
	return math.Min(s.giveW/clamp(d.Gain.V, lowestGain, highestGain), room)
}

// meterNoise is the share of the load by which a meter's readings scatter
// (domain.md 4.6: 0.5 %).
const meterNoise = 0.005

// noiseW is the scatter of the site's meter: a set-point that follows its load
// does not follow that.
func (rd *round) noiseW() float64 {
	if pt := rd.in.Site.Point; pt != nil {
		return meterNoise * math.Abs(pt.LoadW.Or(0))
	}
	return 0
}

// smallestStepW is not worth a write even while a set-point moves: the trim of
// the settlement interval creeps by such steps.
const smallestStepW = 10

// stands tells whether a set-point is near enough to its target to be left as
// it is. One that is still ramping is not: it goes all the way.
func (rd *round) stands(d *Device, s *share, target, from float64) bool {
	off := math.Abs(target - from)
	band := deadbandW(target)
	if s.tracked {
		band = math.Max(band, rd.noiseW())
	}
	switch {
	case target == 0 || d.Commanded == nil || off >= band:
		return false
	case s.bounded && target < from, s.barred && from > 0:
		return false // an owner's limit knows no deadband
	case off < smallestStepW, s.tracked:
		return true
	}
	return rd.in.Now.Sub(d.ChangedAt) > 2*rd.in.Period
}

// LeaseRounds is how many rounds a command lives without being renewed.
const LeaseRounds = 10

// LeaseFor is how long a command is valid: some rounds, at least 10 s.
func LeaseFor(period time.Duration) time.Duration {
	return max(LeaseRounds*period, 10*time.Second)
}
