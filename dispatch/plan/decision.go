package plan

import (
	"maps"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// Action is what a round wants done with a device.
type Action string

// The actions.
const (
	// Follow: hold the command on lease.
	Follow Action = "follow"
	// Neutral: the device does what it does without us.
	Neutral Action = "neutral"
	// Leave: send nothing. A lease in force runs out by itself.
	Leave Action = "leave"
)

// Decision is the outcome of one round.
type Decision struct {
	Now     time.Time        `json:"now"`
	Slots   []SlotDecision   `json:"slots"`
	Meters  []MeterDecision  `json:"meters"`
	Devices []DeviceDecision `json:"devices"`
	// Energy is how the batteries' energy is shared over the timeslots known,
	// in the order in which it was given out.
	Energy []EnergyShare `json:"energy,omitempty"`
	// WouldDo is the plan for a timeslot that is only a test: shown, not done.
	WouldDo []DeviceDecision `json:"would_do,omitempty"`
}

// SlotDecision is the state of a timeslot in this round.
type SlotDecision struct {
	EventID string         `json:"event_id"`
	MeterID string         `json:"meter_id"`
	State   dispatch.State `json:"state"`
	Reason  Reason         `json:"reason,omitempty"`
}

// MeterDecision is what a Leap meter is asked and gives.
type MeterDecision struct {
	ID      string         `json:"id"`
	State   dispatch.State `json:"state"` // active, armed, suppressed, or empty when nothing runs
	EventID string         `json:"event_id,omitempty"`
	// AskedW is what the timeslot itself asks for; unknown where it asks for
	// the most that the site can give. TargetW may be more, where a timeslot
	// that ranks lower raises it.
	AskedW drivers.Opt `json:"asked_w"`
	// OwedW is what of that is owed: see Owed.
	OwedW drivers.Opt `json:"-"`
	// TargetW is what this round aims for after the caps and limits.
	TargetW float64 `json:"target_w"`
	// PlannedW is what the devices are expected to give together.
	PlannedW float64 `json:"planned_w"`
	// DeliveredW is what is measured against the reference.
	DeliveredW drivers.Opt `json:"delivered_w"`
	ShortW     float64     `json:"short_w"` // asked and not planned for
	BaselineW  drivers.Opt `json:"baseline_w"`
	Reference  Reference   `json:"reference,omitempty"` // the one in use
	Reason     Reason      `json:"reason"`
}

// DeviceDecision is what a device is asked, and why not more.
type DeviceDecision struct {
	Name    string          `json:"name"`
	Action  Action          `json:"action"`
	Command drivers.Command `json:"command"`
	// GiveW is the share of the target that the device is expected to give.
	GiveW  float64 `json:"give_w"`
	Reason Reason  `json:"reason"`
	// AimW is the set-point that GiveW leads to; ClampedBy names what kept the
	// command from it in this round: ramp, deadband, dwell or limit.
	AimW      float64 `json:"aim_w"`
	ClampedBy string  `json:"clamped_by,omitempty"`
}

// EnergyShare is what a battery's energy plan holds for one timeslot.
type EnergyShare struct {
	Device  string  `json:"device"`
	EventID string  `json:"event_id"`
	NeedWh  float64 `json:"need_wh"` // at the site's wiring, for the time left
	KeptWh  float64 `json:"kept_wh"` // what it gets of that
}

// Reason is a stable kebab-case code. packaging/docs/reasons.md lists all.
type Reason string

// Reasons of timeslots and meters.
const (
	OnTarget        Reason = "on-target"
	Idle            Reason = "idle"
	Preparing       Reason = "preparing"
	Releasing       Reason = "releasing"
	OwnerStop       Reason = "owner-stop"
	ClockUntrusted  Reason = "clock-untrusted"
	IntegrationTest Reason = "integration-test"
	CommTest        Reason = "communication-test"
	PolicyVoluntary Reason = "voluntary-not-followed"
	MissingDropped  Reason = "missing-dropped"
	HigherPriority  Reason = "higher-priority"
	NotOurMeter     Reason = "meter-not-configured"
	NoCapacity      Reason = "no-capacity"
	ShortOfPower    Reason = "short-of-power"
	ShortOfEnergy   Reason = "short-of-energy"
	ExportLimited   Reason = "export-limit"
	SiteLoadZero    Reason = "site-load-zero"
	MeterStale      Reason = "meter-stale"
	MeterUnknown    Reason = "meter-never-read"
	Behind          Reason = "ramping"
	UnderDelivered  Reason = "under-delivered"
	NotMeasured     Reason = "not-measured"
)

// Reasons of devices.
const (
	Following      Reason = "following"
	Charging       Reason = "charging-to-target"
	HeldForNext    Reason = "held-for-next"
	Departure      Reason = "departure-needs"
	Precharging    Reason = "precharging"
	Precooling     Reason = "precooling"
	NotNeeded      Reason = "not-needed"
	DeviceStale    Reason = "device-stale"
	PowerLimit     Reason = "power-limit"
	EnergySpread   Reason = "energy-spread"
	ReserveSoC     Reason = "reserve-reached"
	SoCUnknown     Reason = "soc-unknown"
	KeptForLater   Reason = "kept-for-later"
	NotCharging    Reason = "not-charging"
	MinCurrent     Reason = "min-current"
	Paused         Reason = "paused"
	Inhibited      Reason = "inhibited"
	Shifted        Reason = "set-point-shifted"
	MaxOffReached  Reason = "max-off-reached"
	MinOn          Reason = "min-on"
	MinOff         Reason = "min-off"
	ComfortLimit   Reason = "comfort-limit"
	NoResponse     Reason = "no-response"
	CommandRefused Reason = "command-refused"
	MeasuresOnly   Reason = "measures-only"
	NotInUse       Reason = "not-in-use"
	DryRun         Reason = "dry-run"
)

// ReasonText is one line for people; every reason has one.
func ReasonText(r Reason) string { return reasonTexts()[r] }

// Reasons returns every code with its text, for the documentation.
func Reasons() map[Reason]string { return reasonTexts() }

// reasonTexts are all of them.
func reasonTexts() map[Reason]string {
	all := map[Reason]string{}
	for _, texts := range []map[Reason]string{meterTexts(), deviceTexts(), stateTexts()} {
		maps.Copy(all, texts)
	}
	return all
}

func meterTexts() map[Reason]string {
	return map[Reason]string{
		OnTarget:        "the target is planned for in full",
		Idle:            "no timeslot runs",
		Preparing:       "the timeslot is about to start, devices ramp up",
		Releasing:       "the timeslot has ended, devices go back to normal step by step",
		OwnerStop:       "the owner has stopped the site; `nominald resume` releases it",
		ClockUntrusted:  "the time of day is not believed, so nothing starts",
		IntegrationTest: "an integration test is shown and never carried out",
		CommTest:        "a communication test is shown and, by policy, not carried out",
		PolicyVoluntary: "the site's policy does not follow this voluntary timeslot",
		MissingDropped:  "Leap no longer lists it and the policy is to drop such timeslots",
		HigherPriority:  "another timeslot of the same meter ranks higher now",
		NotOurMeter:     "its meter is not in the config",
		NoCapacity:      "no device can give anything now",
		ShortOfPower:    "the devices together can not give the asked power",
		ShortOfEnergy:   "the battery's energy is spread over the time left",
		ExportLimited:   "more would export beyond the site's limit",
		SiteLoadZero:    "the site's load is already at zero, more is not paid",
		MeterStale:      "the site's meter is silent; devices hold their share",
		MeterUnknown:    "the site's meter has not been read, so export can not be excluded",
		Behind:          "devices are on their way to the target",
		UnderDelivered:  "less is measured than the devices were asked for",
		NotMeasured:     "nothing was measured in this time",
	}
}

func deviceTexts() map[Reason]string {
	return map[Reason]string{
		CommandRefused: "answers and does not take its command; its last error says why",
		Following:      "gives its share",
		Charging:       "takes what the site would give beyond the target",
		Departure:      "the vehicle must charge on to have what it needs when it leaves",
		Precharging:    "charges for a timeslot ahead that needs more energy than it has",
		Precooling:     "its room is prepared for a timeslot ahead",
		HeldForNext:    "stays as it is, since the next timeslot is near",
		NotNeeded:      "others give enough",
		DeviceStale:    "no recent reading, so no command; the last one runs out",
		PowerLimit:     "at its power limit",
		EnergySpread:   "its energy is spread over the time left",
		ReserveSoC:     "the owner's reserve is reached",
		SoCUnknown:     "its state of charge is not known, so the reserve could be touched",
		KeptForLater:   "its energy is kept for a timeslot that ranks higher",
		NotCharging:    "draws nothing that could be lowered",
		MinCurrent:     "at the smallest charging current",
		Paused:         "charging is paused",
		Inhibited:      "the load is held off",
		Shifted:        "the set-point is shifted",
		MaxOffReached:  "held off for as long as the owner allows",
		MinOff:         "it was held off just now and rests its least time first",
		MinOn:          "it was held off lately and runs its least time on first",
		ComfortLimit:   "the room is at its comfort limit",
		NoResponse:     "does not follow its command; others take its share",
		MeasuresOnly:   "measures, is not commanded",
		NotInUse:       "serves none of the configured Leap meters",
		DryRun:         "the site is not armed: shown, nothing is written",
	}
}

func stateTexts() map[Reason]string {
	return map[Reason]string{
		dispatch.ReasonMissing:         "Leap no longer lists it; it is carried out all the same",
		dispatch.ReasonUnusable:        "it can not be used as it came; its problem says why",
		dispatch.ReasonCancelledAhead:  "Leap cancelled it before its start",
		dispatch.ReasonCancelledActive: "Leap cancelled it while it ran",
		dispatch.ReasonCancelledLate:   "Leap cancelled it after its end",
		dispatch.ReasonSeenTooLate:     "it was over when it was first seen",
		dispatch.ReasonEnded:           "it has ended",
		dispatch.ReasonRunning:         "it runs",
		dispatch.ReasonRunningLate:     "it runs; it was first seen after its start",
		dispatch.ReasonStartNear:       "it is about to start",
		dispatch.ReasonStartAhead:      "its start lies ahead",
	}
}
