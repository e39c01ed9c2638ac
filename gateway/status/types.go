package status

import (
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// Status is the gateway at one moment, as GET /api/v1/status, the stream and
// the page show it (design.md 1.3). Numbers that may be unknown are pointers:
// nil is written as null and shown as a dash, never as zero.
type Status struct {
	Version string    `json:"version"`
	Now     time.Time `json:"now"` // the gateway's clock, UTC
	Started time.Time `json:"started,omitzero"`
	Site    SiteInfo  `json:"site"`
	// Armed is false in a dry run: everything but writes to devices.
	Armed   bool       `json:"armed"`
	Stopped bool       `json:"stopped"` // latched owner STOP
	StopBy  string     `json:"stopped_by,omitempty"`
	Clock   ClockState `json:"clock"`
	Leap    LeapState  `json:"leap"`
	// SiteLoadW is the site's net power, import positive.
	SiteLoadW    *float64 `json:"site_load_w"`
	SiteLoadAgeS *float64 `json:"site_load_age_s"` // age of that reading
	Meters       []Meter  `json:"meters"`
	Devices      []Device `json:"devices"`
	Buses        []Bus    `json:"buses"`
	// Next lists the timeslots that run or lie ahead, soonest first; a few.
	Next   []Timeslot `json:"next"`
	Store  StoreState `json:"store"`
	Alarms []Alarm    `json:"alarms"`
	// Inputs are the contacts on GPIO lines.
	Inputs []Input `json:"inputs"`
	// Events is what happened lately, newest first, at most 50.
	Events []Event `json:"events"`
}

// Input is a contact on a GPIO line, as a STOP button.
type Input struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	Pressed bool   `json:"pressed"`
	// Error is why the line can not be read; after 5 s it then counts as pressed.
	Error string `json:"error"`
}

// Event is something that happened, for people who ask afterwards.
type Event struct {
	At   time.Time `json:"at"`   // by the gateway's clock, UTC
	Kind string    `json:"kind"` // stable kebab-case code
	// About names the device, bus or input; empty where it is the site.
	About string `json:"about"`
	Text  string `json:"text"` // one sentence for the operator
}

// The kinds of an Event.
const (
	DeviceLost  = "device-lost"
	DeviceBack  = "device-back"
	BusLost     = "bus-lost"
	BusBack     = "bus-back"
	InputLost   = "input-lost"
	InputBack   = "input-back"
	OwnerStop   = "owner-stop"
	OwnerResume = "owner-resume"
	Started     = "started"
)

// SiteInfo names the site. Timezone is an IANA name; the page shows local
// times in it.
type SiteInfo struct {
	Name     string `json:"name"`
	Timezone string `json:"timezone"`
}

// ClockState says whether wall-clock time may start a timeslot.
type ClockState struct {
	Trusted bool   `json:"trusted"`
	Reason  string `json:"reason"` // reason code where it is not trusted
}

// LeapState is the link to the dispatch API.
type LeapState struct {
	LastOK    *time.Time `json:"last_ok"`    // end of the last complete search
	LastError string     `json:"last_error"` // empty when the last attempt succeeded
	AgeS      *float64   `json:"age_s"`      // seconds since LastOK; nil when there was none
	NextAt    *time.Time `json:"next_at"`    // next attempt
	Failures  int        `json:"failures"`   // in a row
}

// Meter is one Leap meter and what the gateway does for it.
type Meter struct {
	ID string `json:"id"`
	// State is "idle" without a timeslot, else the state of the timeslot.
	State   string `json:"state"`
	EventID string `json:"event_id"` // empty without a timeslot
	// TargetW and DeliveredW are reductions against the reference, W.
	TargetW    *float64 `json:"target_w"`
	DeliveredW *float64 `json:"delivered_w"`
	// ShortfallW is the part of the target that could not be allocated.
	ShortfallW *float64   `json:"shortfall_w,omitempty"`
	Interval   *Interval  `json:"interval"` // the running settlement interval
	Reference  string     `json:"reference"`
	ReferenceW *float64   `json:"reference_w,omitempty"` // what it is measured against, now
	Reason     string     `json:"reason"`                // stable kebab-case code
	ReasonText string     `json:"reason_text,omitempty"` // the same in words, for the page
	Until      *time.Time `json:"until,omitempty"`       // end of the timeslot
}

// Interval is the settlement interval that runs, so far.
type Interval struct {
	Start       time.Time `json:"start"`
	TargetWh    float64   `json:"target_wh"`
	DeliveredWh float64   `json:"delivered_wh"`
}

// Device is one device at the site.
type Device struct {
	Name    string       `json:"name"`
	Kind    drivers.Kind `json:"kind"`
	Profile string       `json:"profile"`
	Online  bool         `json:"online"`
	// PowerW has the gateway's signs: meter import positive, battery
	// discharge positive, loads consumption positive.
	PowerW *float64 `json:"power_w"`
	// SetpointW is what the device is asked for in W, nil where nothing is or
	// where W is not its word.
	SetpointW *float64 `json:"setpoint_w"`
	// Setpoint is the same in the device's own words: "6 A", "+2 K",
	// "inhibit", "2.4 kW"; empty where the device is left alone.
	Setpoint   string     `json:"setpoint"`
	SoC        *float64   `json:"soc"` // percent
	Limits     Limits     `json:"limits"`
	LeaseUntil *time.Time `json:"lease_until"`
	Reason     string     `json:"reason"` // stable kebab-case code
	ReasonText string     `json:"reason_text,omitempty"`
	LastSeen   *time.Time `json:"last_seen"`
	LastError  string     `json:"last_error"`
	// Fallback is true where the device itself ends a command that is not
	// refreshed.
	Fallback bool `json:"fallback"`
}

// Bus is one wire that devices share, and how it fares.
type Bus struct {
	Name string `json:"name"`
	// LoadPercent is the part of the last minute that the wire was in use,
	// waiting for answers included. Above 60 % commands begin to queue.
	LoadPercent float64   `json:"load_percent"`
	Units       []BusUnit `json:"units"`
}

// BusUnit is one unit id of a bus: transactions since the start.
type BusUnit struct {
	Unit       int    `json:"unit"`
	Requests   uint64 `json:"requests"`
	Timeouts   uint64 `json:"timeouts"`   // no whole answer in time
	Exceptions uint64 `json:"exceptions"` // refusals in order
	Doubts     uint64 `json:"doubts"`     // answers that could not be trusted, thrown away
	Other      uint64 `json:"other"`      // failures of the line: not opened, hung up
	// LatencyMS is of the answered requests; nil where there is none.
	LatencyMS *Latency `json:"latency_ms"`
}

// Latency is how long answers took, ms.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Limits is what a device may be asked for now; a field that does not apply
// to the kind, or is unknown, is left out.
type Limits struct {
	MaxDischargeW *float64 `json:"max_discharge_w,omitempty"`
	MaxChargeW    *float64 `json:"max_charge_w,omitempty"`
	ReserveSoC    *float64 `json:"reserve_soc,omitempty"` // percent
	CapacityWh    *float64 `json:"capacity_wh,omitempty"`
	MinA          *float64 `json:"min_current_a,omitempty"` // a phase
	MaxA          *float64 `json:"max_current_a,omitempty"`
	MaxOffsetK    *float64 `json:"max_offset_k,omitempty"`
	RatedW        *float64 `json:"rated_w,omitempty"`
}

// StoreState says whether state reaches the disk.
type StoreState struct {
	OK   bool   `json:"ok"`
	Note string `json:"note"`
}

// Alarm is a condition that a person should know of. It is in the status for
// as long as it lasts.
type Alarm struct {
	Code  string    `json:"code"`  // stable kebab-case
	Text  string    `json:"text"`  // one sentence for the operator
	Level string    `json:"level"` // "warning" (we cope) or "error" (a person must act)
	Since time.Time `json:"since,omitzero"`
}

// The levels of an Alarm.
const (
	Warning = "warning"
	Error   = "error"
)

// Timeslot is a stored timeslot with its state: every field as Leap sent it
// and the history in this gateway, flat in one JSON object.
type Timeslot struct {
	dispatch.Record
	State      dispatch.State `json:"state"`
	Reason     string         `json:"reason"` // stable kebab-case code
	ReasonText string         `json:"reason_text,omitempty"`
}

// LoadTable is measured load as GET /api/v1/load gives it in JSON. The same
// rows are the CSV.
type LoadTable struct {
	StepS int       `json:"step_s"`
	Rows  []LoadRow `json:"rows"`
}

// LoadRow is one channel over one step. T is the start of the step. A step
// without a measurement has no row, or null values and a quality that says so.
type LoadRow struct {
	T       time.Time `json:"t"`
	Channel string    `json:"channel"` // "site", or a device's name
	MeanW   *float64  `json:"mean_w"`
	MinW    *float64  `json:"min_w"`
	MaxW    *float64  `json:"max_w"`
	Wh      *float64  `json:"wh"`
	Quality string    `json:"quality"`
}
