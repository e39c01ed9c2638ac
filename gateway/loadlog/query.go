package loadlog

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Row is the load of a channel in [T, T+step).
type Row struct {
	T        time.Time
	Channel  string
	MeanW    float64 // over what was measured; 0 where nothing was
	MinW     float64
	MaxW     float64
	Wh       float64 // of what was measured
	Quality  Quality
	Coverage float64 // 0..1, the part of the step that was measured
}

// Query calls emit for each row of what began in [from, to), by time, then
// channel. Rows begin at multiples of the step in UTC. A step of whole minutes
// reaches back as far as the store, one of whole quarters of an hour as far as
// those are kept; any other number of whole seconds as far as the seconds.
// Where the gateway did not run there is no row. Memory stays bounded whatever
// the range; an error of emit ends it and is returned. Without names all
// channels are asked.
func (l *Log) Query(from, to time.Time, step time.Duration, emit func(Row) error, names ...string) error {
	if step < time.Second || step%time.Second != 0 {
		return fmt.Errorf("query load: step %v is not a whole number of seconds", step)
	}
	if !from.Before(to) {
		return nil
	}
	wanted := func(name string) bool { return len(names) == 0 || slices.Contains(names, name) }
	w := window{step: int64(step / time.Second), emit: emit}
	var err error
	switch {
	case step%quarter == 0:
		err = l.queryQuarters(from, to, wanted, names, &w)
	case step%time.Minute == 0:
		err = l.queryMinutes(from, to, wanted, &w)
	default:
		err = l.querySeconds(from, to, wanted, &w)
	}
	if err != nil {
		return err
	}
	return w.flush()
}

func (l *Log) queryMinutes(from, to time.Time, wanted func(string) bool, w *window) error {
	return l.eachHour(from.Unix(), to.Unix()+1, wanted, func(h int64, names []string, hours map[string]*hour) error {
		for i := range int64(60) {
			at := h*3600 + i*60
			if start := time.Unix(at, 0); start.Before(from) || !start.Before(to) {
				continue
			}
			for _, name := range names {
				if err := w.add(at, name, hours[name].minutes[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// window sums minutes of all channels up to one step. Its slices are used again
// for each step: a year has 35,000.
type window struct {
	step  int64
	start int64
	emit  func(Row) error
	names []string // of this step, sorted
	sums  []minute
}

func (w *window) add(at int64, name string, m minute) error {
	if m.empty() {
		return nil
	}
	if start := at - at%w.step; start != w.start {
		if err := w.flush(); err != nil {
			return err
		}
		w.start = start
	}
	i, found := slices.BinarySearch(w.names, name)
	if found {
		w.sums[i].add(m)
		return nil
	}
	w.names, w.sums = slices.Insert(w.names, i, name), slices.Insert(w.sums, i, m)
	return nil
}

func (w *window) flush() error {
	for i, name := range w.names {
		if err := w.emit(rowOf(w.start, w.step, name, &w.sums[i])); err != nil {
			return err
		}
	}
	w.names, w.sums = w.names[:0], w.sums[:0]
	return nil
}

func rowOf(start, step int64, name string, m *minute) Row {
	r := Row{T: time.Unix(start, 0).UTC(), Channel: name, Quality: Gap}
	known := m.covered + m.guessed
	if known == 0 {
		return r
	}
	wns := m.wns + m.guessWns
	r.MeanW = wns / float64(known)
	r.MinW, r.MaxW = float64(m.min), float64(m.max)
	if m.covered == 0 {
		r.MinW, r.MaxW = r.MeanW, r.MeanW
	}
	r.Wh = wns / float64(time.Hour)
	length := float64(step * int64(time.Second))
	r.Coverage = float64(known) / length
	switch {
	case m.doubtful:
		r.Quality = ClockDoubtful
	case r.Coverage < measuredFrom:
		r.Quality = Partial
	case float64(m.covered) < measuredFrom*length:
		r.Quality = Estimated
	case float64(m.covered-m.recovered) < measuredFrom*length:
		r.Quality = Recovered
	default:
		r.Quality = Measured
	}
	return r
}

// eachHour calls fn for each hour of [from, to) that has anything, in order,
// with what memory and store know of it.
func (l *Log) eachHour(from, to int64, wanted func(string) bool, fn func(h int64, names []string, hours map[string]*hour) error) error {
	first, end := max(0, from/3600), (to+3599)/3600
	pending := l.memoryHours(first, end)
	group, current := map[string]*hour{}, int64(-1)
	finish := func(h int64) error {
		l.overlay(h, wanted, group)
		names := slices.Sorted(maps.Keys(group))
		if len(names) == 0 {
			return nil
		}
		err := fn(h, names, group)
		clear(group)
		return err
	}
	// upTo finishes what lies before hour h: the group, and hours that only
	// memory has, which never lie before the group.
	upTo := func(h int64) error {
		for {
			next := h
			if current >= 0 {
				next = min(next, current)
			}
			if len(pending) > 0 {
				next = min(next, pending[0])
			}
			if next == h {
				return nil
			}
			if len(pending) > 0 && pending[0] == next {
				pending = pending[1:]
			}
			if current == next {
				current = -1
			}
			if err := finish(next); err != nil {
				return err
			}
		}
	}
	err := l.opts.Store.Range(bucket, hourKey(first, ""), hourKey(end, ""), func(key string, value []byte) error {
		h, name, ok := parseKey(key)
		var got hour
		if !ok || !wanted(name) || decodeHour(value, &got) != nil {
			return nil // the checksum held, so a later version wrote it
		}
		if h != current {
			if err := upTo(h); err != nil {
				return err
			}
			current = h
		}
		group[name] = &got
		return nil
	})
	if err != nil {
		return fmt.Errorf("query load: %w", err)
	}
	return upTo(end)
}

func (l *Log) memoryHours(first, end int64) []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	set := map[int64]bool{}
	for _, c := range l.channels {
		for h := range c.hours {
			if h >= first && h < end {
				set[h] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// overlay puts what memory knows of an hour over what the store said.
func (l *Log) overlay(h int64, wanted func(string) bool, group map[string]*hour) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, c := range l.channels {
		mine, ok := c.hours[h]
		if !ok || !wanted(name) {
			continue
		}
		copied := *mine
		if !mine.merged {
			copied.take(group[name])
		}
		group[name] = &copied
	}
}

// ringQuery answers from the seconds in memory.
func (l *Log) ringQuery(from, to time.Time, wanted func(string) bool, w *window) error {
	l.mu.Lock()
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(l.channels)), func(n string) bool { return !wanted(n) })
	newest := l.newest()
	l.mu.Unlock()
	start, end := max(from.Unix(), newest-ringSeconds+1), min(to.Unix(), newest+1)
	for s := start; s < end; s++ {
		for _, name := range names {
			l.mu.Lock()
			watts, doubtful, ok := l.channels[name].ring.at(s)
			l.mu.Unlock()
			if !ok {
				continue
			}
			var m minute
			m.book(watts, time.Second, doubtful)
			if err := w.add(s, name, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// newest is the latest second of all channels.
func (l *Log) newest() int64 {
	newest := int64(0)
	for _, c := range l.channels {
		newest = max(newest, c.ring.newest)
	}
	return newest
}
