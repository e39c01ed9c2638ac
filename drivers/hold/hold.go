// Package hold keeps the times that protect a compressor whose load is held off
// by a relay or an inhibit: how long it stays off at least, and how long it may
// be held off before it is allowed again (domain.md 6 F6). It only counts and
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
	// MaxOff is the longest inhibit. Then the load is allowed for as long
	// again. Shorter inhibits add up, and time allowed in between counts down
	// again at the same pace.
	MaxOff time.Duration
}

// Usage is how much of MaxOff is used up. It is what a driver remembers through
// a restart, as JSON.
type Usage struct {
	Off     time.Duration `json:"off"`     // time held off, less time allowed since
	Resting bool          `json:"resting"` // MaxOff was reached, Off counts down to 0
	Since   time.Time     `json:"since"`   // of the running inhibit; zero when released
	At      time.Time     `json:"at"`      // when this was counted
}

// Count adds the time held off since the last call, or takes off the time
// allowed. A clock that went back counts nothing.
func (u *Usage) Count(now time.Time, held bool, l Limits) {
	passed := max(now.Sub(u.At), 0)
	if u.At.IsZero() {
		passed = 0
	}
	u.At = now
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

// Decide returns whether the load is to be held off now. Held is what it is,
// wanted what a command in force asks for.
func (u Usage) Decide(now time.Time, held, wanted bool, l Limits) bool {
	if held && now.Sub(u.Since) < l.MinOff {
		return true
	}
	return wanted && !u.Resting
}

// Switched notes when an inhibit begins or ends.
func (u *Usage) Switched(now time.Time, held bool) {
	u.Since = time.Time{}
	if held {
		u.Since = now
	}
}

// Recall returns what a remembered usage is worth after a restart: time that
// ran on from a remembered inhibit counts as held off, for how long the load
// was really off is not known.
func (u Usage) Recall(now time.Time, l Limits) Usage {
	u.Count(now, !u.Since.IsZero(), l)
	u.Since = time.Time{}
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
