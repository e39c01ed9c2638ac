package status

import (
	"encoding/json"
	"sync"
	"sync/atomic"
)

// Board holds the newest Status. One control goroutine publishes, any number
// of HTTP readers look; neither ever waits for the other.
type Board struct {
	latest atomic.Pointer[snapshot]

	mu      sync.Mutex // guards readers; never held while anything blocks
	readers map[chan struct{}]struct{}
}

// snapshot is one published Status and, once a reader has asked for it, its
// JSON. The control goroutine does not pay for the encoding.
type snapshot struct {
	status Status
	encode func() ([]byte, error)
}

// NewBoard returns a board on which nothing has been published.
func NewBoard() *Board {
	return &Board{readers: make(map[chan struct{}]struct{})}
}

// Publish replaces the status. It never blocks. The caller hands over the
// slices and pointers in it and does not change them afterwards.
func (b *Board) Publish(s Status) {
	s = withoutNil(s)
	b.latest.Store(&snapshot{
		status: s,
		encode: sync.OnceValues(func() ([]byte, error) { return json.Marshal(s) }),
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	for changed := range b.readers {
		select {
		case changed <- struct{}{}:
		default: // it has not yet taken the last notice and will find this status too
		}
	}
}

// Latest returns the newest status, false when there is none yet.
func (b *Board) Latest() (Status, bool) {
	snap := b.latest.Load()
	if snap == nil {
		return Status{}, false
	}
	return snap.status, true
}

// Subscribe returns a channel that gets a notice after each Publish, and the
// function that ends the subscription. A reader that is slow gets one notice
// for many publishes and reads the newest status with Latest.
func (b *Board) Subscribe() (changed <-chan struct{}, cancel func()) {
	notices := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers[notices] = struct{}{}
	return notices, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.readers, notices)
	}
}

// withoutNil makes empty lists [] in JSON, so that readers need not tell null
// from an empty list.
func withoutNil(s Status) Status {
	if s.Meters == nil {
		s.Meters = []Meter{}
	}
	if s.Devices == nil {
		s.Devices = []Device{}
	}
	if s.Buses == nil {
		s.Buses = []Bus{}
	}
	if s.Next == nil {
		s.Next = []Timeslot{}
	}
	if s.Alarms == nil {
		s.Alarms = []Alarm{}
	}
	if s.Inputs == nil {
		s.Inputs = []Input{}
	}
	if s.Events == nil {
		s.Events = []Event{}
	}
	return s
}
