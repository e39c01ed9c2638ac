package baseline

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// july is a time on a day of July 2026.
func july(z *time.Location, day, hour, minute int) time.Time {
	return time.Date(2026, 7, day, hour, minute, 0, 0, z)
}

// preset returns a preset by its name.
func preset(t *testing.T, name string) Params {
	t.Helper()
	p, ok := Preset(name)
	if !ok {
		t.Fatalf("no preset %s", name)
	}
	return p
}

// of makes a history of a load by local time.
func of(z *time.Location, w func(l time.Time) float64) loads {
	return loads{w: func(at time.Time) float64 { return w(at.In(z)) }}
}

// example is a worked example: what an event's intervals must be.
type example struct {
	what, preset string
	ev           Event
	h            loads
	want         map[string]float64 // W by local time, "17:00"
	days         string             // month and day of each, in their order
	note         string             // part of the note
}

func (x *example) check(t *testing.T, z *time.Location) {
	t.Helper()
	e, err := Compute(preset(t, x.preset), z, x.ev, x.h)
	if err != nil {
		t.Errorf("%s: %v", x.what, err)
		return
	}
	for clock, want := range x.want {
		at, err := time.Parse("15:04", clock)
		if err != nil {
			t.Fatal(err)
		}
		l := x.ev.Start.In(z)
		got := e.At(time.Date(l.Year(), l.Month(), l.Day(), at.Hour(), at.Minute(), 0, 0, z))
		if !got.OK || math.Abs(got.V-want) > 0.1 {
			t.Errorf("%s: at %s got %v W, want %v (days %v, factor %v, add %v)", x.what, clock, got, want, e.Days, e.Factor, e.AddW)
		}
	}
	var days []string
	for _, d := range e.Days {
		days = append(days, strings.TrimPrefix(d, "2026-"))
	}
	if got := strings.Join(days, " "); got != x.days {
		t.Errorf("%s: days %q, want %q", x.what, got, x.days)
	}
	if x.note == "" && e.Note != "" || !strings.Contains(e.Note, x.note) {
		t.Errorf("%s: note %q, want %q in it", x.what, e.Note, x.note)
	}
	if e.Label != Label {
		t.Errorf("%s: label %q, want %q", x.what, e.Label, Label)
	}
}

// The days are those of worked: on day n of the month 1000 + 100 n W in the
// hour from 17, 2000 W in the hour from 18, 800 W else; on 21 July 880 W until
// 17:00. Here 1040 W from 21:00 on that day.
func TestWorkedCalifornian5in10(t *testing.T) {
	z := zone(t)
	before := worked(z).w
	h := of(z, func(l time.Time) float64 {
		if l.Day() == 21 && l.Hour() >= 21 {
			return 1040
		}
		return before(l)
	})
	ev := event(z)
	after := ev
	after.Known = july(z, 22, 0, 0)
	five := "07-20 07-17 07-16 07-15 07-14"
	for _, x := range []example{
		// Highest five of 20 ... 7: n = (20 + 17 + 16 + 15 + 14) / 5 = 16.4.
		// Hour 17: 1000 + 1640 = 2640; 13 to 15: 880 / 800 = 1.1: 2904. Hour 18: 2200.
		{what: "before", preset: CAISO5in10, ev: ev, h: h, want: map[string]float64{"17:00": 2904, "18:45": 2200}, days: five, note: "had not passed"},
		// 21 to 23 drew 1040: (2 x 880 + 2 x 1040) / 4 = 960; 960 / 800 = 1.2:
		// 2640 x 1.2 = 3168, 2000 x 1.2 = 2400.
		{what: "after", preset: CAISO5in10, ev: after, h: h, want: map[string]float64{"17:00": 3168, "18:45": 2400}, days: five},
		// Saturday 25: of 19, 18, 12, 11, 5 the highest three, 2900, 2800, 2200:
		// (50 x 2900 + 30 x 2800 + 20 x 2200) / 100 = 2730; 800 / 800 = 1.
		{what: "weekend", preset: CAISO5in10, ev: Event{Start: july(z, 25, 17, 0), End: july(z, 25, 18, 0), Known: july(z, 26, 0, 0)}, h: h,
			want: map[string]float64{"17:30": 2730}, days: "07-19 07-18 07-12"},
	} {
		x.check(t, z)
	}
}

func TestWorkedNewYork(t *testing.T) {
	z := zone(t)
	before := worked(z).w
	h := of(z, func(l time.Time) float64 { // on the 9th little
		if l.Month() == time.July && l.Day() == 9 && (l.Hour() == 17 || l.Hour() == 18) {
			return 700
		}
		return before(l)
	})
	ev := event(z)
	ev.IsEventDay = func(noon time.Time) bool { return noon.Month() == time.July && noon.Day() == 15 }
	saturday := Event{Start: july(z, 25, 17, 0), End: july(z, 25, 18, 0)}
	sunday := Event{Start: time.Date(2026, 9, 13, 17, 0, 0, 0, z), End: time.Date(2026, 9, 13, 18, 0, 0, 0, z)}
	// The 20th is the day before, the 15th an event, the 14th the day before it.
	// The peak is (4000 + 2000) / 2 = 3000 on 30 June, a quarter 750: the 9th with
	// 700 is out. (Of the mean, 2183, a quarter is 546.) The last ten are left: 17, 16, 13, 10, 8, 7, 6, 3, 2, 1. Highest five:
	// n = (17 + 16 + 13 + 10 + 8) / 5 = 12.8; hour 17: 2280, hour 18: 2000.
	five := "07-17 07-16 07-13 07-10 07-08"
	for _, x := range []example{
		{what: "average day", preset: NYISOAverageDay, ev: ev, h: h, want: map[string]float64{"17:00": 2280, "18:00": 2000}, days: five},
		// 13 to 15: 880 / 800 = 1.1: 2508 and 2200.
		{what: "adjusted", preset: NYISOAverageDayAdj, ev: ev, h: h, want: map[string]float64{"17:00": 2508, "18:00": 2200}, days: five},
		// The Saturdays 18 and 11 July and 27 June (the 4th is a holiday): 2800,
		// 2100, 3700; the highest two: (3700 + 2800) / 2 = 3250.
		{what: "Saturday", preset: NYISOAverageDay, ev: saturday, h: h, want: map[string]float64{"17:00": 3250}, days: "06-27 07-18"},
		// The Sundays 6 September, 30 and 23 August without Labor Day, the 7th: 1600,
		// 4000, 3300; the highest two: (4000 + 3300) / 2 = 3650.
		{what: "Sunday", preset: NYISOAverageDay, ev: sunday, h: h, want: map[string]float64{"17:00": 3650}, days: "08-30 08-23"},
	} {
		x.check(t, z)
	}
}

func TestWorkedPJM3DayTypes(t *testing.T) {
	z := zone(t)
	h := worked(z)
	low := of(z, func(l time.Time) float64 {
		if l.Month() == time.July && (l.Day() == 15 || l.Day() == 16) && (l.Hour() == 17 || l.Hour() == 18) {
			return 400
		}
		return h.w(l)
	})
	labor := time.Date(2026, 9, 7, 17, 0, 0, 0, z)
	for _, x := range []example{
		// Of 20, 17, 16, 15, 14 the lowest, 14, goes: n = 68 / 4 = 17, hour 17:
		// 2700. 13 to 16: 880 - 800 = +80: 2780, hour 18: 2080.
		{what: "weekday", preset: PJM3DayTypes, ev: event(z), h: h, want: map[string]float64{"17:00": 2780, "18:00": 2080}, days: "07-20 07-17 07-16 07-15"},
		// Days of 400 W are below a quarter of the mean, some 2200 W. Of 20, 17, 14,
		// 13, 10 the lowest goes: n = 64 / 4 = 16: 2600 + 80 = 2680.
		{what: "low usage", preset: PJM3DayTypes, ev: event(z), h: low, want: map[string]float64{"17:00": 2680}, days: "07-20 07-17 07-14 07-13"},
		// The Saturdays 18, 11 July, 27 June: 2800, 2100, 3700; (2800 + 3700) / 2.
		{what: "Saturday", preset: PJM3DayTypes, ev: Event{Start: july(z, 25, 17, 0), End: july(z, 25, 18, 0)}, h: h,
			want: map[string]float64{"17:00": 3250}, days: "07-18 06-27"},
		// Labor Day goes with Sundays: 6 September, 30 and 23 August: 1600, 4000,
		// 3300; (4000 + 3300) / 2 = 3650.
		{what: "holiday", preset: PJM3DayTypes, ev: Event{Start: labor, End: labor.Add(time.Hour)}, h: h,
			want: map[string]float64{"17:00": 3650}, days: "08-30 08-23"},
	} {
		x.check(t, z)
	}
}

// 100 W by the hour of the day; 12:00 to 17:00 (domain.md 3.1's own example).
func TestWorkedSameDay(t *testing.T) {
	z := zone(t)
	h := of(z, func(l time.Time) float64 {
		if l.Hour() == 16 { // for meter-before: (700 + 800 + 900 + 1200) / 4 = 900
			return []float64{700, 800, 900, 1200}[l.Minute()/15]
		}
		return 100 * float64(l.Hour())
	})
	ev := Event{Start: july(z, 21, 12, 0), End: july(z, 21, 17, 0)}
	after := ev
	after.Known = july(z, 21, 20, 0)
	for _, x := range []example{
		// (800 + 900 + 1000) / 3 = 900
		{what: "before", preset: PJMSameDay, ev: ev, h: h, want: map[string]float64{"12:00": 900, "16:45": 900}, note: "had not passed"},
		// (800 + 900 + 1000 + 1800 + 1900) / 5 = 1280
		{what: "after", preset: PJMSameDay, ev: after, h: h, want: map[string]float64{"12:00": 1280, "16:45": 1280}},
		{what: "meter before", preset: MeterBefore, ev: event(z), h: h, want: map[string]float64{"17:00": 900, "18:45": 900}},
		{what: "zero", preset: Zero, ev: ev, h: h, want: map[string]float64{"12:00": 0, "16:45": 0}},
		{what: "no shape given", preset: DSGSOption3, ev: ev, h: h, want: map[string]float64{"12:00": 0}},
	} {
		x.check(t, z)
	}
	h.missing = func(at time.Time) bool { return at.In(z).Hour() == 9 }
	var not NotMeasured
	if e, err := Compute(preset(t, PJMSameDay), z, ev, h); !errors.As(err, &not) {
		t.Errorf("an hour of three missing: got %v, %v, want NotMeasured", e, err)
	}
}

// Of 21 July all hours draw 800 W. The others draw 1500 W but 16 July with 830,
// the 10th with 810 and the 8th with 820 W.
func TestWorkedMatchDay(t *testing.T) {
	z := zone(t)
	h := of(z, func(l time.Time) float64 {
		if l.Hour() == 17 {
			return 1000 + 100*float64(l.Day())
		}
		if l.Month() == time.July {
			switch d := l.Day(); {
			case d == 21:
				return 800
			case d == 10 && l.Hour() >= 19:
				return 5000
			case d == 10:
				return 810
			case d == 8 && (l.Hour() == 16 || l.Hour() == 18):
				return 20_000 // the hours beside the event are not compared
			case d == 8:
				return 820
			case d == 16:
				return 830
			}
		}
		return 1500
	})
	ev := Event{Start: july(z, 21, 17, 0), End: july(z, 21, 18, 0)}
	after := ev
	after.Known = july(z, 22, 0, 0)
	for _, x := range []example{
		// n = (10 + 8 + 16) / 3 = 11.333: 2133.33
		{what: "before", preset: PJMMatchDay, ev: ev, h: h, want: map[string]float64{"17:00": 2133.333}, days: "07-10 07-08 07-16", note: "before the start alone"},
		// The 10th is (16 x 10 + 5 x 4200) / 21 = 1007.6 W unlike, the rest 700 W, of
		// which the 20th is the latest: n = (8 + 16 + 20) / 3 = 14.667: 2466.67
		{what: "after", preset: PJMMatchDay, ev: after, h: h, want: map[string]float64{"17:00": 2466.667}, days: "07-08 07-16 07-20"},
	} {
		x.check(t, z)
	}
}

// Loads of 2000, 2000, 450 and 900 W: the peak is 2000, a quarter of it 500; the
// mean is 1337.5, a quarter of it 334.4.
func TestLowDaysByPeakAndByMean(t *testing.T) {
	days := []day{{loadW: 2000}, {loadW: 2000}, {loadW: 450}, {loadW: 900}}
	for level, want := range map[Level]int{PeakOfDays: 3, MeanOfDays: 4} {
		s := Selection{LowShare: 0.25, LowOf: level}
		if got := s.withoutLow(slices.Clone(days)); len(got) != want {
			t.Errorf("level %v leaves %d days, want %d", level, len(got), want)
		}
	}
}

// In quarter hour q of the hour from 17 day n draws 1000 + 100 n + 40 q W. Of 20
// ... 7 the 20th and the 7th go: n = (17 + 16 + 15 + 14 + 13 + 10 + 9 + 8) / 8 =
// 12.75: 2275 + 40 q, times 880 / 800 = 1.1 of 14 to 16.
func TestWorkedTexas(t *testing.T) {
	z := zone(t)
	h := worked(z)
	quarters := of(z, func(l time.Time) float64 {
		w := h.w(l)
		if l.Hour() == 17 {
			w += 40 * float64(l.Minute()/15)
		}
		return w
	})
	x := example{what: "8 of 10", preset: ERCOTMid8of10, ev: event(z), h: quarters, days: "07-17 07-16 07-15 07-14 07-13 07-10 07-09 07-08",
		want: map[string]float64{"17:00": 2502.5, "17:15": 2546.5, "17:30": 2590.5, "17:45": 2634.5, "18:00": 2200}}
	x.check(t, z)
}

// 0.05 kW from 17:00 and 0.1 kW from 18:00 for each of 13.5 kWh: discharge of
// 675 W and 1350 W, which is negative load.
func TestWorkedPrescribed(t *testing.T) {
	z := zone(t)
	p := preset(t, DSGSOption3)
	p.CapacityWh, p.PerKWh[17], p.PerKWh[18] = 13500, 0.05, 0.1
	e, err := Compute(p, z, event(z), worked(z))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Time]float64{july(z, 21, 17, 0): -675, july(z, 21, 18, 59): -1350} {
		if got := e.At(at); !got.OK || math.Abs(got.V-want) > 0.1 {
			t.Errorf("at %v: got %v W, want %v", at, got, want)
		}
	}
	p.PerKWh = p.PerKWh[:23]
	if _, err := Compute(p, z, event(z), worked(z)); err == nil {
		t.Error("23 values for 24 hours were taken")
	}
}

// A site whose history begins on a day has too little of it for each method.
func TestFirstWeekIsTooLittle(t *testing.T) {
	z := zone(t)
	h := worked(z)
	h.missing = func(at time.Time) bool { return at.Before(july(z, 19, 0, 0)) } // one working day
	for name, want := range map[string]TooLittle{CAISO10in10: {1, 5}, CAISO5in10: {1, 5}, NYISOAverageDay: {0, 5},
		NYISOAverageDayAdj: {0, 5}, PJM3DayTypes: {1, 5}, PJMMatchDay: {1, 3}, ERCOTMid8of10: {1, 10}} {
		var little TooLittle
		if _, err := Compute(preset(t, name), z, event(z), h); !errors.As(err, &little) || little != want {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	for _, name := range []string{PJMSameDay, MeterBefore, Zero, DSGSOption3} {
		if _, err := Compute(preset(t, name), z, event(z), h); err != nil {
			t.Errorf("%s needs no day of history: %v", name, err)
		}
	}
}

// The hour before the end of the window is missing on the event day: no factor,
// and the note says so. Where the hours after are missing those before count.
func TestWindowsThatWereNotMeasured(t *testing.T) {
	z := zone(t)
	h := worked(z)
	h.missing = func(at time.Time) bool { l := at.In(z); return l.Day() == 21 && l.Hour() >= 19 }
	ev := event(z)
	ev.Known = july(z, 22, 0, 0)
	x := example{what: "the hours after", preset: CAISO5in10, ev: ev, h: h, want: map[string]float64{"17:00": 2904},
		days: "07-20 07-17 07-16 07-15 07-14", note: "not measured in full"}
	x.check(t, z)
	h.missing = func(at time.Time) bool { l := at.In(z); return l.Day() == 21 && l.Hour() == 14 }
	x = example{what: "the hours before", preset: PJM3DayTypes, ev: ev, h: h, want: map[string]float64{"17:00": 2700},
		days: "07-20 07-17 07-16 07-15", note: "not adjusted"}
	x.check(t, z)
}

// Lookback and windows as config and gateway need them.
func TestWhatPresetsLookAt(t *testing.T) {
	for _, p := range Presets() {
		if p.Lookback() > 60 {
			t.Errorf("%s looks back %d days; the config promises 60", p.Name, p.Lookback())
		}
	}
	for name, want := range map[string][4]time.Duration{
		CAISO10in10: {4 * time.Hour, time.Hour}, CAISO5in10: {4 * time.Hour, 2 * time.Hour, 2 * time.Hour, 4 * time.Hour},
		NYISOAverageDay: {}, NYISOAverageDayAdj: {4 * time.Hour, 2 * time.Hour}, PJM3DayTypes: {4 * time.Hour, time.Hour},
		PJMSameDay:  {4 * time.Hour, time.Hour, time.Hour, 3 * time.Hour},
		PJMMatchDay: {24 * time.Hour, time.Hour, time.Hour, 24 * time.Hour}, ERCOTMid8of10: {3 * time.Hour, time.Hour},
		MeterBefore: {time.Hour, 0}, Zero: {}, DSGSOption3: {},
	} {
		var got [4]time.Duration
		got[0], got[1] = preset(t, name).Before()
		got[2], got[3] = preset(t, name).After()
		if got != want {
			t.Errorf("%s: windows %v, want %v", name, got, want)
		}
	}
	z := zone(t)
	ev := event(z)
	for name, want := range map[string]time.Time{CAISO10in10: ev.End, CAISO5in10: july(z, 21, 23, 0), PJMMatchDay: july(z, 22, 0, 0)} {
		if got := preset(t, name).Complete(z, ev); !got.Equal(want) {
			t.Errorf("%s: complete at %v, want %v", name, got, want)
		}
	}
}

func TestPageNamesEveryPreset(t *testing.T) {
	page, err := os.ReadFile(filepath.FromSlash("../../packaging/docs/baselines.md"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(page)) {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ = strings.Cut(name, "`")
			rows = append(rows, name)
		}
	}
	if !slices.Equal(rows, Names()) {
		t.Errorf("packaging/docs/baselines.md has rows for %v, the presets are %v", rows, Names())
	}
	if !strings.Contains(string(page), Label) {
		t.Errorf("packaging/docs/baselines.md does not say %q", Label)
	}
}

// What earlier versions have stored is still read.
func TestStoredEstimateIsStillRead(t *testing.T) {
	const stored = `{"method":"caiso-10-in-10","start":"2026-07-21T17:00:00Z","interval_ns":900000000000,"w":[1000,1100],
		"days":["2026-07-20"],"factor":1.1,"clamped":true,"coverage":0.97,"note":"n"}`
	var e Estimate
	if err := json.Unmarshal([]byte(stored), &e); err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 7, 21, 17, 0, 0, 0, time.UTC)
	if got := e.At(start.Add(20 * time.Minute)); got.V != 1100 || e.Factor != 1.1 || !e.Clamped || e.Coverage != 0.97 || e.Days[0] != "2026-07-20" {
		t.Errorf("got %+v", e)
	}
	again, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"add_w", "known", "label"} {
		if strings.Contains(string(again), key) {
			t.Errorf("an estimate without %s has one when stored again: %s", key, again)
		}
	}
}
