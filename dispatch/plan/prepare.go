package plan

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// Ahead of a timeslot a battery may charge and a room be cooled, where the
// owner wants that. It raises the load that some baselines are adjusted by;
// inside their window it is left alone unless the owner says otherwise
// (domain.md 3.1, 4.3).

// precoolK is the shift of a set-point ahead of a timeslot (domain.md 4.3:
// 1-1.5 K).
const precoolK = 1.5

// chargeEfficiency is the share of the energy drawn that is stored.
const chargeEfficiency = dischargeEfficiency

// prepare readies the devices of an idle meter for its next timeslot.
func (rd *round) prepare(m *Meter) {
	p := rd.in.Policy
	if p.Precharge <= 0 && p.Precool <= 0 || rd.in.Stopped || !rd.in.ClockTrusted {
		return
	}
	next, wait := rd.next(m)
	if next == nil || next.Voluntary || rd.inWindow(m, wait) {
		return
	}
	for _, d := range rd.of(m) {
		s := rd.share(d)
		switch {
		case s.used || !d.Fresh:
		case d.Kind == drivers.Battery && wait <= p.Precharge:
			rd.precharge(d, s, next, wait)
		case d.Kind == drivers.Thermostat && d.MaxOffsetK > 0 && wait <= p.Precool && rd.comfortRefusal(d) == "":
			s.used, s.offsetK, s.reason = true, -math.Min(precoolK, d.MaxOffsetK), Precooling
		}
	}
}

// next is the meter's next timeslot that will be followed, and how far it is.
func (rd *round) next(m *Meter) (*dispatch.Record, time.Duration) {
	var best *dispatch.Record
	for i := range rd.in.Slots {
		r := &rd.in.Slots[i]
		if !r.Start.After(rd.in.Now) || r.MeterID != m.ID || r.Cancelled || r.Problem != "" || rd.refusal(r) != "" {
			continue
		}
		if best == nil || r.Start.Before(best.Start) {
			best = r
		}
	}
	if best == nil {
		return nil, 0
	}
	return best, best.Start.Sub(rd.in.Now)
}

// inWindow tells whether the load now counts for the reference of a timeslot.
func (rd *round) inWindow(m *Meter, wait time.Duration) bool {
	return !rd.in.Policy.PrepareInWindow && (m.InAfter || wait <= m.WindowFrom && wait > m.WindowTo)
}

// precharge charges a battery evenly up to what the timeslots of the next day
// need of it, as far as its power and the site's import allow.
func (rd *round) precharge(d *Device, s *share, next *dispatch.Record, wait time.Duration) {
	has := usableWh(d, d.ReserveSoC)
	if !has.OK || d.SoC.V >= fullSoC || d.Unresponsive || d.Refused {
		return
	}
	needs := math.Min(rd.needW(d, next), d.MaxDischargeW.Or(0)) * next.End.Sub(next.Start).Hours()
	missing := needs - has.V
	if missing <= 0 {
		return
	}
	power := missing / dischargeEfficiency / chargeEfficiency / math.Max(wait.Hours(), time.Minute.Hours())
	power = math.Min(power, math.Min(d.MaxChargeW.Or(0), rd.importRoomW()))
	if power <= 0 {
		return
	}
	s.used, s.precharge, s.giveW, s.reason = true, true, -power, Precharging
}
