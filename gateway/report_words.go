package gateway

import (
	"fmt"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/gateway/status"
)

// advice says what a person can do about a reason for which less was given.
// Every reason that a meter or a held-back timeslot can have has one.
func advice() map[plan.Reason]string {
	return map[plan.Reason]string{
		plan.Idle:            "nothing; no timeslot was in force then",
		plan.Releasing:       "nothing; the devices were on their way back to normal",
		plan.OwnerStop:       "release it with `nominald resume` once the reason for the STOP is gone",
		plan.ClockUntrusted:  "see to the machine's time: NTP, or the battery of its clock",
		plan.IntegrationTest: "nothing; integration tests are never carried out",
		plan.CommTest:        "set policy.communication_test where communication tests shall be carried out",
		plan.PolicyVoluntary: "set policy.voluntary where voluntary timeslots shall be followed",
		plan.MissingDropped:  "set policy.on_missing: execute where such timeslots shall be carried out",
		plan.HigherPriority:  "nothing; the timeslot that ranked higher has a report of its own",
		plan.NotOurMeter:     "add the meter to the config where it belongs to this site",
		plan.NoCapacity:      "look at the devices of then with `nominald explain --at TIME`; nominate less if it comes again",
		plan.ShortOfPower:    "nominate less, or give the meter more devices",
		plan.ShortOfEnergy:   "charge the battery before timeslots (precharge), lower its reserve, or nominate less",
		plan.ExportLimited:   "raise site.max_export_kw where the grid connection allows it, or nominate less",
		plan.SiteLoadZero:    "nothing; beyond zero site load nothing is paid",
		plan.MeterStale:      "see to the wiring and the bus of the site's meter",
		plan.MeterUnknown:    "see to the site's meter: address, unit and profile; `nominald probe` tries it",
		plan.Behind:          "nothing if it is short; else look at the ramp limits of the devices",
		plan.UnderDelivered:  "run `nominald commission` for the devices: they give less than they are asked for",
		plan.NotMeasured:     "see why nothing was measured then: `nominald status`, the gateway's log",
	}
}

// met is the ratio from which on a target counts as met: what the meters of
// such sites are good for (0.5 %, domain.md 4.6).
const met = 0.995

// verdict is the report in one sentence.
func verdict(r *status.Report, owed bool, now time.Time) string {
	switch {
	case r.State == dispatch.Pending || r.State == dispatch.Armed:
		return "It has not begun."
	case !r.CancelledAt.IsZero() && !r.CancelledAt.After(r.Start):
		return "It was cancelled before its start: nothing was owed."
	case r.Revision == 0 && r.Reference == "" && !owed && r.Coverage == 0:
		return notCarriedOut(r)
	}
	text := sentence(r)
	if now.Before(r.End) && r.CancelledAt.IsZero() {
		text = "So far: " + text
	}
	if !r.CancelledAt.IsZero() && r.CancelledAt.Before(r.End) {
		text += " It was cancelled while it ran; what came after is not counted."
	}
	return text
}

func notCarriedOut(r *status.Report) string {
	why := r.ReasonText
	if why == "" {
		why = r.Reason
	}
	if why == "" {
		why = "nothing is known of it"
	}
	return fmt.Sprintf("Nothing was measured of it (%s): %s.", r.State, why)
}

func sentence(r *status.Report) string {
	switch {
	case r.Coverage == 0 && r.TargetKWh != nil:
		return fmt.Sprintf("Nothing was delivered or measured of %.2f kWh.", *r.TargetKWh)
	case r.DeliveredKWh == nil:
		return "Nothing was measured."
	case r.TargetKWh == nil || r.Ratio == nil:
		return fmt.Sprintf("%.2f kWh delivered; there was no target.", *r.DeliveredKWh)
	case *r.Ratio >= met:
		return fmt.Sprintf("Target met: %.1f %% of %.2f kWh.", 100**r.Ratio, *r.TargetKWh)
	}
	text := fmt.Sprintf("Short by %.2f kWh: %.1f %% of %.2f kWh", *r.ShortfallKWh, 100**r.Ratio, *r.TargetKWh)
	for _, s := range r.Shortfalls { // by their minutes; what another timeslot took is not short
		if s.Reason != string(plan.HigherPriority) {
			return text + fmt.Sprintf(", mostly %s (%s).", s.Reason, forHowLong(s.Minutes))
		}
	}
	return text + "."
}

func forHowLong(minutes float64) string {
	if minutes < 1 {
		return fmt.Sprintf("%.0f s", minutes*60)
	}
	return fmt.Sprintf("%.0f min", minutes)
}
