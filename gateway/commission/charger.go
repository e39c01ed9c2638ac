package commission

import (
	"context"
	"fmt"
	"math"
	"time"

	"nominald/drivers"
)

const (
	chargingW = 500.0 // a vehicle that draws more is charging
	leastA    = 6.0   // IEC 61851-1 knows none below
)

// proveCharger lowers the limit while a vehicle charges, pauses it, gives it
// back, and sees the limit end by itself. Without a vehicle it proves only that
// the registers take the commands.
func (s *session) proveCharger(ctx context.Context, d *tested) {
	t := s.begin(d, "limit")
	reading, err := s.insist(ctx, d)
	if err != nil {
		s.end(d, t, verdictOf(err), "%v", err)
		return
	}
	low := max(leastA, d.cfg.MinA)
	w, ok := powerOf(reading)
	if !reading.Connected || !ok || w < chargingW {
		s.proveRegisters(ctx, d, t, low)
		return
	}
	r := newRecording()
	s.tell("  %s: records for %v, then %g A", d.cfg.Name, s.t.Rest, low)
	if err := s.watch(ctx, d, r, s.t.Rest, false, nil); err != nil {
		s.end(d, t, verdictOf(err), "%v", err)
		return
	}
	for try := 1; s.limitStep(ctx, d, t, r, low, try == mostTries); try++ {
		s.tell("  a load switched meanwhile; once more (%d of %d)", try+1, mostTries)
		s.release(ctx, d)
		if r, err = s.again(ctx, d, w); err != nil {
			s.end(d, t, verdictOf(err), "%v", err)
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	s.pauseStep(ctx, d)
	if ctx.Err() == nil && d.about.Fallback {
		s.chargerFallback(ctx, d, low, w)
	}
}

// proveRegisters writes a limit and gives it back.
func (s *session) proveRegisters(ctx context.Context, d *tested, t *Test, low float64) {
	const none = "no vehicle charges: proved registers only"
	s.todo(d, "plug in a vehicle that charges, to prove limit, pause and fallback")
	s.tell("  %s: %s, %g A for %v", d.cfg.Name, none, low, s.t.Hold)
	err := s.apply(ctx, d, drivers.Command{CurrentA: low})
	if err == nil {
		err = s.watch(ctx, d, newRecording(), s.t.Hold, true, nil)
	}
	s.release(ctx, d)
	t.add("limit", low, "A")
	switch {
	case err != nil:
		s.end(d, t, verdictOf(err), "%v", err)
	case d.touched:
		s.end(d, t, Failed, "the limit could not be taken back")
	default:
		s.end(d, t, Passed, none)
		s.skip(d, "pause", none)
		if d.about.Fallback {
			s.skip(d, "fallback", "no vehicle charges, so nothing shows whether a limit ends by itself")
		}
	}
}

// again waits until the vehicle draws what it did, and records that.
func (s *session) again(ctx context.Context, d *tested, normalW float64) (*recording, error) {
	if err := s.full(ctx, d, normalW); err != nil {
		return nil, err
	}
	r := newRecording()
	return r, s.watch(ctx, d, r, s.t.Rest, false, nil)
}

// limitStep sets the smallest current and sees the vehicle follow, at the
// charger and at the site's meter. It returns true where the meter saw another
// change than the charger and the step is to be made once more.
func (s *session) limitStep(ctx context.Context, d *tested, t *Test, r *recording, low float64, final bool) (again bool) {
	before := median(watts(r.device))
	at := r.now()
	err := s.apply(ctx, d, drivers.Command{CurrentA: low})
	if err == nil {
		err = s.watch(ctx, d, r, s.t.Follow, true, nil)
	}
	t.Values = []Value{}
	t.add("before", before, "W")
	t.add("limit", low, "A")
	if err != nil {
		s.end(d, t, verdictOf(err), "%v", err)
		return false
	}
	own, ok := Analyse(r.device, at, r.now(), -before, 0)
	if !ok {
		s.end(d, t, Failed, "too few samples")
		return false
	}
	site, seen := Analyse(r.site, at, r.now(), own.ChangeW, s.noise.NoiseW)
	if own.Moved && seen && !final && (site.Gain < siteGainLow || site.Gain > siteGainHigh) {
		return true
	}
	s.judgeLimit(d, t, r, own, at, low)
	return false
}

func (s *session) judgeLimit(d *tested, t *Test, r *recording, own Response, at time.Duration, low float64) {
	allowed := low * float64(max(d.cfg.Phases, 1)) * volts(d)
	t.add("with the limit", own.AfterW, "W")
	t.add("limit in power", allowed, "W")
	siteSaw := math.NaN()
	if own.Moved {
		t.add("dead time at the charger", own.DeadTime, "s")
		t.add("90 % at the charger after", own.Rise90, "s")
		if site, ok := Analyse(r.site, at, r.now(), own.ChangeW, s.noise.NoiseW); ok {
			siteSaw = site.Gain
			t.add("seen by the site's meter", site.Gain, "of the change")
			t.add("dead time at the site's meter", site.DeadTime, "s")
		}
	}
	switch {
	case own.AfterW > 1.15*allowed:
		s.end(d, t, Failed, "the vehicle draws %.0f W, %g A on %d phases are %.0f W: are phases and voltage right, does the limit arrive?", own.AfterW, low, d.cfg.Phases, allowed)
	case !own.Moved:
		s.end(d, t, Passed, "the vehicle drew no more than that before; the limit was not seen at work")
	case siteSaw < -siteGainLow:
		s.end(d, t, Failed, "the net import rose when the charger drew less: the meter's sign is inverted, set invert on %s", s.meter.cfg.Name)
	case siteSaw < siteGainLow || siteSaw > siteGainHigh:
		s.end(d, t, Failed, "the site's meter saw %.0f %% of the change: a missing phase, a wrong transformer ratio, or a load that switched", 100*siteSaw)
	default:
		s.end(d, t, Passed, "")
	}
}

func volts(d *tested) float64 {
	if d.cfg.VoltageV > 0 {
		return d.cfg.VoltageV
	}
	return 230
}

// pauseStep pauses the vehicle and gives the charger back.
func (s *session) pauseStep(ctx context.Context, d *tested) {
	t := s.begin(d, "pause")
	s.tell("  %s: pauses, up to %v", d.cfg.Name, s.t.Follow)
	r := newRecording()
	err := s.apply(ctx, d, drivers.Command{CurrentA: 0})
	paused := false
	if err == nil {
		err = s.watch(ctx, d, r, s.t.Follow, true, func() (bool, error) {
			n := len(r.device)
			paused = n > 1 && r.device[n-1].W < chargingW/5 && r.device[n-2].W < chargingW/5
			return !paused, nil
		})
	}
	if paused {
		t.add("paused after", r.device[len(r.device)-1].At.Seconds(), "s")
	}
	s.release(ctx, d)
	if err == nil && paused {
		err = s.resume(ctx, d, t)
	}
	switch {
	case err != nil:
		s.end(d, t, verdictOf(err), "%v", err)
	case !paused:
		s.end(d, t, Failed, "the vehicle went on charging for %v", s.t.Follow)
	default:
		s.end(d, t, Passed, "paused, and charged again after the release")
	}
}

// resume waits until the vehicle charges again after a release.
func (s *session) resume(ctx context.Context, d *tested, t *Test) error {
	if d.touched {
		return fmt.Errorf("%s could not be released", d.cfg.Name)
	}
	r, again := newRecording(), false
	err := s.watch(ctx, d, r, s.t.Follow, false, func() (bool, error) {
		again = len(r.device) > 0 && r.device[len(r.device)-1].W > chargingW
		return !again, nil
	})
	if err != nil {
		return err
	}
	if !again {
		return fmt.Errorf("%s was released and its vehicle did not charge again within %v; some have to be woken by hand", d.cfg.Name, s.t.Follow)
	}
	t.add("charges again after", r.device[len(r.device)-1].At.Seconds(), "s")
	return nil
}

// chargerFallback leaves the smallest limit unrenewed and sees it end.
func (s *session) chargerFallback(ctx context.Context, d *tested, low, normalW float64) {
	t := s.begin(d, "fallback")
	level := low * float64(max(d.cfg.Phases, 1)) * volts(d)
	if normalW < 1.3*level {
		s.end(d, t, Skipped, "the vehicle draws little more than %g A by itself, so the end of a limit would not show", low)
		return
	}
	if err := s.full(ctx, d, normalW); err != nil {
		s.end(d, t, verdictOf(err), "%v", err)
		return
	}
	s.tell("  %s gets %g A once more, not renewed: it must let go by itself within %v", d.cfg.Name, low, s.limitOf(d))
	tolerance := 0.15 * level
	r, reached, err := s.unrenewed(ctx, d, drivers.Command{CurrentA: low}, func(r *recording) bool {
		return r.device[len(r.device)-1].W <= level+tolerance
	}, nil)
	s.judgeFallback(t, d, r, reached, level, tolerance, err)
	s.release(ctx, d)
}

// full waits until the vehicle draws nearly what it did before the tests.
func (s *session) full(ctx context.Context, d *tested, normalW float64) error {
	r, full := newRecording(), false
	err := s.watch(ctx, d, r, s.t.Follow, false, func() (bool, error) {
		full = len(r.device) > 0 && r.device[len(r.device)-1].W > 0.9*normalW
		return !full, nil
	})
	if err == nil && !full {
		err = fmt.Errorf("the vehicle did not come back to %.0f W within %v", normalW, s.t.Follow)
	}
	return err
}
