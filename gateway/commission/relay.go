package commission

import (
	"context"
	"fmt"
	"time"

	"nominald/drivers"
)

// proveRelay inhibits the load, holds that for its least time off, releases it
// and asks the person who stands beside it what clicked.
func (s *session) proveRelay(ctx context.Context, d *tested) {
	t := s.begin(d, "relay click")
	hold := d.holdOff(s.t)
	t.add("least time off ", d.cfg.MinOff.Seconds(), "s")
	s.tell("  %s: holds the load off for %v ", d.cfg.Name, hold)
	began := time.Now()
	if err := s.apply(ctx, d, drivers.Command{Inhibit: true}); err != nil {
		s.end(d, t, verdictOf(err), "%v", err)
		return
	}
	if !s.took(ctx, d, true) {
		s.release(ctx, d)
		s.end(d, t, Failed, "the relay was told to hold the load off and says it does not: %s", d.last.State)
		return
	}
	heard, asked, err := s.ask(ctx, d, "did the relay click and does the load stay off?", hold)
	if err == nil {
		err = s.watch(ctx, d, newRecording(), hold-time.Since(began), true, nil)
	}
	held := err == nil && s.took(ctx, d, true)
	if held && d.about.Fallback && d.ReadsBack {
		s.relayFallback(ctx, d)
	}
	s.release(ctx, d)
	if err != nil {
		s.end(d, t, verdictOf(err), "%v", err)
		return
	}
	let := s.letGo(ctx, d)
	t.add("held off for", time.Since(began).Seconds(), "s")
	s.judgeClick(d, t, held, let, asked, heard)
}

// holdOff is how long a load is held off: min_off, and where the board ends an
// inhibit by itself so long that only renewals can have kept it.
func (d Device) holdOff(t Times) time.Duration {
	hold := max(t.Hold, d.Config.MinOff)
	if d.ReadsBack {
		hold = max(hold, 3*max(t.Lease, d.LeastTimer)/2)
	}
	return hold
}

func (s *session) judgeClick(d *tested, t *Test, held, let, asked, heard bool) {
	switch {
	case !held:
		s.end(d, t, Failed, "the relay did not stay as it was told while the command was renewed: %s", d.last.State)
	case !let:
		s.end(d, t, Failed, "the relay did not let go: %s", d.last.State)
	case asked && !heard:
		s.end(d, t, Failed, "nothing clicked: is the line the right one, is the coil supplied, is `active` right?")
	case asked:
		s.end(d, t, Passed, "clicked, as seen by the person beside it")
	default:
		s.end(d, t, Passed, "switched; %s", unseen(d))
	}
}

// afterTimer is how much later than its timer a board is looked at.
const afterTimer = 2 * time.Second

// relayFallback stops renewing an inhibit that was held for min_off and has the
// board end it. The driver would end it as well, at its first reading after
// that time, but it reads the board first: that one reading is the proof.
func (s *session) relayFallback(ctx context.Context, d *tested) {
	t := s.begin(d, "fallback")
	timer := s.holds(d)
	s.tell("  %s: not renewed any more: it must let go by itself after %v", d.cfg.Name, timer)
	t.add("timer of the device", timer.Seconds(), "s")
	if !pause(ctx, timer+afterTimer-time.Since(d.renewed)) {
		s.end(d, t, Skipped, "%v", context.Cause(ctx))
		return
	}
	let := s.took(ctx, d, false)
	t.add("looked at after", time.Since(d.renewed).Seconds(), "s")
	switch {
	case let:
		s.end(d, t, Passed, "let go by itself within %v", timer+afterTimer)
	case d.cfg.AllowNoFallback:
		s.end(d, t, Skipped, "not proved: still held after %v; accepted by allow_no_fallback: true", timer+afterTimer)
	default:
		s.end(d, t, Failed, "still held after %v, its timer is %v; accept it with allow_no_fallback: true, or use another board", timer+afterTimer, timer)
		s.warn("%s does not end a command by itself; needs allow_no_fallback: true if the owner accepts that", d.cfg.Name)
	}
}

// unseen says what nobody has looked at.
func unseen(d *tested) string {
	if d.cfg.GPIO != "" {
		return "an output line can not be read back, so nobody has seen whether the relay clicked (asked without --yes)"
	}
	if !d.ReadsBack {
		return "the device does not show it, so nobody has seen whether the load stays off (asked without --yes)"
	}
	return "read back from the board; nobody has heard the contact (asked without --yes)"
}

// took tells whether the relay's own word agrees, as far as it has one.
func (s *session) took(ctx context.Context, d *tested, inhibited bool) bool {
	reading, err := s.insist(ctx, d)
	return err == nil && reading.Inhibited == inhibited
}

// letGo waits until the relay is released; the driver keeps it for min_off.
func (s *session) letGo(ctx context.Context, d *tested) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.MinOff+releaseLimit)
	defer cancel()
	for ctx.Err() == nil {
		if s.took(ctx, d, false) {
			return true
		}
		s.release(ctx, d)
		pause(ctx, s.t.Poll)
	}
	return false
}

// ask puts a question to the person, and renews the command until the answer is
// there. asked is false where nobody is to be asked.
func (s *session) ask(ctx context.Context, d *tested, question string, hold time.Duration) (yes, asked bool, err error) {
	if s.o.Confirm == nil {
		return false, false, nil
	}
	type answer struct {
		yes bool
		err error
	}
	answers := make(chan answer, 1)
	// The question must not outlive the test, and the test must not outlive
	// the lease that it holds.
	ctx, cancel := context.WithTimeout(ctx, max(hold, time.Minute))
	defer cancel()
	go func() {
		yes, err := s.o.Confirm(ctx, d.cfg.Name+": "+question)
		answers <- answer{yes, err}
	}()
	for {
		select {
		case a := <-answers:
			if a.err != nil && ctx.Err() != nil {
				return false, false, fmt.Errorf("no answer to %q: %w", question, context.Cause(ctx))
			}
			return a.yes, a.err == nil, nil
		case <-ctx.Done():
			return false, false, fmt.Errorf("no answer to %q: %w", question, context.Cause(ctx))
		case <-time.After(relayPoll):
			if err := s.renew(ctx, d); err != nil {
				return false, false, err
			}
		}
	}
}
