package gateway

import (
	"time"

	"nominald/drivers"
)

// session is the energy that a vehicle got since it was plugged in, as far as
// this process has seen it: after a restart it is taken to have got nothing.
type session struct {
	wh float64
	at time.Time
}

// note takes one round and returns the energy so far.
func (s *session) note(now time.Time, connected bool, power drivers.Opt) float64 {
	if passed := now.Sub(s.at); connected && power.OK && passed > 0 && passed < time.Minute {
		s.wh += power.V * passed.Hours()
	}
	if !connected {
		s.wh = 0
	}
	s.at = now
	return s.wh
}

// nextClock is when a local time of day comes next.
func nextClock(now time.Time, clock time.Duration, zone *time.Location) time.Time {
	l := now.In(zone)
	at := time.Date(l.Year(), l.Month(), l.Day(), 0, int(clock/time.Minute), 0, 0, zone)
	if !at.After(now) {
		at = time.Date(l.Year(), l.Month(), l.Day()+1, 0, int(clock/time.Minute), 0, 0, zone)
	}
	return at.UTC()
}
