package loadlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	bucket     = "load"
	flushEvery = time.Minute
	dropEvery  = time.Hour
)

// hourKey sorts by time, then channel.
func hourKey(h int64, name string) string { return fmt.Sprintf("%08d/%s", h, name) }

func parseKey(key string) (h int64, name string, ok bool) {
	number, name, found := strings.Cut(key, "/")
	h, err := strconv.ParseInt(number, 10, 64)
	return h, name, found && err == nil
}

// Run writes what is new to the store each minute, and on the way out. A store
// that refuses does not end it: the minutes stay in memory, up to 48 h of
// them, and Err tells. Rows past their retention are dropped each hour.
func (l *Log) Run(ctx context.Context) error {
	ticks := time.NewTicker(flushEvery)
	defer ticks.Stop()
	nextDrop := time.Now()
	for {
		select {
		case <-ctx.Done():
			return l.Flush()
		case <-ticks.C:
		}
		// The error is kept for Err; the next minute tries again.
		_ = l.Flush()
		if now := time.Now(); !now.Before(nextDrop) {
			nextDrop = now.Add(dropEvery)
			l.keep(l.drop())
		}
	}
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

// Flush writes what is new to the store.
func (l *Log) Flush() error {
	err := l.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastErr = err
	l.progress = time.Now()
	return err
}

func (l *Log) flush() error {
	// What an earlier run stored of these hours joins first: it is read
	// without the lock, so that Add never waits for the disk.
	for _, key := range l.unmerged() {
		h, name, _ := parseKey(key)
		stored, err := l.loadHour(h, name)
		if err != nil && !errors.Is(err, errCodec) {
			return fmt.Errorf("flush load log: %w", err)
		}
		l.mu.Lock()
		if mine, ok := l.channels[name].hours[h]; ok && !mine.merged {
			mine.take(stored)
			mine.merged = true
		}
		l.mu.Unlock()
	}
	rows, written := l.encodeDirty()
	if err := l.opts.Store.AppendRows(bucket, rows); err != nil {
		l.mu.Lock()
		for _, h := range written {
			h.dirty = true
		}
		l.mu.Unlock()
		l.evict()
		return fmt.Errorf("flush load log: %w", err)
	}
	l.evict()
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

// encodeDirty takes the hours that changed; Add may mark them again at once.
func (l *Log) encodeDirty() (map[string][]byte, []*hour) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows := map[string][]byte{}
	var written []*hour
	for name, c := range l.channels {
		for h, mine := range c.hours {
			if mine.dirty && mine.merged {
				rows[hourKey(h, name)] = encodeHour(mine)
				mine.dirty = false
				written = append(written, mine)
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
	return nil
}
