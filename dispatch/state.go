package dispatch

import "time"

// Reasons that StateAt gives. They are stable and shown to people as they are.
const (
	ReasonUnusable        = "unusable"               // invalid: Record.Problem says why
	ReasonCancelledAhead  = "cancelled-before-start" // cancelled
	ReasonCancelledActive = "cancelled-while-running"
	ReasonCancelledLate   = "cancelled-after-end"
	ReasonSeenTooLate     = "first-seen-after-end" // expired
	ReasonEnded           = "ended"                // completed
	ReasonRunning         = "running"              // active
	ReasonRunningLate     = "running-seen-late"    // active, first seen after its start
	ReasonStartNear       = "start-near"           // armed
	ReasonStartAhead      = "start-ahead"          // pending
	ReasonMissing         = "missing-from-search"  // pending or armed
	ReasonIntegrationTest = "integration-test"     // suppressed, or pending before
)

// StateAt returns where the record stands at an instant, and why, from the
// record alone; prepare is how long before its start devices are readied. The
// planner may turn active into suppressed for reasons that need more.
//
// It depends on levels only, never on what was asked before, so that a restart
// or a step of the clock ends in the same state. A timeslot runs in the
// half-open interval [Start, End).
func (r *Record) StateAt(now time.Time, prepare time.Duration) (State, string) {
	switch {
	case r.Problem != "":
		return Invalid, ReasonUnusable
	case r.Cancelled:
		return Cancelled, r.cancelReason()
	case !now.Before(r.End):
		// Seen before its end or not: asked only once it is over, so that a
		// record from a time when the clock was ahead is not lost.
		if !r.FirstSeen.Before(r.End) {
			return Expired, ReasonSeenTooLate
		}
		return Completed, ReasonEnded
	case !now.Before(r.Start):
		return r.runningState()
	case r.IntegrationTest:
		return Pending, ReasonIntegrationTest // never armed: nothing is prepared for it
	}
	state, reason := Pending, ReasonStartAhead
	if prepare > 0 && !now.Before(r.Start.Add(-prepare)) {
		state, reason = Armed, ReasonStartNear
	}
	if r.IsMissing() {
		reason = ReasonMissing
	}
	return state, reason
}

func (r *Record) runningState() (State, string) {
	switch {
	case r.IntegrationTest:
		return Suppressed, ReasonIntegrationTest
	case r.FirstSeen.After(r.Start):
		return Active, ReasonRunningLate
	}
	return Active, ReasonRunning
}

func (r *Record) cancelReason() string {
	switch {
	case r.CancelledAt.Before(r.Start):
		return ReasonCancelledAhead
	case r.CancelledAt.Before(r.End):
		return ReasonCancelledActive
	}
	return ReasonCancelledLate
}

// IsMissing reports whether MissingAfter complete searches in a row did not
// list the timeslot before its start. It is followed all the same unless the
// owner's policy says otherwise (domain.md 2.2).
func (r *Record) IsMissing() bool { return r.Missed >= MissingAfter }
