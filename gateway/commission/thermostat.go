package commission

import (
	"context"
	"errors"
	"math"
	"time"

	"nominald/drivers"
)

const (
	shiftK    = 1.0
	nearC     = 0.15                   // as near as half a degree's tenths are told apart
	shownIn   = 15 * time.Second       // a gateway to an air conditioner may show a value late (modbus.md 8)
	relayPoll = 500 * time.Millisecond //
)

// proveThermostat shifts the set-point by 1 K, reads it back, gives it back and
// reads that too.
func (s *session) proveThermostat(ctx context.Context, d *tested) {
	t := s.begin(d, "set-point")
	reading, err := s.insist(ctx, d)
	switch {
	case err != nil:
		s.end(d, t, verdictOf(err), "%v", err)
		return
	case !reading.SetpointC.OK:
		s.end(d, t, Missing, "the device shows no set-point: is it off, or in a mode without one?")
		s.todo(d, "switch it on, in a mode that has a set-point")
		return
	}
	was, shift := reading.SetpointC.V, shiftK
	if d.cfg.MaxOffsetK > 0 {
		shift = min(shift, d.cfg.MaxOffsetK)
	}
	t.add("set-point", was, "C")
	if reading.TemperatureC.OK {
		t.add("room", reading.TemperatureC.V, "C")
	}
	s.tell("  %s: shifts %.1f C by %g K for %v", d.cfg.Name, was, shift, s.t.Hold)
	err = s.apply(ctx, d, drivers.Command{OffsetK: shift})
	shown, saw := was, false
	if err == nil {
		shown, saw, err = s.setpoint(ctx, d, func(c float64) bool { return math.Abs(math.Abs(c-was)-shift) < nearC })
	}
	if err == nil && saw {
		err = s.watch(ctx, d, newRecording(), s.t.Hold, true, nil)
	}
	t.add("shifted", shown, "C")
	if math.Abs(shown-was) >= nearC {
		d.shifted = drivers.Some(shown)
	}
	s.release(ctx, d)
	s.judgeSetpoint(ctx, d, t, was, saw, err)
}

func (s *session) judgeSetpoint(ctx context.Context, d *tested, t *Test, was float64, saw bool, err error) {
	if errors.Is(err, errCut) {
		s.end(d, t, Skipped, "%v", err)
		return
	}
	back, restored, backErr := s.setpoint(context.WithoutCancel(ctx), d, func(c float64) bool { return math.Abs(c-was) < nearC })
	if backErr == nil {
		t.add("given back", back, "C")
	}
	switch {
	case err != nil:
		s.end(d, t, verdictOf(err), "%v", err)
	case !saw:
		s.end(d, t, Failed, "the set-point did not show the shift within %v: is the device off, in a mode without one, or locked?", shownIn)
	case backErr != nil:
		s.end(d, t, Failed, "read back after the release: %v", backErr)
	case !restored:
		s.end(d, t, Failed, "the set-point is %.1f C after the release, it was %.1f C: set it by hand", back, was)
	default:
		s.end(d, t, Passed, "shifted by 1 K, read back, given back")
	}
}

// setpoint reads until the set-point is as it should be, or time is up.
func (s *session) setpoint(ctx context.Context, d *tested, good func(c float64) bool) (c float64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, shownIn)
	defer cancel()
	for {
		reading, err := s.insist(ctx, d)
		if ctx.Err() == context.DeadlineExceeded {
			return c, false, nil
		}
		if err != nil {
			return c, false, err
		}
		if c = reading.SetpointC.V; reading.SetpointC.OK && good(c) {
			return c, true, nil
		}
		if !pause(ctx, s.t.Poll) {
			if ctx.Err() == context.DeadlineExceeded {
				return c, false, nil
			}
			return c, false, cut(ctx)
		}
	}
}
