package registers

import (
	"math"
	"time"
)

// timer is a fallback timer: it runs down unless it is started again, and says
// once that it has lapsed.
type timer struct {
	left time.Duration
	on   bool
}

// start winds the timer up. Zero seconds mean that it never lapses (modbus.md
// 4, recipes).
func (t *timer) start(seconds uint32) {
	t.left = time.Duration(seconds) * time.Second
	t.on = seconds > 0
}

func (t *timer) stop() { t.on, t.left = false, 0 }

// step reports whether the timer lapsed in this step.
func (t *timer) step(dt time.Duration) bool {
	if !t.on {
		return false
	}
	t.left -= dt
	if t.left > 0 {
		return false
	}
	t.stop()
	return true
}

// remaining returns whole seconds, rounded up as a display would.
func (t *timer) remaining() uint32 { return uint32(math.Ceil(t.left.Seconds())) }
