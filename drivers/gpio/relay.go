// Package gpio switches relays on GPIO lines; it is the one door to periph.
//
// A relay inhibits a load: it is energised to hold the load off, and released
// the load is allowed. Wired through the normally closed contact, a dead
// gateway leaves the load to its own thermostat (modbus.md 6). The times that
// protect a compressor are kept here, in the lowest layer (domain.md 6 F6), so
// that no decision above can break them.
package gpio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"nominald/drivers"
)

// Pin is one output line. Close gives it back to the kernel.
type Pin interface {
	Out(high bool) error
	Close() error
}

// Memory keeps a few bytes for a relay through a restart. Load returns nil
// where nothing is kept.
type Memory interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// Options say how a relay is wired and how long it may hold its load off.
type Options struct {
	Line      string // line name ("GPIO17"), or chip and offset ("gpiochip0:17")
	ActiveLow bool   // the coil is energised by a low level
	// MinOff is how long the load stays off once it was inhibited: a release
	// that comes sooner waits. 0 is no limit.
	MinOff time.Duration
	// MaxOff is the longest inhibit. Then the load is allowed for as long
	// again. Shorter inhibits add up, and time allowed in between counts down
	// again at the same pace. 0 is no limit.
	MaxOff   time.Duration
	Remember Memory // keeps the used-up time through a restart; nil forgets
	// Passive finds the line and never drives it: for a dry run, in which even
	// the released level could switch a load that is wired the other way.
	Passive bool
	// Now is the clock; nil is the system's. Open opens the line; nil opens
	// the real one.
	Now  func() time.Time
	Open func(line string) (Pin, error)
}

// relay is a load behind a relay. It never reads its line back: reading an
// output through periph turns it into an input (modbus.md 6, trap 1).
type relay struct {
	o         Options
	pin       Pin // nil while the line is not open
	energised bool
	wanted    bool      // commanded inhibit
	until     time.Time // end of the command
	usage     usage
	loaded    bool
	at        time.Time // last call
}

// usage is how much of MaxOff is used up. It is what is remembered.
type usage struct {
	Off     time.Duration `json:"off"`     // time held off, less time allowed since
	Resting bool          `json:"resting"` // MaxOff was reached, Off counts down to 0
	Since   time.Time     `json:"since"`   // of the running inhibit; zero when released
	At      time.Time     `json:"at"`      // when this was counted
}

// NewRelay returns the relay on a line. Nothing is opened before the first
// call; what fails then is tried again at the next.
func NewRelay(o Options) drivers.Device {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Open == nil {
		o.Open = openLine
	}
	return &relay{o: o}
}

// Read implements drivers.Device. It also ends what is due: a command that was
// not renewed, an inhibit at its longest, a release that had to wait.
func (d *relay) Read(ctx context.Context) (drivers.Reading, error) {
	if d.o.Passive {
		return d.find()
	}
	if err := d.update(ctx); err != nil {
		return drivers.Reading{}, err
	}
	return drivers.Reading{At: d.at, Connected: true, Inhibited: d.energised, State: d.state()}, nil
}

// find looks for the line and leaves it as it is.
func (d *relay) find() (drivers.Reading, error) {
	if d.pin == nil {
		pin, err := d.o.Open(d.o.Line)
		if err != nil {
			return drivers.Reading{}, d.explain("find", err)
		}
		d.pin = pin
	}
	return drivers.Reading{At: d.o.Now(), Connected: true, State: "found, not driven"}, nil
}

// Apply implements drivers.Device. A load that rests after a longest inhibit is
// not held off; the error says until when.
func (d *relay) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if d.o.Passive {
		return fmt.Errorf("inhibit %s: the line is not driven in a dry run: %w", d.o.Line, drivers.ErrRefused)
	}
	d.wanted, d.until = c.Inhibit, d.o.Now().Add(valid)
	if err := d.update(ctx); err != nil {
		return err
	}
	if c.Inhibit && !d.energised {
		return fmt.Errorf("inhibit %s: the load was held off for max_off %v and is allowed for %v more: %w",
			d.o.Line, d.o.MaxOff, d.usage.Off.Round(time.Second), drivers.ErrRefused)
	}
	return nil
}

// Release implements drivers.Device. Within MinOff the relay stays energised;
// later calls let go. When the program ends the kernel releases the line.
func (d *relay) Release(ctx context.Context) error {
	if d.o.Passive {
		return nil
	}
	d.wanted = false
	return d.update(ctx)
}

// Describe implements drivers.Device.
func (d *relay) Describe() drivers.Description {
	level := "high"
	if d.o.ActiveLow {
		level = "low"
	}
	return drivers.Description{
		Detail: fmt.Sprintf("relay on line %s, energised by a %s level holds the load off; the kernel lets go of it when this program ends", d.o.Line, level),
	}
}

// update opens the line where needed, counts the time and switches.
func (d *relay) update(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("relay %s: %w", d.o.Line, err)
	}
	if err := d.open(); err != nil {
		return err
	}
	now := d.o.Now()
	d.count(now)
	d.at = now
	was, on := d.energised, d.decide(now)
	if err := d.set(on); err != nil { // also when nothing changes: it shows a lost line
		return err
	}
	if on == was {
		return nil
	}
	d.usage.Since = time.Time{}
	if on {
		d.usage.Since = now
	}
	return d.save()
}

// decide returns whether the relay is to be energised now.
func (d *relay) decide(now time.Time) bool {
	if d.energised && now.Sub(d.usage.Since) < d.o.MinOff {
		return true
	}
	return d.wanted && now.Before(d.until) && !d.usage.Resting
}

// count adds the time held off since the last call, or takes off the time
// allowed. A clock that went back counts nothing.
func (d *relay) count(now time.Time) {
	u := &d.usage
	passed := max(now.Sub(u.At), 0)
	if u.At.IsZero() {
		passed = 0
	}
	u.At = now
	if d.o.MaxOff == 0 {
		u.Off, u.Resting = 0, false
		return
	}
	if d.energised {
		u.Off = min(u.Off+passed, d.o.MaxOff)
		u.Resting = u.Resting || u.Off >= d.o.MaxOff
		return
	}
	u.Off = max(u.Off-passed, 0)
	u.Resting = u.Resting && u.Off > 0
}

// state is what the relay does, for people.
func (d *relay) state() string {
	switch {
	case d.energised && !d.wanted:
		return fmt.Sprintf("off for %v more (min_off)", (d.o.MinOff - d.at.Sub(d.usage.Since)).Round(time.Second))
	case d.energised:
		return "held off"
	case d.usage.Resting:
		return fmt.Sprintf("allowed for %v more (max_off)", d.usage.Off.Round(time.Second))
	default:
		return "allowed"
	}
}

// open opens the line and releases the relay before anything else. The line of
// a program that ended mid-inhibit was released by the kernel, so the load is
// allowed since then; stopping it again at once would harm it more than the
// rest of MinOff would help.
func (d *relay) open() error {
	if err := d.recall(); err != nil {
		return err
	}
	if d.pin != nil {
		return nil
	}
	pin, err := d.o.Open(d.o.Line)
	if err != nil {
		return d.explain("open", err)
	}
	d.pin = pin
	if err := d.set(false); err != nil {
		return err
	}
	d.usage.Since = time.Time{}
	return nil
}

// recall loads what survived a restart. Time that ran on from a remembered
// inhibit counts as held off: how long the load was really off is not known.
func (d *relay) recall() error {
	if d.loaded || d.o.Remember == nil {
		return nil
	}
	data, err := d.o.Remember.Load()
	if err != nil {
		return fmt.Errorf("relay %s: load its times: %w", d.o.Line, err)
	}
	if len(data) > 0 {
		var u usage
		if err := json.Unmarshal(data, &u); err != nil {
			return fmt.Errorf("relay %s: load its times: %w", d.o.Line, err)
		}
		d.usage = u
		d.energised = !u.Since.IsZero()
		d.count(d.o.Now())
		d.energised = false
	}
	d.loaded = true
	return nil
}

func (d *relay) save() error {
	if d.o.Remember == nil {
		return nil
	}
	data, err := json.Marshal(d.usage)
	if err == nil {
		err = d.o.Remember.Save(data)
	}
	if err != nil {
		return fmt.Errorf("relay %s: remember its times: %w", d.o.Line, err)
	}
	return nil
}

// set writes the level. A line that failed is closed, or the next write would
// skip the request and go to file descriptor 0 (modbus.md 6, trap 3).
func (d *relay) set(on bool) error {
	if err := d.pin.Out(on != d.o.ActiveLow); err != nil {
		closeErr := d.pin.Close()
		d.pin, d.energised = nil, false
		return d.explain("write", errors.Join(err, closeErr))
	}
	d.energised = on
	return nil
}

// explain says what to do about a line that does not work.
func (d *relay) explain(verb string, err error) error {
	remedy := "is the line's name right? gpioinfo lists all"
	switch {
	case errors.Is(err, syscall.EBUSY):
		remedy = "another program holds the line; gpioinfo names it"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EPERM):
		remedy = "the user of this program has to be in the group of /dev/gpiochip*, mostly gpio"
	case errors.Is(err, errNoChip):
		remedy = "enable GPIO on this board; kernel 5.10 or later is needed"
	}
	return fmt.Errorf("%s GPIO line %s: %w (%s): %w", verb, d.o.Line, err, remedy, drivers.ErrOffline)
}
