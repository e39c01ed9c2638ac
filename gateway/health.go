package gateway

import (
	"fmt"
	"time"
)

// How long a part may go without progress before it counts as stuck. The
// poller's Progress advances while it waits, a bus worker's even when every
// device on it is dead.
const (
	pollStuck    = 60 * time.Second
	controlStuck = 15 * time.Second
	busStuck     = 45 * time.Second
	inputStuck   = 15 * time.Second
)

// part is one thing that must make progress.
type part struct {
	name     string
	progress func() time.Time
	limit    time.Duration
}

func (g *Gateway) parts() []part {
	ps := []part{
		{"poll leap", g.poller.Progress, pollStuck},
		{"control", g.control.Progress, controlStuck},
	}
	for _, w := range g.workers {
		ps = append(ps, part{w.String(), w.Progress, busStuck})
	}
	for _, b := range g.inputs {
		ps = append(ps, part{"input " + b.cfg.Name, b.input.Progress, inputStuck})
	}
	return ps
}

// Healthy tells whether every part makes progress.
func (g *Gateway) Healthy() (bool, []string) {
	var why []string
	for _, p := range g.parts() {
		at := p.progress()
		if at.IsZero() {
			why = append(why, p.name+" has not started")
		} else if age := time.Since(at); age > p.limit {
			why = append(why, fmt.Sprintf("%s has made no progress for %s", p.name, age.Round(time.Second)))
		}
	}
	return len(why) == 0, why
}

// tasksRun tells whether every part has come round once.
func (g *Gateway) tasksRun() bool {
	if !g.running.Load() {
		return false
	}
	ok, _ := g.Healthy()
	return ok
}

// Ready tells whether the gateway does its work: config and store are good,
// all tasks run, and each device was tried once. A dead device or an API out
// of reach does not make it unready (design.md 1.3).
func (g *Gateway) Ready() (bool, []string) {
	ok, why := g.Healthy()
	if !g.running.Load() {
		ok, why = false, append(why, "starting")
	}
	if st := g.storeState(); !st.OK {
		ok, why = false, append(why, st.Note)
	}
	for _, u := range g.units {
		if !u.port.Snapshot().Tried {
			ok, why = false, append(why, u.cfg.Name+" has not been tried yet")
		}
	}
	return ok, why
}
