package loadlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TurnEvery is how often Run writes.
const TurnEvery = 55 * time.Second

const (
	bucket = "load"
	// flushEvery leaves the card five of the 60 s that a power cut may take.
	flushEvery = TurnEvery
	dropEvery  = time.Hour
	thinEvery  = 24 * time.Hour
	// retainQuarters is how long they are kept: 6.5 MB a year of 20 channels.
	retainQuarters = 10 * 366 * 24 * time.Hour
	// writtenKey holds which frames of the ring the store has. It sorts behind
	// every hour, and no channel's name is taken for it.
	writtenKey = "written"
)

// hourKey sorts by time, then channel.
func hourKey(h int64, name string) string { return fmt.Sprintf("%08d/%s", h, name) }

func parseKey(key string) (h int64, name string, ok bool) {
	number, name, found := strings.Cut(key, "/")
	h, err := strconv.ParseInt(number, 10, 64)
	return h, name, found && err == nil
}

// Run writes what is new: seconds each 55 s, the rest once an hour and on the
// way out. A card that refuses does not end it: what is new stays in memory,
// minutes for up to 48 h, and Err tells. What is past its retention is dropped.
func (l *Log) Run(ctx context.Context) error {
	ticks := time.NewTicker(flushEvery)
	defer ticks.Stop()
	nextDrop, nextThin := time.Now(), time.Now().Add(dropEvery)
	for {
		select {
		case <-ctx.Done():
			return l.Flush()
		case <-ticks.C:
		}
		// The error is kept for Err; the next turn tries again.
		_ = l.Turn()
		if now := time.Now(); !now.Before(nextDrop) {
			nextDrop = now.Add(dropEvery)
			l.keep(l.drop())
		}
		if now := time.Now(); !now.Before(nextThin) {
			nextThin = now.Add(thinEvery)
			l.keep(l.dropSeconds())
		}
	}
}

// Drop gives back what is past its retention, as Run does by itself.
func (l *Log) Drop() error { return errors.Join(l.drop(), l.dropSeconds()) }

// Turn does what Run does each 55 s: it writes the seconds, and the rest where
// an hour has ended.
func (l *Log) Turn() error {
	if l.archive == nil || l.hourEnded() || l.archive.due() {
		return l.Flush()
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	batches := l.takeSeconds()
	l.mu.Unlock()
	return l.outcome(l.appendSeconds(batches))
}

func (l *Log) hourEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trusted.Unix()/3600 != l.hour
}

// Err is why the last write failed, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastErr
}

// LostHours counts hours of a channel that were given up because the store
// refused writes for too long.
func (l *Log) LostHours() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Progress is when Run last went round, for the watchdog; a refused write is
// progress, too.
func (l *Log) Progress() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.progress
}

func (l *Log) keep(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.lastErr = err
	}
}

// Flush writes all that is new.
func (l *Log) Flush() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.outcome(l.flush())
}

// outcome keeps what became of a write.
func (l *Log) outcome(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastErr = err
	l.progress = time.Now()
	return err
}

func (l *Log) flush() error {
	if err := l.mergeStored(); err != nil {
		return fmt.Errorf("flush load log: %w", err)
	}
	// Seconds and minutes are taken at the same instant, so that the frames that
	// the store has booked are known exactly.
	l.mu.Lock()
	batches := l.takeSeconds()
	rows, written := l.encodeDirty()
	hour := l.trusted.Unix() / 3600
	l.mu.Unlock()
	err := l.appendSeconds(batches)
	if l.archive != nil {
		sealed, sealErr := l.sealSeconds()
		err = errors.Join(err, sealErr)
		rows[writtenKey] = l.archive.written(sealed)
	}
	// The quarters go first: an hour whose minutes are stored is not done again.
	appendErr := l.writeQuarters(written)
	if appendErr == nil {
		appendErr = l.opts.Store.AppendRows(bucket, rows)
	}
	if l.refused = appendErr != nil; l.refused {
		l.mu.Lock()
		for _, w := range written {
			w.from.dirty = true
		}
		l.mu.Unlock()
		l.evict()
		return fmt.Errorf("flush load log: %w", errors.Join(err, appendErr))
	}
	l.evict()
	if err != nil {
		return fmt.Errorf("flush load log: %w", err)
	}
	l.mu.Lock()
	l.hour = hour
	l.mu.Unlock()
	return nil
}

// sealSeconds takes the ring's frames into the days' files, and out of the ring:
// a store that refuses the hour's rows must not have them there once more with
// each turn. While it refuses there may be no room: the ring keeps them, and the
// days' files do not take what is left for what must not be lost.
func (l *Log) sealSeconds() (upTo uint64, err error) {
	if l.refused {
		return 0, nil
	}
	if upTo, err = l.archive.seal(); err == nil {
		l.archive.release(upTo)
	}
	return upTo, err
}

// mergeStored joins what an earlier run stored of the hours in memory. It is
// read without the lock, so that Add never waits for the disk. Then gaps are
// filled that a meter's counter knows the energy of.
func (l *Log) mergeStored() error {
	l.mu.Lock()
	for _, c := range l.channels {
		c.open()
	}
	l.mu.Unlock()
	for _, key := range l.unmerged() {
		h, name, _ := parseKey(key)
		stored, err := l.loadHour(h, name)
		if err != nil && !errors.Is(err, errCodec) {
			return err
		}
		l.mu.Lock()
		if mine, ok := l.channels[name].hours[h]; ok && !mine.merged {
			mine.take(stored)
			mine.merged = true
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.channels {
		c.cross()
	}
	return nil
}

// take adds stored minutes below those in memory.
func (h *hour) take(stored *hour) {
	if stored == nil {
		return
	}
	for i := range h.minutes {
		both := stored.minutes[i]
		both.merge(h.minutes[i])
		h.minutes[i] = both
	}
}

func (l *Log) unmerged() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var keys []string
	for name, c := range l.channels {
		for h, mine := range c.hours {
			if mine.dirty && !mine.merged {
				keys = append(keys, hourKey(h, name))
			}
		}
	}
	return keys
}

// writtenHour is an hour on its way to the store: where it came from, and what
// it was then.
type writtenHour struct {
	hour    int64
	name    string
	content hour
	from    *hour
}

// encodeDirty takes the hours that changed; Add may mark them again at once. It
// is called with the lock held.
func (l *Log) encodeDirty() (map[string][]byte, []writtenHour) {
	rows := map[string][]byte{}
	var written []writtenHour
	for name, c := range l.channels {
		for h, mine := range c.hours {
			if mine.dirty && mine.merged {
				rows[hourKey(h, name)] = encodeHour(mine)
				mine.dirty = false
				written = append(written, writtenHour{h, name, *mine, mine})
			}
		}
	}
	return rows, written
}

// evict forgets stored hours but the newest two of each channel, and with a
// store that refuses, the oldest beyond 48.
func (l *Log) evict() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.channels {
		for len(c.hours) > keepHours {
			clean, oldest := c.oldest()
			switch {
			case clean >= 0:
				delete(c.hours, clean)
				continue
			case len(c.hours) > maxHours:
				delete(c.hours, oldest)
				l.lost++
				continue
			}
			break
		}
	}
}

// oldest returns the oldest stored hour, or -1, and the oldest of all.
func (c *channel) oldest() (clean, oldest int64) {
	clean, oldest = -1, -1
	for h, mine := range c.hours {
		if oldest < 0 || h < oldest {
			oldest = h
		}
		if !mine.dirty && (clean < 0 || h < clean) {
			clean = h
		}
	}
	return clean, oldest
}

// loadHour reads one stored hour; nil where there is none.
func (l *Log) loadHour(h int64, name string) (*hour, error) {
	key := hourKey(h, name)
	var stored *hour
	err := l.opts.Store.Range(bucket, key, key+"\x00", func(_ string, value []byte) error {
		var got hour
		if err := decodeHour(value, &got); err != nil {
			return err
		}
		stored = &got
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	return stored, nil
}

// drop removes rows past their retention. It counts from the latest sample
// whose time is believed: a clock that is years ahead must not empty the log.
func (l *Log) drop() error {
	l.mu.Lock()
	now := l.trusted
	l.mu.Unlock()
	if l.opts.Retain <= 0 || now.IsZero() {
		return nil
	}
	before := now.Add(-l.opts.Retain).Unix() / 3600
	if before <= 0 {
		return nil
	}
	if _, err := l.opts.Store.DropBefore(bucket, hourKey(before, "")); err != nil {
		return fmt.Errorf("drop load older than %v: %w", l.opts.Retain, err)
	}
	return l.dropQuarters(now)
}

// dropSeconds gives back the seconds past their retention.
func (l *Log) dropSeconds() error {
	l.mu.Lock()
	now := l.trusted
	l.mu.Unlock()
	if l.archive == nil || l.opts.KeepFine <= 0 || now.IsZero() {
		return nil
	}
	var keep map[int64]bool
	if l.opts.KeepHours != nil {
		var err error
		if keep, err = l.opts.KeepHours(); err != nil {
			return fmt.Errorf("drop seconds of load: %w", err) // rather keep all
		}
	}
	return l.archive.drop(now.Add(-l.opts.KeepFine), func(h int64) bool {
		young := l.opts.Retain <= 0 || time.Unix(h*3600, 0).After(now.Add(-l.opts.Retain))
		return young && keep[h]
	})
}
