// Package loadlog keeps the measured load: seconds, minutes and quarters of an
// hour. Add never blocks on I/O; Run writes.
//
// Energy is the integral of whole watts with each sample held until the next,
// 5 s at most. What was not measured is a gap; a meter's own energy counter may
// fill it (bridge.go), nothing else does.
//
// Seconds go to a ring of pages each 55 s (wal.go), which is all that a power
// cut can take, and once an hour from there into a file a day (days.go). Then
// the store gets the hour's minutes (codec.go) and its quarters (quarter.go),
// one value an hour and a day and channel. What the ring holds and the store
// does not is booked again at the next start. "make bench-store" measures what
// all this writes to the card.
package loadlog

import (
	"math"
	"sync"
	"time"
)

const (
	// hold is how long a sample stands for the load. Rounds come each second;
	// a device that misses four still counts as measured.
	hold        = 5 * time.Second
	ringSeconds = 15 * 60
	// keepHours stay in memory though they are stored, for Mean.
	keepHours = 2
	// maxHours bounds the memory while the store refuses writes: 48 h of 20
	// channels are 2 MB.
	maxHours = 48
	// measuredFrom is the coverage that makes an interval complete (domain.md
	// 3.1: at least 95 % of it).
	measuredFrom = 0.95
	noSample     = math.MinInt32
)

// Site is the channel of the site's net power, import positive. All others are
// names of devices.
const Site = "site"

// Quality says how good a sample or row is.
type Quality uint8

// The qualities. Of a sample: Measured, Gap (nothing was read), ClockDoubtful,
// Estimated.
const (
	Measured      Quality = iota // at least 95 % covered
	Partial                      // less
	Gap                          // the gateway ran, and nothing could be read
	ClockDoubtful                // measured while the clock was not to be believed
	Recovered                    // at least 95 %, part of it from the meter's own counter
	Estimated                    // at least 95 %, part of it worked out from other readings
)

// String returns the word that HTTP and CSV use.
func (q Quality) String() string {
	switch q {
	case Measured:
		return "measured"
	case Partial:
		return "partial"
	case Gap:
		return "gap"
	case Recovered:
		return "recovered"
	case Estimated:
		return "estimated"
	}
	return "clock-doubtful"
}

// MarshalText writes the word.
func (q Quality) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// Store is what the log needs of the store.
type Store interface {
	// AppendRows writes all rows at once, replacing those that exist.
	AppendRows(bucket string, rows map[string][]byte) error
	// Range calls fn in order of keys for from <= key < to.
	Range(bucket, from, to string, fn func(key string, value []byte) error) error
	// DropBefore removes the rows whose key sorts before key.
	DropBefore(bucket, key string) (int, error)
}

// Options of a log. Store is required.
type Options struct {
	Store  Store
	Retain time.Duration // how long minutes are kept; 0 keeps them for ever
	// Dir is where Open keeps the seconds.
	Dir string
	// KeepFine is how long they are kept, and KeepHours names the hours (since
	// 1970) that are kept as long as the minutes: those around events.
	KeepFine  time.Duration
	KeepHours func() (map[int64]bool, error)
	// Channels are made ready at once; others appear with their first sample.
	Channels []string
}

// Log is the load log. Its methods may be called from any goroutine.
type Log struct {
	opts    Options
	archive *archive   // nil where no seconds are kept
	writing sync.Mutex // one write at a time
	refused bool       // the store refused the last rows; of who writes

	mu       sync.Mutex
	channels map[string]*channel
	trusted  time.Time // latest sample whose time is believed
	lost     int       // hours given up while the store refused writes
	lostSecs int       // seconds given up while the ring refused them
	hour     int64     // in which minutes were written last
	lastErr  error
	progress time.Time
}

type channel struct {
	ring     ring
	prev     sample
	hours    map[int64]*hour
	seconds  []second // not on the card yet
	counting counting
}

// maxSeconds bounds the memory while the ring refuses them: an hour of 20
// channels is 2 MB.
const maxSeconds = 3600

// sample is the last one, which holds until the next; zero at is none.
type sample struct {
	at       time.Time
	watts    int32
	doubtful bool
}

// New returns a log.
func New(opts Options) *Log {
	l := &Log{opts: opts, channels: map[string]*channel{}}
	for _, name := range opts.Channels {
		l.channel(name)
	}
	return l
}

func (l *Log) channel(name string) *channel {
	c, ok := l.channels[name]
	if !ok {
		c = &channel{hours: map[int64]*hour{}}
		l.channels[name] = c
	}
	return c
}

// Add takes the power of a channel at t: Measured, ClockDoubtful, Estimated, or
// Gap where nothing could be read. It touches memory only.
func (l *Log) Add(t time.Time, name string, powerW float64, q Quality) {
	if t.Unix() < 0 {
		return // keys sort by time since 1970
	}
	if math.IsNaN(powerW) || math.IsInf(powerW, 0) {
		q = Gap
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.channel(name)
	watts := int32(math.Round(max(-math.MaxInt32, min(math.MaxInt32, powerW))))
	if q == Estimated {
		c.guess(t, watts)
		return
	}
	if q == Gap {
		watts = 0
	}
	s := second{t.Unix(), watts, q == ClockDoubtful, q == Gap}
	c.book(t, s)
	if l.archive != nil {
		l.keepSecond(c, s)
	}
	if q == Measured && t.After(l.trusted) {
		l.trusted = t
	}
}

// keepSecond remembers a second until it is on the card.
func (l *Log) keepSecond(c *channel, s second) {
	if n := len(c.seconds); n > 0 && c.seconds[n-1].at == s.at {
		c.seconds[n-1] = s
		return
	}
	if len(c.seconds) >= maxSeconds {
		c.seconds = c.seconds[:copy(c.seconds, c.seconds[maxSeconds/60:])]
		l.lostSecs += maxSeconds / 60
	}
	c.seconds = append(c.seconds, s)
}

// book puts a sample into seconds and minutes in memory.
func (c *channel) book(t time.Time, s second) {
	c.close(t)
	if s.gap {
		c.prev = sample{}
		c.ring.put(s.at, noSample, s.doubtful)
		c.minute(t).gap = true
		return
	}
	c.prev = sample{t, s.watts, s.doubtful}
	c.ring.put(s.at, s.watts, s.doubtful)
}

// guess puts a second that was worked out from other readings into the minutes:
// what the channel itself measured goes before it.
func (c *channel) guess(t time.Time, watts int32) {
	c.close(t)
	c.prev = sample{}
	c.minute(t).guess(watts, time.Second)
}

// close books the last sample up to t. After a step of the clock backwards it
// can not be known how long it held, so it counts for nothing.
func (c *channel) close(t time.Time) {
	p := c.prev
	if p.at.IsZero() || !t.After(p.at) {
		return
	}
	end := t
	if limit := p.at.Add(hold); end.After(limit) {
		end = limit
	}
	for from := p.at; from.Before(end); {
		to := from.Truncate(time.Minute).Add(time.Minute)
		if to.After(end) {
			to = end
		}
		c.minute(from).book(p.watts, to.Sub(from), p.doubtful)
		from = to
	}
}

// minute returns the minute of t, of the hour in memory.
func (c *channel) minute(t time.Time) *minute {
	at := t.Unix()
	h, ok := c.hours[at/3600]
	if !ok {
		h = &hour{}
		c.hours[at/3600] = h
	}
	h.dirty = true
	return &h.minutes[at/60%60]
}

// ring holds a value a second for 15 minutes.
type ring struct {
	seconds [ringSeconds]uint32 // Unix time of the slot's value; good until 2106
	watts   [ringSeconds]int32
	doubt   [ringSeconds]bool
	newest  int64
	first   int64 // of this run
}

func (r *ring) put(second int64, watts int32, doubtful bool) {
	i := second % ringSeconds
	if doubtful && r.seconds[i] == uint32(second) && !r.doubt[i] && r.watts[i] != noSample {
		return // a believed value is not replaced by a doubtful one
	}
	r.seconds[i], r.watts[i], r.doubt[i] = uint32(second), watts, doubtful
	r.newest = second
	if r.first == 0 || second < r.first {
		r.first = second
	}
}

// at returns the load in a second: its own sample, or one held for up to 5 s.
func (r *ring) at(second int64) (watts int32, doubtful, ok bool) {
	if second > r.newest {
		return 0, false, false // nothing is held into the future
	}
	for s := second; s > second-int64(hold/time.Second) && s >= 0; s-- {
		i := s % ringSeconds
		if r.seconds[i] == uint32(s) && s != 0 {
			return r.watts[i], r.doubt[i], r.watts[i] != noSample
		}
	}
	return 0, false, false
}

// covers reports whether the ring alone can answer for [from, newest].
func (r *ring) covers(from int64) bool {
	return r.first > 0 && from >= r.first && from > r.newest-ringSeconds+int64(hold/time.Second)
}
