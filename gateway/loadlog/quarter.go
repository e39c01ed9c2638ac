package loadlog

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Quarters of an hour are what settlement goes by (domain.md 3), and what is
// kept for years: one value a day and channel, 96 cells of about seven bytes. A
// year of one channel is 365 values.
const (
	quarterBucket = "load15"
	quarter       = 15 * time.Minute
	quartersADay  = 96
	hoursADay     = 24
	dayBitmap     = quartersADay / 8
)

// dayQuarters are the quarters of one UTC day.
type dayQuarters [quartersADay]minute

// dayKey sorts by day since 1970, then channel.
func dayKey(day int64, name string) string { return fmt.Sprintf("%06d/%s", day, name) }

// sum makes the quarters of an hour from its minutes.
func (q *dayQuarters) sum(hourOfDay int64, h *hour) {
	for i := range 4 {
		var sum minute
		for m := range 15 {
			sum.add(h.minutes[15*i+m])
		}
		q[4*hourOfDay+int64(i)] = sum
	}
}

// writeQuarters brings the quarters of the hours just written up to date.
func (l *Log) writeQuarters(written []writtenHour) error {
	byDay := map[string]*dayQuarters{}
	for _, w := range written {
		key := dayKey(w.hour/hoursADay, w.name)
		if byDay[key] == nil {
			stored, err := l.loadDay(key)
			if err != nil {
				return err
			}
			byDay[key] = stored
		}
		byDay[key].sum(w.hour%hoursADay, &w.content)
	}
	rows := map[string][]byte{}
	for key, q := range byDay {
		rows[key] = encodeCells(q[:], quarter, dayBitmap)
	}
	if err := l.opts.Store.AppendRows(quarterBucket, rows); err != nil {
		return fmt.Errorf("write quarters of load: %w", err)
	}
	return nil
}

// loadDay reads a day's quarters; they are empty where there are none.
func (l *Log) loadDay(key string) (*dayQuarters, error) {
	q := new(dayQuarters)
	err := l.opts.Store.Range(quarterBucket, key, key+"\x00", func(_ string, value []byte) error {
		if err := decodeCells(value, q[:], quarter, dayBitmap); err != nil {
			*q = dayQuarters{} // the checksum held, so a later version wrote it
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load quarters %s: %w", key, err)
	}
	return q, nil
}

// hasHours tells whether memory has hours of a day: then the minutes know more
// than the stored quarters do.
func (l *Log) hasHours(day int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.channels {
		for h := range c.hours {
			if h/hoursADay == day {
				return true
			}
		}
	}
	return false
}

// queryQuarters answers steps of whole quarters: from the stored quarters for
// days that are over, from minutes for the others.
func (l *Log) queryQuarters(from, to time.Time, wanted func(string) bool, names []string, w *window) error {
	const daySeconds = hoursADay * 3600
	for day := from.Unix() / daySeconds; day*daySeconds < to.Unix(); day++ {
		begin := later(from, time.Unix(day*daySeconds, 0))
		end := earlier(to, time.Unix((day+1)*daySeconds, 0))
		found, err := l.quartersOf(day, wanted, names)
		if err != nil {
			return err
		}
		if len(found) == 0 || l.hasHours(day) {
			if err := l.queryMinutes(begin, end, wanted, w); err != nil {
				return err
			}
			continue
		}
		sorted := slices.Sorted(maps.Keys(found))
		for i := range int64(quartersADay) {
			at := day*daySeconds + i*int64(quarter/time.Second)
			if start := time.Unix(at, 0); start.Before(begin) || !start.Before(end) {
				continue
			}
			for _, name := range sorted {
				if err := w.add(at, name, found[name][i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// quartersOf reads the stored quarters of a day: of the channels named, or of
// all.
func (l *Log) quartersOf(day int64, wanted func(string) bool, names []string) (map[string]*dayQuarters, error) {
	found := map[string]*dayQuarters{}
	read := func(from, to string) error {
		return l.opts.Store.Range(quarterBucket, from, to, func(key string, value []byte) error {
			_, name, ok := parseKey(key)
			q := new(dayQuarters)
			if ok && wanted(name) && decodeCells(value, q[:], quarter, dayBitmap) == nil {
				found[name] = q
			}
			return nil
		})
	}
	if len(names) == 0 {
		return found, read(dayKey(day, ""), dayKey(day+1, ""))
	}
	for _, name := range names {
		if err := read(dayKey(day, name), dayKey(day, name)+"\x00"); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
