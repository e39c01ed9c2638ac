package intervals

import (
	"context"
	"hash/fnv"
	"time"

	"nominald/dispatch/leap"
)

const (
	look = time.Minute
	// spread is over what time the sites of a fleet begin.
	spread = time.Hour
	// afterEvent is how long the sites of a fleet take after an event.
	afterEvent = 30 * time.Minute
	// afterStart is over what time they look first.
	afterStart = 10 * time.Minute
	// keptDays is how long the ledger remembers; Leap is asked what it lacks of a
	// year.
	keptDays = 400
	// mostSteps bounds one look: a long backlog goes in many.
	mostSteps = 10
)

// jitter is this site's share of a time, always the same.
func (s *Sender) jitter(of time.Duration, what string) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.opt.Site + "\x00" + what))
	return time.Duration(h.Sum64() % uint64(of))
}

// Ended says that a timeslot of one of our meters has ended.
func (s *Sender) Ended(event string, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The quarter in which it ended has to be over as well.
	s.events = append(s.events, end.Truncate(Quarter).Add(Quarter+clockSlack+s.jitter(afterEvent, event)))
}

// Run sends daily, after each event, and soon after the start; what is under way is
// followed each minute. It ends with the context.
func (s *Sender) Run(ctx context.Context) error {
	ticks := time.NewTicker(look)
	defer ticks.Stop()
	work := false
	for {
		now := s.opt.Now()
		if s.opt.Trusted() {
			if s.due(now) {
				work = true
				s.askMissing(ctx, now)
			}
			if work {
				work = s.Round(ctx)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// due tells whether it is time to look, and plans the next time.
func (s *Sender) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next.IsZero() { // after a power cut a whole region starts at once
		s.next = now.Add(s.jitter(afterStart, "start"))
	}
	due := !now.Before(s.next)
	if due {
		midnight := now.UTC().Truncate(24 * time.Hour)
		s.next = midnight.Add(s.opt.At + s.jitter(spread, "daily"))
		for !s.next.After(now) {
			s.next = s.next.Add(24 * time.Hour)
		}
	}
	var left []time.Time
	for _, t := range s.events {
		if now.Before(t) {
			left = append(left, t)
		} else {
			due = true
		}
	}
	s.events = left
	return due
}

// askMissing notes the days that Leap lacks. That it can not be asked now keeps
// nothing from being sent.
func (s *Sender) askMissing(ctx context.Context, now time.Time) {
	if _, err := s.opt.Store.DropBefore(Bucket, now.UTC().AddDate(0, 0, -keptDays).Format(time.DateOnly)); err != nil {
		s.bad(err)
	}
	missing, err := s.opt.Missing.MissingIntervals(ctx, s.opt.Meters, now.AddDate(-1, 0, 0), now)
	if err != nil {
		s.bad(err)
		return
	}
	clear(s.again)
	for _, m := range missing {
		for day := m.Start.UTC().Truncate(24 * time.Hour); day.Before(m.End) && day.Before(now); day = day.Add(24 * time.Hour) {
			if err := s.lacks(m, day); err != nil {
				s.bad(err)
			}
		}
	}
}

// lacks notes which intervals of a day Leap lacks though the ledger says that it
// took them. What was never sent is due by itself.
func (s *Sender) lacks(m leap.Missing, day time.Time) error {
	d, err := s.load(m.MeterID, day)
	if err != nil {
		return err
	}
	again := map[int]bool{}
	for at := later(m.Start.Truncate(Quarter), day); at.Before(m.End) && at.Before(day.Add(24*time.Hour)); at = at.Add(Quarter) {
		if _, sent := d.Sent[quarterOf(at)]; sent {
			again[quarterOf(at)] = true
		}
	}
	s.again[dayKey(m.MeterID, day)] = again // also where it is empty: an older day is looked at
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Round brings the days that are not done a step further, oldest first, and
// tells whether there is more to do. What is wrong with one day keeps no other
// back; what is wrong with all of them ends it until the next look.
func (s *Sender) Round(ctx context.Context) (more bool) {
	today := s.opt.Now().UTC().Truncate(24 * time.Hour)
	if s.waits() {
		return true
	}
	steps := 0
	var first error
	defer func() {
		if first != nil {
			s.bad(first)
		}
	}()
	for _, day := range s.days(today) {
		for _, meter := range s.opt.Meters {
			state, err := s.sendDay(ctx, meter, day)
			if err != nil {
				if first == nil {
					first = err
				}
				if ctx.Err() != nil || endsRound(err) {
					return true
				}
			}
			more = more || err != nil || state != done
			if state == moved {
				steps++
			}
			if steps == mostSteps {
				return true
			}
		}
	}
	return more
}

// waits tells whether an error was too short ago.
func (s *Sender) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opt.Now().Before(s.notBefore)
}

// days are those to compare: the last lookBack, and older ones that Leap lacks.
func (s *Sender) days(today time.Time) []time.Time {
	var out []time.Time
	first := today.AddDate(0, 0, -lookBack)
	older := map[string]bool{}
	for key := range s.again {
		day, err := time.Parse(time.DateOnly, key[:min(len(key), len(time.DateOnly))])
		if err == nil && day.Before(first) && !older[day.String()] {
			older[day.String()] = true
			out = append(out, day)
		}
	}
	for day := first; !day.After(today); day = day.AddDate(0, 0, 1) {
		out = append(out, day)
	}
	return out
}
