// Package gpio switches relays on GPIO lines and watches contacts on them; it
// is the one door to periph.
//
// A relay inhibits a load. What the load does without power on the relay is
// what it does without the gateway, see Wiring. The times that protect a
// compressor are kept here, in the lowest layer (domain.md 6 F6), so that no
// decision above can break them.
//
// What the library does not do: it knows no initial level, so that the first
// write drives a line low for the time of two system calls before a wanted high
// (modbus.md 6, trap 2), and no open drain. Before this program runs, and after
// it, the level is the board's: on a Raspberry Pi a line gpio=17=op,dh in
// config.txt keeps GPIO17 high from the boot on.
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
	"nominald/drivers/hold"
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
	Line      string // line name ("GPIO17"), or chip and offset ("gpiochip0:17", "pinctrl-rp1:17")
	Second    string // SGReady: the line of contact 2
	ActiveLow bool   // a coil is energised by a low level
	Wiring    Wiring
	// MinOff is how long the load stays off once it was inhibited: a release
	// that comes sooner waits. 0 is no limit.
	MinOff time.Duration
	// MinOn is how long the load is allowed before it is inhibited again. 0 is
	// no limit.
	MinOn time.Duration
	// MaxOff is the longest inhibit. Then the load is allowed for as long
	// again. Shorter inhibits add up, and time allowed in between counts down
	// again at the same pace. 0 is no limit.
	MaxOff   time.Duration
	Remember Memory // keeps these times through a restart; nil forgets
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
	o        Options
	contacts *contacts // nil while the lines are not open
	found    Pin       // the line of a passive one
	wanted   bool      // commanded inhibit
	until    time.Time // end of the command
	off      bool      // held off
	limits   hold.Limits
	usage    hold.Usage
	loaded   bool
	at       time.Time // last call
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
	return &relay{o: o, limits: hold.Limits{MinOff: o.MinOff, MinOn: o.MinOn, MaxOff: o.MaxOff}}
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
	return drivers.Reading{At: d.at, Connected: true, Inhibited: d.off, State: d.state()}, nil
}

// find looks for the line and leaves it as it is.
func (d *relay) find() (drivers.Reading, error) {
	if d.found == nil {
		pin, err := d.o.Open(d.o.Line)
		if err == nil && d.o.Wiring == SGReady {
			_, err = d.o.Open(d.o.Second)
		}
		if err != nil {
			return drivers.Reading{}, explain(&lineError{d.o.Line, "find", err})
		}
		d.found = pin
	}
	return drivers.Reading{At: d.o.Now(), Connected: true, State: "found, not driven"}, nil
}

// Apply implements drivers.Device. A load that rests after a longest inhibit,
// or was allowed just now, is not held off; the error says until when.
func (d *relay) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if d.o.Passive {
		return fmt.Errorf("inhibit %s: the line is not driven in a dry run: %w", d.o.Line, drivers.ErrRefused)
	}
	d.wanted, d.until = c.Inhibit, d.o.Now().Add(valid)
	if err := d.update(ctx); err != nil {
		return err
	}
	if c.Inhibit && !d.off {
		return fmt.Errorf("inhibit %s: %s: %w", d.o.Line, d.usage.Refusal(d.at, d.limits), drivers.ErrRefused)
	}
	return nil
}

// Release implements drivers.Device. Within MinOff the load stays off; later
// calls let go. When the program ends the kernel gives the lines back.
func (d *relay) Release(ctx context.Context) error {
	if d.o.Passive {
		return nil
	}
	d.wanted = false
	return d.update(ctx)
}

// LetGo releases at once, whatever MinOff says, for a program that ends: the
// kernel would do it a moment later.
func (d *relay) LetGo(ctx context.Context) error {
	if d.o.Passive || !d.off || d.contacts == nil {
		return d.Release(ctx)
	}
	d.wanted = false
	d.at = d.o.Now()
	d.usage.Count(d.at, d.off, d.limits)
	if err := d.contacts.set(d.o, d.o.Wiring.energised(false)); err != nil {
		d.contacts = nil
		return explain(err)
	}
	d.switched(d.at, false)
	return d.save()
}

// Describe implements drivers.Device.
func (d *relay) Describe() drivers.Description {
	level := "high"
	if d.o.ActiveLow {
		level = "low"
	}
	does := fmt.Sprintf("relay on line %s, energised by a %s level holds the load off", d.o.Line, level)
	switch d.o.Wiring {
	case Stage:
		does = fmt.Sprintf("relay on line %s, energised by a %s level allows the stage", d.o.Line, level)
	case SGReady:
		does = fmt.Sprintf("SG-Ready on lines %s and %s, contact 1 closed by a %s level blocks the heat pump, contact 2 stays open",
			d.o.Line, d.o.Second, level)
	}
	return drivers.Description{Detail: does + "; the kernel lets go of it when this program ends"}
}

// update opens the lines where needed, counts the time and switches.
func (d *relay) update(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("relay %s: %w", d.o.Line, err)
	}
	if err := d.open(); err != nil {
		return err
	}
	now := d.o.Now()
	d.usage.Count(now, d.off, d.limits)
	d.at = now
	off := d.usage.Decide(now, d.off, d.wanted && now.Before(d.until), d.limits)
	// The level is written also when nothing changes: it shows a lost line.
	if err := d.contacts.set(d.o, d.o.Wiring.energised(off)); err != nil {
		d.contacts = nil
		return explain(err)
	}
	if off == d.off {
		return nil
	}
	d.switched(now, off)
	return d.save()
}

// state is what the relay does, for people.
func (d *relay) state() string {
	allowed, off := d.o.Wiring.words()
	switch left := d.usage.OffFor(d.at, d.limits); {
	case d.off && !d.wanted && left > 0:
		return fmt.Sprintf("%s for %v more (min_off)", off, left.Round(time.Second))
	case d.off:
		return off
	case d.usage.Resting:
		return fmt.Sprintf("%s for %v more (max_off)", allowed, d.usage.Off.Round(time.Second))
	}
	return allowed
}

// open opens the lines, which releases every contact before anything else, and
// notes what that does to the load. An inhibit of a program that ended was
// released by the kernel with it, so the load is allowed again since then; a
// stage is off since then, and its compressor must not be called again at once.
func (d *relay) open() error {
	if err := d.recall(); err != nil {
		return err
	}
	if d.contacts != nil {
		return nil
	}
	c, err := openContacts(d.o)
	if err != nil {
		return explain(err)
	}
	d.contacts = c
	now := d.o.Now()
	d.usage.Count(now, d.off, d.limits)
	d.off = !d.usage.Since.IsZero()
	if released := d.o.Wiring == Stage; d.off != released {
		d.switched(now, released)
	}
	return nil
}

// switched notes that the load is held off or allowed from now on.
func (d *relay) switched(now time.Time, off bool) {
	d.off = off
	d.usage.Switched(now, off)
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
		var u hold.Usage
		if err := json.Unmarshal(data, &u); err != nil {
			return fmt.Errorf("relay %s: load its times: %w", d.o.Line, err)
		}
		d.usage, d.off = u, !u.Since.IsZero()
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

// explain says what to do about a line that does not work.
func explain(err error) error {
	remedy := "is the line's name right? gpioinfo lists all"
	var held *heldError
	switch {
	case errors.As(err, &held):
		remedy = "it is held by " + held.consumer + "; end that, or use another line"
	case errors.Is(err, syscall.EBUSY):
		remedy = "another program holds the line; gpioinfo names it"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EPERM):
		remedy = "the user of this program has to be in the group of /dev/gpiochip*, mostly gpio"
	case errors.Is(err, errNoChip):
		remedy = "enable GPIO on this board; kernel 5.10 or later is needed"
	}
	verb, line := "use", ""
	var at *lineError
	if errors.As(err, &at) {
		verb, line, err = at.verb, at.line, at.err
	}
	return fmt.Errorf("%s GPIO line %s: %w (%s): %w", verb, line, err, remedy, drivers.ErrOffline)
}
