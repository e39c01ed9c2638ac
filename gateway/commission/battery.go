package commission

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"nominald/drivers"
)

// The judgement of a battery's tests.
const (
	// A battery that gives less than gainLow or more than gainHigh of what it
	// is asked for, at its own terminals, is scaled wrongly or limited.
	gainLow, gainHigh = 0.8, 1.2
	// At the site's meter other loads move as well.
	siteGainLow, siteGainHigh = 0.7, 1.3
	// wrongSamples in a row on the wrong side end a sign test at once: until
	// the sign is proved, more time could mean more export.
	wrongSamples = 4
)

// errNoAnswer ends a test that a person had to see.
var errNoAnswer = errors.New("no answer")

// errGuard ends a test that would touch one of the owner's limits.
var errGuard = errors.New("stopped at a limit")

// proveBattery does sign, step and fallback test. They share one recording:
// rest, the test's power, rest again.
func (s *session) proveBattery(ctx context.Context, d *tested) {
	b := &batteryTest{session: s, d: d, r: newRecording()}
	sign, step := s.begin(d, "sign"), s.begin(d, "step")
	skip := func(v Verdict, why string) {
		s.end(d, sign, v, "%s", why)
		s.end(d, step, v, "%s", why)
		if v == Missing {
			s.todo(d, "prove sign and step (%s)", why)
		}
	}
	if s.meter == nil {
		skip(Skipped, "the config names no meter at the grid connection to see it with")
	} else if s.meter.dead {
		skip(Missing, "the meter at the grid connection does not answer")
	} else if err := b.rest(ctx); err != nil {
		skip(verdictOf(err), err.Error())
		return
	} else if b.powerW, b.why = b.limits(median(watts(b.r.site))).Choose(); b.powerW == 0 {
		skip(Missing, b.why)
		return
	} else {
		b.both(ctx, sign, step)
	}
	switch {
	case ctx.Err() != nil || !d.about.Fallback: // the latter is told by mayCommand
	case sign.Verdict == Failed:
		s.skip(d, "fallback", "the sign comes first")
	default:
		b.fallback(ctx)
	}
}

// verdictOf makes an ended test skipped where a person ended it, and lacking
// where a limit did.
func verdictOf(err error) Verdict {
	switch {
	case errors.Is(err, errCut):
		return Skipped
	case errors.Is(err, errGuard), errors.Is(err, errNoAnswer):
		return Missing
	}
	return Failed
}

// batteryTest is the state of one battery's tests.
type batteryTest struct {
	*session
	d      *tested
	r      *recording
	powerW float64 // commanded, discharge positive
	why    string
	on     time.Duration // when the power was commanded
	off    time.Duration // when it was taken back
	wrong  bool          // the site moved the wrong way
	// restNoise is the site's with the battery at rest; before, the battery may
	// have followed the load.
	restNoise float64
}

// rest holds the battery at 0 W, so that it does not follow the load by itself,
// and records.
func (b *batteryTest) rest(ctx context.Context) error {
	b.tell("  holds %s at 0 W for %v", b.d.cfg.Name, b.t.Rest)
	if err := b.apply(ctx, b.d, drivers.Command{}); err != nil {
		return err
	}
	// What it did before it was told to rest is not its rest: it ramps down, and
	// the meter shows that later still.
	down := newRecording()
	err := b.watch(ctx, b.d, down, b.t.longestDown(), true, func() (bool, error) {
		n := len(down.device)
		return n < wrongSamples || slices.ContainsFunc(down.device[n-wrongSamples:], func(s Sample) bool { return math.Abs(s.W) > restW }), nil
	})
	if err == nil {
		err = b.watch(ctx, b.d, newRecording(), b.t.Rest/2, true, nil)
	}
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		b.r = newRecording()
		if err := b.watch(ctx, b.d, b.r, b.t.Rest, true, nil); err != nil {
			return err
		}
		b.restNoise = MeasureNoise(b.r.site).NoiseW
		if l := b.limits(0); l.least() <= l.WantW || try == mostTries {
			return nil
		}
		b.tell("  a load switched meanwhile; rests once more (%d of %d)", try+1, mostTries)
	}
}

// longestDown is how long a battery is given to come to rest.
func (t Times) longestDown() time.Duration { return max(3*t.Rest/2, 15*time.Second) }

// restW is what a battery at rest may still show: its own consumption.
const restW = 100.0

func (b *batteryTest) limits(netW float64) Limits {
	c := b.site.Config.Site
	return Limits{WantW: b.o.PowerW, NetW: netW, MaxImportW: c.MaxImportW, MaxExportW: c.MaxExportW,
		MaxDischargeW: b.d.last.MaxDischargeW, MaxChargeW: b.d.last.MaxChargeW, SoC: b.d.last.SoC,
		ReserveSoC: b.d.cfg.ReserveSoC, NoiseW: b.restNoise}
}

// both records the step there and back and judges sign and step by it.
func (b *batteryTest) both(ctx context.Context, sign, step *Test) {
	verb := "discharges"
	if b.powerW < 0 {
		verb = "charges"
	}
	for try := 1; ; try++ {
		b.tell("  %s %s %.0f W for %v", b.d.cfg.Name, verb, math.Abs(b.powerW), b.o.For)
		err := b.there(ctx)
		b.off = b.r.now()
		if err == nil || errors.Is(err, errGuard) {
			if back := b.back(ctx); err == nil {
				err = back
			}
		}
		if err != nil || !b.disturbed() || try == mostTries {
			sign.add("tries", float64(try), "")
			b.judgeSign(sign, err)
			b.judgeStep(step, err)
			return
		}
		b.tell("  a load switched meanwhile; once more (%d of %d)", try+1, mostTries)
		// It rests already; what is recorded from here on is the next rest.
		b.wrong, b.r = false, newRecording()
		if err := b.watch(ctx, b.d, b.r, b.t.Rest, true, nil); err != nil {
			b.end(b.d, sign, verdictOf(err), "%v", err)
			b.end(b.d, step, verdictOf(err), "%v", err)
			return
		}
		if w, why := b.limits(median(watts(b.r.site))).Choose(); w == 0 || (w > 0) != (b.powerW > 0) {
			b.end(b.d, sign, Missing, "a load switched in the middle, and now: %s", orUnknownText(why))
			b.end(b.d, step, Missing, "a load switched in the middle")
			b.todo(b.d, "wait until no large load switches")
			return
		} else {
			b.powerW = w
		}
	}
}

// mostTries is how often a step is tried at a site whose loads switch.
const mostTries = 3

// disturbed tells whether the site moved by more than the battery: the way
// there and the way back do not agree, while the battery itself followed.
func (b *batteryTest) disturbed() bool {
	own, ownBack, ok := b.response(b.r.device, b.powerW, 0)
	there, back, siteOK := b.response(b.r.site, -b.powerW, b.restNoise)
	if !ok || !siteOK || !own.Moved || !ownBack.Moved {
		return false
	}
	good := func(r Response) bool { return r.Gain > siteGainLow && r.Gain < siteGainHigh }
	turned := func(r Response) bool { return r.Gain < -siteGainLow && r.Gain > -siteGainHigh }
	still := func(r Response) bool { return !r.Moved }
	return !(good(there) && good(back) || turned(there) && turned(back) || still(there) && still(back))
}

func orUnknownText(why string) string {
	if why == "" {
		return "the site's load allows another direction only; test again"
	}
	return why
}

func (b *batteryTest) there(ctx context.Context) error {
	b.on = b.r.now()
	if err := b.apply(ctx, b.d, drivers.Command{PowerW: b.powerW}); err != nil {
		return err
	}
	before, noise := median(watts(b.r.site)), b.restNoise
	return b.watch(ctx, b.d, b.r, b.o.For, true, func() (bool, error) {
		if WrongWay(since(b.r.site, b.on), before, -b.powerW, noise, wrongSamples) {
			b.wrong = true
			return false, nil
		}
		return true, b.guard(b.r)
	})
}

// guard stops a test that has come to one of the owner's limits.
func (b *batteryTest) guard(r *recording) error {
	c, d := b.site.Config.Site, b.d
	if soc := d.last.SoC; b.powerW > 0 && soc.OK && soc.V <= d.cfg.ReserveSoC {
		return fmt.Errorf("%w: %.0f %% charged, the reserve is %.0f %%", errGuard, soc.V, d.cfg.ReserveSoC)
	}
	if len(r.site) == 0 {
		return nil
	}
	net := median(watts(r.site[max(0, len(r.site)-3):]))
	if b.powerW > 0 && net < -c.MaxExportW-beyondNoise*b.restNoise {
		return fmt.Errorf("%w: the site exports %.0f W, max_export is %.0f W; did a load switch off?", errGuard, -net, c.MaxExportW)
	}
	if b.powerW < 0 && c.MaxImportW > 0 && net > c.MaxImportW {
		return fmt.Errorf("%w: the site draws %.0f W, max_import is %.0f W", errGuard, net, c.MaxImportW)
	}
	return nil
}

// back rests again and records.
func (b *batteryTest) back(ctx context.Context) error {
	b.tell("  %s rests again for %v", b.d.cfg.Name, b.t.Back)
	b.off = b.r.now()
	if err := b.apply(ctx, b.d, drivers.Command{}); err != nil {
		return err
	}
	return b.watch(ctx, b.d, b.r, b.t.Back, true, nil)
}

// response analyses the step there, of the battery or of the site.
func (b *batteryTest) response(samples []Sample, commandedW, noiseW float64) (there, back Response, ok bool) {
	there, ok = Analyse(samples, b.on, b.off, commandedW, noiseW)
	// What it did on its way there is not where it comes back from.
	settled := since(samples, b.on+(b.off-b.on)/2)
	back, backOK := Analyse(settled, b.off, b.r.now(), -commandedW, noiseW)
	return there, back, ok && backOK
}

// judgeSign says whether the net import fell by what the battery gave. The way
// there and the way back must agree: a load that switched shows in one only.
func (b *batteryTest) judgeSign(t *Test, err error) {
	t.add("commanded", b.powerW, "W, discharge positive")
	there, back, ok := b.response(b.r.site, -b.powerW, b.restNoise)
	if !ok {
		b.end(b.d, t, verdictOf(orUnknown(err)), "%v", orUnknown(err))
		return
	}
	t.add("net import before", there.BeforeW, "W")
	t.add("net import during", there.AfterW, "W")
	t.add("net import after", back.AfterW, "W")
	t.add("change there", there.ChangeW, "W")
	t.add("change back", back.ChangeW, "W")
	own, _, ownOK := b.response(b.r.device, b.powerW, 0)
	if ownOK {
		t.add("battery's own reading, change", own.ChangeW, "W")
	}
	b.signVerdict(t, there, back, own, ownOK, err)
}

func (b *batteryTest) signVerdict(t *Test, there, back, own Response, ownOK bool, err error) {
	good := func(r Response) bool { return r.Moved && r.Gain > 0 }
	bad := func(r Response) bool { return r.Moved && r.Gain < 0 }
	meter := b.meter.cfg
	remedy := "set invert: true on " + meter.Name
	if meter.Invert {
		remedy = "remove invert: true from " + meter.Name
	}
	switch {
	case bad(there) && bad(back) && ownOK && bad(own):
		// Two instruments against one command: it is the command that arrives turned.
		b.end(b.d, t, Failed, "told %+.0f W the battery gave %+.0f W by its own reading, and the site's meter agrees with that: the battery does the opposite of its command. The meter is right, leave it; is the battery's profile the one for this model and firmware?", b.powerW, own.ChangeW)
	case bad(there) && bad(back) && ownOK && good(own):
		b.end(b.d, t, Failed, "the battery did what it was told, and the net import moved against it: the current transformer of %s is turned; %s, or turn the transformer, and test again", meter.Name, remedy)
	case bad(there) && bad(back):
		b.end(b.d, t, Failed, "the net import moved against the command, and the battery's own reading did not move: the current transformer of %s is turned, or the battery's sign. See at its display whether it discharged; if it did, %s", meter.Name, remedy)
	case b.wrong:
		b.end(b.d, t, Failed, "the net import moved against the battery and the test was stopped at once, but the way back did not confirm it; if no load switched meanwhile, %s and test again", remedy)
	case ownOK && bad(own):
		b.end(b.d, t, Failed, "the battery reads the opposite of what it was told, though the site's meter agrees with the command: the sign of its own measurement is wrong")
	case good(there) && good(back):
		b.end(b.d, t, Passed, "the net import followed the battery, there and back%s", chargedInstead(b.powerW))
	case err != nil:
		b.end(b.d, t, verdictOf(err), "%v", err)
	case bad(there) != bad(back) && (good(there) || good(back)):
		b.end(b.d, t, Failed, "there and back do not agree: a load switched meanwhile; test again")
	default:
		b.end(b.d, t, Failed, "the net import did not move: does the meter %s measure the connection that %s is behind?", meter.Name, b.d.cfg.Name)
	}
}

func chargedInstead(powerW float64) string {
	if powerW < 0 {
		return " (proved by charging: there was no room to discharge)"
	}
	return ""
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("too few samples")
	}
	return err
}

// judgeStep says how far and how fast the battery followed.
func (b *batteryTest) judgeStep(t *Test, err error) {
	t.add("commanded", b.powerW, "W, discharge positive")
	own, ownBack, ok := b.response(b.r.device, b.powerW, 0)
	if !ok {
		b.end(b.d, t, verdictOf(orUnknown(err)), "%v", orUnknown(err))
		return
	}
	t.add("gain at the battery", own.Gain, "")
	t.add("dead time at the battery", own.DeadTime, "s")
	t.add("90 % at the battery after", own.Rise90, "s")
	t.add("gain back at the battery", ownBack.Gain, "")
	t.add("dead time back at the battery", ownBack.DeadTime, "s")
	there, back, siteOK := b.response(b.r.site, -b.powerW, b.restNoise)
	siteGain := (there.Gain + back.Gain) / 2
	if siteOK {
		t.add("gain at the site's meter", siteGain, "")
		t.add("dead time at the site's meter", there.DeadTime, "s")
		t.add("90 % at the site's meter after", there.Rise90, "s")
	}
	switch {
	case err != nil && !own.Moved:
		b.end(b.d, t, verdictOf(err), "%v", err)
	case b.wrong:
		b.end(b.d, t, Skipped, "stopped early, see the sign test")
	case !own.Moved:
		b.end(b.d, t, Failed, "the battery did not follow: is remote control allowed on it, is another controller at work?")
	case err != nil:
		b.end(b.d, t, verdictOf(err), "%v", err)
	case own.Gain < -gainLow:
		b.end(b.d, t, Failed, "the battery gave the opposite of what it was asked for, see the sign test")
	case own.Gain < gainLow || own.Gain > gainHigh:
		b.end(b.d, t, Failed, "the battery gave %.0f %% of what it was asked for, %.0f to %.0f %% are good", 100*own.Gain, 100*gainLow, 100*gainHigh)
	case siteOK && (siteGain < siteGainLow || siteGain > siteGainHigh):
		b.end(b.d, t, Failed, "the site's meter saw %.0f %% of the step, %.0f to %.0f %% are good: wrong transformer ratio, a missing phase, or a load that switched", 100*siteGain, 100*siteGainLow, 100*siteGainHigh)
	default:
		b.end(b.d, t, Passed, "%s", slow(own, there))
	}
}

// slow warns of a dead time that the control round has to know of.
func slow(own, site Response) string {
	dead := max(own.DeadTime, site.DeadTime)
	if dead > 5 {
		return fmt.Sprintf("slow: %.1f s until anything moves; the control follows load changes later than that", dead)
	}
	return ""
}
