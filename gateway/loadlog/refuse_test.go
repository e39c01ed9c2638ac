package loadlog

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A store that refuses rows for hours does not have the same seconds written into
// the day's file again with each turn; once it takes them, all are there.
func TestStoreThatRefusesRows(t *testing.T) {
	dir, mem := t.TempDir(), newMemory()
	l := openLog(t, mem, dir)
	end := noon.Add(4 * time.Hour)
	for at := noon; at.Before(end); at = at.Add(time.Second) {
		l.Add(at, Site, truth(Site, at), Measured)
		mem.refuse = nil
		if since := at.Sub(noon); since > 50*time.Minute && since < 200*time.Minute {
			mem.refuse = errors.New("the store is full")
		}
		if at.Unix()%55 == 0 {
			_ = l.Turn()
		}
	}
	flush(t, l)
	flush(t, l)
	kept := map[string]int{}
	_, err := l.archive.days.read(dayOf(noon.Unix()/3600), func(int64, string) bool { return true }, func(r record) error {
		return decodeBatches(r.body, func(b batch) {
			for _, run := range b.runs {
				kept[b.name] += len(run)
			}
		})
	})
	if want := int(end.Sub(noon) / time.Second); err != nil || kept[Site] > want {
		t.Errorf("%d seconds stand in the day's file, there were %d; %v", kept[Site], want, err)
	}
	if n := checkSeconds(t, l, noon, end); n != int(end.Sub(noon)/time.Second) {
		t.Errorf("%d seconds are served", n)
	}
	checkMinutes(t, l, noon, end)
}

// onlyMinutes refuses the quarters once.
type onlyMinutes struct {
	*memory
	refusals int
}

func (o *onlyMinutes) AppendRows(bucket string, rows map[string][]byte) error {
	if strings.HasPrefix(bucket, quarterBucket) && len(rows) > 0 && o.refusals > 0 {
		o.refusals--
		return errors.New("no space left")
	}
	return o.memory.AppendRows(bucket, rows)
}

// Quarters that were refused when their hour was stored come with the next turn,
// also when that is another run's.
func TestQuartersThatWereRefused(t *testing.T) {
	for _, restart := range []bool{false, true} {
		dir, mem := t.TempDir(), newMemory()
		card := &onlyMinutes{memory: mem}
		l := openLog(t, card, dir)
		for at := noon; at.Before(noon.Add(65 * time.Minute)); at = at.Add(time.Second) {
			l.Add(at, Site, truth(Site, at), Measured)
			if at.Equal(noon.Add(59 * time.Minute)) {
				card.refusals = 1
			}
			if at.Unix()%55 == 0 {
				if err := l.Turn(); err != nil && restart {
					l = openLog(t, mem, dir) // killed
				}
			}
		}
		flush(t, l)
		if card.refusals > 0 {
			t.Error("nothing was refused")
		}
		next := noon.AddDate(0, 0, 3)
		live(t, l, next, next.Add(3*time.Hour), Site)
		flush(t, l) // the day is in memory no more: its quarters answer
		rows := query(t, l, noon, noon.Add(time.Hour), quarter)
		if len(rows) != 4 {
			t.Errorf("restart %v: %d quarters of 4", restart, len(rows))
		}
		for _, r := range rows {
			if r.Coverage < 0.94 {
				t.Errorf("restart %v: %+v", restart, r)
			}
		}
	}
}

// What was measured before a restart is there at once, second by second.
func TestSecondsFromBeforeARestart(t *testing.T) {
	dir, mem := t.TempDir(), newMemory()
	l := openLog(t, mem, dir)
	live(t, l, noon, noon.Add(10*time.Minute), Site)
	flush(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, mem, dir)
	live(t, l, noon.Add(10*time.Minute), noon.Add(12*time.Minute), Site)
	if n := checkSeconds(t, l, noon, noon.Add(12*time.Minute)); n != 720 {
		t.Errorf("%d of 720 seconds", n)
	}
}

// worn is a ring's file of which a page can not be read.
type worn struct {
	ringFile
	page int64
}

func (w worn) ReadAt(b []byte, at int64) (int, error) {
	if at < (w.page+1)*pageBytes && at+int64(len(b)) > w.page*pageBytes {
		return 0, errors.New("input/output error")
	}
	return w.ringFile.ReadAt(b, at)
}

// One page that a worn card does not give costs its own frame.
func TestPageThatCanNotBeRead(t *testing.T) {
	l := openLog(t, newMemory(), t.TempDir())
	live(t, l, noon, noon.Add(10*time.Minute), Site)
	w := wal{file: l.archive.wal.file}
	all, _, err := w.read()
	if err != nil || len(all) < 5 {
		t.Fatal(len(all), err)
	}
	w.file = worn{w.file, int64(all[2].page)}
	if got, bad, err := w.read(); err != nil || len(got) != len(all)-1 || bad != 1 {
		t.Errorf("%d frames of %d, %d bad, %v", len(got), len(all), bad, err)
	}
}
