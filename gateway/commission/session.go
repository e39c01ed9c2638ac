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

	touched bool            // it was commanded and is not known to be released
	command drivers.Command // in force
	renewed time.Time
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
		Devices: []*DeviceSheet{}, Restored: []Restored{}, Warnings: []string{}}
	for _, d := range site.Devices {
		t := &tested{Device: d, cfg: d.Config}
		s.devices = append(s.devices, t)
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
func (s *session) fail(d *tested, name, why string) { s.end(d, s.begin(d, name), Failed, "%s", why) }

// read polls a device once, bounded in time.
func (s *session) read(ctx context.Context, d *tested) (drivers.Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, s.t.Call)
	defer cancel()
	r, err := d.Driver.Read(ctx)
	if err != nil {
		return drivers.Reading{}, fmt.Errorf("read %s: %w", d.cfg.Name, err)
	}
	d.last = r
	return r, nil
}

// apply commands a device. From before the first byte on it counts as touched.
func (s *session) apply(ctx context.Context, d *tested, c drivers.Command) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.touched = true
	ctx, cancel := context.WithTimeout(ctx, s.t.Call)
	defer cancel()
	if err := d.Driver.Apply(ctx, c, s.t.Lease); err != nil {
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

// release gives a device back, in spite of a context that has ended.
func (s *session) release(ctx context.Context, d *tested) {
	if !d.touched {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	if err := s.releaseWithin(ctx, d); err != nil {
		s.tell("  %s is not released: %v", d.cfg.Name, err)
	}
}

const (
	// releaseLimit bounds all releases at the end together (design.md 2.3).
	releaseLimit = 10 * time.Second
	releaseAgain = 250 * time.Millisecond
)

// releaseWithin tries until the device took it, refused it or time is up.
func (s *session) releaseWithin(ctx context.Context, d *tested) error {
	for {
		call, cancel := context.WithTimeout(ctx, min(s.t.Call, releaseLimit/3))
		err := d.Driver.Release(call)
		cancel()
		if err == nil {
			d.touched = false
			return nil
		}
		if errors.Is(err, drivers.ErrRefused) || errors.Is(err, drivers.ErrWrongDevice) || !pause(ctx, releaseAgain) {
			return err
		}
	}
}

// restore releases every device that was commanded, whatever ended the tests,
// and notes on the sheet how that went.
func (s *session) restore(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	// Each gets a first try before any gets a second: a dead device must not
	// take the time of the others.
	for _, d := range s.devices {
		if d.touched {
			call, cancel := context.WithTimeout(ctx, releaseLimit/5)
			if d.Driver.Release(call) == nil {
				d.touched = false
			}
			cancel()
		}
	}
	for _, d := range s.devices {
		if d.renewed.IsZero() && !d.touched {
			continue
		}
		r := Restored{Name: d.cfg.Name}
		if d.touched {
			if err := s.releaseWithin(ctx, d); err != nil {
				r.Problem = err.Error()
			}
		}
		if r.Problem == "" {
			s.tell("released %s", d.cfg.Name)
		} else {
			s.tell("NOT RELEASED %s: %s", d.cfg.Name, r.Problem)
			s.warn("%s could not be released: run `nominald release`, or switch the device off and on", d.cfg.Name)
		}
		s.sheet.Restored = append(s.sheet.Restored, r)
	}
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
