package commission

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
)

// tested is a device with what is known of it.
type tested struct {
	Device
	cfg   config.Device
	about drivers.Description
	first drivers.Reading
	last  drivers.Reading
	sheet *DeviceSheet
	dead  bool // it did not answer at the beginning

	touched   bool            // it was commanded and is not known to be neutral
	marked    bool            // and that stands on the disk
	command   drivers.Command // in force
	renewed   time.Time
	heldSince time.Time   // when its load was first held off; zero when it is not
	told      time.Time   // when it last took a release
	shifted   drivers.Opt // the set-point that only a command can have set, C

	wire  *wire
	alive bool      // under the wire's lock: polled while no test reads it
	busy  bool      // the same: a test has it
	heard time.Time // the same: when it was read last
}

// session is one run of the tests.
type session struct {
	site    Site
	o       Options
	t       Times
	devices []*tested
	meter   *tested // nil without one
	noise   Noise   // of the site's meter
	sheet   *Sheet
}

func newSession(site Site, o Options) *session {
	c := site.Config
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	s := &session{site: site, o: o, t: o.Times}
	s.sheet = &Sheet{Began: time.Now().UTC(), Site: c.Site.Name, Timezone: c.Site.Timezone.String(), Config: c.Path,
		Gateway: o.Version, Machine: machine, Armed: c.Site.Armed, MaxImportW: c.Site.MaxImportW,
		MaxExportW: c.Site.MaxExportW, Schedule: site.Schedule, SiteMeter: site.Meter,
		Devices: []*DeviceSheet{}, Restored: []Restored{}, Warnings: []string{}, Todo: []string{}, LeftOut: []string{}}
	wires := map[string]*wire{}
	for _, d := range site.Devices {
		t := &tested{Device: d, cfg: d.Config, wire: wireOf(wires, d.Config)}
		t.wire.devices = append(t.wire.devices, t)
		s.devices = append(s.devices, t)
		if !s.wanted(t) && d.Config.Kind.Dispatched() {
			s.sheet.LeftOut = append(s.sheet.LeftOut, d.Config.Name)
		}
		if d.Config.Name == site.Meter {
			s.meter = t
		}
	}
	return s
}

func contains(names []string, name string) bool { return slices.Contains(names, name) }

// wanted tells whether the device is to be tested.
func (s *session) wanted(d *tested) bool {
	return len(s.o.Names) == 0 || contains(s.o.Names, d.cfg.Name)
}

func (s *session) tell(format string, args ...any) { s.o.Tell(fmt.Sprintf(format, args...)) }

func (s *session) warn(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.sheet.Warnings = append(s.sheet.Warnings, line)
	s.tell("warning: %s", line)
}

// begin opens a test of a device; end closes it with its verdict.
func (s *session) begin(d *tested, name string) *Test {
	t := &Test{Name: name, Began: time.Now().UTC(), Values: []Value{}}
	d.sheet.Tests = append(d.sheet.Tests, t)
	return t
}

func (s *session) end(d *tested, t *Test, v Verdict, format string, args ...any) {
	t.Verdict, t.Why, t.Took = v, fmt.Sprintf(format, args...), time.Since(t.Began)
	line := fmt.Sprintf("  %-18s %s", t.Name, v)
	if t.Why != "" {
		line += ": " + t.Why
	}
	s.tell("%s", line)
	for _, value := range t.Values {
		s.tell("    %-34s %s", value.Name, value.text())
	}
}

func (s *session) skip(d *tested, name, why string) { s.end(d, s.begin(d, name), Skipped, "%s", why) }
func (s *session) miss(d *tested, name, why string) { s.end(d, s.begin(d, name), Missing, "%s", why) }
func (s *session) fail(d *tested, name, why string) { s.end(d, s.begin(d, name), Failed, "%s", why) }

// todo notes what a person has to do for a proof that is still lacking.
func (s *session) todo(d *tested, format string, args ...any) {
	s.sheet.Todo = append(s.sheet.Todo, fmt.Sprintf("%s: %s, then run `nominald commission --config %s --device %s`",
		d.cfg.Name, fmt.Sprintf(format, args...), s.site.Config.Path, d.cfg.Name))
}

// errCut says that the tests were ended from outside.
var errCut = errors.New("interrupted")

func cut(ctx context.Context) error { return fmt.Errorf("%w: %w", errCut, context.Cause(ctx)) }

// read polls a device once, bounded in time.
func (s *session) read(ctx context.Context, d *tested) (drivers.Reading, error) {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	call, cancel := context.WithTimeout(ctx, s.t.Call)
	defer cancel()
	r, err := d.Driver.Read(call)
	d.heard = time.Now()
	if err != nil && ctx.Err() != nil {
		return drivers.Reading{}, cut(ctx)
	}
	if err != nil {
		return drivers.Reading{}, fmt.Errorf("read %s: %w", d.cfg.Name, err)
	}
	d.last = r
	return r, nil
}

// apply commands a device. From before the first byte on it counts as touched,
// on the disk too: a program that is killed can not release anything itself.
func (s *session) apply(ctx context.Context, d *tested, c drivers.Command) error {
	if ctx.Err() != nil {
		return cut(ctx)
	}
	if err := s.mark(d); err != nil {
		return err
	}
	d.touched, d.told = true, time.Time{}
	if c.Inhibit && d.heldSince.IsZero() {
		d.heldSince = time.Now()
	}
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	call, cancel := context.WithTimeout(ctx, s.t.Call)
	defer cancel()
	if err := d.Driver.Apply(call, c, s.t.Lease); err != nil {
		if ctx.Err() != nil {
			return cut(ctx)
		}
		return fmt.Errorf("command %s: %w", d.cfg.Name, err)
	}
	d.command, d.renewed = c, time.Now()
	return nil
}

// renew applies the command in force again, in time for the device's timer.
func (s *session) renew(ctx context.Context, d *tested) error {
	if time.Since(d.renewed) < s.holds(d)/3 {
		return nil
	}
	return s.apply(ctx, d, d.command)
}

// holds is how long a device keeps a command that is not renewed, as far as it
// is known.
func (s *session) holds(d *tested) time.Duration {
	if after := d.Driver.Describe().FallbackAfter; after > 0 {
		return after
	}
	return s.t.Lease
}

// pause waits, and tells whether the context is still good.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
