package commission

import (
	"context"
	"errors"
	"math"
	"time"

	"nominald/drivers"
)

// fallbackSlack is what a device may take longer than its timer until its
// measurement shows that it let go: it ramps, and it is polled.
const fallbackSlack = 15 * time.Second

// fallback stops renewing a command and watches the battery end it by itself.
func (b *batteryTest) fallback(ctx context.Context) {
	t := b.begin(b.d, "fallback")
	w, why := b.fallbackPower()
	if w == 0 {
		b.end(b.d, t, Missing, "%s", why)
		b.todo(b.d, "prove that it ends a command by itself (%s)", why)
		return
	}
	b.tell("  %s gets %.0f W once more, not renewed: it must let go by itself within %v", b.d.cfg.Name, w, b.limitOf(b.d))
	b.powerW = w
	tolerance := 0.3 * math.Abs(w)
	r, reached, err := b.unrenewed(ctx, b.d, drivers.Command{PowerW: w}, func(r *recording) bool {
		return math.Abs(r.device[len(r.device)-1].W-w) <= tolerance
	}, b.guard)
	b.judgeFallback(t, b.d, r, reached, w, tolerance, err)
}

// fallbackPower chooses what the battery is told and left with: what it can not
// be doing by itself, inside the owner's limits.
func (b *batteryTest) fallbackPower() (powerW float64, why string) {
	idle, _ := powerOf(b.d.first)
	// Without a meter it counts as drawing nothing, so nothing is discharged.
	limits := b.limits(median(watts(last(b.r.site, 0.1))))
	w, why := limits.Choose()
	if w == 0 {
		return 0, why
	}
	least := limits.least()
	if math.Abs(w-idle) >= least {
		return w, ""
	}
	if half := w / 2; math.Abs(half-idle) >= least && math.Abs(half) >= least {
		return half, ""
	}
	limits.SoC = drivers.Some(limits.ReserveSoC) // the other direction
	if w, _ = limits.Choose(); w != 0 && math.Abs(w-idle) >= least {
		return w, ""
	}
	return 0, "nothing within the limits differs from what the battery does by itself"
}

// limitOf is when a device must have let go.
func (s *session) limitOf(d *tested) time.Duration { return s.holds(d) + fallbackSlack }

// unrenewed commands a device once and records until its timer and the slack
// have passed, or until it has reached the command and left it for good.
// reached is when the command was first seen to be followed; negative if never.
func (s *session) unrenewed(ctx context.Context, d *tested, c drivers.Command, follows func(*recording) bool, guard func(*recording) error) (r *recording, reached time.Duration, err error) {
	if d.about.FallbackOnSilence {
		return s.unheard(ctx, d, c, follows, guard)
	}
	// A renewal of what is in force already could be left out by the driver.
	r, reached = newRecording(), -1
	if err := s.apply(ctx, d, c); err != nil {
		return r, reached, err
	}
	r.began = d.renewed
	gone := 0
	err = s.watch(ctx, d, r, s.limitOf(d), false, func() (bool, error) {
		if len(r.device) == 0 {
			return true, nil
		}
		if follows(r) {
			if reached < 0 {
				reached = r.device[len(r.device)-1].At
			}
			gone = 0
		} else if reached >= 0 {
			gone++
		}
		if gone >= wrongSamples {
			return false, nil // it has let go, for good
		}
		if guard != nil {
			return true, guard(r)
		}
		return true, nil
	})
	return r, reached, err
}

// unheard is unrenewed for a device that takes any request for life, also a
// reading: once it has followed, it is left alone, with the site's meter as the
// only witness of the owner's limits, and looked at once when it must have let go.
func (s *session) unheard(ctx context.Context, d *tested, c drivers.Command, follows func(*recording) bool, guard func(*recording) error) (r *recording, reached time.Duration, err error) {
	r, reached = newRecording(), -1
	if err := s.apply(ctx, d, c); err != nil {
		return r, reached, err
	}
	guarded := func(on bool) (bool, error) {
		if guard == nil {
			return on, nil
		}
		return on, guard(r)
	}
	err = s.watch(ctx, d, r, max(s.t.Follow, fallbackSlack), true, func() (bool, error) {
		if len(r.device) > 0 && follows(r) {
			reached = r.device[len(r.device)-1].At
		}
		return guarded(reached < 0)
	})
	if err != nil || reached < 0 {
		return r, reached, err
	}
	s.tell("  %s takes any request for a sign of life: it is not even read for %v", d.cfg.Name, s.limitOf(d))
	if err = s.watch(ctx, s.meter, r, s.limitOf(d), false, func() (bool, error) { return guarded(true) }); err != nil {
		return r, reached, err
	}
	return r, reached, s.sample(ctx, d, r)
}

// judgeFallback holds the time of letting go against the device's timer.
func (s *session) judgeFallback(t *Test, d *tested, r *recording, reached time.Duration, levelW, toleranceW float64, err error) {
	timer := s.holds(d)
	t.add("command not renewed", levelW, "W")
	t.add("timer of the device", timer.Seconds(), "s")
	var left time.Duration
	found := false
	if reached >= 0 {
		left, found = Left(since(r.device, reached), levelW, toleranceW)
	}
	if found && !d.about.FallbackOnSilence {
		t.add("let go after", left.Seconds(), "s")
	}
	switch {
	case errors.Is(err, errCut), err != nil && !found:
		s.end(d, t, verdictOf(err), "%v", err)
	case reached < 0:
		s.end(d, t, Failed, "the device never did what it was told, so its letting go could not be seen")
	case found && left < timer/2:
		s.end(d, t, Failed, "it let go after %.1f s, long before its timer of %v: another controller, or the command does not hold", left.Seconds(), timer)
	case found && d.about.FallbackOnSilence:
		s.end(d, t, Passed, "let go by itself within %v of silence, timer %v", s.limitOf(d), timer)
	case found:
		s.end(d, t, Passed, "let go by itself after %.1f s, timer %v", left.Seconds(), timer)
	case d.cfg.AllowNoFallback:
		s.end(d, t, Skipped, "not proved: it held the command for %v; accepted by allow_no_fallback: true", s.limitOf(d))
		s.warn("%s did not end a command by itself, though it has a timer of %v", d.cfg.Name, timer)
	default:
		s.end(d, t, Failed, "it still held the command after %v, its timer is %v; set its timer up as its maker says, or accept it with allow_no_fallback: true", s.limitOf(d), timer)
		s.warn("%s does not end a command by itself: if the gateway dies it keeps its last command; needs allow_no_fallback: true if the owner accepts that", d.cfg.Name)
	}
}
