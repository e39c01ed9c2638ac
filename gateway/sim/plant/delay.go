package plant

import "time"

// delay hands a value on after a fixed time, as a controller's dead time or a
// meter's averaging does. Only changes are kept, so that it stays small.
type delay struct {
	wait    time.Duration
	elapsed time.Duration
	out     float64
	queue   []sample
}

type sample struct {
	due time.Duration
	v   float64
}

func newDelay(wait time.Duration, initial float64) delay {
	return delay{wait: wait, out: initial}
}

// step moves time forward, takes the value that is put in and returns the one
// that comes out.
func (d *delay) step(dt time.Duration, in float64) float64 {
	last := d.out
	if n := len(d.queue); n > 0 {
		last = d.queue[n-1].v
	}
	if in != last {
		d.queue = append(d.queue, sample{due: d.elapsed + d.wait, v: in})
	}
	d.elapsed += dt
	done := 0
	for done < len(d.queue) && d.queue[done].due <= d.elapsed {
		d.out = d.queue[done].v
		done++
	}
	d.queue = append(d.queue[:0], d.queue[done:]...)
	return d.out
}
