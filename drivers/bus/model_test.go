package bus

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"nominald/drivers"
)

// actor is a device of the random history, and what was asked of it.
type actor struct {
	port   *Port
	fake   *fake
	told   bool
	posted map[float64]bool
	lease  *drivers.Lease // the last thing posted; nil is neutral
}

// TestRandomHistoryEndsWhereItShould lets devices fail in any way while
// commands come in any order, for many seeds of synthetic time. Whatever
// happened: nothing is written to a device nobody posted to, nothing is applied
// that was not posted, a healthy device follows its lease and does not fall
// back in it, without a lease it rests, and so does every device at the end.
func TestRandomHistoryEndsWhereItShould(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, Options{})
			randomHistory(t, b, rand.New(rand.NewPCG(seed, 11)))
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
	}
}

func randomHistory(t *testing.T, b *bench, rnd *rand.Rand) {
	var actors []*actor
	for _, name := range []string{"a", "b", "c", "d"} {
		p, f := b.add(name, time.Duration(1+rnd.IntN(5))*time.Second, time.Duration(rnd.IntN(200))*time.Millisecond)
		actors = append(actors, &actor{port: p, fake: f, posted: map[float64]bool{}})
	}
	b.run()
	for range 200 {
		time.Sleep(time.Duration(rnd.IntN(8000)) * time.Millisecond)
		a := actors[rnd.IntN(3)] // the last one is never posted to
		switch rnd.IntN(3) {
		case 0:
			a.post(rnd)
		case 1:
			actors[rnd.IntN(4)].disturb(rnd)
		case 2:
			actors[rnd.IntN(4)].heal()
		}
	}
	for _, a := range actors {
		a.heal()
	}
	// The longest quarantine, and a release that failed often enough to wait
	// as long after it.
	for range 660 {
		time.Sleep(time.Second)
		for _, a := range actors {
			a.renew()
		}
	}
	synctest.Wait()
	for _, a := range actors {
		a.check(t)
	}
	b.end()
	for _, a := range actors {
		if a.told && !a.fake.rests() {
			t.Errorf("%s does not rest after the end", a.fake.name)
		}
	}
}

// post leases a command for up to 30 s, or asks for neutral.
func (a *actor) post(rnd *rand.Rand) {
	a.told = true
	if rnd.IntN(3) == 0 {
		a.lease = nil
		a.port.Neutral()
		return
	}
	l := lease(float64(rnd.IntN(5)), time.Duration(rnd.IntN(30))*time.Second)
	a.posted[l.Command.PowerW] = true
	a.lease = &l
	a.port.Lease(l)
}

// renew goes on with the last command, as the control round does.
func (a *actor) renew() {
	if a.lease != nil {
		a.port.Lease(drivers.Lease{Command: a.lease.Command, Until: time.Now().Add(5 * time.Second)})
	}
}

func (a *actor) disturb(rnd *rand.Rand) {
	if rnd.IntN(3) == 0 {
		a.fake.die(true)
		return
	}
	errs := []error{drivers.ErrOffline, drivers.ErrBusy, drivers.ErrRefused, drivers.ErrWrongDevice}
	a.fake.fails([]string{"read", "apply", "release"}[rnd.IntN(3)], errs[rnd.IntN(len(errs))])
}

func (a *actor) heal() {
	a.fake.die(false)
	for _, what := range []string{"read", "apply", "release"} {
		a.fake.fails(what, nil)
	}
}

func (a *actor) check(t *testing.T) {
	t.Helper()
	s := a.port.Snapshot()
	a.fake.mu.Lock()
	defer a.fake.mu.Unlock()
	for _, o := range a.fake.ops {
		if o.what != "read" && !a.told || o.what == "apply" && !a.posted[o.cmd.PowerW] {
			t.Errorf("%s: nobody asked for %+v", a.fake.name, o)
		}
	}
	if !s.Online || s.LastError != "" || time.Since(s.Reading.At) > 10*time.Second {
		t.Errorf("%s is healthy, shown is %+v", a.fake.name, s)
	}
	switch {
	case !a.told:
	case a.lease == nil:
		if !a.fake.resting || !s.Neutral {
			t.Errorf("%s does not rest: %+v", a.fake.name, s)
		}
	case a.fake.resting || a.fake.follows != a.lease.Command || s.Applied != a.lease.Command || s.Neutral:
		t.Errorf("%s does not follow %+v: %+v", a.fake.name, a.lease.Command, s)
	case !a.fake.until.After(time.Now()):
		t.Errorf("%s fell back within its lease", a.fake.name)
	}
}
