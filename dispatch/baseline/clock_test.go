package baseline

import (
	"testing"
	"time"
)

// Where the day of the event or of the history has 23 or 25 hours. 8 March 2026
// has no 02:00 to 03:00, 1 November has 01:00 to 02:00 twice; both are Sundays.
// 100 W by the hour of the local clock unless said otherwise.
func TestDaysOf23And25Hours(t *testing.T) {
	z := zone(t)
	byHour := of(z, func(l time.Time) float64 { return 100 * float64(l.Hour()) })
	at := func(month time.Month, day, hour int) time.Time { return time.Date(2026, month, day, hour, 0, 0, 0, z) }
	// The first 01:00 of 1 November draws 1000 W, the second 3000 W, that of 25
	// October 1000 W, of 18 October 400 W; all else nothing.
	twice := of(z, func(l time.Time) float64 {
		_, offset := l.Zone()
		switch {
		case l.Hour() != 1:
			return 0
		case l.Month() == time.November && l.Day() == 1 && offset == -8*3600:
			return 3000
		case l.Month() == time.October && l.Day() == 18:
			return 400
		}
		return 1000
	})
	gap := twice
	gap.missing = func(at time.Time) bool { return at.Equal(time.Date(2026, 11, 1, 8, 30, 0, 0, time.UTC)) }
	for _, c := range []struct {
		what       string
		start, end time.Time
		h          loads
		want       []float64 // by hour, in W
		first      string    // the first day
	}{
		{"an event over the missing hour", at(3, 8, 1), at(3, 8, 4), byHour, []float64{100, 300}, "2026-03-01"},
		{"an event over the double hour", at(11, 1, 0), at(11, 1, 3), byHour, []float64{0, 100, 100, 200}, "2026-10-25"},
		{"an event in the evening of the short day", at(3, 8, 17), at(3, 8, 18), byHour, []float64{1700}, "2026-03-01"},
		{"an event in the evening of the long day", at(11, 1, 17), at(11, 1, 18), byHour, []float64{1700}, "2026-10-25"},
		// 8 March has no such hour: 1 March, 22 and 15 February.
		{"history with the missing hour", at(3, 15, 2), at(3, 15, 3), byHour, []float64{200}, "2026-03-01"},
		// 1 November is (1000 + 3000) / 2 = 2000; 400 goes: (2000 + 1000) / 2 = 1500.
		{"history with the double hour", at(11, 8, 1), at(11, 8, 2), twice, []float64{1500}, "2026-11-01"},
		// One of both has a gap, so the day goes: 25, 18, 11 October: 1000, 400, 1000.
		{"history with a gap in the double hour", at(11, 8, 1), at(11, 8, 2), gap, []float64{1000}, "2026-10-25"},
	} {
		e, err := Compute(preset(t, PJM3DayTypes), z, Event{Start: c.start, End: c.end}, c.h)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if len(e.W) != 4*len(c.want) || e.AddW != 0 || e.Days[0] != c.first {
			t.Errorf("%s: got %v + %v W of %v, want %v by hour, the first day %s", c.what, e.W, e.AddW, e.Days, c.want, c.first)
			continue
		}
		for i, w := range e.W {
			if w != c.want[i/4] {
				t.Errorf("%s: got %v, want %v by hour", c.what, e.W, c.want)
				break
			}
		}
	}
}

// Labor Day is no working day: an event on the Tuesday after it does without.
func TestHolidaysAreNoWorkingDays(t *testing.T) {
	z := zone(t)
	start := time.Date(2026, 9, 8, 17, 0, 0, 0, z)
	for _, name := range []string{CAISO10in10, PJM3DayTypes, ERCOTMid8of10, PJMMatchDay} {
		h := of(z, func(l time.Time) float64 { return 1000 })
		e, err := Compute(preset(t, name), z, Event{Start: start, End: start.Add(time.Hour)}, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range e.Days {
			if day, err := time.Parse(time.DateOnly, d); err != nil || TypeOf(day) != Workday {
				t.Errorf("%s: took %s, which is no working day", name, d)
			}
		}
	}
}
