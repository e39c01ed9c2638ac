package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/gateway/journal"
	"nominald/gateway/status"
)

const (
	// keptRounds is two minutes at one round a second; at some 4 kB each they
	// stay far below a megabyte.
	keptRounds = 120
	// ExplainWithin is how old a round may be that answers for a time: while
	// nothing happens one a minute is on disk.
	ExplainWithin = 2 * time.Minute
	// idleEvery is how often a round goes to disk while nothing happens.
	idleEvery = time.Minute
	// writeEvery is what a power cut may cost, but for the time that the
	// writing takes: together below a minute.
	writeEvery = 55 * time.Second
	// behindLoad is how long after the load log, which has the same pace, this is
	// written: both changes then go in one commit of the file system.
	behindLoad = time.Second
	// JournalDir is the journal's place in store.dir.
	JournalDir = "journal"
	// The journal's limits: the oldest hours go first.
	journalBytes = 64 << 20
	journalAge   = 14 * 24 * time.Hour
)

// rounds keeps the rounds for explain: the last ones in memory, and on disk
// those of many days. The control goroutine hands over, its own task writes.
// What is handed over is not copied: nothing changes an input or a decision
// once the round has been made.
type rounds struct {
	dir     string // of the journal
	version string
	dryRun  bool
	log     *slog.Logger

	mu     sync.Mutex
	ring   []Round
	toDisk chan Round
	missed atomic.Int64 // rounds that found the way to disk full
}

func newRounds(dir, version string, dryRun bool, log *slog.Logger) *rounds {
	return &rounds{dir: dir, version: version, dryRun: dryRun, log: log, toDisk: make(chan Round, keptRounds)}
}

// keep takes a round. It never waits: while the disk is stuck rounds are lost
// to the journal, and counted.
func (r *rounds) keep(in plan.Input, d plan.Decision) {
	round := Round{Version: r.version, DryRun: r.dryRun, Input: in, Decision: d}
	select {
	case r.toDisk <- round:
	default:
		r.missed.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ring) == keptRounds {
		copy(r.ring, r.ring[1:])
		r.ring = r.ring[:keptRounds-1]
	}
	r.ring = append(r.ring, round)
}

// Explain returns the round that was in force at a time: from memory, else
// from the journal.
func (r *rounds) Explain(at time.Time) (json.RawMessage, error) {
	if round, ok := r.recent(at); ok {
		return round.encode()
	}
	damages := 0
	line, _, err := journal.Find(r.dir, at, ExplainWithin, func(journal.Damage) { damages++ })
	if err != nil || line != nil {
		return line, err
	}
	err = r.notKept(at)
	if damages > 0 {
		err = fmt.Errorf("%w; %d damaged places of that hour can not be read", err, damages)
	}
	return nil, err
}

// recent looks in memory. Times may go back from one round to the next, when
// the clock was set.
func (r *rounds) recent(at time.Time) (found Round, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, round := range r.ring {
		now := round.Input.Now
		if now.After(at) || at.Sub(now) > ExplainWithin || (ok && now.Before(found.Input.Now)) {
			continue
		}
		found, ok = round, true
	}
	return found, ok
}

// notKept says what could be asked for instead.
func (r *rounds) notKept(at time.Time) error {
	first, last, err := journal.Kept(r.dir)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.ring); n > 0 {
		last = r.ring[n-1].Input.Now
		if first.IsZero() {
			first = r.ring[0].Input.Now
		}
	}
	if first.IsZero() {
		return fmt.Errorf("%w for %s: there is none yet", status.ErrNotKept, at.Format(time.RFC3339))
	}
	return fmt.Errorf("%w for %s or the %v before; they are kept from %s to %s, but for times when the gateway did not run",
		status.ErrNotKept, at.Format(time.RFC3339), ExplainWithin, first.Format(time.RFC3339), last.Format(time.RFC3339))
}

// run writes the rounds that are worth it to the journal, until the context
// ends. A disk that refuses costs rounds and nothing else.
func (r *rounds) run(ctx context.Context) error {
	w := newRoundWriter(r)
	ticks := time.NewTicker(behindLoad)
	defer ticks.Stop()
	inPhase := false
	for {
		select {
		case round := <-r.toDisk:
			w.take(round)
		case <-ticks.C:
			if !inPhase { // from now on this second behind the load log
				ticks.Reset(writeEvery)
				inPhase = true
			}
			w.flush()
		case <-ctx.Done():
			for {
				select {
				case round := <-r.toDisk:
					w.take(round)
					continue
				default:
				}
				w.flush()
				return nil
			}
		}
	}
}

// roundWriter picks what goes to disk and writes it.
type roundWriter struct {
	from     *rounds
	journal  *journal.Writer
	disk     trouble
	encoding trouble
	speed    trouble
	last     plan.Decision // of the round before, written or not
	wroteAt  time.Time     // by the rounds' own time
	sure     time.Time     // the last time of a round whose clock was believed
}

func newRoundWriter(r *rounds) *roundWriter {
	t := trouble{log: r.log}
	return &roundWriter{from: r, disk: t, encoding: t, speed: t,
		journal: journal.NewWriter(journal.Options{Dir: r.dir, MaxBytes: journalBytes, MaxAge: journalAge})}
}

func (w *roundWriter) take(round Round) {
	in, d := &round.Input, &round.Decision
	// A minute is over as well when the clock was set back.
	idleOver := in.Now.Sub(w.wroteAt) >= idleEvery || in.Now.Before(w.wroteAt)
	want := idleOver || busy(in, d) || changed(&w.last, d)
	w.last = *d
	if in.ClockTrusted {
		w.sure = in.Now
	}
	if !want {
		return
	}
	w.wroteAt = in.Now
	line, err := round.encode()
	w.encoding.note(err)
	if err != nil {
		return
	}
	if err := w.journal.Append(in.Now, line); err != nil { // that it was taken does not say that the disk works
		w.disk.note(err)
	}
}

func (w *roundWriter) flush() {
	if w.journal.Pending() > 0 {
		err := w.journal.Flush()
		if err == nil {
			err = w.journal.Expire(w.sure)
		}
		w.disk.note(err)
	}
	var slow error
	if n := w.from.missed.Swap(0); n > 0 {
		slow = fmt.Errorf("write journal: the disk is too slow, %d rounds are not kept", n)
	}
	w.speed.note(slow)
}

// trouble logs when something begins to fail and when it works again, and
// nothing in between.
type trouble struct {
	log     *slog.Logger
	failing bool
}

func (t *trouble) note(err error) {
	switch {
	case err != nil && !t.failing:
		t.log.Error("explain", "error", err)
	case err == nil && t.failing:
		t.log.Info("explain: rounds are kept again")
	}
	t.failing = err != nil
}

// busy tells whether something is asked of the site, or about to be, or a
// device still holds a command: then every round is worth keeping.
func busy(in *plan.Input, d *plan.Decision) bool {
	return slices.ContainsFunc(d.Slots, func(s plan.SlotDecision) bool {
		return s.State == dispatch.Armed || s.State == dispatch.Active || s.State == dispatch.Suppressed
	}) || slices.ContainsFunc(d.Meters, func(m plan.MeterDecision) bool {
		return m.State != "" || m.Reason == plan.Releasing
	}) || slices.ContainsFunc(d.Devices, func(dd plan.DeviceDecision) bool {
		return dd.Action == plan.Follow
	}) || slices.ContainsFunc(in.Devices, func(dev plan.Device) bool {
		return dev.Commanded != nil || dev.Held
	})
}

// changed tells whether a timeslot, a meter or a device has another state or
// reason than in the round before.
func changed(before, now *plan.Decision) bool {
	return !slices.Equal(before.Slots, now.Slots) ||
		!slices.EqualFunc(before.Meters, now.Meters, func(a, b plan.MeterDecision) bool {
			return a.ID == b.ID && a.State == b.State && a.EventID == b.EventID && a.Reason == b.Reason
		}) ||
		!slices.EqualFunc(before.Devices, now.Devices, func(a, b plan.DeviceDecision) bool {
			return a.Name == b.Name && a.Action == b.Action && a.Reason == b.Reason
		})
}
