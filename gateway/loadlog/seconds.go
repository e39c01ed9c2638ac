package loadlog

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Open returns a log that keeps its seconds in opts.Dir. What the ring there
// holds and the store does not, from before a power cut, is booked again.
func Open(opts Options) (*Log, error) {
	a, frames, err := openArchive(opts.Dir)
	if err != nil {
		return nil, err
	}
	l := New(opts)
	l.archive = a
	booked, sealed, err := l.readWritten()
	if err != nil {
		return nil, fmt.Errorf("open load log: %w", err)
	}
	for _, f := range frames {
		if err := l.replay(f, f.seq > booked); err != nil {
			a.bad++ // its checksum held: a later version wrote it
		}
	}
	a.resume(frames, sealed)
	return l, nil
}

// Close gives the ring's file back. Run writes on its way out.
func (l *Log) Close() error {
	if l.archive == nil {
		return nil
	}
	return l.archive.close()
}

// replay takes a frame of an earlier run: its counters, and where the store has
// not got it, its seconds.
func (l *Log) replay(f frame, anew bool) error {
	return decodeBatches(f.body, func(b batch) {
		c := l.channel(b.name)
		if anew {
			for _, run := range b.runs {
				for _, s := range run {
					c.book(time.Unix(s.at, 0).UTC(), s)
				}
			}
		}
		if b.counters == nil {
			return
		}
		if anew {
			c.counting.note(*b.counters)
		}
		c.counting.last = *b.counters
	})
}

// written encodes which frames the store has booked and which are sealed, for
// the same commit as the minutes.
func (a *archive) written(sealed uint64) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if sealed == 0 && len(a.unsealed) > 0 {
		sealed = a.unsealed[0].seq - 1 // nothing was sealed this time
	} else if sealed == 0 {
		sealed = a.wal.seq
	}
	return binary.AppendUvarint(binary.AppendUvarint(nil, a.wal.seq), sealed)
}

// readWritten reads the same.
func (l *Log) readWritten() (booked, sealed uint64, err error) {
	err = l.opts.Store.Range(bucket, writtenKey, writtenKey+"\x00", func(_ string, value []byte) error {
		r := reader{b: value}
		booked, sealed = r.uvarint(), r.uvarint()
		if r.bad {
			booked, sealed = 0, 0
		}
		return nil
	})
	return booked, sealed, err
}

// takeSeconds takes what is not on the card. It is called with the lock held.
func (l *Log) takeSeconds() []batch {
	batches := l.pendingSeconds()
	for _, c := range l.channels {
		c.seconds, c.counting.fresh = nil, nil
	}
	return batches
}

// pendingSeconds is what is not on the card. It is called with the lock held.
func (l *Log) pendingSeconds() []batch {
	if l.archive == nil {
		return nil
	}
	var batches []batch
	for _, name := range slices.Sorted(maps.Keys(l.channels)) {
		c := l.channels[name]
		if len(c.seconds) > 0 || c.counting.fresh != nil {
			batches = append(batches, batch{name, runsOf(c.seconds), c.counting.fresh})
		}
	}
	return batches
}

// appendSeconds writes them; what is refused is pending again.
func (l *Log) appendSeconds(batches []batch) error {
	if len(batches) == 0 {
		return nil
	}
	err := l.archive.append(batches)
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range batches {
		c := l.channels[b.name]
		old := slices.Concat(b.runs...)
		since := c.seconds
		c.seconds = nil
		for _, s := range slices.Concat(old, since) {
			l.keepSecond(c, s)
		}
		if c.counting.fresh == nil {
			c.counting.fresh = b.counters
		}
	}
	return err
}

// LostSeconds counts seconds of a channel that were given up because the card
// refused them for too long, and pieces of the ring that could not be read.
func (l *Log) LostSeconds() (lost, unreadable int) {
	l.mu.Lock()
	lost = l.lostSecs
	l.mu.Unlock()
	if l.archive != nil {
		l.archive.mu.Lock()
		lost, unreadable = lost+l.archive.lost*int(flushEvery/time.Second), l.archive.bad
		l.archive.mu.Unlock()
	}
	return lost, unreadable
}

// Damaged are the days of whose seconds pieces could not be read since the
// start, and how many pieces: an hour of a channel each, or more that lie side
// by side. They are missing in every answer; the minutes have them.
func (l *Log) Damaged() map[string]int {
	if l.archive == nil {
		return nil
	}
	l.archive.mu.Lock()
	defer l.archive.mu.Unlock()
	return maps.Clone(l.archive.damaged)
}

// querySeconds answers from memory where that reaches, else from the files.
func (l *Log) querySeconds(from, to time.Time, wanted func(string) bool, w *window) error {
	l.mu.Lock()
	newest, inMemory := l.newest(), len(l.channels) > 0
	for name, c := range l.channels {
		inMemory = inMemory && (!wanted(name) || c.ring.covers(from.Unix()))
	}
	l.mu.Unlock()
	if l.archive == nil || inMemory {
		return l.ringQuery(from, to, wanted, w)
	}
	first, last, err := l.archive.bounds()
	if err != nil {
		return err
	}
	var before map[string]*hourSeconds // of the hour before: a sample holds on
	begin, end := max(from.Unix(), first), min(to.Unix(), max(last, newest+1))
	for h := begin / 3600; h*3600 < end; h++ {
		l.mu.Lock()
		pending := l.pendingSeconds()
		l.mu.Unlock()
		hour, err := l.archive.readHour(h, wanted, pending)
		if err != nil {
			return fmt.Errorf("query load: %w", err)
		}
		names := slices.Sorted(maps.Keys(hour))
		for s := max(h*3600, begin); s < min((h+1)*3600, end); s++ {
			for _, name := range names {
				m, ok := held(hour[name], before[name], s)
				if !ok {
					continue
				}
				if err := w.add(s, name, m); err != nil {
					return err
				}
			}
		}
		before = hour
	}
	return nil
}

// held is the load in a second: its own sample, or one held for up to 5 s.
func held(hour, before *hourSeconds, s int64) (m minute, ok bool) {
	for back := range int64(hold / time.Second) {
		from, at := hour, s-back
		if at/3600 != s/3600 {
			from = before
		}
		if from == nil {
			return m, false
		}
		switch from.state[at%3600] {
		case secondGood, secondDoubtful:
			m.book(from.watts[at%3600], time.Second, from.state[at%3600] == secondDoubtful)
			return m, true
		case secondGap:
			return m, false
		}
	}
	return m, false
}
