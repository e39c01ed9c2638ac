package profile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
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
	Phases     int     // charger, 1 or 3; 0 is 3
	VoltageV   float64 // charger, phase to neutral; 0 is 230
	MinA, MaxA float64 // charger, a phase; 0 leaves the profile's limits
	MaxOffsetK float64 // thermostat, largest shift; 0 is 2 K
	// AllowNoFallback is the owner's consent to command a device that has no
	// timer of its own (domain.md 4.4).
	AllowNoFallback bool
	// Allow is called with each range of registers that may be written. Nil
	// where writing is not restricted.
	Allow func(first, last uint16)
	// Remember keeps the occupant's set-point through a restart; nil keeps it
	// in memory only.
	Remember Memory
	// Now is the clock; nil is the system's.
	Now func() time.Time
}

// device interprets a profile. What a command means differs by kind; that part
// is in charger.go and thermostat.go.
type device struct {
	p      *Profile
	r      Registers
	params Params
	now    func() time.Time

	identified bool
	last       map[string]float64 // points by meaning, of the last good Read
	raw        map[string]uint64
	reading    drivers.Reading
	written    sequence
	notes      []string
}

// sequence is what was last written, to tell a renewal from a change.
type sequence struct {
	steps   string // rendered
	at      time.Time
	timer   time.Duration
	changed time.Time // when the command last became another
}

// New returns the device behind the registers. Nothing is read before the first
// Read. A profile that names another driver gives a device that only says so.
func New(p *Profile, r Registers, params Params) drivers.Device {
	d := &device{p: p, r: r, params: params, now: params.Now}
	if d.now == nil {
		d.now = time.Now
	}
	if params.Allow != nil && p.Driver == "" {
		for _, w := range p.Writable {
			params.Allow(w.Address, w.Address+uint16(width(w.Type))-1)
		}
	}
	if p.Kind == drivers.Thermostat {
		return &thermostat{device: d}
	}
	return &charger{device: d}
}

// read fills the reading from all points.
func (d *device) read(ctx context.Context) error {
	if d.p.Driver != "" {
		return fmt.Errorf("profile %s belongs to driver %s: %w", d.p.Name, d.p.Driver, drivers.ErrWrongDevice)
	}
	if !d.identified {
		if err := d.p.Identify(ctx, d.r); err != nil {
			return err
		}
		d.identified = true
	}
	regs, err := d.registers(ctx)
	if err != nil {
		d.doubt(err)
		return err
	}
	d.reading = drivers.Reading{At: d.now(), Connected: true}
	d.last, d.raw, d.notes = map[string]float64{}, map[string]uint64{}, nil
	for i, pt := range d.p.Points {
		d.take(pt, regs[i])
	}
	return nil
}

// doubt has the device identified again, and everything written again: what
// does not answer may come back as another, or rebooted.
func (d *device) doubt(err error) {
	if errors.Is(err, drivers.ErrOffline) {
		d.identified = false
		d.written = sequence{}
	}
}

// readRaw reads the registers of one value.
func readRaw(ctx context.Context, r Registers, table string, addr uint16, t string) ([]uint16, error) {
	regs := make([]uint16, width(t))
	read := r.ReadHolding
	if table == "input" {
		read = r.ReadInput
	}
	if err := read(ctx, addr, regs); err != nil {
		return nil, err
	}
	return regs, nil
}

// registers reads all points, neighbours together where the device takes that.
func (d *device) registers(ctx context.Context) ([][]uint16, error) {
	out := make([][]uint16, len(d.p.Points))
	for i := 0; i < len(d.p.Points); {
		first := d.p.Points[i]
		n, next := width(first.Type), i+1
		for ; next < len(d.p.Points) && !d.p.OnePerRequest; next++ {
			pt := d.p.Points[next]
			if pt.Table != first.Table || int(pt.Address) != int(first.Address)+n || n+width(pt.Type) > d.p.MaxRegisters {
				break
			}
			n += width(pt.Type)
		}
		regs := make([]uint16, n)
		read := d.r.ReadHolding
		if first.Table == "input" {
			read = d.r.ReadInput
		}
		if err := read(ctx, first.Address, regs); err != nil {
			return nil, fmt.Errorf("read %s: %w", first.Name, err)
		}
		for ; i < next; i++ {
			at := int(d.p.Points[i].Address - first.Address)
			out[i] = regs[at : at+width(d.p.Points[i].Type)]
		}
	}
	return out, nil
}

// take puts one point into the reading.
func (d *device) take(pt Point, regs []uint16) {
	v, raw, ok := pt.value(regs)
	word, named := pt.Words[raw]
	r := &d.reading
	switch {
	case pt.Meaning == "link" && named:
		d.notes = append(d.notes, word)
	case !ok || pt.Meaning == "link":
		return
	case pt.Meaning == "state" && named:
		r.State = word
	case pt.Meaning == "state":
		r.State = "state " + strconv.FormatUint(uint64(raw), 10)
	case pt.Meaning == "connected":
		r.Connected = raw != 0
	case pt.Meaning == "current_a": // the phase that carries most
		r.CurrentA = drivers.Some(math.Max(r.CurrentA.V, v))
	}
	for _, f := range []struct {
		meaning string
		field   *drivers.Opt
	}{
		{"power_w", &r.PowerW}, {"soc", &r.SoC}, {"temperature_c", &r.TemperatureC}, {"setpoint_c", &r.SetpointC},
		{"import_wh", &r.ImportWh}, {"export_wh", &r.ExportWh},
	} {
		if f.meaning == pt.Meaning {
			*f.field = drivers.Some(v)
		}
	}
	d.last[pt.Meaning], d.raw[pt.Meaning] = v, raw
}

// state joins the device's word with what is wrong.
func (d *device) state() string {
	words := slices.DeleteFunc(append([]string{d.reading.State}, d.notes...), func(s string) bool { return s == "" })
	return strings.Join(words, "; ")
}

// consent refuses to command a device that nothing would release if this
// program died, unless the owner allows it.
func (d *device) consent() error {
	if d.p.Fallback.Register == "" && !d.params.AllowNoFallback {
		return fmt.Errorf("%s has no timer of its own, so nothing would end a command if this program died; allow_no_fallback accepts that: %w",
			d.p.Name, drivers.ErrRefused)
	}
	return nil
}

// timer returns the lease as the device's timer takes it: whole seconds, up,
// within the device's limits.
func (d *device) timer(valid time.Duration) time.Duration {
	f := d.p.Fallback
	valid = max(valid, f.Min)
	if f.Max > 0 {
		valid = min(valid, f.Max)
	}
	return time.Duration(math.Ceil(valid.Seconds())) * time.Second
}

// values are the words of a step's value and what they mean in this command.
type values map[string]float64

// write performs a sequence; nothing is sent while it is the same as before
// and less than half of the device's timer has passed.
func (d *device) write(ctx context.Context, steps []Step, v values, timer time.Duration) error {
	var plan []planned
	for _, s := range steps {
		p, err := d.plan(s, v)
		if err != nil {
			return err
		}
		plan = append(plan, p)
	}
	rendered, now := fmt.Sprint(plan), d.now()
	same := rendered == d.written.steps
	renewed := d.p.Fallback.Register == "" || now.Sub(d.written.at) < d.written.timer/2
	if same && renewed {
		return nil
	}
	if !same && now.Sub(d.written.changed) < d.p.MinInterval {
		return nil // the worker applies again; the next one goes out
	}
	d.written.steps = ""
	for _, p := range plan {
		if err := d.send(ctx, p); err != nil {
			d.doubt(err)
			return fmt.Errorf("write %s: %w", p.reg.Name, err)
		}
	}
	d.written = sequence{steps: rendered, at: now, timer: timer, changed: d.written.changed}
	if !same {
		d.written.changed = now
	}
	return nil
}

// planned is one write with its value encoded.
type planned struct {
	reg  Register
	regs []uint16
}

func (d *device) plan(s Step, v values) (planned, error) {
	reg, ok := d.p.register(s.Write)
	if !ok {
		return planned{}, fmt.Errorf("%s: register %q is not writable: %w", d.p.Name, s.Write, drivers.ErrRefused)
	}
	value, ok := v[s.Value]
	if !ok {
		f, err := strconv.ParseFloat(s.Value, 64)
		if err != nil {
			return planned{}, fmt.Errorf("%s: %s is not known, needed for %s: %w", d.p.Name, s.Value, s.Write, drivers.ErrRefused)
		}
		value = f
	}
	if low, high := reg.limits(); value < low || value > high {
		return planned{}, fmt.Errorf("%s: %s %g %s is outside %g to %g: %w", d.p.Name, reg.Name, value, reg.Unit, low, high, drivers.ErrRefused)
	}
	regs, err := reg.encode(value)
	if err != nil {
		return planned{}, fmt.Errorf("%s: %s: %w: %w", d.p.Name, reg.Name, drivers.ErrRefused, err)
	}
	return planned{reg, regs}, nil
}

func (d *device) send(ctx context.Context, p planned) error {
	if p.reg.Function == 6 {
		return d.r.WriteRegister(ctx, p.reg.Address, p.regs[0])
	}
	return d.r.WriteRegisters(ctx, p.reg.Address, p.regs)
}

// Describe implements drivers.Device.
func (d *device) Describe() drivers.Description {
	about := drivers.Description{
		Manufacturer: d.p.Maker, Fallback: d.p.Fallback.Register != "",
		Detail: fmt.Sprintf("profile %s; %s", d.p.Name, d.p.Tested),
	}
	if !about.Fallback {
		about.Detail += "; no timer of its own"
	}
	return about
}
