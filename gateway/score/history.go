package main

import (
	"errors"
	"time"

	"nominald/dispatch/baseline"
)

// trace is the net load of a stretch of time, a mean a minute.
type trace struct {
	from    time.Time
	minutes []float64 // Wh of each, then W
	seconds []float64
}

// add books the load of one step, which began at t.
func (tr *trace) add(t time.Time, w float64) {
	if tr.from.IsZero() {
		tr.from = t.Truncate(time.Minute)
	}
	i := int(t.Sub(tr.from) / time.Minute)
	for len(tr.minutes) <= i {
		tr.minutes, tr.seconds = append(tr.minutes, 0), append(tr.seconds, 0)
	}
	tr.minutes[i] += w
	tr.seconds[i]++
}

// mean is the mean load of [from, to), and how much of it is known.
func (tr *trace) mean(from, to time.Time) (w, coverage float64) {
	var n, all float64
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		all++
		i := int(t.Sub(tr.from) / time.Minute)
		if i >= 0 && i < len(tr.minutes) && !t.Before(tr.from) && tr.seconds[i] > 0 {
			w += tr.minutes[i] / tr.seconds[i]
			n++
		}
	}
	if n == 0 {
		return 0, 0
	}
	return w / n, n / all
}

// historyDays is how many working days of the past are played: what the
// 10-in-10 baseline takes.
const historyDays = 10

// days is the history of the site: working days that are played before the
// scenario's own, and that one as far as it has come.
type days []*trace

// MeanW is the mean net load of a stretch of time, and how much of it is known.
func (ds days) MeanW(from, to time.Time) (w, coverage float64, err error) {
	for _, tr := range ds {
		if w, coverage = tr.mean(from, to); coverage > 0 {
			return w, coverage, nil
		}
	}
	return 0, 0, nil
}

// settle works out what the site is settled by.
func (r *run) settle(today *trace) error {
	if len(today.minutes) == 0 {
		return nil // settled at the devices
	}
	r.history = append(r.past(), today)
	const farther = 2 * time.Hour // a timeslot may be extended
	e, err := r.estimate(r.sc.start(), r.sc.end().Add(farther), 1)
	if err != nil {
		return err
	}
	r.settled = func(t time.Time) float64 { return e.At(t).V }
	r.own = func(t time.Time) float64 { return r.trust() * e.At(t).V }
	return nil
}

// trust is how our own baseline relates to the one that settles.
func (r *run) trust() float64 { return 1 + r.sc.bias*float64(1-2*(r.seed%2)) }

// past plays the days of the same kind before the scenario's own, which nobody
// commanded.
func (r *run) past() days {
	var out days
	for at := r.sc.start(); len(out) < historyDays; {
		at = at.AddDate(0, 0, -1)
		if baseline.IsOffDay(at) == baseline.IsOffDay(r.sc.start()) {
			out = append(out, r.pastDay(at, int64(len(out)+1)))
		}
	}
	return out
}

func (r *run) pastDay(start time.Time, n int64) *trace {
	sc := *r.sc
	sc.grid.outdoorC += sc.weatherK * (2*unit(7*n+3*r.seed) - 1)
	w := newWorld(&sc, 1000*r.seed+n, start.Add(-warmBefore-time.Hour))
	tr := &trace{}
	const farther = 3 * time.Hour
	for end := start.Add(sc.end().Sub(sc.start()) + farther); w.now.Before(end); {
		w.step(warmStep)
		tr.add(w.now.Add(-warmStep), w.idleW)
	}
	return tr
}

// estimate is the baseline of a timeslot by the gateway's own engine, times a
// factor.
func (r *run) estimate(start, end time.Time, factor float64) (*baseline.Estimate, error) {
	p, ok := baseline.Preset(baseline.CAISO10in10)
	if !ok {
		return nil, errors.New("no preset " + baseline.CAISO10in10)
	}
	e, err := baseline.Compute(p, time.UTC, baseline.Event{Start: start, End: end, RowStart: r.sc.start()}, r.history)
	if err != nil {
		return nil, err
	}
	for i := range e.W {
		e.W[i] *= factor
	}
	return e, nil
}
