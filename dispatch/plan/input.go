// Package plan decides. Round is a pure function: from the schedule, the
// measurements, the owner's limits and the time it computes what every device
// should do now, and says why in one reason code a device. It does no I/O,
// reads no clock and keeps nothing between rounds, so a restart, a clock step
// or a late fetch heals on the next round, and any decision can be replayed
// from its input.
//
// The words: a timeslot asks for a target R at a Leap meter. The uncontrolled
// load is what the meter would show if no device followed us. The flexible
// power F is what the devices together must give; they are used in merit order
// (domain.md 4.3), the battery fills what the others leave.
package plan

import (
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// Input is all that one round may know.
type Input struct {
	Now    time.Time     `json:"now"`
	Period time.Duration `json:"period"` // between rounds
	// ClockTrusted is false while the wall clock is not believed: then no
	// timeslot starts, and those that run go on (domain.md 4.5).
	ClockTrusted bool              `json:"clock_trusted"`
	Stopped      bool              `json:"stopped"` // owner STOP, latched
	Site         Site              `json:"site"`
	Policy       Policy            `json:"policy"`
	Meters       []Meter           `json:"meters"`
	Devices      []Device          `json:"devices"`
	Slots        []dispatch.Record `json:"slots"`
	// Events is what is known of timeslots that have begun, by event id.
	Events map[string]Event `json:"events,omitempty"`
	// ActuateTests lets timeslots that are only tests through. It is set for
	// the plan that shows what would have been done, never for real.
	ActuateTests bool `json:"actuate_tests,omitempty"`
}

// Site is the grid connection.
type Site struct {
	MaxImportW float64 `json:"max_import_w"` // 0: not given
	MaxExportW float64 `json:"max_export_w"`
	// Point is the measurement of the grid connection; nil where the site has
	// no meter.
	Point *Point `json:"point,omitempty"`
}

// Point is a place where net power is measured.
type Point struct {
	Name  string      `json:"name"`
	LoadW drivers.Opt `json:"load_w"` // latest, import positive
	// Fresh is false when the latest value is too old to act on.
	Fresh bool          `json:"fresh"`
	Age   time.Duration `json:"age"`
	// UncontrolledW is the load without what our devices give, averaged over
	// the last seconds; it stays at its last value while the meter is stale.
	UncontrolledW drivers.Opt `json:"uncontrolled_w"`
	// UncontrolledLowW is the lowest of the last seconds: the one to keep an
	// export limit by.
	UncontrolledLowW drivers.Opt `json:"uncontrolled_low_w"`
}

// Policy is how the owner answers what Leap leaves open (design.md 1.2).
type Policy struct {
	Basis             string        `json:"basis"`
	Voluntary         string        `json:"voluntary"`
	VoluntaryAboveSoC float64       `json:"voluntary_above_soc"`
	CommunicationTest string        `json:"communication_test"`
	OnMissing         string        `json:"on_missing"`
	Release           time.Duration `json:"release"`
	// ReleaseLoads is over what time three or more thermostats and relays are
	// let go one after another; ReleaseRandom is the longest that a site waits
	// before its loads go back, each its own time.
	ReleaseLoads  time.Duration `json:"release_loads,omitempty"`
	ReleaseRandom time.Duration `json:"release_random,omitempty"`
	// ChargeToTarget lets batteries take what the site would give beyond the
	// target (domain.md 4.3: in a timeslot only as a correction, if allowed).
	ChargeToTarget bool `json:"charge_to_target,omitempty"`
	// Precharge and Precool are how long ahead of a timeslot batteries may
	// charge for it and rooms be cooled for it; PrepareInWindow lets them do so
	// while the meter's baseline is adjusted to the day.
	Precharge       time.Duration `json:"precharge,omitempty"`
	Precool         time.Duration `json:"precool,omitempty"`
	PrepareInWindow bool          `json:"prepare_in_window,omitempty"`
}

// The policy's words.
const (
	BasisEnergy     = "energy"
	BasisNomination = "nomination"
	BasisMaxPaid    = "max-paid"

	VoluntaryFollow   = "follow"
	VoluntaryIgnore   = "ignore"
	VoluntaryAboveSoC = "follow-above-soc"

	TestActuate = "actuate"
	MissingDrop = "drop"
)

// Reference is what a target is measured against (domain.md 4.1).
type Reference string

// The references.
const (
	ByDevice   Reference = "device"
	Relative   Reference = "relative"
	ByBaseline Reference = "baseline"
)

// Meter is a Leap meter and the devices that serve it.
type Meter struct {
	ID        string    `json:"id"`
	Device    bool      `json:"device"` // settled at a device, not at the utility's meter
	Reference Reference `json:"reference"`
	Point     *Point    `json:"point,omitempty"` // nil for a device meter
	// MeasuredBy is the device whose power a device meter with a baseline of its
	// own is compared by.
	MeasuredBy string   `json:"measured_by,omitempty"`
	Devices    []string `json:"devices"`
	// WindowFrom and WindowTo are how long before the start the hours begin and
	// end by which the reference is adjusted to the day; both 0 for none.
	WindowFrom time.Duration `json:"window_from,omitempty"`
	WindowTo   time.Duration `json:"window_to,omitempty"`
	// InAfter tells that the load now counts for the reference of a timeslot that
	// has ended.
	InAfter bool `json:"in_after,omitempty"`
}

// Device is one controllable device: its limits and what it shows.
type Device struct {
	Name string       `json:"name"`
	Kind drivers.Kind `json:"kind"`

	ReserveSoC float64       `json:"reserve_soc"` // percent, the owner's
	Phases     int           `json:"phases,omitempty"`
	VoltageV   float64       `json:"voltage_v,omitempty"`
	MinA       float64       `json:"min_a,omitempty"`
	MaxA       float64       `json:"max_a,omitempty"`
	RatedW     float64       `json:"rated_w,omitempty"`
	MaxOff     time.Duration `json:"max_off,omitempty"`
	MinOff     time.Duration `json:"min_off,omitempty"`
	MinOn      time.Duration `json:"min_on,omitempty"` // least time left alone between two holds
	MaxOffsetK float64       `json:"max_offset_k,omitempty"`
	// HoldsOn is how long a load that is held off stays so when nobody reaches it
	// any more: until its own timer ends the command.
	HoldsOn time.Duration `json:"holds_on,omitempty"`
	// Cost is the place in the merit order: the cheaper is used first.
	Cost float64 `json:"cost,omitempty"`
	// A vehicle leaves at DepartAt and wants NeedWh until then.
	DepartAt time.Time   `json:"depart_at,omitzero"`
	NeedWh   drivers.Opt `json:"need_wh,omitzero"`

	// Fresh is false when the device's own readings are too old, or there are
	// none: it then gets no command, and its lease runs out.
	Fresh         bool        `json:"fresh"`
	PowerW        drivers.Opt `json:"power_w"`
	SoC           drivers.Opt `json:"soc"`
	CapacityWh    drivers.Opt `json:"capacity_wh"`
	MaxDischargeW drivers.Opt `json:"max_discharge_w"`
	MaxChargeW    drivers.Opt `json:"max_charge_w,omitzero"`
	TemperatureC  drivers.Opt `json:"temperature_c"`
	SetpointC     drivers.Opt `json:"setpoint_c,omitzero"` // as the device shows it
	Connected     bool        `json:"connected"`
	// NormalW is what a load draws when it is left alone: the mean of its last
	// minute before it was commanded.
	NormalW drivers.Opt `json:"normal_w"`
	// Commanded is the command in force, nil for none; since when it stands
	// unchanged, and since when the device has been commanded at all.
	Commanded *drivers.Command `json:"commanded,omitempty"`
	ChangedAt time.Time        `json:"changed_at,omitzero"`
	HeldSince time.Time        `json:"held_since,omitzero"`
	// FreeSince is when the last command ended.
	FreeSince time.Time `json:"free_since,omitzero"`
	// Held: an earlier process of ours commanded it, this one has not yet, and
	// its own timer still holds it.
	Held bool `json:"held,omitempty"`
	// Refused is true when it answers and does not take its command.
	Refused bool `json:"refused,omitempty"`
	// Lag is how late a battery follows, as measured; 0 until it is known.
	Lag time.Duration `json:"lag,omitempty"`
	// Gain is measured over commanded power once a command has settled.
	Gain drivers.Opt `json:"gain"`
	// Unresponsive is true when a settled command shows no effect.
	Unresponsive bool `json:"unresponsive,omitempty"`
}

// Event is what is known of a timeslot that has begun.
type Event struct {
	// Running is true once this process has started to follow it: it then
	// goes on while the clock is in doubt.
	Running bool `json:"running"`
	// PreLoadW is the mean net load before the first timeslot of an unbroken
	// row: what the reference "relative" compares with.
	PreLoadW drivers.Opt `json:"pre_load_w"`
	PreStart time.Time   `json:"pre_start,omitzero"` // start of that first timeslot
	// BaselineW is the estimated baseline of the meter's net load now, fixed
	// before the start from what was measured before it; unknown where there is
	// too little history: then the load before the timeslot counts.
	BaselineW drivers.Opt `json:"baseline_w,omitzero"`
	// The running settlement interval, measured so far.
	IntervalTargetWh    float64 `json:"interval_target_wh"`
	IntervalDeliveredWh float64 `json:"interval_delivered_wh"`
	// SteadySince is since when about the same has been planned for it.
	SteadySince time.Time `json:"steady_since,omitzero"`
	// LastTargetW is the target last followed, for the release.
	LastTargetW float64 `json:"last_target_w"`
}

// MeasuredW is the net load in W, import positive, that a meter shows now. It is
// unknown where its reading is old, and for a device meter without MeasuredBy.
func (in *Input) MeasuredW(m *Meter) drivers.Opt {
	if !m.Device {
		if m.Point != nil && m.Point.Fresh {
			return m.Point.LoadW
		}
		return drivers.Opt{}
	}
	for i := range in.Devices {
		if d := &in.Devices[i]; d.Name == m.MeasuredBy && m.MeasuredBy != "" && d.Fresh && d.PowerW.OK {
			if d.Kind == drivers.Battery { // discharge is positive there
				return drivers.Some(0 - d.PowerW.V)
			}
			return d.PowerW
		}
	}
	return drivers.Opt{}
}

// GivenW is what the device gives now, measured, against being left alone:
// a battery's discharge, a load's drop. Unknown where it is not measured.
func (d *Device) GivenW() drivers.Opt {
	if !d.Fresh || !d.PowerW.OK {
		return drivers.Opt{}
	}
	if d.Kind == drivers.Battery {
		return d.PowerW
	}
	if d.Commanded == nil && !d.Held {
		return drivers.Some(0)
	}
	if !d.NormalW.OK {
		return drivers.Opt{}
	}
	return drivers.Some(d.NormalW.V - d.PowerW.V)
}
