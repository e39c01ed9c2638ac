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
	switch {
	case p == nil:
		return false
	case write:
		w.writes++
		p.write(ctx, w.opts)
	default:
		w.writes = 0
		p.read(ctx, w.opts.Timeout)
	}
	return true
}

// next picks what is due: writes before reads, and of each the one that has
// waited longest. Commands that change faster than the wire carries them would
// leave no room for readings, so now and then a due read goes first.
func (w *Worker) next(now time.Time) (port *Port, write bool) {
	var reader, writer *Port
	var readAt, writeAt time.Time
	for _, p := range w.ports {
		if at := p.readDue(); !at.After(now) && (reader == nil || at.Before(readAt)) {
			reader, readAt = p, at
		}
		at, ok := p.writeDue(w.opts.Fallback)
		if ok && !at.After(now) && (writer == nil || at.Before(writeAt)) {
			writer, writeAt = p, at
		}
	}
	if writer != nil && (reader == nil || w.writes < 2*len(w.ports)) {
		return writer, true
	}
	return reader, false
}

// sleep waits until something is due, somebody posts, or the context ends.
func (w *Worker) sleep(ctx context.Context) {
	now := time.Now()
	wakeAt := now.Add(heartbeat)
	sooner := func(t time.Time) {
		if t.Before(wakeAt) {
			wakeAt = t
		}
	}
	for _, p := range w.ports {
		sooner(p.readDue())
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
		if p.wish == nothing || p.snap.Neutral {
			continue
		}
		if p.wrong {
			p.log.Error("not released: something else answers at its address", "error", p.readError)
			continue
		}
		p.want(rest, drivers.Command{}, time.Now())
		pending = append(pending, p)
	}
	slices.SortStableFunc(pending, func(a, b *Port) int { return a.lost - b.lost })
	held := slices.DeleteFunc(slices.Clone(pending), func(p *Port) bool { return p.snap.AppliedAt.IsZero() })
	for len(pending) > 0 {
		left := len(pending)
		pending = slices.DeleteFunc(pending, func(p *Port) bool {
			over := w.retire(ctx, p, left)
			left--
			return over
		})
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
// or not worth another try. A lost device gets its share of the time that is
// left for so many devices.
func (w *Worker) retire(ctx context.Context, p *Port, left int) bool {
	w.stamp()
	opts, quarantined := w.opts, p.lost > 0
	if end, _ := ctx.Deadline(); quarantined {
		opts.Timeout = min(opts.Timeout, time.Until(end)/time.Duration(left))
	}
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
	p.writeError = err.Error()
	p.publish()
	commanded := !p.snap.AppliedAt.IsZero()
	over := (quarantined && !commanded) || ctx.Err() != nil || errors.Is(err, drivers.ErrRefused)
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
