package profile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"nominald/drivers"
)

// Memory keeps a few bytes for a device through a restart. Load returns nil
// where nothing is kept; saving nil forgets.
type Memory interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// Params are the owner's settings of one device.
type Params struct {
	Channel       int         // of a unit with several, from 1; 0 is 1
	Invert        bool        // meter: import and export are the other way round
	MaxDischargeW drivers.Opt // battery, a limit below the profile's and the device's; 0 is never
	MaxChargeW    drivers.Opt // battery, likewise
	CapacityWh    drivers.Opt // battery; unknown is what the device says
	Phases        int         // charger, 1 or 3; 0 is 3
	VoltageV      float64     // charger, phase to neutral; 0 is 230
	MinA, MaxA    float64     // charger, a phase; 0 leaves the profile's limits
	MaxOffsetK    float64     // thermostat, largest shift; 0 is 2 K
	// MinOff, MinOn and MaxOff protect what is held off by an inhibit, see
	// package hold.
	MinOff, MinOn, MaxOff time.Duration
	// AllowNoFallback is the owner's consent to command a device that has no
	// timer of its own (domain.md 4.4).
	AllowNoFallback bool
	// Allow is called with each range of holding registers or coils that may be
	// written ("holding", "coil"). Nil where writing is not restricted.
	Allow func(table string, first, last uint16)
	// Remember keeps the occupant's set-point, the times of an inhibit and the
	// counts of writes through a restart; nil keeps them in memory only.
	Remember Memory
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// device interprets a profile. What a command means differs by kind; that part
// is in the file of the kind.
type device struct {
	p      *Profile
	r      Registers
	params Params
	now    func() time.Time

	fast, slow []*block
	regs       [][]uint16 // of each point, within the memory of its block
	slowAt     time.Time  // last read of the slow ones; zero before the first
	identified bool

	last    map[string]float64 // points by meaning, of the last good Read
	raw     map[string]uint64
	shown   map[string]drivers.Opt // points by name
	reading drivers.Reading
	notes   []string

	order order
	next  *pending      // comes after order; nil where nothing waits
	timed time.Duration // what the device's timer was last set to
	kept  keepsake
	known bool // kept is what was remembered
}

// New returns the device behind the registers. Nothing is read before the first
// Read. A profile that names another driver gives a device that only says so.
func New(p *Profile, r Registers, params Params) drivers.Device {
	d := &device{p: p, r: r, params: params, now: params.Now}
	if d.now == nil {
		d.now = time.Now
	}
	if p.Driver == "" && params.Channel <= p.channels() {
		d.lay()
		d.allow()
	}
	switch {
	case p.Kind == drivers.Battery:
		return &battery{d}
	case p.Kind == drivers.Charger:
		return &charger{d}
	case p.Kind == drivers.Inverter:
		return &inverter{d}
	case p.Kind == drivers.Relay, p.Inhibits():
		return &inhibitor{device: d}
	case p.Kind == drivers.Thermostat:
		return &thermostat{device: d}
	default:
		return &meter{d}
	}
}

// lay plans the reads.
func (d *device) lay() {
	d.fast, d.slow = d.p.plan(d.params.Channel)
	d.regs = make([][]uint16, len(d.p.Points))
	for _, b := range append(slices.Clone(d.fast), d.slow...) {
		d.bind(b)
	}
}

// bind has the points of a block find their registers in it.
func (d *device) bind(b *block) {
	for _, i := range b.points {
		pt := d.p.Points[i]
		from := int(pt.at(d.params.Channel)) - int(b.address)
		d.regs[i] = b.regs[from : from+width(pt.Type)]
	}
}

// allow opens the allow-list: exactly the writable registers of the channel.
func (d *device) allow() {
	if d.params.Allow == nil {
		return
	}
	for _, w := range d.p.Writable {
		first := w.at(d.params.Channel)
		d.params.Allow(w.Table, first, first+uint16(width(w.Type))-1)
	}
}

// slowEvery is how often the slow points are read.
const slowEvery = time.Minute

// read fills the reading from all points, then sees to the command in force.
func (d *device) read(ctx context.Context) error {
	if d.p.Driver != "" {
		return fmt.Errorf("profile %s belongs to driver %s: %w", d.p.Name, d.p.Driver, drivers.ErrWrongDevice)
	}
	if d.params.Channel > d.p.channels() {
		return fmt.Errorf("%s: channel %d, accepted are 1 to %d: %w", d.p.Name, d.params.Channel, d.p.channels(), drivers.ErrWrongDevice)
	}
	if err := d.recall(); err != nil {
		return err
	}
	if err := d.poll(ctx); err != nil {
		d.doubt(err)
		return err
	}
	d.reading = drivers.Reading{At: d.now(), Connected: true}
	d.last, d.raw, d.notes = map[string]float64{}, map[string]uint64{}, nil
	d.shown = map[string]drivers.Opt{}
	missing := d.missing()
	for i, pt := range d.p.Points {
		if missing[i] {
			d.lack(pt)
			continue
		}
		d.take(pt, d.regs[i])
	}
	return d.attend(ctx)
}

// poll identifies the device where that is due, and reads its registers.
func (d *device) poll(ctx context.Context) error {
	if !d.identified {
		if err := d.p.Identify(ctx, d.r); err != nil {
			return err
		}
		d.identified, d.slowAt = true, time.Time{}
		d.lay() // it may be another variant now
	}
	now, before := d.now(), d.connected()
	slow := d.slowAt.IsZero() || now.Sub(d.slowAt) >= slowEvery || now.Before(d.slowAt)
	if err := d.fetch(ctx, &d.fast, slow); err != nil {
		return err
	}
	if slow {
		if err := d.fetch(ctx, &d.slow, true); err != nil {
			return err
		}
		d.slowAt = now
	}
	if d.connected() != before { // it broke on the way to this device, and the bus mended it
		d.identified, d.order.shaken = false, true
	}
	return nil
}

// connector is a unit that knows how often its bus was connected anew. A device
// whose connection broke may have restarted, even where the bus mended it.
type connector interface {
	Connects() uint64
}

func (d *device) connected() uint64 {
	if c, ok := d.r.(connector); ok {
		return c.Connects()
	}
	return 0
}

// doubt has the device identified again, and everything written again: what
// does not answer may come back as another, or rebooted.
func (d *device) doubt(err error) {
	if errors.Is(err, drivers.ErrOffline) || errors.Is(err, drivers.ErrWrongDevice) {
		d.identified = false
		d.order.forget()
	}
}

// begin is what each Apply has to pass first: the owner's consent where nothing
// would end the command if this program died, and a command that is one.
func (d *device) begin(ctx context.Context, v float64, unit string, valid time.Duration) error {
	if len(d.p.Command.Release) == 0 {
		return fmt.Errorf("%s takes no command: %w", d.p.Name, drivers.ErrRefused)
	}
	if !d.fallback() && !d.params.AllowNoFallback {
		return fmt.Errorf("%s has no timer of its own, so nothing would end a command if this program died; allow_no_fallback accepts that: %w",
			d.p.Name, drivers.ErrRefused)
	}
	if math.IsNaN(v) || valid <= 0 {
		return fmt.Errorf("command %v %s for %v: no such command: %w", v, unit, valid, drivers.ErrRefused)
	}
	if d.params.Channel > d.p.channels() {
		return fmt.Errorf("%s: channel %d, accepted are 1 to %d: %w", d.p.Name, d.params.Channel, d.p.channels(), drivers.ErrRefused)
	}
	return d.recall()
}

// fallback tells whether the device ends a command by itself.
func (d *device) fallback() bool { return d.p.Fallback.Register != "" || d.p.Fallback.After > 0 }

// release writes the release sequence whole, whatever is thought to stand in the
// device: after a crash it may be anything (modbus.md 8).
func (d *device) release(ctx context.Context, v values) error {
	if len(d.p.Command.Release) == 0 {
		return nil
	}
	err := d.recall()
	d.order, d.next = order{changed: d.order.changed}, nil
	if sendErr := d.send(ctx, d.p.Command.Release, v, true); sendErr != nil {
		return sendErr
	}
	return errors.Join(err, d.disclaim())
}

// Describe implements drivers.Device.
func (d *device) Describe() drivers.Description {
	about := drivers.Description{
		Manufacturer: d.p.Maker, Fallback: d.fallback(), FallbackAfter: d.p.Fallback.After,
		FallbackOnSilence: d.p.Fallback.AnyRequest,
		Detail:            fmt.Sprintf("profile %s; %s", d.p.Name, d.p.Tested),
	}
	if d.p.Channels > 1 {
		about.Detail += fmt.Sprintf("; channel %d", max(d.params.Channel, 1))
	}
	if d.p.Fallback.Register != "" {
		about.FallbackAfter = d.timed
	}
	if names := d.absent(); len(names) > 0 {
		about.Detail += "; it has no " + strings.Join(names, ", ")
	}
	if !about.Fallback && len(d.p.Command.Release) > 0 {
		about.Detail += "; no timer of its own"
	}
	if d.p.Fallback.State != "" {
		about.Detail += "; without a command: " + d.p.Fallback.State
	}
	return about
}
