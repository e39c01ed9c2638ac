package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nominald/drivers"
)

func (w *Worker) collect(now time.Time) {
	for _, p := range w.ports {
		p.collect(now)
	}
}

// step does the most urgent thing that is due, and returns whether there was
// one.
func (w *Worker) step(ctx context.Context, now time.Time) bool {
	p, write := w.next(now)
	if p == nil {
		return false
	}
	probe, failures := !p.met, p.lost
	w.pausing = p.met
	if write {
		w.writes++
		p.write(ctx, w.opts)
	} else {
		w.writes = 0
		p.read(ctx, w.opts.Timeout)
	}
	end := time.Now()
	w.load.add(now, end)
	if w.missed = p.lost > failures; w.missed {
		p.tryCost = end.Sub(now)
	}
	if probe && w.missed {
		w.charge(end, end.Sub(now))
	}
	return true
}

// next picks what is due: writes before reads, and of each the one that has
// waited longest. Commands that change faster than the wire carries them would
// leave no room for readings, so now and then a due read goes first.
//
// Devices that do not answer come behind those that do. Each try costs the
// others a timeout, so there are never two such tries in a row while another
// device is due, they lie where they are in the way least, and lost devices
// together get a share of the wire only.
func (w *Worker) next(now time.Time) (port *Port, write bool) {
	var reader, writer *Port
	var writeAt time.Time
	for _, p := range w.ports {
		if !w.readDue(p).After(now) && (reader == nil || w.sooner(p, reader, now)) {
			reader = p
		}
		at, ok := p.writeDue(w.opts.Fallback)
		if ok && !at.After(now) && (writer == nil || at.Before(writeAt)) {
			writer, writeAt = p, at
		}
	}
	if reader != nil && reader.missing() && !w.fits(reader, now) {
		reader = nil
	}
	if writer != nil && (reader == nil || w.writes < 2*len(w.ports)) {
		return writer, true
	}
	return reader, false
}

// sooner tells whether a is read before b, both being due.
func (w *Worker) sooner(a, b *Port, now time.Time) bool {
	if ra, rb := w.rank(a, now), w.rank(b, now); ra != rb {
		return ra < rb
	}
	return a.readDue().Before(b.readDue())
}

// rank is 0 for a device that is read in its turn, 1 for one that waits until
// no such device is due. On a wire that has no time to spare a lost one gets
// its turn after a while, or it would never be found again.
func (w *Worker) rank(p *Port, now time.Time) int {
	if !p.met && w.missed || p.missing() && now.Sub(w.readDue(p)) < probeWait {
		return 1
	}
	return 0
}

// readDue returns when to read the device next. What is lost waits, besides
// its quarantine, until the lost have a share of the wire left; where nothing
// else is on the wire there is nobody to spare it for.
func (w *Worker) readDue(p *Port) time.Time {
	at := p.readDue()
	if !p.missing() || !slices.ContainsFunc(w.ports, func(o *Port) bool { return o.met }) {
		return at
	}
	return later(at, w.paid.Add(-probeShare*probeBurst))
}

// fits tells whether a lost device is tried now: where it will be over before
// another device is due; or at the begin of a pause between two rounds of
// readings, if half of it falls into the pause. Where the pauses are shorter it
// has to wait, but not for ever.
func (w *Worker) fits(p *Port, now time.Time) bool {
	need := p.tryCost
	if w.pausing {
		need /= 2
	}
	return now.Sub(w.readDue(p)) >= probeWait || !slices.ContainsFunc(w.ports, func(o *Port) bool {
		return o.met && o.readDue().Before(now.Add(need))
	})
}

// charge puts the time of a try that was not answered to the account of the
// lost.
func (w *Worker) charge(now time.Time, cost time.Duration) {
	w.paid = later(w.paid, now).Add(probeShare * cost)
}

// sleep waits until something is due, somebody posts, or the context ends.
func (w *Worker) sleep(ctx context.Context) {
	now := time.Now()
	w.pausing = false
	wakeAt := now.Add(heartbeat)
	sooner := func(t time.Time) {
		if t.Before(wakeAt) {
			wakeAt = t
		}
	}
	for _, p := range w.ports {
		if at := w.readDue(p); at.After(now) || !p.missing() { // else it waits for another's turn
			sooner(at)
		}
		if at, ok := p.writeDue(w.opts.Fallback); ok {
			sooner(at)
		}
		if p.wish == follow {
			sooner(p.ends)
		}
	}
	t := time.NewTimer(wakeAt.Sub(now))
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.wake:
	case <-ctx.Done():
	}
}

// shutdown releases what has to be released. Devices that answered lately come
// first. They, and any that may still follow a command, are tried again while
// there is time; others in quarantine are tried once, so that they do not use
// up the time. The error names devices that were left with a command.
func (w *Worker) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer cancel()
	var pending []*Port
	for _, p := range w.ports {
		if p.wish == nothing || p.snap.Neutral && p.last() == nil {
			continue
		}
		if p.wrong {
			p.log.Error("not released: something else answers at its address", "error", p.readError)
			continue
		}
		p.want(rest, drivers.Command{}, time.Now())
		p.ending = true
		pending = append(pending, p)
	}
	slices.SortStableFunc(pending, func(a, b *Port) int { return a.lost - b.lost })
	held := slices.DeleteFunc(slices.Clone(pending), func(p *Port) bool { return !p.given })
	for len(pending) > 0 {
		left := len(pending)
		pending = slices.DeleteFunc(pending, func(p *Port) bool {
			over := w.retire(ctx, p, left)
			left--
			return over
		})
		// A wire is held while a silent unit may still answer. Whom that kept from
		// being asked comes before it now.
		slices.SortStableFunc(pending, func(a, b *Port) int { return a.unwritten - b.unwritten })
		if len(pending) > 0 {
			pause(ctx, shutdownPause)
		}
	}
	var problems []error
	for _, p := range held {
		if !p.snap.Neutral {
			problems = append(problems, fmt.Errorf("%s was left with its command: %s", p.name, p.writeError))
		}
	}
	return errors.Join(problems...)
}

// retire tries to release the device, and returns whether that is over: done,
// or not worth another try. It takes no more than the device's share of the
// time that is left for so many, for any of them may have died just now.
func (w *Worker) retire(ctx context.Context, p *Port, left int) bool {
	w.stamp()
	opts, quarantined := w.opts, p.lost > 0
	end, _ := ctx.Deadline()
	opts.Timeout = min(opts.Timeout, time.Until(end)/time.Duration(left))
	if err := ctx.Err(); err != nil {
		p.log.Error("not released", "error", err)
		return true
	}
	begin := time.Now().UTC()
	err := p.put(ctx, opts)
	if err == nil {
		p.wrote(begin, time.Now().UTC())
		p.publish()
		return true
	}
	p.snap.Failures++
	if errors.Is(err, drivers.ErrOffline) {
		p.unwritten++
	}
	p.writeError = err.Error()
	p.publish()
	over := (quarantined && !p.given) || ctx.Err() != nil || errors.Is(err, drivers.ErrRefused)
	if over {
		p.log.Error("not released", "error", err)
	}
	return over
}

// pause sleeps, or returns early when the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
