package profile

import (
	"time"

	"go.yaml.in/yaml/v3"

	"nominald/drivers"
)

// Profile is one device as its file describes it.
type Profile struct {
	Name     string
	Kind     drivers.Kind
	Maker    string // who makes it and which models, for people
	Bus      string // modbus or gpio
	Driver   string // the package that drives it; empty for this one
	Replaces string // in a site's own directory: the built-in profile that this one stands for
	Source   string // the document the facts are from
	Revision string // of that document
	Tested   string // against what: simulated from this file, a bench, a site
	Connect  string // how the device is reached and set up, for people
	Notes    []string
	Link     Link // where a scan looks for it

	MaxRegisters  int         `yaml:"max_registers"`   // most registers one read may ask for; default 125
	MaxGap        int         `yaml:"max_gap"`         // unlisted registers that a read may run over to save a request; default 0
	Holes         [][2]uint16 `yaml:"holes"`           // closed ranges that no read may touch, whatever max_gap says
	OnePerRequest bool        `yaml:"one_per_request"` // values are never read together
	Timing        Timing
	Channels      int           // relays or sockets of one unit id, chosen by the device's channel; 0 is one
	Poll          time.Duration // how often it is read; 0 leaves the gateway's pace for its kind
	Points        []Point
	Identity      []Check
	Writable      []Register // the allow-list
	Never         []uint16   // registers that must not be written, for flash wear
	Modes         map[string]Mode
	Command       Command
	ReadBack      ReadBack `yaml:"read_back"`
	Fallback      Fallback
	MinInterval   time.Duration `yaml:"min_interval"` // between two changes of the command
}

// Link is how the device is set up when it leaves its maker, so that a scan
// looks there first.
type Link struct {
	Baud   int    // serial
	Format string // serial: 8N1, 8E1, 8O1, 8N2
	Port   int    // TCP
	Units  []int  // unit ids
}

// Timing is what the device asks of whoever talks to it; zero values leave the
// line's defaults.
type Timing struct {
	Timeout           time.Duration // of one transaction
	PauseBetween      time.Duration `yaml:"pause_between"`       // between a reply and the next request
	PauseAfterConnect time.Duration `yaml:"pause_after_connect"` // between opening a TCP connection and the first request
	UnitChange        time.Duration `yaml:"unit_change"`         // after another unit was talked to on the line
}

// Point is a value that is read.
type Point struct {
	Name    string
	Table   string  // holding (the default), input, coil, discrete
	Address uint16  // on the wire, from 0
	Stride  uint16  // added for each channel after the first
	Type    string  // u16 s16 u32 s32 u64 s64 f32 f64, the long ones also with sw: low word first; bit
	Scale   float64 // register x scale = unit, its sign turns the device's sign into ours; default 1
	Unit    string
	// Meaning is what of a drivers.Reading it fills; empty where it serves a
	// proof or read_back only. Several of power_w, import_wh and export_wh add
	// up, of current_a the largest counts. connected, on and inhibited are true
	// where the value is not 0, or, with words, where it has a word.
	Meaning string
	Mask    uint64            // only these bits count
	Shift   uint              // and are moved right by so many
	Words   map[uint64]string // the device's own words for values
	Unset   []uint64          // raw values that mean "no value"
	Min     *float64          // plausible values in the unit; others are unknown
	Max     *float64
	Slow    bool // read once a minute: energy counters, limits
	// Optional and slow points may be refused by a variant of the device that
	// does not have them: their values are unknown then.
	Optional bool
	Where    string // for people, where another driver finds it
}

// Check is one part of the proof that the device is what the config says: a
// value in a range, one of some raw values, or a text.
type Check struct {
	Table    string
	Address  uint16 // of the first channel: channels of one unit share their identity
	Type     string // as of a Point, or text
	Scale    float64
	Min, Max float64
	OneOf    []uint64 `yaml:"one_of"` // raw values; where given, Min and Max do not count
	// Unset are raw values that are accepted besides: the device has the
	// register and no value for it, as a battery that sleeps.
	Unset  []uint64
	Length int    // of a text, in registers, two characters each
	Text   string // the text begins with this
}

// Register is a register or coil that may be written.
type Register struct {
	Name     string
	Table    string // holding (the default) or coil
	Address  uint16
	Stride   uint16 // added for each channel after the first
	Type     string
	Function int     // 5, 6 or 16; 5 writes a coil: 1 is on, 0 is off, with raw the value itself
	Raw      bool    // function 5 with a value of the maker's own
	Scale    float64 // register x scale = unit, sign included; default 1
	Unit     string
	Min, Max *float64 // accepted values in the unit
	Clamp    bool     // a value outside is moved to the limit rather than refused
	Budget   `yaml:",inline"`
	Where    string // for people, where another driver finds it
}

// Budget bounds how often a register is written, where it wears out.
type Budget struct {
	Interval time.Duration // least time between two writes
	PerDay   int           `yaml:"per_day"` // most writes in 24 h; a release is counted and never refused
	Changed  bool          // read first, and written only where the value differs
}

// Mode is a mode of a thermostat in which a shifted set-point changes load.
type Mode struct {
	Value     uint64  // of the point that means state
	Direction float64 // of less load: -1 heating, 1 cooling, 0 by room temperature
	Min, Max  float64 // accepted set-points in C
}

// Step writes one register, or several neighbours in one request.
type Step struct {
	Write  string
	Value  string   // a number, or a word, see words
	Also   []Step   // the registers that follow directly, written in the same request
	Unless *float64 // skipped where the value is this
	// Only has the register read first, and written only where it holds one of
	// these, in its unit: what somebody else chose is not undone. See onlyIf.
	Only Numbers
}

// Numbers is one number, or a list of them.
type Numbers []float64

// UnmarshalYAML reads both forms.
func (n *Numbers) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.SequenceNode {
		return node.Decode((*[]float64)(n))
	}
	var one float64
	if err := node.Decode(&one); err != nil {
		return err
	}
	*n = Numbers{one}
	return nil
}

// Command is what is written to command the device. Which sequences count
// follows from the kind: a battery's apply, or charge, discharge and hold; a
// charger's apply and pause; a thermostat's apply, or inhibit; a relay's inhibit.
type Command struct {
	Apply, Charge, Discharge, Hold, Pause, Inhibit, Release []Step
}

// ReadBack is how the driver sees that a command is in force, beyond the echo of
// the write: after some time the point must hold the value. Where a step wrote
// the very register that the point reads, that is what was written; elsewhere it
// is the command in the kind's own unit (A, 0 when paused; W, discharge positive;
// 1 when inhibited). A register that the sequence leaves alone shows nothing,
// but for a relay.
type ReadBack struct {
	Point     string
	After     time.Duration // the device's processing time
	Tolerance float64       // in the point's unit
}

// Fallback is how the device itself ends a command that is not renewed. The
// zero value says that it does not.
type Fallback struct {
	Register string        // timer that takes the length of a lease; its unit is s after its scale
	Min, Max time.Duration // that the timer accepts
	After    time.Duration // without a register: the device's own fixed time
	Renew    time.Duration // renewed at least so often; 0 is half of the timer
	// AnyRequest: the device counts silence, so that a read renews it too.
	AnyRequest bool `yaml:"any_request"`
	// KeepAlive is written to renew it; empty repeats the command.
	KeepAlive []Step `yaml:"keep_alive"`
	Proof     string // the point that shows the timer, or what is in force
	State     string // what the device then does, for people
}
