package bus

import (
	"context"
	"errors"
	"time"

	"nominald/drivers"
)

// wish is what the device shall do, as last posted or as follows from a lapse.
type wish byte

const (
	nothing wish = iota // nobody asked yet: not a byte is written
	follow              // the command of a lease
	rest                // neutral
)

// state is what the worker knows of a device.
type state struct {
	snap Snapshot // the next one to publish

	wish    wish
	command drivers.Command // while wish is follow
	ends    time.Time       // end of the lease, monotonic
	since   time.Time       // when the pending write became pending
	holding bool            // the device follows snap.Applied, as far as known
	given   bool            // a command was sent since the last release, so that it may follow one

	// met: it answered a read since it was last lost. Nothing is written
	// before, so that a write never goes to whatever sits at the address now.
	met    bool
	wrong  bool // something else than the configured device answered
	ending bool // the worker ends: what is released now is released for good

	due        time.Time // next read, on a grid of the period
	retryAt    time.Time // neither read nor written before
	writeAfter time.Time // not written before, after a write that failed
	refused    bool      // the last write was refused

	readError, writeError string
	lost                  int           // failures to answer in a row
	tryCost               time.Duration // of the last of them
	busy                  int           // busy answers in a row
	unwritten             int           // writes that failed in a row
}

// collect takes what was posted to the mailbox, and ends a lease whose time is
// over.
func (p *Port) collect(now time.Time) {
	m := p.mailbox.Swap(nil)
	changed := m != nil
	switch {
	case m == nil:
	case m.retire:
		p.want(rest, drivers.Command{}, m.at)
	default:
		p.want(follow, m.lease.Command, m.at)
		p.ends = m.ends
		p.snap.Lease = &m.lease
	}
	if p.wish == follow && !now.Before(p.ends) {
		p.want(rest, drivers.Command{}, now)
		changed = true
	}
	if changed {
		p.publish()
	}
}

// want changes the wish. A new one does not wait for the pause of an old one
// that the device refused, and keeps its place in the queue. A release waits for
// the pause of no command: what failed may have arrived in part.
func (p *Port) want(wh wish, c drivers.Command, asked time.Time) {
	if wh != follow {
		p.snap.Lease = nil
	}
	if p.wish == wh && p.command == c {
		return
	}
	waiting := p.pending()
	p.wish, p.command = wh, c
	if !waiting {
		p.since = asked
	}
	if p.refused || wh == rest {
		p.writeAfter, p.refused = time.Time{}, false
	}
	if wh == rest {
		p.unwritten = 0
	}
}

// pending tells whether the device does not do what it shall, as far as known.
func (p *Port) pending() bool {
	switch p.wish {
	case follow:
		return !p.holding || p.command != p.snap.Applied
	case rest:
		return !p.snap.Neutral
	}
	return false
}

// writeDue returns when to write next, and false where there is nothing to
// write.
func (p *Port) writeDue(fallback time.Duration) (time.Time, bool) {
	at := p.since
	switch {
	case !p.met || p.wish == nothing || p.wish == rest && p.snap.Neutral:
		return time.Time{}, false
	case !p.pending():
		at = p.snap.AppliedAt.Add(fallback / 2)
	}
	return later(at, p.writeAfter, p.retryAt), true
}

// missing tells whether the device was tried and does not answer.
func (p *Port) missing() bool { return !p.met && p.snap.Tried }

// readDue returns when to read next. A lost device is read as soon as its
// quarantine ends, however long its period is.
func (p *Port) readDue() time.Time {
	if p.missing() {
		return p.retryAt
	}
	return later(p.due, p.retryAt)
}

// read polls the device.
func (p *Port) read(ctx context.Context, timeout time.Duration) {
	begin := time.Now().UTC()
	short, cancel := context.WithTimeout(ctx, timeout)
	reading, err := p.device.Read(short)
	cancel()
	if err != nil && ctx.Err() != nil {
		return // the end of the run is no failure of the device
	}
	end := time.Now().UTC()
	p.snap.Polls++
	p.snap.Tried = true
	if err != nil {
		p.readError = err.Error()
		p.failed(err, end)
	} else {
		p.readError, p.busy, p.wrong = "", 0, false
		p.snap.Reading, p.snap.Description = reading, p.device.Describe()
		p.snap.RoundTrip = end.Sub(begin)
		p.answered(end)
	}
	if p.met && p.busy == 0 {
		p.due = p.due.Add((end.Sub(p.due)/p.every + 1) * p.every)
	}
	p.publish()
}

// write applies the command or releases the device.
func (p *Port) write(ctx context.Context, opts Options) {
	begin := time.Now().UTC()
	err := p.put(ctx, opts)
	if err != nil && ctx.Err() != nil {
		return
	}
	end := time.Now().UTC()
	if err == nil {
		p.wrote(begin, end)
	} else {
		p.notWritten(err, end)
	}
	p.publish()
}

// lastChance is a device whose Release may wait, as a relay's does that keeps a
// compressor off for its least time. LetGo releases it at once: nobody will be
// there to do it later.
type lastChance interface {
	LetGo(ctx context.Context) error
}

// last returns the device as one that can be let go at once, or nil.
func (p *Port) last() lastChance {
	d, _ := p.device.(lastChance)
	return d
}

// put makes the device do what it shall. From the first byte on its state is
// unknown until the call has succeeded.
func (p *Port) put(ctx context.Context, opts Options) error {
	short, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	p.snap.Writes++
	p.snap.Neutral = false
	p.holding = false
	if p.wish == rest {
		if d := p.last(); d != nil && p.ending {
			return d.LetGo(short)
		}
		return p.device.Release(short)
	}
	err := p.device.Apply(short, p.command, opts.Fallback)
	p.given = p.given || !errors.Is(err, drivers.ErrRefused)
	return err
}

func (p *Port) wrote(begin, end time.Time) {
	if p.writeError != "" {
		p.log.Info("command taken")
	}
	p.writeError, p.unwritten, p.busy = "", 0, 0
	p.writeAfter, p.refused = time.Time{}, false
	if p.wish == rest {
		p.snap.Neutral, p.given = true, false
		p.snap.Applied, p.snap.AppliedAt = drivers.Command{}, time.Time{}
	} else {
		p.holding = true
		p.snap.Applied, p.snap.AppliedAt = p.command, begin
	}
	p.answered(end)
}

func (p *Port) notWritten(err error, end time.Time) {
	p.unwritten++
	p.refused = errors.Is(err, drivers.ErrRefused)
	switch {
	case errors.Is(err, drivers.ErrBusy): // failed sets the pace
	case p.refused && p.wish == follow:
		p.writeAfter = end.Add(refusedPause)
	case p.refused:
		p.writeAfter = end.Add(quarantine(p.unwritten))
	default:
		p.writeAfter = end.Add(quarantine(max(p.unwritten-1, 1))) // the first was a slip
	}
	if p.refused && p.writeError == "" {
		p.log.Warn("command refused", "error", err, "retry_in", p.writeAfter.Sub(end))
	}
	p.writeError = err.Error()
	if p.slipped(err) {
		p.snap.Failures++
		p.writeAfter = end.Add(slipPause)
		return
	}
	p.failed(err, end)
}

// slipped tells whether a write that was not answered may be a single lost frame:
// of a device that was there until now, for the first time. It is written again
// soon; if it is not answered then, the device is lost.
func (p *Port) slipped(err error) bool {
	soon := errors.Is(err, drivers.ErrOffline) && !errors.Is(err, drivers.ErrWrongDevice) && !errors.Is(err, drivers.ErrNoLine)
	return soon && p.snap.Online && p.unwritten == 1
}

// answered records that the device was heard.
func (p *Port) answered(now time.Time) {
	if !p.snap.Online {
		p.log.Info("device online")
	}
	p.met, p.lost = true, 0
	p.retryAt, p.snap.RetryAt = time.Time{}, time.Time{}
	p.snap.Online, p.snap.LastSeen = true, now
}

// failed records a read or write that failed. A device that is busy or refuses
// did answer; everything else counts as lost, until a read succeeds.
func (p *Port) failed(err error, now time.Time) {
	p.snap.Failures++
	gone := errors.Is(err, drivers.ErrOffline) || errors.Is(err, drivers.ErrWrongDevice)
	switch {
	case !gone && errors.Is(err, drivers.ErrBusy):
		p.answered(now)
		p.retryAt = now.Add(min(busyStep<<min(p.busy, 8), busyMost))
		p.busy++
		return
	case !gone && errors.Is(err, drivers.ErrRefused):
		p.busy = 0
		p.answered(now)
		return
	}
	p.wrong = errors.Is(err, drivers.ErrWrongDevice)
	p.met, p.busy = false, 0
	p.holding = false // it may have restarted: applied again when it is back
	first := p.lost == 0
	p.lost++
	if errors.Is(err, drivers.ErrNoLine) { // which tells nothing of the device, and costs the others nothing
		p.lost = 1
	}
	pause := quarantine(p.lost)
	p.retryAt = now.Add(pause)
	p.snap.RetryAt = p.retryAt
	if p.snap.Online || first && p.snap.LastSeen.IsZero() {
		p.log.Warn("device offline", "error", err, "retry_in", pause)
	}
	p.snap.Online = false
}

// publish shows the working copy to readers.
func (p *Port) publish() {
	s := p.snap
	s.LastError = p.readError
	if p.writeError != "" {
		s.LastError = p.writeError
	}
	p.shown.Store(&s)
}

// quarantine returns the pause after n failures in a row.
func quarantine(n int) time.Duration {
	return min(quarantineStep*time.Duration(n), quarantineMost)
}

func later(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.After(first) {
			first = t
		}
	}
	return first
}
