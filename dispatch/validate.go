package dispatch

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Limits of a timeslot. Powers and priorities are those of
// dispatch.openapi.yml (BaseDispatchEventTimeslot), the length is domain.md 2.2.
const (
	MinKW       = 0.01
	MaxKW       = 100000
	MinPriority = 1
	MaxPriority = 10
	MaxLength   = 24 * time.Hour
)

// Validate returns why a timeslot can not be used, or "". Caps, programs and
// event types that are not known are no problem: Leap may add some any day
// (domain.md 1.0).
func Validate(t Timeslot) string {
	switch {
	case !isUUID(t.EventID):
		return fmt.Sprintf("meter_event_id %.64q is not a UUID", t.EventID)
	case !isUUID(t.MeterID):
		return fmt.Sprintf("meter_id %.64q is not a UUID", t.MeterID)
	case !t.End.After(t.Start):
		return fmt.Sprintf("end_time %s is not after start_time %s", stamp(t.End), stamp(t.Start))
	case t.End.Sub(t.Start) > MaxLength:
		return fmt.Sprintf("lasts from %s to %s, longer than %s", stamp(t.Start), stamp(t.End), MaxLength)
	case !kwInRange(t.EnergyKW):
		return fmt.Sprintf("energy_kw %g is outside %g to %d", *t.EnergyKW, MinKW, MaxKW)
	case !kwInRange(t.NominationKW):
		return fmt.Sprintf("nomination_kw %g is outside %g to %d", *t.NominationKW, MinKW, MaxKW)
	case t.Priority < MinPriority || t.Priority > MaxPriority:
		return fmt.Sprintf("priority %d is outside %d to %d", t.Priority, MinPriority, MaxPriority)
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// kwInRange is written so that NaN is not in range.
func kwInRange(kw *float64) bool {
	return kw == nil || (*kw >= MinKW && *kw <= MaxKW)
}

// isUUID accepts the plain form only, the one that Leap sends (domain.md 1.0).
func isUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

// Known reports whether the cap is one of the three that are documented. The
// planner treats any other as UpToNomination, the most conservative: nothing
// beyond the nomination, no export for its sake.
func (c Cap) Known() bool {
	return c == UpToNomination || c == UpToSiteLoad || c == GridExportsAllowed
}

// IsCapacityTest reports whether the timeslot is a capacity test: a real, paid
// and committed event that must be followed (domain.md 1.3).
func (t Timeslot) IsCapacityTest() bool { return slices.Contains(t.EventTypes, "capacity-test") }
