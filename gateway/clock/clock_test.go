package clock

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// machine is a computer whose clocks a test turns.
type machine struct {
	wall    time.Time
	elapsed time.Duration
	synced  bool
	err     error
}

func (m *machine) clock(floor time.Time) *Clock {
	return New(Options{
		Now: func() time.Time { return m.wall }, Elapsed: func() time.Duration { return m.elapsed },
		Floor: floor, Synchronised: func() (bool, error) { return m.synced, m.err },
	})
}

// pass lets real time pass, a second at a time, with a round in each.
func (m *machine) pass(c *Clock, d time.Duration) {
	for ; d > 0; d -= time.Second {
		step := min(d, time.Second)
		m.wall, m.elapsed = m.wall.Add(step), m.elapsed+step
		c.Read()
	}
}

func want(t *testing.T, c *Clock, when string, trusted bool, reason string, now time.Time) {
	t.Helper()
	got, state := c.Read()
	if state != (State{trusted, reason}) {
		t.Errorf("%s: %+v, want %v %s", when, state, trusted, reason)
	}
	if d := got.Sub(now).Abs(); d > 2*time.Second {
		t.Errorf("%s: now is %v, want %v", when, got, now)
	}
}

func TestBootWithoutAClock(t *testing.T) {
	m := &machine{wall: time.Unix(30, 0)}
	c := m.clock(noon.Add(-time.Hour))
	want(t, c, "1970", false, BeforeLastStoredTime, m.wall)
	m.synced = true // a kernel that believes in 1970 is not believed
	want(t, c, "1970, synchronised", false, BeforeLastStoredTime, m.wall)
	m.synced = false
	m.pass(c, 10*time.Second)
	m.wall = noon // NTP sets the clock
	want(t, c, "set, not yet synchronised", false, NotSynchronised, noon)
	m.synced = true
	want(t, c, "synchronised", true, KernelSynchronised, noon)
}

func TestAPIMakesAnUnsynchronisedClockTrusted(t *testing.T) {
	m := &machine{wall: noon, err: errors.New("seccomp"), synced: true}
	c := m.clock(time.Time{})
	want(t, c, "kernel can not be asked", false, NotSynchronised, noon)
	c.Offer(noon.Add(30*time.Second), 0)
	want(t, c, "30 s off proves nothing", false, NotSynchronised, noon)
	c.Offer(noon.Add(-8*time.Second), 3*time.Second)
	want(t, c, "8 s off after a round trip of 3 s", true, APIDateAgrees, noon)
	m.pass(c, 24*time.Hour)
	want(t, c, "API gone for a day", true, APIDateAgrees, noon.Add(24*time.Hour))
	m.wall, m.elapsed = m.wall.Add(6*24*time.Hour), m.elapsed+6*24*time.Hour+time.Second
	want(t, c, "after 7 days without a word", false, NotSynchronised, m.wall)
}

func TestKernelThatLosesItsServerHoldsOver(t *testing.T) {
	m := &machine{wall: noon, synced: true}
	c := m.clock(time.Time{})
	want(t, c, "start", true, KernelSynchronised, noon)
	m.synced = false
	m.pass(c, time.Hour)
	want(t, c, "an hour later", true, Holdover, noon.Add(time.Hour))
}

// TestStepsInMidSlot: the running timeslot goes on by monotonic time, nothing
// new is started (domain.md 4.5, S17).
func TestStepsInMidSlot(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 10 * time.Minute, -10 * time.Minute, 61 * time.Second, -61 * time.Second, 30 * 365 * 24 * time.Hour} {
		for _, synced := range []bool{true, false} {
			m := &machine{wall: noon, synced: synced}
			c := m.clock(noon.Add(-time.Hour))
			c.Offer(noon, 0)
			m.pass(c, time.Minute)
			m.wall = m.wall.Add(step)
			want(t, c, step.String(), false, ClockJumped, noon.Add(time.Minute))
			m.pass(c, 5*time.Minute)
			want(t, c, step.String()+" later", false, ClockJumped, noon.Add(6*time.Minute))
			m.wall = m.wall.Add(-step) // taken back
			reason := APIDateAgrees
			if synced {
				reason = KernelSynchronised
			}
			want(t, c, step.String()+" taken back", true, reason, noon.Add(6*time.Minute))
		}
	}
}

func TestSmallStepsAreFollowedButDoNotCreep(t *testing.T) {
	m := &machine{wall: noon}
	c := m.clock(time.Time{})
	c.Offer(noon, 0)
	m.wall = m.wall.Add(40 * time.Second)
	want(t, c, "first step", true, APIDateAgrees, noon.Add(40*time.Second))
	m.wall = m.wall.Add(40 * time.Second)
	want(t, c, "second step", false, ClockJumped, noon.Add(40*time.Second))
}

// TestSuspend: the wall clock jumps forward, and rightly so.
func TestSuspend(t *testing.T) {
	m := &machine{wall: noon, synced: true}
	c := m.clock(time.Time{})
	c.Offer(noon, 0)
	m.wall = m.wall.Add(3 * time.Hour)
	woken := m.wall
	want(t, c, "woken", false, ClockJumped, noon)
	c.Offer(woken, time.Second)
	want(t, c, "explained by the API and the kernel", true, KernelSynchronised, woken)

	m.synced = false
	m.wall = m.wall.Add(3 * time.Hour)
	woken = m.wall
	c.Offer(woken, 0) // before any round has seen the jump
	want(t, c, "the API alone, once", false, ClockJumped, woken.Add(-3*time.Hour))
	c.Offer(woken, 0)
	want(t, c, "the API alone, twice", true, APIDateAgrees, woken)
}

func TestOlderAgreementDoesNotExplainALaterJump(t *testing.T) {
	m := &machine{wall: noon, synced: true}
	c := m.clock(time.Time{})
	for range 5 {
		c.Offer(m.wall, 0)
		m.pass(c, time.Minute)
	}
	at := m.wall
	m.wall = m.wall.Add(time.Hour)
	want(t, c, "jump", false, ClockJumped, at)
	c.Offer(at, 0) // the API stays with the old time
	c.Offer(at, 0)
	want(t, c, "API contradicts the jump", false, ClockJumped, at)
}

func TestLyingAPI(t *testing.T) {
	m := &machine{wall: noon, synced: true}
	c := m.clock(time.Time{})
	want(t, c, "start", true, KernelSynchronised, noon)
	c.Offer(noon.Add(365*24*time.Hour), 0)
	want(t, c, "one odd answer", true, KernelSynchronised, noon)
	c.Offer(noon.Add(365*24*time.Hour), 0)
	want(t, c, "twice", false, APIDateDisagrees, noon)
	c.Offer(noon.Add(30*time.Second), 0)
	want(t, c, "half way back", false, APIDateDisagrees, noon)
	c.Offer(noon, 0)
	want(t, c, "agrees again", true, KernelSynchronised, noon)
}

func TestWrongFloorIsOverruledByBothWitnesses(t *testing.T) {
	m := &machine{wall: noon, synced: true}
	c := m.clock(noon.Add(365 * 24 * time.Hour))
	want(t, c, "kernel alone", false, BeforeLastStoredTime, noon)
	m.synced = false
	c.Offer(noon, 0)
	want(t, c, "API alone", false, BeforeLastStoredTime, noon)
	m.synced = true
	want(t, c, "both", true, KernelSynchronised, noon)
}

func TestFarYears(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(2038, 1, 19, 3, 14, 0, 0, time.UTC), time.Date(2100, 2, 28, 23, 59, 30, 0, time.UTC),
		time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC),
	} {
		m := &machine{wall: at, synced: true}
		c := m.clock(noon)
		m.pass(c, 2*time.Minute)
		want(t, c, at.String(), true, KernelSynchronised, at.Add(2*time.Minute))
	}
}

// TestNowNeverJumpsWhileTrusted over random histories: between two rounds that
// both trust, Now moves by no more than the step limit beyond monotonic time,
// unless an agreeing Date came in between.
func TestNowNeverJumpsWhileTrusted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{wall: noon, synced: rapid.Bool().Draw(t, "synced")}
		c := m.clock(noon.Add(-time.Hour))
		last, state := c.Read()
		at, offered := m.elapsed, true
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0:
				m.wall = m.wall.Add(time.Duration(rapid.IntRange(-7200, 7200).Draw(t, "step")) * time.Second)
			case 1:
				m.synced = !m.synced
			case 2:
				c.Offer(m.wall.Add(time.Duration(rapid.IntRange(-200, 200).Draw(t, "off"))*time.Second), 0)
				offered = true
			default:
				d := time.Duration(rapid.IntRange(0, 3600).Draw(t, "pass")) * time.Second
				m.wall, m.elapsed = m.wall.Add(d), m.elapsed+d
			}
			now, s := c.Read()
			moved := now.Sub(last) - (m.elapsed - at)
			if state.Trusted && s.Trusted && !offered && moved.Abs() > 2*disagreeBeyond {
				t.Fatalf("trusted time moved by %v", moved)
			}
			if s.Reason == "" || now.Location() != time.UTC {
				t.Fatalf("state %+v at %v", s, now)
			}
			last, state, at, offered = now, s, m.elapsed, false
		}
	})
}

func TestTrustedTimeIsRememberedEachFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var synced atomic.Bool
		var saved []time.Time
		failure := errors.New("disk full")
		c := New(Options{Synchronised: func() (bool, error) { return synced.Load(), nil }, Remember: func(at time.Time) error {
			saved = append(saved, at)
			if len(saved) == 1 {
				return failure
			}
			return nil
		}})
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if len(saved) != 0 {
			t.Errorf("an untrusted time was stored: %v", saved)
		}
		synced.Store(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !errors.Is(c.Err(), failure) {
			t.Errorf("err %v", c.Err())
		}
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || c.Err() != nil {
			t.Error(err, c.Err())
		}
		if len(saved) != 3 {
			t.Fatalf("saved %v, want it at once, after five minutes and at the end", saved)
		}
		if at := saved[0].Sub(start); at < 11*time.Minute || at > 11*time.Minute+time.Second || saved[1].Sub(saved[0]) != 5*time.Minute {
			t.Errorf("saved %v", saved)
		}
	})
}

func TestThisMachine(t *testing.T) {
	synced, err := KernelSynchronisedNow()
	t.Logf("kernel synchronised: %v %v", synced, err)
	a := SinceBoot()
	time.Sleep(time.Millisecond)
	if b := SinceBoot(); a <= 0 || b <= a {
		t.Errorf("boot time went from %v to %v", a, b)
	}
	if d := time.Since(New(Options{}).Now()).Abs(); d > time.Second {
		t.Errorf("now is %v off", d)
	}
}
