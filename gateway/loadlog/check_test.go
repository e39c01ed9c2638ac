package loadlog

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// spoilDay writes four hours, and damage into the second of them.
func spoilDay(t *testing.T) (l *Log, dir string) {
	t.Helper()
	dir = t.TempDir()
	l = openLog(t, newMemory(), dir)
	live(t, l, noon, noon.Add(4*time.Hour), Site)
	flush(t, l)
	path := l.archive.days.path(dayOf(noon.Unix() / 3600))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 16 {
		raw[len(raw)*3/8+i] ^= 0x5a
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return l, dir
}

// What can not be read of a day is named once somebody asks for it, and not
// counted again with each answer.
func TestDamagedSecondsAreNamed(t *testing.T) {
	l, _ := spoilDay(t)
	day := dayOf(noon.Unix() / 3600)
	for range 2 {
		if n := checkSeconds(t, l, noon, noon.Add(4*time.Hour)); n < 2*3600 || n > 3*3600+60 {
			t.Errorf("%d seconds, want those of three hours", n)
		}
		if got := l.Damaged(); len(got) != 1 || got[day] != 1 {
			t.Errorf("damaged: %v, want one piece of %s", got, day)
		}
	}
}

func TestCheckAndRepairOfSeconds(t *testing.T) {
	l, dir := spoilDay(t)
	before := checkSeconds(t, l, noon, noon.Add(4*time.Hour))
	states, err := Check(dir)
	if err != nil || len(states) != 1 || states[0].Bad != 1 || states[0].Pieces < 2 || states[0].Name != filepath.Base(l.archive.days.path(dayOf(noon.Unix()/3600))) {
		t.Fatalf("%+v, %v; want one bad stretch", states, err)
	}
	mended, err := Repair(dir)
	if err != nil || len(mended) != 1 || mended[0] != states[0] {
		t.Fatalf("%+v, %v; want %+v", mended, err, states)
	}
	again, err := Check(dir)
	if err != nil || len(again) != 1 || again[0].Bad != 0 || again[0].Pieces != states[0].Pieces {
		t.Errorf("after it: %+v, %v", again, err)
	}
	if mended, err := Repair(dir); err != nil || len(mended) != 0 {
		t.Errorf("a good directory: %+v, %v", mended, err)
	}
	if after := checkSeconds(t, l, noon, noon.Add(4*time.Hour)); after != before {
		t.Errorf("%d seconds after the repair, %d before", after, before)
	}
}

func TestCheckWithoutSeconds(t *testing.T) {
	if states, err := Check(filepath.Join(t.TempDir(), "none")); err != nil || len(states) != 0 {
		t.Errorf("%v, %v", states, err)
	}
}
