// Package config reads the one YAML file that describes a site. It is strict:
// an unknown key, a wrong unit or a duplicate name is an error that names the
// line and the nearest key that exists.
package config

import (
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
)

// Config is a site as the program uses it: defaults filled in, units in W,
// Wh, A, references between parts checked.
type Config struct {
	Path    string // where it was read from, for messages
	Site    Site
	Leap    Leap
	Meters  []Meter
	Buses   []Bus
	Devices []Device
	Inputs  []Input
	Policy  Policy
	HTTP    HTTP
	Store   Store
	// Warnings name what is allowed and still seldom meant, one line each.
	Warnings []string

	library *profile.Library // nil where the config was not read from a file
	places  map[string]place // where each key stands, for Fault
}

// Site is the grid connection and its owner's limits.
type Site struct {
	Name       string
	Timezone   *time.Location // default UTC
	Armed      bool           // false: nothing is ever written to a device
	MaxImportW float64        // service rating; 0 means not given
	MaxExportW float64        // interconnection limit; 0 means no export
	Profiles   string         // directory of the site's own device profiles
}

// Leap is the dispatch API.
type Leap struct {
	URL    string // base that ends before /dispatch, without trailing slash
	APIKey Secret
	Poll   time.Duration // default 60 s, at least 5 s
}

// MeterType is what Leap settles: the utility's meter, or a device's own.
type MeterType string

// The meter types of Leap that a gateway answers for.
const (
	UtilityMeter MeterType = "utility_meter"
	DeviceMeter  MeterType = "device"
)

// Reference is the quantity that a target is measured against (domain.md 4.1).
type Reference string

// The references.
const (
	ByBaseline Reference = "baseline"
	ByDevice   Reference = "device"
	Relative   Reference = "relative"
)

// Meter is a Leap meter that this gateway answers for.
type Meter struct {
	ID         string
	Type       MeterType
	MeasuredBy string // name of a device
	Reference  Reference
	Baseline   string    // preset, with reference baseline
	PerKWh     []float64 // of dsgs-option-3, kW per kWh by local hour; 24 or none
	Devices    []string
	Upload     bool // its intervals are sent to Leap
}

// Bus is one wire with one owner: a TCP endpoint or a serial line.
type Bus struct {
	Name   string
	TCP    string // host:port
	RTU    bool   // RTU frames over the socket, as serial device servers pass them on
	Serial string // device path
	Baud   int
	Format string // 8N1, 8E1, ...
	Echo   bool   // the adapter hears what it sends
}

// Device is one device at the site.
type Device struct {
	Name    string
	Kind    drivers.Kind
	Profile string
	Bus     string // empty for GPIO
	Unit    int    // Modbus unit id
	Channel int    // of a unit with several relays or sockets, from 1; 0 is the first
	GPIO    string // line name, or chip:offset with the chip's name or label
	// ByInhibit: it is held off rather than given a number.
	ByInhibit bool
	GPIO2     string // SG-Ready: the line of the second contact
	// ActiveLow: the relay's coil is energised by a low level.
	ActiveLow bool
	Invert    bool // power sign turned, for a meter that is wired the other way

	// Battery.
	ReserveSoC    float64     // percent, inviolable
	MaxDischargeW drivers.Opt // the smaller of this and the device's own rating counts
	MaxChargeW    drivers.Opt
	CapacityWh    drivers.Opt
	// Charger.
	Phases   int
	VoltageV float64
	MinA     float64
	MaxA     float64
	// Departure is the local time of day at which the vehicle leaves with
	// DepartureWh in it; they count only where DepartureWh is known.
	Departure   time.Duration
	DepartureWh drivers.Opt
	// Thermostat and relay.
	RatedW     float64
	MinOff     time.Duration
	MinOn      time.Duration
	MaxOff     time.Duration
	MaxOffsetK float64 // thermostat by set-point: largest shift
	// Cost is the place in the merit order: the cheaper is used first. Unknown
	// is what is usual for the kind.
	Cost drivers.Opt
	// AllowNoFallback is the owner's consent to command a device that has no
	// timer of its own to end a command (domain.md 4.4).
	AllowNoFallback bool
}

// Input is a contact on a GPIO line.
type Input struct {
	Name     string
	Role     string // stop: closes or opens to stop the site
	GPIO     string
	Active   string        // high or low: the level that means pressed
	Pull     string        // up, down or none
	Debounce time.Duration // how long a level stands before it counts
}

// Policy is how the site answers what Leap leaves open.
type Policy struct {
	Basis             string  // energy | nomination | max-paid
	Voluntary         string  // follow | ignore | follow-above-soc
	VoluntaryAboveSoC float64 // percent, with follow-above-soc
	CommunicationTest string  // dry-run | ignore | actuate
	OnMissing         string  // execute | drop
	Release           time.Duration
	ReleaseLoads      time.Duration // over which three or more thermostats and relays are let go in turn
	ReleaseRandom     time.Duration // the longest that a site waits before its loads go back
	ChargeToTarget    bool          // batteries take what would be given beyond the target
	Precharge         time.Duration // ahead of a timeslot that needs more energy than there is
	Precool           time.Duration // ahead of a timeslot
	PrepareInWindow   bool          // both also in the hours that adjust a baseline
}

// HTTP is the local interface.
type HTTP struct {
	Listen string
	Token  Secret   // empty: none needed (loopback only)
	Hosts  []string // further host names that count as the gateway's own
}

// Store is where state is kept.
type Store struct {
	Dir        string
	Retain     time.Duration // of minutes and reports
	RetainFine time.Duration // of seconds
}
