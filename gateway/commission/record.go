package commission

import (
	"context"
	"fmt"
	"time"

	"nominald/drivers"
)

// recording is what a device and the site's meter measured side by side.
type recording struct {
	began  time.Time
	device []Sample
	site   []Sample
}

func newRecording() *recording { return &recording{began: time.Now()} }

func (r *recording) now() time.Duration { return time.Since(r.began) }

// watch takes samples for some time and renews the command meanwhile, where it
// is to be renewed. After each sample the guard may end it early: with an
// error, or with false for a good end.
func (s *session) watch(ctx context.Context, d *tested, r *recording, length time.Duration, renew bool, guard func() (bool, error)) error {
	until := time.Now().Add(length)
	for time.Now().Before(until) {
		next := time.Now().Add(s.t.Poll)
		if err := s.sample(ctx, d, r); err != nil {
			return err
		}
		if guard != nil {
			if on, err := guard(); err != nil || !on {
				return err
			}
		}
		if renew {
			if err := s.renew(ctx, d); err != nil {
				return err
			}
		}
		if !pause(ctx, time.Until(next)) {
			return cut(ctx)
		}
	}
	return nil
}

// misses is how many readings in a row may fail before a test is given up: one
// bad answer is not the end of a test, a lost device is.
const misses = 3

// sample reads device and site's meter once each.
func (s *session) sample(ctx context.Context, d *tested, r *recording) error {
	if d != s.meter {
		reading, err := s.insist(ctx, d)
		if err != nil {
			return err
		}
		if w, ok := powerOf(reading); ok {
			r.device = append(r.device, Sample{r.now(), w})
		}
	}
	if s.meter == nil || s.meter.dead {
		return nil
	}
	reading, err := s.insist(ctx, s.meter)
	if err != nil {
		return err
	}
	if !reading.PowerW.OK {
		return fmt.Errorf("read %s: it gives no power", s.meter.cfg.Name)
	}
	r.site = append(r.site, Sample{r.now(), reading.PowerW.V})
	return nil
}

func powerOf(r drivers.Reading) (float64, bool) { return r.PowerW.V, r.PowerW.OK }

// insist reads a device, again where an answer was lost.
func (s *session) insist(ctx context.Context, d *tested) (reading drivers.Reading, err error) {
	for range misses {
		if reading, err = s.read(ctx, d); err == nil {
			return reading, nil
		}
		if !pause(ctx, s.t.Poll/2) {
			return reading, cut(ctx)
		}
	}
	return reading, err
}

// identifyAll reads every device once and fills the sheet's rows.
func (s *session) identifyAll(ctx context.Context) {
	s.tell("identity of %d devices", len(s.devices))
	for _, d := range s.devices {
		d.sheet = &DeviceSheet{Name: d.cfg.Name, Kind: d.cfg.Kind, Profile: d.cfg.Profile, Where: d.Where, Invert: d.cfg.Invert, Tests: []*Test{}}
		s.sheet.Devices = append(s.sheet.Devices, d.sheet)
		if ctx.Err() != nil {
			d.dead = true
			continue
		}
		t := s.begin(d, "identity")
		reading, err := s.insist(ctx, d)
		if err != nil {
			d.dead = true
			s.end(d, t, verdictOf(err), "%v", err)
			continue
		}
		d.first, d.about = reading, d.Driver.Describe()
		d.lives()
		d.sheet.Reading, d.sheet.About = d.first, d.about
		s.end(d, t, Passed, "%s", identity(d.cfg.Name, d.about))
	}
}

// identity is what a device said of itself, in a line.
func identity(name string, about drivers.Description) string {
	line := name
	for _, part := range []struct{ label, text string }{{"", about.Manufacturer}, {"", about.Model},
		{"serial number ", about.Serial}, {"firmware ", about.Version}} {
		if part.text != "" {
			line += ", " + part.label + part.text
		}
	}
	return line
}

// proveMeter measures how restless the site's meter is.
func (s *session) proveMeter(ctx context.Context) {
	if s.meter == nil || s.meter.dead || ctx.Err() != nil {
		return
	}
	s.tell("%s: noise and refresh, %v, nothing is commanded", s.meter.cfg.Name, s.t.Noise)
	t := s.begin(s.meter, "noise and refresh")
	r := newRecording()
	if err := s.watch(ctx, s.meter, r, s.t.Noise, false, nil); err != nil {
		s.end(s.meter, t, verdictOf(err), "%v", err)
		return
	}
	if err := s.watchQuiet(ctx, r); err != nil {
		s.end(s.meter, t, verdictOf(err), "%v", err)
		return
	}
	s.noise = MeasureNoise(r.site)
	t.add("mean", s.noise.MeanW, "W")
	t.add("noise (1 sigma)", s.noise.NoiseW, "W")
	t.add("largest less smallest", s.noise.SpreadW, "W")
	t.add("resolution", s.noise.StepW, "W")
	t.add("refresh interval", s.noise.Refresh, "s")
	t.add("samples", float64(s.noise.Samples), "")
	if s.noise.StepW == 0 {
		s.end(s.meter, t, Failed, "the value did not change once in %v: a meter at a live site moves; is its value stuck?", (1+quietTimes)*s.t.Noise)
		return
	}
	s.end(s.meter, t, Passed, "")
}

// quietTimes is how many times longer a meter is watched that has not moved: a
// coarse one at a quiet site shows the same for a while, a stuck one for ever.
const quietTimes = 5

// watchQuiet goes on recording a meter that has not moved, until it does.
func (s *session) watchQuiet(ctx context.Context, r *recording) error {
	still := func() bool { return MeasureNoise(r.site).StepW == 0 }
	if !still() {
		return nil
	}
	s.tell("  no change yet; watches for up to %v more", quietTimes*s.t.Noise)
	return s.watch(ctx, s.meter, r, quietTimes*s.t.Noise, false, func() (bool, error) { return still(), nil })
}
