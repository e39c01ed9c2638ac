package commission

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"nominald/drivers"
)

const (
	// releaseLimit is how long a device is tried to be released; a load that is
	// held off has its min_off besides (design.md 2.3).
	releaseLimit = 10 * time.Second
	// releaseTry bounds one try: a dead device must not take the others' time.
	releaseTry   = releaseLimit / 5
	releaseAgain = 250 * time.Millisecond
)

// errHeld says that a device took its release and is not neutral yet.
var errHeld = errors.New("it was told to let go and is not neutral")

// mark notes on disk that a device is about to be commanded.
func (s *session) mark(d *tested) error {
	if d.marked || s.site.Mark == nil {
		return nil
	}
	if err := s.site.Mark(d.cfg.Name); err != nil {
		return fmt.Errorf("%s is not commanded, for nobody could know of it were this program killed: %w", d.cfg.Name, err)
	}
	d.marked = true
	return nil
}

// releaseLeft releases what an earlier test had to leave commanded, before
// anything is measured.
func (s *session) releaseLeft(ctx context.Context) {
	for _, d := range s.devices {
		if !contains(s.site.Left, d.cfg.Name) {
			continue
		}
		d.touched, d.marked = true, true
		s.tell("%s was left commanded by an earlier test that was ended: releases it", d.cfg.Name)
		if d.dead || ctx.Err() != nil {
			continue // at the end once more
		}
		if s.release(ctx, d) {
			d.first = d.last
			d.sheet.Reading = d.first
		}
	}
}

// release gives a device back and reads it until it is neutral, in spite of a
// context that has ended; then it has one try, for the end comes next.
func (s *session) release(ctx context.Context, d *tested) bool {
	for began := time.Now(); d.touched; {
		err := s.tryRelease(ctx, d)
		if err != nil && (final(err) || time.Since(began) > releaseLimit+d.minOffLeft(began) || !pause(ctx, releaseAgain)) {
			s.tell("  %s is not released yet: %v", d.cfg.Name, err)
			return false
		}
	}
	return true
}

// final tells whether another try is of no use.
func final(err error) bool {
	return errors.Is(err, drivers.ErrRefused) || errors.Is(err, drivers.ErrWrongDevice)
}

// minOffLeft is how much of the least time off of a load was left at a time.
func (d *tested) minOffLeft(at time.Time) time.Duration {
	if d.heldSince.IsZero() {
		return 0
	}
	return max(d.cfg.MinOff-at.Sub(d.heldSince), 0)
}

// tryRelease releases a device once and reads it. What takes a release need not
// follow it at once: a driver keeps a load off for its min_off.
func (s *session) tryRelease(ctx context.Context, d *tested) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTry)
	defer cancel()
	if time.Since(d.told) >= releaseTry { // what was taken is not written again at once
		if err := d.letGo(ctx); err != nil {
			return fmt.Errorf("release %s: %w", d.cfg.Name, err)
		}
		d.told = time.Now()
	}
	reading, err := s.read(ctx, d)
	if err != nil {
		return fmt.Errorf("read back what was released: %w", err)
	}
	return d.settled(reading)
}

// letGo has the driver release the device.
func (d *tested) letGo(ctx context.Context) error {
	d.wire.mu.Lock()
	defer d.wire.mu.Unlock()
	return d.Driver.Release(ctx)
}

// settled notes that a device is neutral, as far as its reading can tell.
func (d *tested) settled(r drivers.Reading) error {
	if inhibits(d.cfg) && r.Inhibited {
		return fmt.Errorf("%w: %s", errHeld, r.State)
	}
	if d.shifted.OK && r.SetpointC.OK && math.Abs(r.SetpointC.V-d.shifted.V) < nearC {
		return fmt.Errorf("%w: its set-point is still %.1f C", errHeld, r.SetpointC.V)
	}
	d.touched, d.heldSince, d.told, d.shifted = false, time.Time{}, time.Time{}, drivers.Opt{}
	return nil
}

// leaving is a device on its way to its neutral state at the end.
type leaving struct {
	*tested
	outcome Restored
	waited  bool // for its min_off
}

// restore brings every device that was commanded into its neutral state,
// whatever ended the tests, and notes on the sheet how that went.
func (s *session) restore(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	began := time.Now()
	var all, pending []*leaving
	for _, d := range s.devices {
		if d.marked || d.touched || !d.renewed.IsZero() {
			all = append(all, &leaving{tested: d, outcome: Restored{Name: d.cfg.Name}})
		}
	}
	for _, l := range all {
		if l.touched {
			pending = append(pending, l)
		}
	}
	for len(pending) > 0 {
		// Each gets a try before any gets a second.
		var again []*leaving
		for _, l := range pending {
			if s.restoreOne(ctx, l, began) {
				again = append(again, l)
			}
		}
		if pending = again; len(pending) > 0 {
			pause(ctx, releaseAgain)
		}
	}
	for _, l := range all {
		s.sheet.Restored = append(s.sheet.Restored, l.outcome)
	}
	s.tellRestored()
}

// restoreOne makes one try and tells whether there is to be another.
func (s *session) restoreOne(ctx context.Context, l *leaving, began time.Time) (again bool) {
	left := l.minOffLeft(time.Now())
	if left > 0 && s.hurried() {
		l.outcome.Note, l.outcome.Problem = s.force(ctx, l.tested, left)
		return false
	}
	deadline := began.Add(releaseLimit + l.minOffLeft(began))
	err := s.tryRelease(ctx, l.tested)
	switch {
	case err == nil && l.waited:
		l.outcome.Note = "after its least time off (min_off) had passed"
		return false
	case err == nil:
		return false
	case final(err), time.Now().After(deadline):
		l.outcome.Problem = err.Error()
		return false
	}
	if left > 0 && errors.Is(err, errHeld) && !l.waited {
		l.waited = true
		s.tell("%s is still held off, for %v more of its least time off (min_off): waits for that; Ctrl-C once more lets go at once, which a compressor may not like",
			l.cfg.Name, left.Round(time.Second))
	}
	return true
}

func (s *session) hurried() bool {
	select {
	case <-s.o.Hurry: // nil never is
		return true
	default:
		return false
	}
}

// force lets go of a load before its min_off is over, because a person wants it:
// a driver that did not begin the inhibit itself does not wait.
func (s *session) force(ctx context.Context, d *tested, early time.Duration) (note, problem string) {
	early = early.Round(time.Second)
	if d.Anew == nil {
		return fmt.Sprintf("as this program ends, %v before its least time off (min_off) is over", early), ""
	}
	fresh, err := d.Anew()
	if err != nil {
		return "", err.Error()
	}
	d.wire.mu.Lock()
	d.Driver, d.told = fresh, time.Time{}
	d.wire.mu.Unlock()
	// It writes to nothing that does not prove to be the configured device.
	for began := time.Now(); ; {
		if _, err = s.read(ctx, d); err == nil {
			err = s.tryRelease(ctx, d)
		}
		if err == nil {
			return fmt.Sprintf("at once, %v before its least time off (min_off) was over", early), ""
		}
		if final(err) || time.Since(began) > releaseLimit || !pause(ctx, releaseAgain) {
			return "", err.Error()
		}
	}
}

// tellRestored says how each device was left, and takes the notes on the disk
// back where all are neutral.
func (s *session) tellRestored() {
	var left []string
	for _, r := range s.sheet.Restored {
		if r.Problem == "" {
			s.tell("%s", strings.TrimSpace(fmt.Sprintf("released %s %s", r.Name, r.Note)))
			continue
		}
		left = append(left, r.Name)
		s.tell("NOT RELEASED %s: %s", r.Name, r.Problem)
		s.warn("%s could not be released: run `nominald release --config %s`, or switch the device off and on", r.Name, s.site.Config.Path)
	}
	if len(left) > 0 || s.site.Unmark == nil {
		return
	}
	if err := s.site.Unmark(); err != nil {
		s.warn("every device is released, but the note that they were commanded stays: %v", err)
	}
}
