package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nominald/dispatch"
	"nominald/gateway/status"
	"nominald/gateway/store"
)

// deliver takes a complete search into the schedule: stored first, then
// published, so that what devices follow is never newer than what a restart
// would find. Only the poller calls it. A store that fails does not keep a
// timeslot from being carried out; it is said loudly instead. Any source of
// timeslots may call it.
func (g *Gateway) deliver(_ context.Context, b dispatch.Batch) error {
	g.intake.Lock()
	defer g.intake.Unlock()
	now := g.clock.Now()
	before := g.schedule.Load()
	next, changes := dispatch.Merge(before, b, now)
	g.noteStore(g.store.SaveSchedule(next.All(), store.Batch{At: b.Observed, Source: b.Source}))
	g.schedule.Store(g.retain(next, now))
	for _, c := range changes {
		g.logChange(c)
	}
	return nil
}

// retainSlack keeps what is dropped well behind the poller's widest window, so
// that nothing is dropped and fetched again (domain.md 1.1: 15 days).
const retainSlack = 16 * 24 * time.Hour

// retain drops once a day what ended longer ago than the owner keeps.
func (g *Gateway) retain(s *dispatch.Schedule, now time.Time) *dispatch.Schedule {
	if now.Sub(g.retainedAt) < 24*time.Hour || !g.clock.State().Trusted {
		return s
	}
	g.retainedAt = now
	before := now.Add(-max(g.cfg.Store.Retain, retainSlack))
	if _, err := g.store.DropSchedule(before); err != nil {
		g.noteStore(err)
		return s
	}
	g.noteStore(g.dropEvents(before))
	return s.Since(before)
}

// dropEvents drops what was measured of timeslots that ended before.
func (g *Gateway) dropEvents(before time.Time) error {
	return g.store.Range(eventsBucket, "", "", func(id string, raw []byte) error {
		if e, err := decodeEvent(raw); err == nil && e.End.Before(before) {
			return g.store.Delete(eventsBucket, id)
		}
		return nil
	})
}

func (g *Gateway) logChange(c dispatch.Change) {
	r := c.After
	args := []any{"event", r.EventID, "meter", r.MeterID, "change", c.Kind, "start", r.Start, "end", r.End}
	if r.EnergyKW != nil {
		args = append(args, "energy_kw", *r.EnergyKW)
	}
	if len(c.Fields) > 0 && c.Before.Revision > 0 {
		args = append(args, "fields", c.Fields)
	}
	if r.Problem != "" {
		g.log.Warn("timeslot", append(args, "problem", r.Problem)...)
		return
	}
	g.log.Info("timeslot", args...)
}

// Stop latches the owner's STOP: neutral everywhere until Resume, across
// restarts (domain.md 4.5).
func (g *Gateway) Stop(actor string) error {
	err := g.latch.stop(actor, g.clock.Now())
	g.control.soon()
	g.diary.note(g.clock.Now(), status.OwnerStop, "", "Stopped by %s.", actor)
	g.log.Warn("owner stop", "by", actor)
	return err
}

// Resume releases the owner's STOP, unless a button at the site still holds it.
func (g *Gateway) Resume(actor string) error {
	if by := g.pressed(); by != "" {
		return fmt.Errorf("%w by the %s", status.ErrHeld, by)
	}
	if err := g.latch.resume(); err != nil {
		return err
	}
	if by := g.pressed(); by != "" { // while it was released
		return errors.Join(fmt.Errorf("%w by the %s", status.ErrHeld, by), g.Stop("the "+by))
	}
	g.control.soon()
	g.diary.note(g.clock.Now(), status.OwnerResume, "", "Resumed by %s.", actor)
	g.log.Warn("owner resume", "by", actor)
	return nil
}

// restore takes over from the store what a restart must not lose.
func (g *Gateway) restore() error {
	records, bad, err := g.store.LoadSchedule()
	if err != nil {
		return fmt.Errorf("load the schedule: %w", err)
	}
	for _, b := range bad {
		g.log.Error("stored timeslot is damaged and left out; it is fetched again", "key", b.Key, "error", b.Reason)
	}
	g.schedule.Store(dispatch.NewSchedule(records))
	err = g.store.Range(diaryBucket, "", "", func(key string, value []byte) error {
		if err := g.diary.restore(value); err != nil {
			g.log.Error("stored diary entry can not be read and is left out", "entry", key, "error", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return g.store.Range(eventsBucket, "", "", func(key string, value []byte) error {
		if err := g.events.restore(value, g.clock.Now()); err != nil {
			g.log.Error("stored event can not be read and is left out", "event", key, "error", err)
		}
		return nil
	})
}
