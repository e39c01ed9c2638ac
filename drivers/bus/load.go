package bus

import (
	"sync"
	"time"
)

const (
	loadSlot  = 5 * time.Second
	loadSlots = 12 // a minute
)

// load counts for how long a wire was in use, by slots of time. It is written
// by the worker and read by anybody.
type load struct {
	mu    sync.Mutex
	begun time.Time // when the first use was counted
	busy  [loadSlots + 1]time.Duration
	at    [loadSlots + 1]time.Time // begin of the slot that busy is of
}

// add counts the time from begin to end, which may reach over several slots.
func (l *load) add(begin, end time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun.IsZero() {
		l.begun = begin
	}
	for begin.Before(end) {
		n := begin.Sub(l.begun) / loadSlot
		slot := l.begun.Add(n * loadSlot)
		until := end
		if next := slot.Add(loadSlot); until.After(next) {
			until = next
		}
		i := int(n % (loadSlots + 1))
		if !l.at[i].Equal(slot) {
			l.at[i], l.busy[i] = slot, 0
		}
		l.busy[i] += until.Sub(begin)
		begin = until
	}
}

// share returns the busy part of the last minute: of the whole slots in it and
// of the running one.
func (l *load) share(now time.Time) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun.IsZero() || !now.After(l.begun) {
		return 0
	}
	running := l.begun.Add(now.Sub(l.begun) / loadSlot * loadSlot)
	first := running.Add(-(loadSlots - 1) * loadSlot)
	if first.Before(l.begun) {
		first = l.begun
	}
	var busy time.Duration
	for i, at := range l.at {
		if !at.Before(first) && !at.After(now) {
			busy += l.busy[i]
		}
	}
	return min(1, busy.Seconds()/now.Sub(first).Seconds())
}
