package leap

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"nominald/dispatch"
)

// Timing of the poller (domain.md 1.0 and 1.1 unless said otherwise).
const (
	defaultPoll = 60 * time.Second
	maxJitter   = 5 * time.Second
	// Every wideEvery the wide window is searched instead of the near one.
	wideEvery = time.Hour
	wideReach = 15 * 24 * time.Hour
	nearBack  = 24 * time.Hour // the longest timeslot: a running one is always inside
	nearAhead = 8 * 24 * time.Hour
	// Retries of transient failures.
	firstRetry = time.Second
	slowRetry  = 60 * time.Second
	// Retries where a person must act.
	configRetry    = 5 * time.Minute
	maxConfigRetry = 15 * time.Minute
	// beatEvery is how often Progress advances; attemptLimit ends a search
	// that has many pages; hungAfter is when Progress stops advancing because
	// an attempt that should have ended has not.
	beatEvery    = 5 * time.Second
	attemptLimit = 4 * time.Minute
	hungAfter    = 5 * time.Minute
	// pokeGap is the least time from the end of a search to one that was asked for.
	pokeGap = 5 * time.Second
)

// Searcher is what the poller asks; Client is one.
type Searcher interface {
	Search(context.Context, Query) (Result, error)
}

// Status says how polling goes. It is sent after each attempt.
type Status struct {
	LastOK    time.Time // when the last good search was started; zero if there was none
	LastError string    // of the last attempt; empty when it was good
	Class     Class     // of LastError
	NextAt    time.Time // when the next attempt is due
	Failures  int       // in a row
}

// PollerOptions configure a Poller. The functions are called one at a time,
// from a goroutine of Run.
type PollerOptions struct {
	Client Searcher
	Meters []string      // our meter ids
	Poll   time.Duration // from the start of a search to the next; default 60 s
	// Deliver takes the result of a whole search. An error counts as a failed
	// attempt, and the search is made again.
	Deliver func(context.Context, dispatch.Batch) error
	// OfferTime is told the server's clock as of now, which is known to a
	// second plus the round trip. May be nil.
	OfferTime func(server time.Time, roundTrip time.Duration)
	Report    func(Status)     // may be nil
	Now       func() time.Time // the wall clock; default time.Now
}

// Poller searches again and again. A failed attempt changes nothing but the
// status: the schedule that is stored stays in force.
type Poller struct {
	opt    PollerOptions
	beat   atomic.Pointer[time.Time]
	poked  chan struct{}
	retry  *backoff.ExponentialBackOff // transient failures
	status Status
	// refused counts failures of class Config in a row.
	refused int
	wideAt  time.Time // when the last good wide search was started; zero: none yet
}

// NewPoller returns a poller; Run starts it.
func NewPoller(o PollerOptions) *Poller {
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Poller{opt: o, poked: make(chan struct{}, 1), retry: backoff.NewExponentialBackOff()}
	p.retry.InitialInterval = firstRetry
	p.retry.Multiplier = 2
	p.retry.RandomizationFactor = 0.5
	// With its jitter of one half the longest wait is max(60 s, Poll).
	p.retry.MaxInterval = max(slowRetry, o.Poll) * 2 / 3
	p.retry.Reset()
	p.touch()
	return p
}

// Progress returns when the poller was last seen alive, with a monotonic
// reading. It advances every 5 s while the poller waits for its next search,
// and while an attempt (search and Deliver) is no older than 5 minutes. An
// attempt ends itself after 4 minutes, so a Progress that is older than 10 s
// means that the loop, or an attempt that ignores its context, hangs.
func (p *Poller) Progress() time.Time { return *p.beat.Load() }

func (p *Poller) touch() {
	now := time.Now()
	p.beat.Store(&now)
}

// Poke asks for a search now. It never blocks. Searches that are asked for
// keep 5 s distance, and what a server asked for with Retry-After.
func (p *Poller) Poke() {
	select {
	case p.poked <- struct{}{}:
	default: // one is asked for already
	}
}

// Run searches at once and then at its cadence until the context ends. It
// returns only then, with the context's error.
func (p *Poller) Run(ctx context.Context) error {
	for {
		started := time.Now()
		err := p.supervise(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait := p.delay(err, time.Since(started))
		p.report(err, wait)
		if !p.sleep(ctx, wait, max(min(wait, pokeGap), retryAfter(err))) {
			return ctx.Err()
		}
	}
}

// supervise makes one attempt and shows progress while it runs. It returns
// when the attempt has, never before.
func (p *Poller) supervise(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, attemptLimit,
		errTimeout(fmt.Sprintf("the search did not end within %s", attemptLimit)))
	defer cancel()
	started := time.Now()
	done := make(chan error, 1)
	go func() { done <- p.attempt(ctx) }()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	p.touch()
	for {
		select {
		case err := <-done:
			p.touch()
			return err
		case <-beat.C:
			if time.Since(started) < hungAfter {
				p.touch()
			}
		}
	}
}

// attempt searches once and delivers.
func (p *Poller) attempt(ctx context.Context) error {
	started := p.opt.Now().UTC()
	query, wide := p.query(started)
	result, err := p.opt.Client.Search(ctx, query)
	if err != nil {
		return err
	}
	if p.opt.OfferTime != nil && !result.ServerDate.IsZero() {
		age := p.opt.Now().Sub(result.ReceivedAt)
		p.opt.OfferTime(result.ServerDate.Add(age), result.RoundTrip)
	}
	err = p.opt.Deliver(ctx, dispatch.Batch{
		Source: dispatch.FromPoll, Observed: result.Observed,
		From: query.From, To: query.To, Complete: true,
		Meters: p.opt.Meters, Slots: result.Slots,
	})
	if err != nil {
		return fmt.Errorf("deliver %d timeslots: %w", len(result.Slots), err)
	}
	p.status.LastOK = started
	if wide {
		p.wideAt = started.Round(0)
	}
	return nil
}

// query returns what to search for now. The wide window is due when an hour
// has passed by the wall clock since it was last read, or the clock was set
// back; then what was found under the other time may be wrong. When the wide
// search has failed the near one gets its turn, in case the width is the cause.
func (p *Poller) query(now time.Time) (q Query, wide bool) {
	since := now.Round(0).Sub(p.wideAt)
	due := p.wideAt.IsZero() || since < 0 || since >= wideEvery
	wide = due && p.status.Failures%2 == 0
	q = Query{From: now.Add(-nearBack), To: now.Add(nearAhead), MeterIDs: p.opt.Meters}
	if wide {
		q.From, q.To = now.Add(-wideReach), now.Add(wideReach)
	}
	return q, wide
}

// delay returns how long to wait after an attempt that took so long.
func (p *Poller) delay(err error, took time.Duration) time.Duration {
	if err == nil {
		p.retry.Reset()
		p.status.Failures, p.refused = 0, 0
		return max(jittered(p.opt.Poll)-took, min(firstRetry, p.opt.Poll))
	}
	p.status.Failures++
	if ClassOf(err) != Config {
		p.refused = 0
		return max(p.retry.NextBackOff(), retryAfter(err))
	}
	p.refused++
	wait := time.Duration(min(p.refused, 3)) * configRetry
	wait = min(wait+rand.N(wait/10), maxConfigRetry)
	return max(wait, retryAfter(err))
}

// jittered spreads gateways that were started at the same time: +-5 s from 60 s
// on, +-8 % below.
func jittered(poll time.Duration) time.Duration {
	spread := poll * 8 / 100
	if poll >= defaultPoll {
		spread = maxJitter
	}
	return poll - spread + rand.N(2*spread+1)
}

func (p *Poller) report(err error, wait time.Duration) {
	p.status.LastError, p.status.Class = "", ""
	if err != nil {
		p.status.LastError, p.status.Class = err.Error(), ClassOf(err)
	}
	p.status.NextAt = p.opt.Now().UTC().Add(wait)
	if p.opt.Report != nil {
		p.opt.Report(p.status)
	}
}

// sleep waits, showing progress, and no shorter than least when poked. It
// returns false when the context ended.
func (p *Poller) sleep(ctx context.Context, wait, least time.Duration) bool {
	due := time.NewTimer(wait)
	defer due.Stop()
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	started := time.Now()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-due.C:
			return true
		case <-beat.C:
			p.touch()
		case <-p.poked:
			if elapsed := time.Since(started); least < wait {
				wait = least
				due.Reset(max(0, wait-elapsed))
			}
		}
	}
}
