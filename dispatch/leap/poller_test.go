package leap

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nominald/dispatch"
)

// script is an API that answers as told and notes when it was asked.
type script struct {
	answer func(n int, q Query) (Result, error) // n counts from 1
	asked  []time.Time
	query  []Query
}

func (s *script) Search(ctx context.Context, q Query) (Result, error) {
	s.asked = append(s.asked, time.Now())
	s.query = append(s.query, q)
	r, err := s.answer(len(s.asked), q)
	r.Observed, r.ReceivedAt = time.Now(), time.Now()
	return r, err
}

// gaps are the waits between the starts of the searches.
func (s *script) gaps() []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(s.asked); i++ {
		gaps = append(gaps, s.asked[i].Sub(s.asked[i-1]))
	}
	return gaps
}

func good(int, Query) (Result, error) { return Result{}, nil }

// poll runs a poller over the API for a while of virtual time. During is
// called in the bubble while it runs.
func poll(t *testing.T, s *script, o PollerOptions, span time.Duration, during func(*Poller)) (status []Status, batches []dispatch.Batch) {
	t.Helper()
	o.Client = s
	if o.Deliver == nil {
		o.Deliver = func(_ context.Context, b dispatch.Batch) error {
			batches = append(batches, b)
			return nil
		}
	}
	o.Report = func(st Status) { status = append(status, st) }
	ctx, cancel := context.WithCancel(t.Context())
	p := NewPoller(o)
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	if during != nil {
		during(p)
	}
	time.Sleep(span)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	return status, batches
}

func TestPollerKeepsItsCadence(t *testing.T) {
	for _, c := range []struct{ poll, least, most time.Duration }{
		{0, 55 * time.Second, 65 * time.Second},
		{5 * time.Second, 4600 * time.Millisecond, 5400 * time.Millisecond},
		{10 * time.Minute, 595 * time.Second, 605 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{answer: func(int, Query) (Result, error) {
				time.Sleep(2 * time.Second) // a search takes time; the cadence stays
				return Result{Slots: []dispatch.Timeslot{{EventID: eventA}}}, nil
			}}
			start := time.Now()
			status, batches := poll(t, s, PollerOptions{Poll: c.poll, Meters: []string{meterA}}, 4*time.Hour, nil)
			if !s.asked[0].Equal(start) {
				t.Errorf("%s: the first search came after %s", c.poll, s.asked[0].Sub(start))
			}
			different := map[time.Duration]bool{}
			for i, g := range s.gaps() {
				different[g] = true
				if g < c.least || g > c.most {
					t.Errorf("%s: gap %d is %s, want %s to %s", c.poll, i, g, c.least, c.most)
				}
			}
			// The last search may have been delivered as Run was ended.
			if len(different) < 3 || len(batches)-len(status) > 1 || len(batches) < 20 {
				t.Errorf("%s: %d different gaps, %d batches, %d reports", c.poll, len(different), len(batches), len(status))
			}
			b, last := batches[0], status[len(status)-1]
			if !b.Complete || b.Source != dispatch.FromPoll || len(b.Slots) != 1 || b.Meters[0] != meterA {
				t.Errorf("%s: batch %+v", c.poll, b)
			}
			if last.LastError != "" || last.Failures != 0 || !last.NextAt.After(last.LastOK) {
				t.Errorf("%s: status %+v", c.poll, last)
			}
		})
	}
}

func TestPollerWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: good}
		_, batches := poll(t, s, PollerOptions{}, 3*time.Hour+10*time.Minute, nil)
		var wide []time.Time
		for i, q := range s.query {
			now := s.asked[i].UTC()
			switch q.To.Sub(q.From) {
			case 2 * wideReach:
				wide = append(wide, now)
			case nearBack + nearAhead:
				if !q.From.Equal(now.Add(-24 * time.Hour)) {
					t.Errorf("near window from %s at %s", q.From, now)
				}
			default:
				t.Errorf("window %s to %s", q.From, q.To)
			}
			if !batches[i].From.Equal(q.From) || !batches[i].To.Equal(q.To) {
				t.Error("the batch names another window")
			}
		}
		if len(wide) != 4 || !wide[0].Equal(s.asked[0].UTC()) || wide[1].Sub(wide[0]) > 66*time.Minute {
			t.Errorf("%d wide searches at %v", len(wide), wide)
		}
	})
}

func TestPollerSearchesWideAfterTheClockWasSet(t *testing.T) {
	for name, step := range map[string]time.Duration{"forward": 24 * time.Hour, "back": -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			start, s := time.Now(), &script{answer: good}
			now := func() time.Time { // the wall clock steps after 5 minutes
				if time.Since(start) > 5*time.Minute {
					return time.Now().Add(step)
				}
				return time.Now()
			}
			poll(t, s, PollerOptions{Now: now}, 8*time.Minute, nil)
			wide := 0
			for _, q := range s.query {
				if q.To.Sub(q.From) == 2*wideReach {
					wide++
				}
			}
			if wide != 2 {
				t.Errorf("%s: %d wide searches of %d, want the first one and one after the step", name, wide, len(s.query))
			}
		})
	}
}

func TestPollerTriesTheNearWindowWhenTheWideOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(_ int, q Query) (Result, error) {
			if q.To.Sub(q.From) == 2*wideReach {
				return Result{}, errors.New("the answer is longer than 4194304 bytes")
			}
			return Result{}, nil
		}}
		_, batches := poll(t, s, PollerOptions{}, 10*time.Minute, nil)
		if len(batches) < 9 {
			t.Errorf("%d good searches in 10 minutes", len(batches))
		}
	})
}

func TestPollerBacksOffFromTransientFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := func() (Result, error) { return Result{}, &APIError{Status: 503, Class: Transient} }
		s := &script{answer: func(n int, _ Query) (Result, error) {
			if n > 20 {
				return Result{}, nil
			}
			return down()
		}}
		status, batches := poll(t, s, PollerOptions{}, 40*time.Minute, nil)
		gaps := s.gaps()[:20]
		for i, g := range gaps {
			if g < 500*time.Millisecond || g > 60*time.Second {
				t.Errorf("wait %d is %s", i, g)
			}
		}
		if gaps[0] > 1500*time.Millisecond || gaps[19] < 20*time.Second {
			t.Errorf("the first wait is %s, the last %s", gaps[0], gaps[19])
		}
		if st := status[19]; st.Failures != 20 || st.Class != Transient || !strings.Contains(st.LastError, "503") || !st.LastOK.IsZero() {
			t.Errorf("status after 20 failures: %+v", st)
		}
		if st := status[20]; st.Failures != 0 || st.LastError != "" || st.Class != "" || st.LastOK.IsZero() {
			t.Errorf("status after the first success: %+v", st)
		}
		if len(batches) == 0 {
			t.Error("nothing was delivered after the API came back")
		}
	})
}

func TestPollerHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(n int, _ Query) (Result, error) {
			if n == 1 {
				return Result{}, &APIError{Status: 429, Class: Transient, RetryAfter: 10 * time.Minute}
			}
			return Result{}, nil
		}}
		poll(t, s, PollerOptions{}, 12*time.Minute, func(p *Poller) {
			time.Sleep(time.Minute)
			p.Poke() // asking does not shorten it
		})
		if g := s.gaps()[0]; g != 10*time.Minute {
			t.Errorf("came back after %s", g)
		}
	})
}

func TestPollerSlowsDownWhereAPersonMustAct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(int, Query) (Result, error) {
			return Result{}, &APIError{Status: 401, Class: Config}
		}}
		status, _ := poll(t, s, PollerOptions{}, 2*time.Hour, nil)
		gaps := s.gaps()
		for i, g := range gaps {
			if g < 5*time.Minute || g > 15*time.Minute {
				t.Errorf("wait %d is %s", i, g)
			}
		}
		if gaps[0] > 6*time.Minute || gaps[5] != 15*time.Minute {
			t.Errorf("waits %v", gaps)
		}
		if st := status[0]; st.Class != Config || !strings.Contains(st.LastError, "leap.api_key") || !st.NextAt.Equal(s.asked[1].UTC()) {
			t.Errorf("status %+v, next asked %s", st, s.asked[1])
		}
	})
}

func TestPollerPokeIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: good}
		poll(t, s, PollerOptions{}, 0, func(p *Poller) {
			time.Sleep(20 * time.Second)
			p.Poke()
			synctest.Wait()
			if len(s.asked) != 2 {
				t.Errorf("%d searches after a poke, want 2 at once", len(s.asked))
			}
			for range 200 { // 20 s of pokes
				p.Poke()
				time.Sleep(100 * time.Millisecond)
			}
		})
		for i, g := range s.gaps() {
			if g < pokeGap {
				t.Errorf("gap %d is %s", i, g)
			}
		}
		if n := len(s.asked); n < 5 || n > 7 {
			t.Errorf("%d searches", n)
		}
	})
}

func TestPollerFailedDeliveryIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		status, _ := poll(t, &script{answer: good}, PollerOptions{Deliver: func(context.Context, dispatch.Batch) error {
			if n++; n == 1 {
				return errors.New("store is full")
			}
			return nil
		}}, time.Minute, nil)
		if st := status[0]; !strings.Contains(st.LastError, "store is full") || !st.LastOK.IsZero() {
			t.Errorf("status %+v", st)
		}
		if st := status[1]; st.LastError != "" || st.LastOK.IsZero() {
			t.Errorf("it was not tried again: %+v", st)
		}
	})
}

func TestPollerOffersTheServersClockAsOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var offered []time.Duration
		slow := searcher(func(context.Context, Query) (Result, error) {
			r := Result{ServerDate: time.Now().Add(time.Hour), ReceivedAt: time.Now(), RoundTrip: time.Second}
			time.Sleep(30 * time.Second) // further pages
			return r, nil
		})
		o := PollerOptions{Client: slow, OfferTime: func(server time.Time, trip time.Duration) {
			offered = append(offered, time.Until(server), trip)
		}, Deliver: func(context.Context, dispatch.Batch) error { return nil }}
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		_ = NewPoller(o).Run(ctx)
		if len(offered) != 2 || offered[0] != time.Hour || offered[1] != time.Second {
			t.Errorf("offered %v", offered)
		}
	})
}

type searcher func(context.Context, Query) (Result, error)

func (f searcher) Search(ctx context.Context, q Query) (Result, error) { return f(ctx, q) }

func TestPollerProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var obedient atomic.Bool
		obedient.Store(true)
		s := searcher(func(ctx context.Context, _ Query) (Result, error) {
			if obedient.Load() {
				<-ctx.Done()
				return Result{}, context.Cause(ctx)
			}
			<-release
			return Result{}, nil
		})
		var last atomic.Pointer[Status]
		p := NewPoller(PollerOptions{Client: s, Report: func(st Status) { last.Store(&st) },
			Deliver: func(context.Context, dispatch.Batch) error { return nil }})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		for range 600 { // searches that end at their limit, and waits between them
			time.Sleep(time.Second)
			if age := time.Since(p.Progress()); age > 6*time.Second {
				t.Fatalf("no progress for %s", age)
			}
		}
		if got := last.Load().LastError; !strings.Contains(got, "did not end within 4m0s") {
			t.Errorf("last error %q", got)
		}
		obedient.Store(false) // now one that ignores its context
		time.Sleep(15 * time.Minute)
		if age := time.Since(p.Progress()); age < time.Minute {
			t.Errorf("progress %s ago although the search hangs", age)
		}
		close(release)
		synctest.Wait()
		if age := time.Since(p.Progress()); age > time.Second {
			t.Errorf("no progress after the search came back: %s", age)
		}
		cancel()
		<-ended
	})
}
