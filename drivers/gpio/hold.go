package gpio

import (
	"fmt"
	"time"
)

// hold counts how long a load is held off, and says when it may be. It is
// plain arithmetic on times that are given to it.
type hold struct {
	minOff, minOn, maxOff time.Duration
	off                   bool
	usage
}

// usage is what of it is remembered through a restart.
type usage struct {
	Off     time.Duration `json:"off"`              // time held off, less time allowed since
	Resting bool          `json:"resting"`          // maxOff was reached, Off counts down to 0
	Since   time.Time     `json:"since"`            // of the time off that runs; zero when allowed
	Allowed time.Time     `json:"allowed,omitzero"` // when it was last allowed; zero where not known
	At      time.Time     `json:"at"`               // when this was counted
}

// count adds the time held off since the last call, or takes off the time
// allowed. A clock that went back counts nothing, and prolongs nothing.
func (h *hold) count(now time.Time) {
	passed := max(now.Sub(h.At), 0)
	if h.At.IsZero() {
		passed = 0
	}
	h.At = now
	h.Since, h.Allowed = notAfter(h.Since, now), notAfter(h.Allowed, now)
	if h.maxOff == 0 {
		h.Off, h.Resting = 0, false
		return
	}
	if h.off {
		h.Off = min(h.Off+passed, h.maxOff)
		h.Resting = h.Resting || h.Off >= h.maxOff
		return
	}
	h.Off = max(h.Off-passed, 0)
	h.Resting = h.Resting && h.Off > 0
}

func notAfter(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

// decide returns whether the load is to be held off now.
func (h *hold) decide(now time.Time, wanted bool) bool {
	switch {
	case h.off && h.offFor(now) > 0:
		return true
	case !wanted || h.Resting:
		return false
	}
	return h.off || h.onFor(now) == 0
}

// offFor is how much longer the load has to stay off.
func (h *hold) offFor(now time.Time) time.Duration { return max(h.minOff-now.Sub(h.Since), 0) }

// onFor is how much longer the load has to be allowed before it may be held
// off again.
func (h *hold) onFor(now time.Time) time.Duration {
	if h.Allowed.IsZero() {
		return 0
	}
	return max(h.minOn-now.Sub(h.Allowed), 0)
}

// moved notes that the load is held off or allowed from now on.
func (h *hold) moved(now time.Time, off bool) {
	h.off, h.Since = off, time.Time{}
	if off {
		h.Since = now
		return
	}
	h.Allowed = now
}

// refusal says why the load can not be held off now, or nothing.
func (h *hold) refusal(now time.Time) string {
	switch {
	case h.Resting:
		return fmt.Sprintf("the load was held off for max_off %v and is allowed for %v more", h.maxOff, h.Off.Round(time.Second))
	case h.onFor(now) > 0:
		return fmt.Sprintf("the load was allowed just now and runs for %v more (min_on)", h.onFor(now).Round(time.Second))
	}
	return ""
}
