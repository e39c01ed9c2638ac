// Package hold keeps the times that protect a compressor whose load is held off
// by a relay or an inhibit: how long it stays off at least, how long it may be
// held off before it is allowed again, and how long it then runs at least
// (domain.md 6 F6). It only counts and
// decides; drivers switch and remember.
package hold

import (
	"fmt"
	"time"
)

// Limits are the owner's times of one load. 0 is no limit.
type Limits struct {
	// MinOff is how long the load stays off once it was inhibited: a release
	// that comes sooner waits.
	MinOff time.Duration
	// MinOn is how long the load is allowed before it is inhibited again.
	MinOn time.Duration
	// MaxOff is the longest inhibit. Then the load is allowed for as long
	// again. Shorter inhibits add up, and time allowed in between counts down
	// again at the same pace.
	MaxOff time.Duration
}

// Usage is how much of MaxOff is used up. It is what a driver remembers through
// a restart, as JSON.
type Usage struct {
	Off     time.Duration `json:"off"`              // time held off, less time allowed since
	Resting bool          `json:"resting"`          // MaxOff was reached, Off counts down to 0
	Since   time.Time     `json:"since"`            // of the running inhibit; zero when released
	Allowed time.Time     `json:"allowed,omitzero"` // when an inhibit ended last; zero where not known
	At      time.Time     `json:"at"`               // when this was counted
}

// Count adds the time held off since the last call, or takes off the time
// allowed. A clock that went back counts nothing and prolongs nothing.
func (u *Usage) Count(now time.Time, held bool, l Limits) {
	passed := max(now.Sub(u.At), 0)
	if u.At.IsZero() {
		passed = 0
	}
	u.At = now
	u.Since, u.Allowed = notAfter(u.Since, now), notAfter(u.Allowed, now)
	switch {
	case l.MaxOff == 0:
		u.Off, u.Resting = 0, false
	case held:
		u.Off = min(u.Off+passed, l.MaxOff)
		u.Resting = u.Resting || u.Off >= l.MaxOff
	default:
		u.Off = max(u.Off-passed, 0)
		u.Resting = u.Resting && u.Off > 0
	}
}

func notAfter(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

// Decide returns whether the load is to be held off now. Held is what it is,
// wanted what a command in force asks for.
func (u Usage) Decide(now time.Time, held, wanted bool, l Limits) bool {
	if held && u.OffFor(now, l) > 0 {
		return true
	}
	return wanted && !u.Resting && (held || u.OnFor(now, l) == 0)
}

// OffFor is how much longer a load that is held off has to stay so.
func (u Usage) OffFor(now time.Time, l Limits) time.Duration {
	return max(l.MinOff-now.Sub(u.Since), 0)
}

// OnFor is how much longer a load that is allowed has to stay so.
func (u Usage) OnFor(now time.Time, l Limits) time.Duration {
	if u.Allowed.IsZero() {
		return 0
	}
	return max(l.MinOn-now.Sub(u.Allowed), 0)
}

// Refusal says why a load that is allowed can not be held off now; empty where
// it can.
func (u Usage) Refusal(now time.Time, l Limits) string {
	switch {
	case u.Resting:
		return fmt.Sprintf("the load was held off for max_off %v and is allowed for %v more", l.MaxOff, u.Off.Round(time.Second))
	case u.OnFor(now, l) > 0:
		return fmt.Sprintf("the load was held off just now and is allowed for %v more (min_on)", u.OnFor(now, l).Round(time.Second))
	}
	return ""
}

// Switched notes when an inhibit begins or ends.
func (u *Usage) Switched(now time.Time, held bool) {
	u.Since = time.Time{}
	if held {
		u.Since = now
		return
	}
	u.Allowed = now
}

// Recall returns what a remembered usage is worth after a restart: time that
// ran on from a remembered inhibit counts as held off, for how long the load
// was really off is not known.
func (u Usage) Recall(now time.Time, l Limits) Usage {
	held := !u.Since.IsZero()
	u.Count(now, held, l)
	if held {
		u.Switched(now, false)
	}
	return u
}

// State is what the load does, for people.
func (u Usage) State(now time.Time, held, wanted bool, l Limits) string {
	switch {
	case held && !wanted:
		return fmt.Sprintf("off for %v more (min_off)", (l.MinOff - now.Sub(u.Since)).Round(time.Second))
	case held:
		return "held off"
	case u.Resting:
		return fmt.Sprintf("allowed for %v more (max_off)", u.Off.Round(time.Second))
	default:
		return "allowed"
	}
}
