package profile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"nominald/drivers"
)

// order is the command in force, as far as known.
type order struct {
	key    string // what was written, without timers; empty where what stands in the device is unknown
	steps  []Step
	values values
	want   float64             // the command in the kind's own unit
	sent   map[string][]uint16 // by writable register

	at      time.Time     // last written or renewed
	wrote   time.Time     // last written whole
	changed time.Time     // when it last became another
	timer   time.Duration // the device ends it so long after at; 0 never
	until   time.Time     // end of the last lease
	shaken  bool          // the device may have restarted since
	again   bool          // written again because the device did not show it
	fault   string        // the device does not hold it
}

// pending is a command that came too soon after another.
type pending struct {
	steps  []Step
	values values
	want   float64
}

// forget has the whole sequence written at the next Apply.
func (o *order) forget() { o.key, o.shaken, o.again, o.fault = "", false, false, "" }

// ranOut tells whether the device's timer ended the command.
func (o *order) ranOut(now time.Time) bool { return o.timer > 0 && now.Sub(o.at) >= o.timer }

// command makes the device follow a sequence: written whole where it is new or
// doubtful, renewed where the device's timer asks for it, else left alone. What
// fails midway leaves the state unknown, and the whole is repeated.
func (d *device) command(ctx context.Context, steps []Step, v values, want float64, valid time.Duration) error {
	now := d.now()
	v["timer"] = d.timer(valid).Seconds()
	writes, err := d.plan(steps, v)
	if err != nil {
		return err
	}
	o, key := &d.order, rendered(writes)
	o.until = now.Add(valid)
	if o.ranOut(now) || o.shaken {
		o.forget()
	}
	same := o.key == key
	d.next = nil
	if o.key != "" && (same || now.Sub(o.changed) < d.p.MinInterval) {
		if !same { // the Read after that time sends it
			d.next = &pending{steps, v, want}
		}
		if o.timer > 0 && now.Sub(o.at) >= d.renewEvery() {
			if err := d.refresh(ctx, valid); err != nil {
				return err
			}
		}
		if same && o.fault != "" {
			return d.insist(ctx, now, valid)
		}
		return nil
	}
	o.forget()
	if err := d.send(ctx, steps, v, false); err != nil {
		return err
	}
	*o = order{key: key, steps: steps, values: v, want: want, sent: map[string][]uint16{}, at: now, wrote: now,
		changed: now, timer: d.timer(valid), until: o.until, shaken: o.shaken}
	d.timed = o.timer
	for _, w := range writes {
		for _, part := range w {
			o.sent[part.reg.Name] = part.regs
		}
	}
	return nil
}

// insist writes a command that the device does not hold again, at most once in
// the time that it has to show it, and refuses until a reading shows it.
func (d *device) insist(ctx context.Context, now time.Time, valid time.Duration) error {
	o := &d.order
	if now.Sub(o.wrote) >= d.p.ReadBack.After {
		if err := d.repeat(ctx, now, valid); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s %s: %w", d.p.Name, o.fault, drivers.ErrRefused)
}

// repeat writes the whole command again.
func (d *device) repeat(ctx context.Context, now time.Time, valid time.Duration) error {
	o, timer := &d.order, d.timer(valid)
	v := maps.Clone(o.values)
	v["timer"] = timer.Seconds()
	o.wrote, o.shaken = now, false
	if err := d.send(ctx, o.steps, v, false); err != nil {
		o.shaken = true
		return err
	}
	o.at, o.timer = now, timer
	return nil
}

// timer returns the lease as the device's timer takes it: a whole number of its
// steps, up, within its limits. Without such a register it is the device's own
// time, 0 for none.
func (d *device) timer(valid time.Duration) time.Duration {
	f := d.p.Fallback
	reg, ok := d.p.register(f.Register)
	if !ok {
		return f.After
	}
	low, high := reg.limits()
	low = math.Max(low, f.Min.Seconds())
	if f.Max > 0 {
		high = math.Min(high, f.Max.Seconds())
	}
	step := reg.resolution()
	n := math.Ceil(math.Min(math.Max(valid.Seconds(), low), high)/step - 1e-6)
	if n*step > high+1e-9 {
		n--
	}
	return time.Duration(math.Round(n * step * 1e9))
}

// renewEvery is how long after the last write the device's timer is due.
func (d *device) renewEvery() time.Duration {
	if r := d.p.Fallback.Renew; r > 0 && r < d.order.timer {
		return r
	}
	return d.order.timer / 2
}

// refresh renews the device's timer: by its keep-alive, else by the command.
func (d *device) refresh(ctx context.Context, valid time.Duration) error {
	o, steps, timer := &d.order, d.p.Fallback.KeepAlive, d.timer(valid)
	if len(steps) == 0 {
		steps = o.steps
	}
	v := maps.Clone(o.values)
	v["timer"] = timer.Seconds()
	if err := d.send(ctx, steps, v, false); err != nil {
		o.shaken = true
		return fmt.Errorf("renew: %w", err)
	}
	o.at = d.now()
	if setsTimer(steps, d.p.Fallback.Register) {
		o.timer = timer
	}
	return nil
}

// attend sees after a poll to the command in force: is it held, and does the
// device's timer end before its lease does? After the lease nothing is renewed.
// A write that nobody answered fails the poll, so that the bus looks for the
// device and applies the command again: when it renews the next time, the device
// may have ended it. What failed otherwise is written whole at the next poll.
func (d *device) attend(ctx context.Context) error {
	o, now := &d.order, d.now()
	if o.key == "" || !now.Before(o.until) {
		return nil
	}
	o.shaken = o.shaken || o.ranOut(now)
	if o.shaken && d.p.Kind == drivers.Thermostat { // which sees for itself whether its set-point is there
		o.forget()
		return nil
	}
	if n := d.next; n != nil && now.Sub(o.changed) >= d.p.MinInterval {
		return d.noted(d.command(ctx, n.steps, n.values, n.want, o.until.Sub(now)))
	}
	repeat := d.verify()
	due := o.timer > 0 && now.Sub(o.at) >= d.renewEvery() && o.at.Add(o.timer).Before(o.until)
	var err error
	switch {
	case o.key == "": // verify doubts it
	case repeat || o.shaken:
		o.again = o.again || repeat
		err = d.repeat(ctx, now, o.until.Sub(now))
	case due:
		err = d.refresh(ctx, o.until.Sub(now))
	}
	if errors.Is(err, drivers.ErrRefused) { // again by the bus, at its own pace
		o.forget()
	}
	if o.fault != "" {
		d.notes = append(d.notes, o.fault)
	}
	return d.noted(err)
}

// noted keeps for people what a write met with, and returns it where the device
// did not answer.
func (d *device) noted(err error) error {
	if err == nil || errors.Is(err, drivers.ErrOffline) {
		return err
	}
	d.notes = append(d.notes, err.Error())
	return nil
}

// verify holds the reading against the command. It returns true where the device
// does not show it for the first time: some lose a write. What it does not show
// after that either is a fault that people have to see.
func (d *device) verify() (repeat bool) {
	o := &d.order
	if t, ok := d.last["timer_s"]; ok && d.p.Fallback.Register != "" && !o.shows(t, d.timerAt()) {
		d.notes = append(d.notes, fmt.Sprintf("its timer reads %g s, set to %g s", t, o.timer.Seconds()))
		o.forget()
		return false
	}
	b := d.p.ReadBack
	got := d.shown[b.Point]
	pt, _ := d.p.point(b.Point)
	if !got.OK {
		return false
	}
	want, ok := d.expected(pt)
	within := math.Max(b.Tolerance, math.Abs(pt.Scale)/2) + 1e-6*math.Abs(want)
	switch {
	case !ok:
	case math.Abs(got.V-want) <= within:
		o.again, o.fault = false, ""
	case d.readAt(pt).Sub(o.wrote) < b.After: // it may still come
	case !o.again:
		return true
	default:
		o.fault = fmt.Sprintf("does not hold the command: %s reads %.6g %s, commanded %.6g %s", b.Point, got.V, pt.Unit, want, pt.Unit)
	}
	return false
}

// readAt is when a point was last read.
func (d *device) readAt(pt Point) time.Time {
	if pt.Slow {
		return d.slowAt
	}
	return d.reading.At
}

// timerAt is when the point that shows the timer was last read.
func (d *device) timerAt() time.Time {
	i := slices.IndexFunc(d.p.Points, func(pt Point) bool { return pt.Meaning == "timer_s" })
	return d.readAt(d.p.Points[i])
}

// timerSlack is how far a timer that counts down may be ahead of our clock.
const timerSlack = 5.0

// shows tells whether a timer of so many seconds can be the one that was set: it
// stays as it was set, or counts down since. One that was read before tells
// nothing.
func (o *order) shows(seconds float64, read time.Time) bool {
	if read.Before(o.at) {
		return true
	}
	set := o.timer.Seconds()
	return seconds <= set+1 && seconds > 0 && seconds >= set-read.Sub(o.at).Seconds()-timerSlack
}

// expected is what a point shows when the device holds the command: what was
// written to the very register that it reads, else the command itself.
func (d *device) expected(pt Point) (v float64, ok bool) {
	for _, r := range d.p.Writable {
		if r.Table != pt.Table || r.at(d.params.Channel) != pt.at(d.params.Channel) || width(r.Type) != width(pt.Type) || r.Raw {
			continue
		}
		regs, sent := d.order.sent[r.Name]
		if !sent { // it is left alone: what a pause leaves of the limit says nothing
			return d.order.want, d.p.Kind == drivers.Relay
		}
		if r.Function == 5 {
			regs = []uint16{min(regs[0], 1)}
		}
		v, _, ok := pt.value(regs)
		return v, ok
	}
	return d.order.want, true
}
