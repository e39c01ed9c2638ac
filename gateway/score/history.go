package main

import (
	"time"
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

// settle works out what the site is settled by, from days like this one that
// are played before it.
func (r *run) settle(today *trace) error {
	if len(today.minutes) == 0 {
		return nil // settled at the devices
	}
	return r.estimate(append(r.past(), today))
}

// past plays the working days before the scenario's own, which nobody
// commanded.
func (r *run) past() []*trace {
	var days []*trace
	for at, n := r.sc.start(), 0; n < historyDays; {
		at = at.AddDate(0, 0, -1)
		if d := at.Weekday(); d == time.Saturday || d == time.Sunday {
			continue
		}
		n++
		days = append(days, r.pastDay(at, int64(n)))
	}
	return days
}

func (r *run) pastDay(start time.Time, n int64) *trace {
	sc := *r.sc
	sc.grid.outdoorC += sc.weatherK * (2*unit(7*n+3*r.seed) - 1)
	w := newWorld(&sc, 1000*r.seed+n, start.Add(-warmBefore-time.Hour))
	tr := &trace{}
	for end := start.Add(sc.end().Sub(sc.start())); w.now.Before(end); {
		w.step(warmStep)
		tr.add(w.now.Add(-warmStep), w.idleW)
	}
	return tr
}

// estimate is a stand-in until the engine is here.
func (r *run) estimate(days []*trace) error {
	hours := map[time.Time]float64{}
	hour := func(t time.Time) float64 {
		sum := 0.0
		for _, d := range days[:historyDays] {
			day := d.from.Add(warmBefore + time.Hour)
			at := day.Add(t.Sub(r.sc.start()))
			w, _ := d.mean(at, at.Add(time.Hour))
			sum += w
		}
		return sum / historyDays
	}
	s := r.sc.start()
	var raw float64
	for h := -4; h < -1; h++ {
		raw += hour(s.Add(time.Duration(h) * time.Hour))
	}
	now, _ := days[historyDays].mean(s.Add(-4*time.Hour), s.Add(-time.Hour))
	f := now / (raw / 3)
	f = max(0.8, min(1.2, f))
	if raw < 0 {
		f = 1
	}
	for t := s.Add(-4 * time.Hour); t.Before(r.sc.end().Add(3 * time.Hour)); t = t.Add(time.Hour) {
		if t.Before(r.sc.end()) {
			hours[t] = f * hour(t)
		} else {
			hours[t] = hours[t.Add(-time.Hour)]
		}
	}
	r.settled = func(t time.Time) float64 {
		return hours[s.Add(t.Sub(s).Truncate(time.Hour))]
	}
	bias := 1 + r.sc.bias*float64(1-2*(r.seed%2))
	r.own = func(t time.Time) float64 { return bias * r.settled(t) }
	return nil
}
