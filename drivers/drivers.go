// Package drivers says what a device is to the gateway: something that can be
// read, given a command on lease, and released into its neutral state. The
// packages below it speak the protocols.
package drivers

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"
)

// Kind is what a device does at the site.
type Kind string

// The kinds of devices.
const (
	Meter      Kind = "meter"      // measures only
	Battery    Kind = "battery"    // takes a power set-point in W, discharge positive
	Charger    Kind = "charger"    // takes a current limit in A a phase, 0 pauses
	Thermostat Kind = "thermostat" // takes a set-point offset in K or an inhibit
	Relay      Kind = "relay"      // takes an inhibit
	Inverter   Kind = "inverter"   // a PV inverter: takes a limit of what it feeds in, W
)

// Dispatched tells whether a timeslot may use devices of the kind. Meters and
// PV inverters are measured only: the sun's energy is lost when it is limited,
// so no timeslot asks for that.
func (k Kind) Dispatched() bool {
	switch k {
	case Battery, Charger, Thermostat, Relay:
		return true
	}
	return false
}

// Errors that callers branch on. Drivers wrap them with what was tried.
var (
	// ErrOffline: nothing answered in time, or the line could not be opened.
	ErrOffline = errors.New("device does not answer")
	// ErrNoLine: the line that the device is on is not there, as with an adapter
	// that was pulled, so that nobody was asked. Stands beside ErrOffline.
	ErrNoLine = errors.New("the line is not there")
	// ErrRefused: the device answered and will not do it; trying again as is
	// can not help.
	ErrRefused = errors.New("device refused the request")
	// ErrBusy: the device answered that it is busy; try again later.
	ErrBusy = errors.New("device is busy")
	// ErrWrongDevice: what answers is not what the config says.
	ErrWrongDevice = errors.New("not the configured device")
)

// Opt is a quantity that may be unknown. The zero value is unknown, so that a
// forgotten field can not be taken for a measured zero.
type Opt struct {
	V  float64
	OK bool
}

// Some returns a known quantity; NaN and infinities are unknown.
func Some(v float64) Opt {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Opt{}
	}
	return Opt{V: v, OK: true}
}

// Or returns the quantity, or def where it is unknown.
func (o Opt) Or(def float64) float64 {
	if o.OK {
		return o.V
	}
	return def
}

// MarshalJSON writes the number, or null where it is unknown.
func (o Opt) MarshalJSON() ([]byte, error) {
	if !o.OK {
		return []byte("null"), nil
	}
	return json.Marshal(o.V)
}

// UnmarshalJSON reads a number or null.
func (o *Opt) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*o = Opt{}
		return nil
	}
	o.OK = true
	return json.Unmarshal(b, &o.V)
}

// Reading is what one poll of a device measured. Signs are the gateway's own:
// meter power is import positive, battery power discharge positive, the power
// of a PV inverter generation positive, that of a load consumption positive.
type Reading struct {
	At            time.Time `json:"at"` // when the device answered
	PowerW        Opt       `json:"power_w"`
	ImportWh      Opt       `json:"import_wh"` // energy counters, as the device keeps them
	ExportWh      Opt       `json:"export_wh"`
	SoC           Opt       `json:"soc"` // state of charge, percent of capacity
	CapacityWh    Opt       `json:"capacity_wh"`
	MaxDischargeW Opt       `json:"max_discharge_w"` // the device's own rating
	MaxChargeW    Opt       `json:"max_charge_w"`
	CurrentA      Opt       `json:"current_a"` // charger: measured, a phase
	TemperatureC  Opt       `json:"temperature_c"`
	SetpointC     Opt       `json:"setpoint_c"`
	// Connected is false where a charger has no vehicle. Devices without the
	// notion leave it true.
	Connected bool `json:"connected"`
	// Inhibited is the state of a relay as last commanded.
	Inhibited bool `json:"inhibited,omitempty"`
	// State is the device's own word for what it does.
	State string `json:"state,omitempty"`
}

// Command is what a device is asked to do. Which field counts follows from the
// device's kind.
type Command struct {
	PowerW   float64 `json:"power_w"`   // battery: discharge positive; inverter: the most it may feed in
	CurrentA float64 `json:"current_a"` // charger: limit a phase, 0 pauses
	OffsetK  float64 `json:"offset_k"`  // thermostat: positive asks for less load
	Inhibit  bool    `json:"inhibit"`   // relay, thermostat by relay
}

// Lease is a command with an end. Nobody has to take it back: when Until has
// passed without a new lease, the device is released.
type Lease struct {
	Command Command
	Until   time.Time
}

// Description is what a device said of itself, and what its driver knows.
type Description struct {
	Manufacturer string `json:"manufacturer,omitempty"`
	Model        string `json:"model,omitempty"`
	Serial       string `json:"serial,omitempty"`
	Version      string `json:"version,omitempty"`
	// Detail says what the driver found, for people: "SunSpec 1, 124, 802 at 40000".
	Detail string `json:"detail,omitempty"`
	// Fallback is true where the device itself ends a command that is not
	// refreshed. Where it is false, only this program's exit path ends it.
	Fallback bool `json:"fallback"`
	// FallbackAfter is how long the device holds a command that is not renewed;
	// 0 where that is not known.
	FallbackAfter time.Duration `json:"fallback_after_ns,omitempty"`
	// FallbackOnSilence: any request renews it, also a read. Such a device lets
	// go when this program or the line dies, not when only the commands stop.
	FallbackOnSilence bool `json:"fallback_on_silence,omitempty"`
}

// Device is one thing on a bus. All methods are called from one goroutine, the
// bus worker's, so implementations take no locks. Every method returns within
// the context's deadline.
type Device interface {
	// Read polls the device once. It returns no reading rather than one it
	// doubts. An error wraps one of the sentinels above where it can.
	Read(ctx context.Context) (Reading, error)
	// Apply makes the device follow the command and fall back by itself when
	// it is not applied again within valid. Applying the same command again
	// renews the fallback and is otherwise idempotent.
	Apply(ctx context.Context, c Command, valid time.Duration) error
	// Release puts the device into its neutral state: it does what it would
	// do without us. It is idempotent.
	Release(ctx context.Context) error
	// Describe returns what is known after the last successful Read.
	Describe() Description
}
