// Package dispatch holds the words of the domain: timeslots as Leap awards
// them, the schedule they form, how a new page of them is merged into it and
// which of two overlapping ones ranks higher.
//
// Nothing here does I/O or reads a clock; the time is always an argument.
package dispatch

import (
	"encoding/json"
	"time"
)

// Cap says up to which point performance is paid (Leap: performance_compensation_cap).
// Values that are not listed here are kept as they came.
type Cap string

// The caps that Leap's dispatch API documents.
const (
	// UpToNomination: nothing beyond the nomination is paid, so energy is kept.
	UpToNomination Cap = "up-to-nomination"
	// UpToSiteLoad: paid down to a site load of 0 kW, not beyond.
	UpToSiteLoad Cap = "up-to-site-load"
	// GridExportsAllowed: paid below a site load of 0 kW as well.
	GridExportsAllowed Cap = "grid-exports-allowed"
)

// Source tells how a timeslot reached this gateway.
type Source string

// The sources of timeslots.
const (
	FromPoll    Source = "poll"
	FromWebhook Source = "webhook"
	FromManual  Source = "manual"
)

// Timeslot is one award as Leap sent it: a half-open interval [Start, End) in
// which a meter shall lower its net load by EnergyKW. Every field may change
// from one delivery to the next while EventID stays.
type Timeslot struct {
	MeterID          string    `json:"meter_id"`
	EventID          string    `json:"event_id"` // meter_event_id: the identity
	PartnerReference string    `json:"partner_reference,omitempty"`
	Start            time.Time `json:"start"`
	End              time.Time `json:"end"`
	Cancelled        bool      `json:"cancelled"`
	// EnergyKW is the awarded power for the whole slot; nil means "dispatch
	// the maximum they can manage" (dispatch.openapi.yml, energy_kw).
	EnergyKW *float64 `json:"energy_kw"`
	// NominationKW is the commitment made to the market; nil when absent.
	NominationKW *float64 `json:"nomination_kw"`
	Cap          Cap      `json:"cap"`
	Priority     int      `json:"priority"` // 1 (highest) to 10
	Voluntary    bool     `json:"voluntary"`
	EventTypes   []string `json:"event_types"`
	Programs     []string `json:"programs"`
	// CommunicationTest and IntegrationTest carry both spellings and both
	// levels (envelope, timeslot) at which Leap sets the flags.
	CommunicationTest bool `json:"communication_test"`
	IntegrationTest   bool `json:"integration_test"`
	// Problem, when not empty, says why the timeslot can not be used as it
	// came. Such a timeslot is stored and shown as invalid, never actuated.
	Problem string `json:"problem,omitempty"`
	// Raw is the JSON object as received, so that unknown fields are kept.
	Raw json.RawMessage `json:"raw,omitempty"`
}

// Record is a timeslot with its history in this gateway.
type Record struct {
	Timeslot
	Revision    int       `json:"revision"` // 1 when first seen, +1 for each change
	Source      Source    `json:"source"`
	FirstSeen   time.Time `json:"first_seen"`
	LastSeen    time.Time `json:"last_seen"`
	LastChanged time.Time `json:"last_changed"`
	// Observed is the start of the request that carried this revision. An
	// answer to an older request never overwrites a newer one.
	Observed time.Time `json:"observed"`
	// CancelledAt is when this gateway learned of the cancellation.
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	// Missed counts complete searches in a row that should have listed the
	// timeslot and did not. Absence is not a cancellation (domain.md 2.2).
	Missed int `json:"missed,omitempty"`
	// MissedAt is when the last search that counted into Missed was started,
	// so that merging its answer twice counts once.
	MissedAt time.Time `json:"missed_at,omitzero"`
}

// State is where a timeslot stands.
type State string

// The states of a timeslot.
const (
	Pending    State = "pending"    // start lies ahead
	Armed      State = "armed"      // start is near, devices are being prepared
	Active     State = "active"     // running and followed
	Completed  State = "completed"  // ended, was known before its end
	Cancelled  State = "cancelled"  // cancelled by Leap
	Expired    State = "expired"    // ended before this gateway first saw it
	Suppressed State = "suppressed" // running but not followed; the reason says why
	Invalid    State = "invalid"    // can not be used as it came
)
