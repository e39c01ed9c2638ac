package status

import (
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
)

// ReportLabel is on every report: settlement is Leap's and the utility's.
const ReportLabel = baseline.Label

// Report is the performance of one timeslot as this gateway measured it, with
// all that it takes to do the sum again; packaging/docs/report.md has the
// formulae. Numbers that are not known are null. Energies are of what was
// measured: what was not counts as not delivered.
type Report struct {
	EventID     string    `json:"event_id"`
	MeterID     string    `json:"meter_id"`
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	// State and Reason are what became of the timeslot.
	State       dispatch.State `json:"state"`
	Reason      string         `json:"reason,omitempty"`
	ReasonText  string         `json:"reason_text,omitempty"`
	Programs    []string       `json:"programs"`
	EventTypes  []string       `json:"event_types,omitempty"`
	Voluntary   bool           `json:"voluntary"`
	Cap         dispatch.Cap   `json:"cap"`
	NominatedKW *float64       `json:"nominated_kw"`
	AwardedKW   *float64       `json:"awarded_kw"`
	// Basis is policy.basis, by which the target was made.
	Basis string `json:"basis,omitempty"`
	// DeliveredKW is the mean over the measured part of the timeslot.
	DeliveredKW  *float64 `json:"delivered_kw"`
	DeliveredKWh *float64 `json:"delivered_kwh"`
	TargetKWh    *float64 `json:"target_kwh"`
	// NominatedKWh and AwardedKWh are over the whole time that was owed.
	NominatedKWh *float64 `json:"nominated_kwh"`
	AwardedKWh   *float64 `json:"awarded_kwh"`
	// BaselineKWh less LoadKWh is DeliveredKWh, where each interval has both.
	BaselineKWh *float64 `json:"baseline_kwh"`
	LoadKWh     *float64 `json:"load_kwh"`
	// CapKWh is the most that the cap lets count, null where it sets no limit;
	// PaidKWh what counts, each interval by itself (domain.md 3).
	CapKWh  *float64 `json:"cap_kwh"`
	PaidKWh *float64 `json:"paid_kwh"`
	// ShortfallKWh is what is missing to the target in each interval; what is
	// beyond it in another makes nothing good.
	ShortfallKWh *float64 `json:"shortfall_kwh"`
	// Ratio is delivered over target energy, each interval counted up to its
	// target.
	Ratio     *float64 `json:"ratio"`
	Reference string   `json:"reference"`
	// Baseline is what the load was measured against, with its evidence; absent
	// where the reference is another.
	Baseline *baseline.Estimate `json:"baseline,omitempty"`
	// BaselineAfter is that of a method which also goes by hours after the end;
	// absent until they have passed. Then the report counts by it.
	BaselineAfter *baseline.Estimate `json:"baseline_after,omitempty"`
	// LoadChannel is where the load log has the load that counts; with
	// LoadNegated it has what comes out of it, as of a battery.
	LoadChannel string           `json:"load_channel,omitempty"`
	LoadNegated bool             `json:"load_negated,omitempty"`
	Intervals   []ReportInterval `json:"intervals"`
	// Worst is the interval with the lowest ratio.
	Worst *ReportWorst `json:"worst_interval,omitempty"`
	// First is the first minutes after the start.
	First *ReportFirst `json:"first_minutes,omitempty"`
	// LateS is how long after its start it was first followed, s.
	LateS   *float64       `json:"late_s"`
	Devices []ReportDevice `json:"devices"`
	// Shortfalls says why it was not more.
	Shortfalls []Shortfall `json:"shortfalls"`
	Coverage   float64     `json:"coverage"` // measured part of the time, 0 to 1
	// Quality is the worst of the intervals.
	Quality string `json:"quality,omitempty"`
	Verdict string `json:"verdict,omitempty"` // one sentence
	Label   string `json:"label"`             // ReportLabel
	// Revision is 0 while the report still moves; 1 once it is fixed and
	// stored, and one more each time better data came in.
	Revision  int              `json:"revision"`
	FrozenAt  time.Time        `json:"frozen_at,omitzero"`
	Revisions []ReportRevision `json:"revisions,omitempty"` // earlier ones, oldest first
}

// ReportInterval is one settlement interval of a report; the first and last
// may be shorter. Powers are the energy over the time that it is known for.
type ReportInterval struct {
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
	TargetWh    float64   `json:"target_wh"`
	DeliveredWh float64   `json:"delivered_wh"`
	Coverage    float64   `json:"coverage"` // 0 to 1
	// TargetKW is over the whole interval, DeliveredKW over its measured part.
	TargetKW    float64  `json:"target_kw"`
	DeliveredKW *float64 `json:"delivered_kw"`
	NominatedWh *float64 `json:"nominated_wh"`
	NominatedKW *float64 `json:"nominated_kw"`
	AwardedWh   *float64 `json:"awarded_wh"`
	AwardedKW   *float64 `json:"awarded_kw"`
	// BaselineWh and LoadWh are over the measured part. There is no baseline
	// where the devices' own power is the reference.
	BaselineWh  *float64 `json:"baseline_wh"`
	BaselineKW  *float64 `json:"baseline_kw"`
	LoadWh      *float64 `json:"load_wh"`
	LoadKW      *float64 `json:"load_kw"`
	CapWh       *float64 `json:"cap_wh"` // null: no limit
	PaidWh      float64  `json:"paid_wh"`
	ShortfallWh float64  `json:"shortfall_wh"`
	Reference   string   `json:"reference,omitempty"`
	// Quality is measured, partial, gap, clock-doubtful, or another word of the
	// load log (recovered, estimated).
	Quality string `json:"quality"`
	// Cause is the reason that held longest of those for which less was given.
	Cause     string         `json:"cause,omitempty"`
	CauseText string         `json:"cause_text,omitempty"`
	Devices   []ReportDevice `json:"devices,omitempty"`
}

// ReportWorst names the interval with the lowest ratio.
type ReportWorst struct {
	Start       time.Time `json:"start"`
	Ratio       float64   `json:"ratio"`
	ShortfallWh float64   `json:"shortfall_wh"`
}

// ReportFirst is what the first minutes gave, as the control saw it.
type ReportFirst struct {
	Minutes      float64 `json:"minutes"`
	TargetKWh    float64 `json:"target_kwh"`
	DeliveredKWh float64 `json:"delivered_kwh"`
	Coverage     float64 `json:"coverage"` // 0 to 1
}

// ReportDevice is what one device contributed.
type ReportDevice struct {
	Name        string  `json:"name"`
	DeliveredWh float64 `json:"delivered_wh"`
}

// Shortfall is a reason why less than the target was delivered, and for how
// long it held.
type Shortfall struct {
	Reason  string  `json:"reason"` // stable kebab-case code
	Minutes float64 `json:"minutes"`
	Text    string  `json:"text,omitempty"`   // what it means
	Action  string  `json:"action,omitempty"` // what to do about it
}

// ReportRevision is what an earlier revision of a report said.
type ReportRevision struct {
	Revision     int       `json:"revision"`
	FrozenAt     time.Time `json:"frozen_at"`
	DeliveredKWh *float64  `json:"delivered_kwh"`
	PaidKWh      *float64  `json:"paid_kwh"`
	Replaced     string    `json:"replaced"` // why
}
