// Package clock says what time it is and whether to believe it. A Raspberry Pi
// boots without a clock, and a wrong time starts a timeslot at a wrong time.
// Rules (domain.md 2.2 "time", 4.5 "Clock lost", 6 S17):
//  1. Over 1 min before Floor (build, last stored time): untrusted, unless
//     the kernel is synchronised and the API's Date agrees.
//  2. Two Dates in a row over 60 s off: untrusted, whatever the kernel says,
//     until one agrees (5 s and the round trip). In between: no vote.
//  3. Trusted: the kernel is synchronised or the API's Date agreed; holds for
//     7 days without either (60 s at 100 ppm).
//  4. Wall time of a trusted clock leaves monotonic time by over 60 s since
//     the last confirmation: Now goes on by monotonic time, untrusted, until
//     the wall returns, or a later Date agrees with it, twice if the kernel
//     does not say synchronised. Smaller steps are followed.
package clock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	agreeWithin    = 5 * time.Second // domain.md 2.2: agreement within 5 s ..
	disagreeBeyond = time.Minute     // .. 1 min; S17 rejects jumps over 1 min
	dateResolution = time.Second     // HTTP's Date has whole seconds
	disagreeTimes  = 2               // one odd answer does not stop a site
	holdover       = 7 * 24 * time.Hour
	rememberEvery  = 5 * time.Minute
)

// Reasons of a State. They are stable.
const (
	KernelSynchronised   = "kernel-synchronised"
	APIDateAgrees        = "api-date-agrees"
	Holdover             = "holdover"
	NotSynchronised      = "not-synchronised"
	BeforeLastStoredTime = "before-last-stored-time"
	APIDateDisagrees     = "api-date-disagrees"
	ClockJumped          = "clock-jumped"
)

// State says whether the time can be acted on, and why.
type State struct {
	Trusted bool   `json:"trusted"`
	Reason  string `json:"reason"`
}

// Options say where time comes from. The zero value is the machine's.
type Options struct {
	Now func() time.Time // wall clock; nil is time.Now
	// Elapsed is monotonic time since any fixed moment. Nil is time.Since,
	// which stands still in a suspend; SinceBoot does not.
	Elapsed func() time.Duration
	// Floor is a time that has certainly passed: the later of the build time
	// and the last stored time.
	Floor time.Time
	// Synchronised asks the kernel; nil is KernelSynchronisedNow. An error
	// counts as no.
	Synchronised func() (bool, error)
	// BootID names this boot and Carried is what an earlier process of it
	// knew. They count only where Elapsed is SinceBoot. Both may be empty.
	BootID  string
	Carried *Carried
	// Remember stores a trusted time; Run calls it as soon as the clock is
	// trusted and then each 5 min. May be nil.
	Remember func(time.Time) error
}

// Clock is the gateway's clock. Its methods may be called from any goroutine
// and do not block on I/O.
type Clock struct {
	opts Options

	mu        sync.Mutex
	offset    time.Duration // wall minus monotonic time that Now stands on
	confirmed time.Duration // offset when last confirmed
	sure      bool          // was confirmed since start, within holdover
	sureAt    time.Duration // monotonic time of the last confirmation
	byAPI     bool          // the last confirmation was the API's
	held      bool
	agreed    int // Dates in a row that agree with the wall clock, since a jump
	disagreed int // Dates in a row that disagree
	saveErr   error
}

// New returns a clock that trusts nothing yet.
func New(opts Options) *Clock {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Elapsed == nil {
		start := time.Now()
		opts.Elapsed = func() time.Duration { return time.Since(start) }
	}
	if opts.Synchronised == nil {
		opts.Synchronised = KernelSynchronisedNow
	}
	c := &Clock{opts: opts}
	c.offset, _ = c.read()
	c.carry(opts.Carried)
	return c
}

// KernelSynchronisedNow asks the kernel whether an NTP client disciplines its
// clock (adjtimex(2), STA_UNSYNC). It changes nothing and needs no privilege.
func KernelSynchronisedNow() (bool, error) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return false, fmt.Errorf("adjtimex: %w", err)
	}
	return state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0, nil
}

// SinceBoot is monotonic time that goes on in a suspend (CLOCK_BOOTTIME).
func SinceBoot() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0 // the clock exists since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// read returns the wall clock's distance from monotonic time, and the latter.
func (c *Clock) read() (offset, elapsed time.Duration) {
	elapsed = c.opts.Elapsed()
	// Unix time does not overflow a Duration before the year 2262.
	return time.Duration(c.opts.Now().UnixNano()) - elapsed, elapsed
}

// Now returns the corrected time in UTC.
func (c *Clock) Now() time.Time {
	now, _ := c.Read()
	return now
}

// State says whether the time can be acted on.
func (c *Clock) State() State {
	_, state := c.Read()
	return state
}

// Read returns the corrected time with its state; the control round calls it
// once a round.
func (c *Clock) Read() (time.Time, State) {
	kernel, err := c.opts.Synchronised()
	kernel = kernel && err == nil
	c.mu.Lock()
	defer c.mu.Unlock()
	offset, elapsed := c.read()
	c.follow(offset, kernel)
	now := time.Unix(0, int64(elapsed+c.offset)).UTC()
	return now, c.judge(now, elapsed, kernel)
}

// follow decides which offset Now stands on.
func (c *Clock) follow(offset time.Duration, kernel bool) {
	if !c.sure { // nothing to defend: a first synchronisation is a jump, too
		c.offset = offset
		return
	}
	if (offset - c.confirmed).Abs() <= disagreeBeyond {
		c.held, c.offset = false, offset
		return
	}
	if !c.held {
		c.held, c.agreed = true, 0
	}
	need := 2
	if kernel {
		need = 1
	}
	if c.agreed >= need { // explained
		c.held, c.offset, c.confirmed = false, offset, offset
	}
}

func (c *Clock) judge(now time.Time, elapsed time.Duration, kernel bool) State {
	if c.held {
		return State{false, ClockJumped}
	}
	if c.disagreed >= disagreeTimes {
		return State{false, APIDateDisagrees}
	}
	fresh := c.sure && elapsed-c.sureAt <= holdover
	agreedNow := fresh && c.byAPI
	if now.Before(c.opts.Floor.Add(-disagreeBeyond)) && !(kernel && agreedNow) {
		return State{false, BeforeLastStoredTime}
	}
	switch {
	case kernel:
		c.confirm(c.offset, elapsed, c.byAPI && fresh)
		return State{true, KernelSynchronised}
	case agreedNow:
		return State{true, APIDateAgrees}
	case fresh:
		return State{true, Holdover}
	}
	c.sure = false
	return State{false, NotSynchronised}
}

func (c *Clock) confirm(offset, elapsed time.Duration, byAPI bool) {
	c.sure, c.confirmed, c.sureAt, c.byAPI = true, offset, elapsed, byAPI
}

// Offer hands in the Date of an answer of the API that has just come, over TLS
// and as that of the API itself: a captive portal's does not count. roundTrip
// is the time from request to answer.
func (c *Clock) Offer(server time.Time, roundTrip time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	offset, elapsed := c.read()
	wall := time.Unix(0, int64(elapsed+offset))
	diff := server.Sub(wall).Abs()
	slack := max(roundTrip, 0) + dateResolution
	switch {
	case diff <= agreeWithin+slack:
		c.disagreed = 0
		c.agreed++
		c.agree(offset, elapsed)
	case diff > disagreeBeyond+slack:
		c.disagreed++
		c.agreed = 0
	default:
		// Neither proof nor alarm; but not an agreement in a row either.
		c.agreed = 0
	}
}

// agree takes a Date that agrees with the wall clock as a confirmation, where
// the wall clock is not under suspicion itself.
func (c *Clock) agree(offset, elapsed time.Duration) {
	jumped := c.sure && (offset-c.confirmed).Abs() > disagreeBeyond
	if jumped && !c.held {
		// This Date is the first since a jump that no round has seen yet.
		c.held, c.agreed = true, 1
	}
	if jumped {
		return
	}
	c.confirm(offset, elapsed, true)
}

// Run stores a trusted time at once, then each 5 min until ctx ends, and once
// more then.
func (c *Clock) Run(ctx context.Context) error {
	if c.opts.Remember == nil {
		<-ctx.Done()
		return nil
	}
	for {
		every := time.Second // a crash soon after the start must find the time stored
		if c.remember() {
			every = rememberEvery
		}
		select {
		case <-ctx.Done():
			c.remember()
			return nil
		case <-time.After(every):
		}
	}
}

// remember keeps the error: a full disk must not end the clock. It reports
// whether there was a trusted time to store.
func (c *Clock) remember() bool {
	now, state := c.Read()
	if !state.Trusted {
		return false
	}
	err := c.opts.Remember(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saveErr = err
	return true
}

// Err is the error of the last attempt to store the time, or nil.
func (c *Clock) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.saveErr
}
