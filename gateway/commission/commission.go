// Package commission proves a site's wiring on the real devices, without the
// running gateway: that a meter's sign is right, how fast and how far a battery
// follows, that a device ends a command by itself when nobody renews it, that a
// relay clicks. What it measured goes into a hand-over sheet.
//
// It knows devices as drivers.Device and gets them opened; package gateway
// wires it, so it imports nothing of gateway but the config. One goroutine does
// the tests, one request at a time; beside it one for each wire polls what no
// test reads, because many a device takes silence for a dead master. Whatever
// was commanded is released and read back on the way out, also after a panic:
// within ten seconds, but for a load that its compressor's min_off keeps off.
package commission

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
)

// Device is one opened device.
type Device struct {
	Config config.Device
	Driver drivers.Device
	Where  string // how it is reached, with the settings of its bus
	// ReadsBack: its reading shows whether it is inhibited, as the device has
	// it; else it is what was commanded.
	ReadsBack bool
	// LeastTimer is the shortest that the device's own timer can be set to; 0
	// where that is not known.
	LeastTimer time.Duration
	// Anew makes another driver of the device, one that holds nothing: its
	// Release lets go at once. Nil where the end of this program lets go.
	Anew func() (drivers.Device, error)
}

// Slot is a timeslot that may forbid the test.
type Slot struct {
	EventID    string
	Start, End time.Time
}

// Site is what is to be proved.
type Site struct {
	Config  *config.Config
	Devices []Device
	// Meter is the name of the device at the grid connection; empty for none.
	Meter string
	// Slots are the timeslots that are not cancelled, and Schedule says where
	// they are known from.
	Slots    []Slot
	Schedule string
	// Mark notes on disk that a device is about to be commanded, so that a
	// program after this one can release it; Unmark takes all notes back. Left
	// are the devices that an earlier test noted and did not release.
	Mark   func(device string) error
	Unmark func() error
	Left   []string
}

// Options are what the installer asks for.
type Options struct {
	Names  []string      // devices to test; empty for all
	PowerW float64       // of battery tests; 0 is 1 kW
	For    time.Duration // that a battery's test power is held; 0 is 30 s
	Times  Times
	// Version is the gateway's.
	Version string
	// Confirm asks a person about something only a person can see. Nil where
	// nobody is asked.
	Confirm func(ctx context.Context, question string) (bool, error)
	// Hurry is closed when a person will not wait for a load's min_off at the
	// end. Nil where nobody can say so.
	Hurry <-chan struct{}
	// Tell gets lines of progress. Nil for none.
	Tell func(line string)
}

// Times are the lengths of a test's parts. Zero values take the defaults.
type Times struct {
	Poll   time.Duration // between two samples, 500 ms
	Noise  time.Duration // of the meter's recording, 20 s
	Rest   time.Duration // before a step, 10 s
	Back   time.Duration // after it, 15 s
	Follow time.Duration // that a vehicle is given to follow, 40 s (modbus.md 8)
	Lease  time.Duration // that a device holds what is not renewed, 30 s
	Hold   time.Duration // that a thermostat's or relay's command is held, 5 s
	Call   time.Duration // longest time of one read or write, 5 s
}

func (t Times) filled() Times {
	fill := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	fill(&t.Poll, 500*time.Millisecond)
	fill(&t.Noise, 20*time.Second)
	fill(&t.Rest, 10*time.Second)
	fill(&t.Back, 15*time.Second)
	fill(&t.Follow, 40*time.Second)
	fill(&t.Lease, 30*time.Second)
	fill(&t.Hold, 5*time.Second)
	fill(&t.Call, 5*time.Second)
	return t
}

func (o Options) filled() Options {
	if o.PowerW <= 0 {
		o.PowerW = 1000
	}
	if o.For <= 0 {
		o.For = 30 * time.Second
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	o.Times = o.Times.filled()
	return o
}

// Run proves the site. The sheet is returned in any case but a refusal to
// begin, which is an error and has written nothing to any device.
func Run(ctx context.Context, site Site, o Options) (*Sheet, error) {
	o = o.filled()
	if err := o.Check(site); err != nil {
		return nil, err
	}
	s := newSession(site, o)
	if err := s.mayBegin(site.Needs(o)); err != nil {
		return nil, err
	}
	s.proveAll(ctx)
	s.sheet.Ended = time.Now().UTC()
	s.sheet.Result, s.sheet.Tests = s.sheet.summary(), s.sheet.Counts()
	return s.sheet, nil
}

// Check refuses names that are not in the config.
func (o Options) Check(site Site) error {
	for _, name := range o.Names {
		var names []string
		for _, d := range site.Devices {
			names = append(names, d.Config.Name)
		}
		if !contains(names, name) {
			e := fmt.Errorf("there is no device %q in %s", name, site.Config.Path)
			if near := config.Nearest(name, names); near != "" {
				e = fmt.Errorf("%w; did you mean %s?", e, near)
			}
			return e
		}
	}
	return nil
}

// proveAll does every test of every device. Whatever ends it, each device that
// was commanded is released first.
func (s *session) proveAll(ctx context.Context) {
	defer s.keepAll(ctx)()
	defer s.restore(ctx)
	s.identifyAll(ctx)
	s.releaseLeft(ctx)
	s.proveMeter(ctx)
	for _, d := range s.devices {
		if ctx.Err() != nil {
			break
		}
		if d.sheet == nil || !s.wanted(d) || d.dead {
			continue
		}
		s.tell("%s: %s", d.cfg.Name, d.Where)
		d.claim(true)
		// A person who took long to answer may have brought a timeslot near.
		if err := s.mayBegin(s.site.needs(d.Device, s.o)); err != nil {
			s.miss(d, "commands", err.Error())
		} else {
			s.prove(ctx, d)
			s.release(ctx, d)
		}
		d.claim(false)
	}
	if ctx.Err() != nil {
		s.sheet.Interrupted = interrupted(ctx)
	}
}

// interrupted says what ended the tests from outside.
func interrupted(ctx context.Context) string { return cut(ctx).Error() }

// prove does the tests of one device, by its kind.
func (s *session) prove(ctx context.Context, d *tested) {
	switch {
	case d.cfg.Kind == drivers.Meter:
	case d.cfg.Kind == drivers.Inverter:
		s.skip(d, "limit", "a PV inverter is measured, never dispatched")
	case !s.mayCommand(d):
	case d.cfg.Kind == drivers.Battery:
		s.proveBattery(ctx, d)
	case d.cfg.Kind == drivers.Charger:
		s.proveCharger(ctx, d)
	case inhibits(d.cfg):
		s.proveRelay(ctx, d)
	case d.cfg.Kind == drivers.Thermostat:
		s.proveThermostat(ctx, d)
	}
}

// inhibits tells whether a device is held off, rather than given a number.
func inhibits(d config.Device) bool { return d.Kind == drivers.Relay || d.GPIO != "" || d.ByInhibit }

// mayCommand tells whether the device can be commanded at all: it has to end a
// command by itself, or its owner has accepted that it does not. A relay on a
// GPIO line is let go of by the kernel.
func (s *session) mayCommand(d *tested) bool {
	if d.about.Fallback || d.cfg.GPIO != "" {
		return true
	}
	const none = "none: the device does not end a command by itself"
	if d.cfg.AllowNoFallback {
		s.skip(d, "fallback", none+"; accepted by allow_no_fallback: true")
		s.warn("%s has no fallback timer: if the gateway dies, it keeps its last command until somebody releases it", d.cfg.Name)
		return true
	}
	s.fail(d, "fallback", none+"; needs allow_no_fallback: true, the owner's consent, or it is never commanded")
	s.warn("%s is not commanded without allow_no_fallback: true", d.cfg.Name)
	return false
}

// errNear says that a timeslot is too near.
var errNear = errors.New("a timeslot is near")

// mayBegin refuses to test during a timeslot and when one begins before the
// test could end.
func (s *session) mayBegin(needs time.Duration) error {
	now := time.Now()
	for _, slot := range s.site.Slots {
		if !now.Before(slot.End) || now.Add(needs).Before(slot.Start) {
			continue
		}
		if now.Before(slot.Start) {
			return fmt.Errorf("timeslot %s begins at %s, in %v, and the test may take %v: %w; begin after %s",
				slot.EventID, s.clock(slot.Start), slot.Start.Sub(now).Round(time.Second), needs.Round(time.Second), errNear, s.clock(slot.End))
		}
		return fmt.Errorf("timeslot %s runs until %s: %w; begin after it", slot.EventID, s.clock(slot.End), errNear)
	}
	return nil
}

// clock writes a time of the site.
func (s *session) clock(t time.Time) string {
	return t.In(s.site.Config.Site.Timezone).Format("15:04:05 -07:00 on 2006-01-02")
}
