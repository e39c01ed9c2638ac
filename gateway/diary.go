package gateway

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"nominald/drivers/bus"
	"nominald/drivers/modbus"
	"nominald/gateway/status"
)

// diary is what happened lately: devices and buses that were lost and came
// back, STOP and resume. It is in the status, and in the store so that it
// outlives a restart.
type diary struct {
	mu    sync.Mutex
	list  []entry // oldest first
	next  uint64
	saved uint64         // entries below are in the store
	shown []status.Event // what newest returns; nil when it has to be made anew
}

// entry is an event with its number, by which it is ordered: the clock may have
// been set in between.
type entry struct {
	Number uint64 `json:"number"`
	status.Event
}

const (
	diaryBucket = "diary"
	// diaryShown is how many a status holds.
	diaryShown = 50
	// diaryKept is how many the store keeps: their keys come round, so that a
	// device that comes and goes for years fills nothing.
	diaryKept = 500
)

// note adds an event.
func (d *diary) note(now time.Time, kind, about, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, entry{d.next, status.Event{At: now.UTC(), Kind: kind, About: about, Text: fmt.Sprintf(format, args...)}})
	d.next++
	d.shown = nil
	d.trim()
}

// trim forgets the oldest.
func (d *diary) trim() {
	if over := len(d.list) - diaryKept; over > 0 {
		d.list = slices.Delete(d.list, 0, over)
	}
}

// newest returns the last events, the newest first. Every round asks for them,
// and nearly always nothing has happened; the list is never changed.
func (d *diary) newest() []status.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shown != nil {
		return d.shown
	}
	for i := len(d.list) - 1; i >= 0 && len(d.shown) < diaryShown; i-- {
		d.shown = append(d.shown, d.list[i].Event)
	}
	return d.shown
}

// unsaved returns what is not yet in the store, as rows, and the number up to
// which that is.
func (d *diary) unsaved() (rows map[string][]byte, upTo uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rows = map[string][]byte{}
	for _, e := range d.list {
		if e.Number < d.saved {
			continue
		}
		if raw, err := json.Marshal(e); err == nil { // it holds nothing that can fail
			rows[fmt.Sprintf("%03d", e.Number%diaryKept)] = raw
		}
	}
	return rows, d.next
}

// wrote notes that the entries below a number are in the store.
func (d *diary) wrote(upTo uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saved = max(d.saved, upTo)
}

// restore takes one row of the store.
func (d *diary) restore(raw []byte) error {
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	i, _ := slices.BinarySearchFunc(d.list, e, func(a, b entry) int { return cmp.Compare(a.Number, b.Number) })
	d.list = slices.Insert(d.list, i, e)
	d.next = max(d.next, e.Number+1)
	d.saved, d.shown = d.next, nil
	return nil
}

// lookout sees what changed since the round before and notes it. Only the
// control goroutine uses it.
type lookout struct {
	diary *diary
	away  map[string]time.Time // devices, buses and inputs that are lost, since when
	lines map[string]modbus.Stats
}

func newLookout(d *diary) *lookout {
	return &lookout{diary: d, away: map[string]time.Time{}, lines: map[string]modbus.Stats{}}
}

// turn tells whether something was lost or came back, and for how long it was
// away. What answers from the beginning is no news.
func (l *lookout) turn(now time.Time, what string, lost bool) (news bool, away time.Duration) {
	since, was := l.away[what]
	switch {
	case lost == was:
		return false, 0
	case lost:
		l.away[what] = now
	default:
		delete(l.away, what)
	}
	return true, now.Sub(since).Round(time.Second)
}

// lookAround notes what changed and returns the newest events.
func (g *Gateway) lookAround(now time.Time, inputs []status.Input) []status.Event {
	for _, w := range g.workers {
		g.lookout.line(now, w)
	}
	for _, u := range g.units {
		g.lookout.device(now, u.cfg.Name, u.port.Snapshot())
	}
	for _, in := range inputs {
		g.lookout.input(now, in)
	}
	return g.diary.newest()
}

func (l *lookout) device(now time.Time, name string, s bus.Snapshot) {
	if !s.Tried {
		return
	}
	news, away := l.turn(now, "device "+name, !s.Online)
	switch {
	case news && !s.Online:
		l.diary.note(now, status.DeviceLost, name, "%s does not answer: %s", name, s.LastError)
	case news:
		l.diary.note(now, status.DeviceBack, name, "%s answers again after %s.", name, away)
	}
}

// line notes when a wire can not be opened, as when an adapter is pulled, and
// when it is open again.
func (l *lookout) line(now time.Time, w *bus.Worker) {
	line, ok := w.Line().(*modbus.Line)
	if !ok {
		return
	}
	st, was := line.Stats(), l.lines[w.Name()]
	l.lines[w.Name()] = st
	switch {
	case st.Dials > was.Dials:
		if news, away := l.turn(now, w.String(), false); news {
			l.diary.note(now, status.BusBack, w.Name(), "Bus %s (%s) is open again after %s.", w.Name(), line, away)
		}
	case st.DialErrors > was.DialErrors:
		if news, _ := l.turn(now, w.String(), true); news {
			l.diary.note(now, status.BusLost, w.Name(), "Bus %s (%s) can not be opened.", w.Name(), line)
		}
	}
}

func (l *lookout) input(now time.Time, in status.Input) {
	news, away := l.turn(now, "input "+in.Name, in.Error != "")
	switch {
	case news && in.Error != "":
		l.diary.note(now, status.InputLost, in.Name, "Input %s can not be read: %s", in.Name, in.Error)
	case news:
		l.diary.note(now, status.InputBack, in.Name, "Input %s can be read again after %s.", in.Name, away)
	}
}
