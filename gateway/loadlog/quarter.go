package loadlog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Quarters of an hour are what settlement goes by (domain.md 3), and what is
// kept for years: one value a day and channel, 96 cells of about seven bytes. A
// year of one channel is 365 values that lie side by side; each year has a bucket
// of its own, which goes as a whole.
const (
	quarterBucket = "load15-" // and the year
	quarter       = 15 * time.Minute
	quartersADay  = 96
	hoursADay     = 24
	daySeconds    = hoursADay * 3600
	dayBitmap     = quartersADay / 8
	// daysAtOnce bounds the memory of a query: 2 MB for 20 channels.
	daysAtOnce = 16
)

func yearOf(day int64) int { return time.Unix(day*daySeconds, 0).UTC().Year() }

func bucketOf(day int64) string { return quarterBucket + strconv.Itoa(yearOf(day)) }

// dayKey sorts by channel, then day since 1970.
func dayKey(name string, day int64) string { return fmt.Sprintf("%s/%06d", name, day) }

func parseDayKey(key string) (name string, day int64, ok bool) {
	at := strings.LastIndexByte(key, '/')
	if at < 0 {
		return "", 0, false
	}
	day, err := strconv.ParseInt(key[at+1:], 10, 64)
	return key[:at], day, err == nil
}

// dayQuarters are the quarters of one UTC day.
type dayQuarters [quartersADay]minute

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

// channelDay is a day of a channel.
type channelDay struct {
	name string
	day  int64
}

// writeQuarters brings the quarters of the hours just written up to date.
func (l *Log) writeQuarters(written []writtenHour) error {
	days := map[channelDay]*dayQuarters{}
	for _, w := range written {
		cd := channelDay{w.name, w.hour / hoursADay}
		if days[cd] == nil {
			stored, err := l.loadDay(cd)
			if err != nil {
				return err
			}
			days[cd] = stored
		}
		days[cd].sum(w.hour%hoursADay, &w.content)
	}
	byBucket := map[string]map[string][]byte{}
	for cd, q := range days {
		b := bucketOf(cd.day)
		if byBucket[b] == nil {
			byBucket[b] = map[string][]byte{}
		}
		byBucket[b][dayKey(cd.name, cd.day)] = encodeCells(q[:], quarter, dayBitmap)
	}
	for b, rows := range byBucket {
		if err := l.opts.Store.AppendRows(b, rows); err != nil {
			return fmt.Errorf("write quarters of load: %w", err)
		}
	}
	return nil
}

// loadDay reads a day's quarters; they are empty where there are none.
func (l *Log) loadDay(cd channelDay) (*dayQuarters, error) {
	q := new(dayQuarters)
	key := dayKey(cd.name, cd.day)
	err := l.opts.Store.Range(bucketOf(cd.day), key, key+"\x00", func(_ string, value []byte) error {
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
	end := (to.Unix() + daySeconds - 1) / daySeconds
	stored := map[string][]string{} // the channels of each year
	for first := from.Unix() / daySeconds; first < end; {
		next := min(first+daysAtOnce, end)
		for yearOf(next-1) != yearOf(first) {
			next--
		}
		asked, bucket := names, bucketOf(first)
		if _, known := stored[bucket]; len(names) == 0 && !known {
			var err error
			if stored[bucket], err = l.storedChannels(bucket); err != nil {
				return fmt.Errorf("query load: %w", err)
			}
		}
		if len(names) == 0 {
			asked = stored[bucket]
		}
		found, err := l.quartersOf(first, next, asked)
		if err != nil {
			return fmt.Errorf("query load: %w", err)
		}
		for ; first < next; first++ {
			begin, end := later(from, time.Unix(first*daySeconds, 0)), earlier(to, time.Unix((first+1)*daySeconds, 0))
			if err := l.queryDay(first, begin, end, wanted, found[first], w); err != nil {
				return err
			}
		}
	}
	return nil
}

// queryDay answers for a day of which these quarters are stored.
func (l *Log) queryDay(day int64, begin, end time.Time, wanted func(string) bool, found map[string]*dayQuarters, w *window) error {
	if len(found) == 0 || l.hasHours(day) {
		return l.queryMinutes(begin, end, wanted, w)
	}
	names := slices.Sorted(maps.Keys(found))
	for i := range int64(quartersADay) {
		at := day*daySeconds + i*int64(quarter/time.Second)
		if at < begin.Unix() || at >= end.Unix() {
			continue
		}
		for _, name := range names {
			if err := w.add(at, name, found[name][i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// quartersOf reads the stored quarters of the days of one year from first until
// next.
func (l *Log) quartersOf(first, next int64, names []string) (map[int64]map[string]*dayQuarters, error) {
	found := map[int64]map[string]*dayQuarters{}
	for _, name := range names {
		err := l.opts.Store.Range(bucketOf(first), dayKey(name, first), dayKey(name, next), func(key string, value []byte) error {
			got, day, ok := parseDayKey(key)
			q := new(dayQuarters)
			if !ok || got != name || decodeCells(value, q[:], quarter, dayBitmap) != nil {
				return nil
			}
			if found[day] == nil {
				found[day] = map[string]*dayQuarters{}
			}
			found[day][name] = q
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// errFound ends a search at the first key.
var errFound = errors.New("found")

// storedChannels names the channels of a bucket, skipping from one to the next.
func (l *Log) storedChannels(bucket string) ([]string, error) {
	var names []string
	for from := ""; ; {
		found := ""
		err := l.opts.Store.Range(bucket, from, "", func(key string, _ []byte) error { found = key; return errFound })
		if err != nil && !errors.Is(err, errFound) {
			return nil, err
		}
		name, _, ok := parseDayKey(found)
		switch {
		case found == "":
			return names, nil
		case !ok:
			from = found + "\x00"
		default:
			names = append(names, name)
			from = name + "0" // what sorts behind "name/"
		}
	}
}

// dropQuarters gives back the years that are past their retention.
func (l *Log) dropQuarters(now time.Time) error {
	last := now.Add(-retainQuarters).Year() - 1
	for year := last; year > last-3; year-- {
		if _, err := l.opts.Store.DropBefore(quarterBucket+strconv.Itoa(year), "\xff"); err != nil {
			return fmt.Errorf("drop quarters of load of %d: %w", year, err)
		}
	}
	return nil
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
