package commission

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
		s.notHeld(d, t, err)
		return
	}
	if took, err := s.took(ctx, d, true); err != nil || !took {
		s.release(ctx, d)
		if err != nil {
			s.end(d, t, verdictOf(err), "%v", err)
			return
		}
		s.end(d, t, Failed, "the command to hold the load off was taken, but read back the load is not held off: %s", unmoved(d))
		return
	}
	heard, asked, err := s.ask(ctx, d, "did the relay click and does the load stay off?", hold)
	if err == nil {
		err = s.watch(ctx, d, newRecording(), hold-time.Since(began), true, nil)
	}
	held := false
	if err == nil {
		held, err = s.took(ctx, d, true)
	}
	if held && d.about.Fallback && d.ReadsBack {
		s.relayFallback(ctx, d)
	}
	let := s.release(ctx, d)
	if err != nil {
		s.end(d, t, verdictOf(err), "%v", err)
		return
	}
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
		s.end(d, t, Failed, "the load did not stay held off while the command was renewed: does another controller or a person switch %s?", d.cfg.Name)
	case !let:
		s.end(d, t, Failed, "it was told to let go and does not: %s", d.last.State)
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
		s.end(d, t, Skipped, "%v", cut(ctx))
		return
	}
	let, err := s.took(ctx, d, false)
	if err != nil {
		s.end(d, t, verdictOf(err), "%v", err)
		return
	}
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
func (s *session) took(ctx context.Context, d *tested, inhibited bool) (bool, error) {
	reading, err := s.insist(ctx, d)
	return err == nil && reading.Inhibited == inhibited, err
}

// notHeld ends the test of a load that could not be held off. One that rests
// after an earlier run has not failed: its driver protects the compressor and
// has written nothing.
func (s *session) notHeld(d *tested, t *Test, err error) {
	text := err.Error()
	_, rest, found := strings.Cut(text, "is allowed for ") // package hold says so
	more, _, _ := strings.Cut(rest, " ")
	if !found || !errors.Is(err, drivers.ErrRefused) {
		s.end(d, t, verdictOf(err), "%v", err)
		return
	}
	key := "min_on"
	if strings.Contains(text, "max_off") {
		key = "max_off"
	}
	s.end(d, t, Missing, "the load was held off before and has to run for %s more (%s)", more, key)
	s.todo(d, "wait %s", more)
}

// unmoved says where to look when a relay took a command and did not move.
func unmoved(d *tested) string {
	if d.cfg.Kind == drivers.Thermostat {
		return "is it switched on, and does a mode or a key lock keep it?"
	}
	channel := ""
	if d.cfg.Channel > 0 {
		channel = fmt.Sprintf("is `channel: %d` right, ", d.cfg.Channel)
	}
	return "are the board's coils supplied (12 or 24 V), " + channel + "does a jumper or a manual mode lock the outputs?"
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
	outer := ctx
	unanswered := func() error {
		if outer.Err() != nil {
			return cut(outer)
		}
		return fmt.Errorf("%w to %q", errNoAnswer, question)
	}
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
				return false, false, unanswered()
			}
			return a.yes, a.err == nil, nil
		case <-ctx.Done():
			return false, false, unanswered()
		case <-time.After(relayPoll):
			if err := s.renew(outer, d); err != nil {
				return false, false, err
			}
		}
	}
}
