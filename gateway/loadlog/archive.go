package loadlog

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// archive keeps the seconds on the card: the ring for those of the last hour or
// so, the days' files for the rest. It has a lock of its own: who waits for the
// card never keeps Add waiting.
type archive struct {
	days days

	mu       sync.Mutex
	wal      *wal
	path     string
	unsealed []frame        // oldest first
	lost     int            // frames that were overwritten before they were sealed
	bad      int            // frames that could not be read
	damaged  map[string]int // pieces of a day's file that could not be read
}

func openArchive(dir string) (*archive, []frame, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, nil, fmt.Errorf("create the directory of the load log: %w", err)
	}
	a := &archive{days: days{dir}, path: filepath.Join(dir, walName), damaged: map[string]int{}}
	w, frames, bad, err := openWAL(a.path)
	if err != nil {
		return nil, nil, err
	}
	a.wal, a.bad = w, bad
	return a, frames, nil
}

// resume says up to which frame the seconds are sealed, and keeps the others.
func (a *archive) resume(frames []frame, sealed uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range frames {
		if f.seq > sealed {
			a.unsealed = append(a.unsealed, f)
		}
	}
	// A ring that was lost begins behind what the store knows as sealed.
	a.wal.seq = max(a.wal.seq, sealed)
}

// append writes the seconds of all channels as one frame.
func (a *archive) append(batches []batch) error {
	var body []byte
	for _, b := range batches {
		body = appendBatch(body, b)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := a.wal.append(body)
	if err != nil {
		return err
	}
	// The oldest frames that this one has overwritten are gone from the card:
	// after a power cut nobody has them. In memory they live on until sealed,
	// but for the bound of both.
	a.unsealed = append(a.unsealed, f)
	for a.pagesLocked() > walPages {
		a.unsealed = a.unsealed[1:]
		a.lost++
	}
	return nil
}

func (a *archive) pagesLocked() int {
	n := 0
	for _, f := range a.unsealed {
		n += f.pages()
	}
	return n
}

// due tells whether the ring is half full of what is not sealed.
func (a *archive) due() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pagesLocked() > walPages/2
}

// seal writes what the ring holds into the days' files and returns the last
// frame that it took. The ring is free of them once release is called with it.
func (a *archive) seal() (upTo uint64, err error) {
	a.mu.Lock()
	frames := slices.Clone(a.unsealed)
	a.mu.Unlock()
	if len(frames) == 0 {
		return 0, nil
	}
	type key struct {
		hour int64
		name string
	}
	hours := map[key]*batch{}
	for _, f := range frames {
		err := decodeBatches(f.body, func(b batch) {
			for _, run := range b.runs {
				k := key{run[0].at / 3600, b.name}
				if hours[k] == nil {
					hours[k] = &batch{name: b.name}
				}
				hours[k].runs = append(hours[k].runs, run)
			}
		})
		if err != nil {
			return 0, fmt.Errorf("seal seconds of load: %w", err) // it was read or made here: a fault of ours
		}
	}
	byDay := map[string][]record{}
	for k, b := range hours {
		byDay[dayOf(k.hour)] = append(byDay[dayOf(k.hour)], record{k.hour, k.name, appendBatch(nil, *b)})
	}
	for day, records := range byDay {
		slices.SortFunc(records, func(x, y record) int {
			if x.hour != y.hour {
				return int(x.hour - y.hour)
			}
			if x.name < y.name {
				return -1
			}
			return 1
		})
		if err := a.days.append(day, records); err != nil {
			return 0, err
		}
	}
	return frames[len(frames)-1].seq, nil
}

// release forgets the frames up to one, which are safe elsewhere.
func (a *archive) release(upTo uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unsealed = slices.DeleteFunc(a.unsealed, func(f frame) bool { return f.seq <= upTo })
}

// hourSeconds are the seconds of one channel in one hour.
type hourSeconds struct {
	watts [3600]int32
	state [3600]byte // of the seconds below
}

const (
	secondNone = iota
	secondGap
	secondDoubtful
	secondGood
)

// take puts a second over what is there. A believed value is not replaced by a
// doubtful one, nor a value by a gap.
func (h *hourSeconds) take(s second) {
	i, state := s.at%3600, byte(secondGood)
	switch {
	case s.gap:
		state = secondGap
	case s.doubtful:
		state = secondDoubtful
	}
	if state >= h.state[i] {
		h.watts[i], h.state[i] = s.watts, state
	}
}

// readHour collects what is known of an hour: sealed, in the ring, and pending.
// A nil names asks for every channel.
func (a *archive) readHour(hour int64, wanted func(string) bool, pending []batch) (map[string]*hourSeconds, error) {
	found := map[string]*hourSeconds{}
	take := func(b batch) {
		if !wanted(b.name) {
			return
		}
		for _, run := range b.runs {
			if run[0].at/3600 != hour {
				continue
			}
			if found[b.name] == nil {
				found[b.name] = &hourSeconds{}
			}
			for _, s := range run {
				found[b.name].take(s)
			}
		}
	}
	bad, err := a.days.read(dayOf(hour), func(h int64, name string) bool { return h == hour && wanted(name) }, func(r record) error {
		return decodeBatches(r.body, take)
	})
	a.mu.Lock()
	frames := slices.Clone(a.unsealed)
	if bad > 0 {
		a.damaged[dayOf(hour)] = bad
	}
	a.mu.Unlock()
	for _, f := range frames {
		err = errors.Join(err, decodeBatches(f.body, take))
	}
	for _, b := range pending {
		take(b)
	}
	return found, err
}

// bounds are where the first second on the card may be, and the end of the last.
func (a *archive) bounds() (first, end int64, err error) {
	list, err := a.days.list()
	if err != nil {
		return 0, 0, err
	}
	first = math.MaxInt64
	for _, day := range list {
		t, _ := time.Parse(time.DateOnly, day) // list gives no others
		first, end = min(first, t.Unix()), max(end, t.AddDate(0, 0, 1).Unix())
	}
	a.mu.Lock()
	frames := slices.Clone(a.unsealed)
	a.mu.Unlock()
	for _, f := range frames {
		err = errors.Join(err, decodeBatches(f.body, func(b batch) {
			for _, run := range b.runs {
				first, end = min(first, run[0].at), max(end, run[len(run)-1].at+1)
			}
		}))
	}
	return min(first, end), end, err
}

// drop gives back the days before one, but for the hours that keep names.
func (a *archive) drop(before time.Time, keep func(hour int64) bool) error {
	list, err := a.days.list()
	if err != nil {
		return err
	}
	for _, day := range list {
		if day >= before.UTC().Format(time.DateOnly) {
			break
		}
		if err := a.days.thin(day, keep); err != nil {
			return fmt.Errorf("drop seconds of %s: %w", day, err)
		}
	}
	return nil
}

func (a *archive) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wal.file.Close()
}
