// Package profile holds what is known of devices as data: one YAML file a
// device, with its registers, its command sequence and where all that was read.
// A profile is interpreted by this package, unless it names another driver; then
// it documents that one. A new device of a known kind needs a file, no code.
package profile

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nominald/drivers"
)

// Registers is the unit of a Modbus bus as this package uses it. Addresses are
// those on the wire. Errors wrap the sentinels of package drivers.
type Registers interface {
	ReadHolding(ctx context.Context, addr uint16, dst []uint16) error
	ReadInput(ctx context.Context, addr uint16, dst []uint16) error
	WriteRegister(ctx context.Context, addr uint16, v uint16) error     // function 6
	WriteRegisters(ctx context.Context, addr uint16, vs []uint16) error // function 16
}

// Profile is one device as its file describes it.
type Profile struct {
	Name     string
	Kind     drivers.Kind
	Maker    string
	Bus      string // modbus or gpio
	Driver   string // the package that drives it; empty for this one
	Source   string // the document the facts are from
	Revision string
	Tested   string
	Connect  string // how the device is reached, for people
	Notes    []string

	MaxRegisters  int  `yaml:"max_registers"`   // most registers one read may ask for
	OnePerRequest bool `yaml:"one_per_request"` // values are never read together
	Points        []Point
	Identity      []Check
	Writable      []Register // the allow-list
	Never         []uint16   // registers that must not be written, for flash wear
	Modes         map[string]Mode
	Command       Command
	Fallback      Fallback
	MinInterval   time.Duration `yaml:"min_interval"` // between two changes of the command
}

// Point is a value that is read.
type Point struct {
	Name    string
	Table   string // holding (the default) or input
	Address uint16
	Type    string  // u16 s16 u32 s32 f32, the long ones also with sw: low word first
	Scale   float64 // register x scale = unit; default 1
	Unit    string
	Meaning string // what of a drivers.Reading it fills
	Mask    uint32 // only these bits count
	Words   map[uint32]string
	Unset   []uint32 // raw values that mean "no value"
	Min     *float64 // plausible values in the unit; others are unknown
	Max     *float64
	Where   string // for people, where another driver finds it
}

// Check is one part of the proof that the device is what the config says.
type Check struct {
	Table    string
	Address  uint16
	Type     string
	Min, Max float64
}

// Register is a holding register that may be written.
type Register struct {
	Name     string
	Address  uint16
	Type     string
	Function int     // 6 or 16
	Scale    float64 // register x scale = unit; default 1
	Unit     string
	Min, Max float64 // accepted values in the unit, where Max is not 0
	Where    string  // for people, where another driver finds it
}

// Mode is a mode of a thermostat in which a shifted set-point changes load.
type Mode struct {
	Value     uint32  // of the point that means state
	Direction float64 // of less load: -1 heating, 1 cooling, 0 by room temperature
	Min, Max  float64 // accepted set-points in C
}

// Step writes one register.
type Step struct {
	Write string
	Value string // a number, or command, max, timer, remembered
}

// Command is what is written to command the device.
type Command struct {
	Apply, Pause, Release []Step
}

// Fallback is the device's own timer that ends a command; no register means
// that it has none.
type Fallback struct {
	Register string
	Min, Max time.Duration
}

//go:embed profiles/*.yaml
var files embed.FS

// List returns all profiles, sorted by name.
func List() []*Profile {
	entries, err := files.ReadDir("profiles")
	if err != nil {
		return nil
	}
	var all []*Profile
	for _, e := range entries {
		if p, err := open(e.Name()); err == nil { // a test holds that all parse
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *Profile) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Load returns the profile with the name.
func Load(name string) (*Profile, error) {
	var names []string
	for _, p := range List() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("profile %q is not known; did you mean %q? There are %s",
		name, nearest(name, names), strings.Join(names, ", "))
}

func open(file string) (*Profile, error) {
	data, err := files.ReadFile("profiles/" + file)
	if err != nil {
		return nil, err
	}
	return Parse(file, data)
}

// nearest returns the name with the fewest edits.
func nearest(name string, names []string) string {
	best, least := "", 1<<30
	for _, n := range names {
		if d := edits(name, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Identify reads what tells the device from others. An error wraps
// drivers.ErrWrongDevice where the values can not be those of this device.
func (p *Profile) Identify(ctx context.Context, r Registers) error {
	for _, c := range p.Identity {
		raw, err := readRaw(ctx, r, c.Table, c.Address, c.Type)
		if errors.Is(err, drivers.ErrRefused) {
			return fmt.Errorf("%s: register %d is refused: %w: %w", p.Name, c.Address, drivers.ErrWrongDevice, err)
		}
		if err != nil {
			return err
		}
		if v, ok := decode(c.Type, raw); !ok || v < c.Min || v > c.Max {
			return fmt.Errorf("%s: register %d holds %g, a device of this profile has %g to %g there: %w",
				p.Name, c.Address, v, c.Min, c.Max, drivers.ErrWrongDevice)
		}
	}
	return nil
}

// register returns the writable register with the name.
func (p *Profile) register(name string) (Register, bool) {
	for _, r := range p.Writable {
		if r.Name == name {
			return r, true
		}
	}
	return Register{}, false
}
