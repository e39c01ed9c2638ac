package modbustcp

import (
	"sync"
	"time"
)

// Faults is what a test breaks at one unit while it is being served. The zero
// value is a healthy unit. Its methods may be called from any goroutine.
type Faults struct {
	mu        sync.Mutex
	offline   bool
	slow      time.Duration
	exception Exception
	stuck     bool
	frozen    map[block][]uint16
	requests  int
	writes    int
}

// block is a range of registers that was read.
type block struct {
	function    byte
	addr, count uint16
}

// SetOffline makes the unit deaf: requests are read and never answered.
func (f *Faults) SetOffline(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offline = on
}

// SetSlow makes each answer take d longer; 0 ends it.
func (f *Faults) SetSlow(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow = d
}

// SetException makes the unit answer each request with an exception; 0 ends it.
func (f *Faults) SetException(e Exception) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.exception = e
}

// SetStuck makes each block of registers keep the values of its next read,
// while writes still take effect, as a meter whose processor hangs behind a
// living interface.
func (f *Faults) SetStuck(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stuck = on
	f.frozen = nil
}

// Requests returns how many requests reached the unit.
func (f *Faults) Requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// Writes returns how many writes the unit accepted.
func (f *Faults) Writes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// begin counts a request and returns what stands in its way.
func (f *Faults) begin() (offline bool, slow time.Duration, e Exception) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	return f.offline, f.slow, f.exception
}

// keep returns the values to answer a read with: those that were read, or the
// first that were read since the unit is stuck.
func (f *Faults) keep(b block, regs []uint16) []uint16 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stuck {
		return regs
	}
	if old, ok := f.frozen[b]; ok {
		return old
	}
	if f.frozen == nil {
		f.frozen = map[block][]uint16{}
	}
	f.frozen[b] = regs
	return regs
}

func (f *Faults) wrote() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
}
