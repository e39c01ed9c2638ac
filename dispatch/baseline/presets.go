package baseline

import "time"

// The names of the presets.
const (
	CAISO10in10        = "caiso-10-in-10"             // California's "10-in-10" with its same-day adjustment
	CAISO5in10         = "caiso-5-in-10"              // California's residential "5-in-10", also of ELRP
	NYISOAverageDay    = "nyiso-average-day"          // New York's average-day CBL: SCR, Con Edison's CSRP and DLRP
	NYISOAverageDayAdj = "nyiso-average-day-adjusted" // the same, adjusted to the day by the load before the start
	PJM3DayTypes       = "pjm-3-day-types"            // PJM's economic default, with its symmetric additive adjustment
	PJMSameDay         = "pjm-same-day-3-2"           // PJM's same-day "3+2"
	PJMMatchDay        = "pjm-match-day"              // PJM's match-day
	ERCOTMid8of10      = "ercot-mid-8-of-10"          // the middle eight of ten like days of ERCOT's ERS
	MeterBefore        = "meter-before"               // the load right before the start, as one of ERCOT's
	Zero               = "zero"                       // none: device programs as ConnectedSolutions and Clean Peak
	DSGSOption3        = "dsgs-option-3"              // a prescribed shape by the battery's capacity
)

// Presets returns the parameters of all presets that need the site's own
// history alone (domain.md 3.2). Figures marked [K] there are general
// knowledge, not settlement facts: packaging/docs/baselines.md says which. Who
// needs others changes the Params that it gets.
func Presets() []Params {
	out := append(california(), newYork()...)
	out = append(append(out, pjm()...), texas()...)
	return append(out,
		Params{Name: Zero, Interval: Interval},
		// CEC's fourth edition prescribes a shape whose figures are not public to
		// us; domain.md 3.1: configurable, 0 unless given.
		Params{Name: DSGSOption3, Interval: Interval, PerKWh: make([]float64, 24)})
}

// Names are the names of all presets.
func Names() []string {
	var names []string
	for _, p := range Presets() {
		names = append(names, p.Name)
	}
	return names
}

// Preset returns the parameters of a method by its name.
func Preset(name string) (Params, bool) {
	for _, p := range Presets() {
		if p.Name == name {
			return p, true
		}
	}
	return Params{}, false
}

// enough is the share of a stretch of time that must have been measured
// (domain.md 3.1).
const enough = 0.95

// california has the two of CAISO. Domain.md 3.1: 45 d, the least numbers, the
// weekend's days of 10-in-10 and the windows and limits of 5-in-10 are [K], as
// are its weights, which go to the highest first.
func california() []Params {
	const off, lookback = Saturday | Sunday, 45
	return []Params{
		{Name: CAISO10in10, Interval: time.Hour, Coverage: enough,
			Days: []Selection{
				{For: Workday, Lookback: lookback, Days: 10, Least: 5, Fill: true},
				{For: off, Lookback: lookback, Days: 4, Least: 4, Fill: true}},
			Adjust: Adjustment{Kind: Multiply, Windows: []Window{{From: 4 * time.Hour, To: time.Hour}}, Low: 0.8, High: 1.2}},
		{Name: CAISO5in10, Interval: time.Hour, Coverage: enough,
			Days: []Selection{
				{For: Workday, Lookback: lookback, Days: 10, Least: 5, Rank: HighLoad, Keep: 5},
				{For: off, Lookback: lookback, Days: 5, Least: 3, Rank: HighLoad, Keep: 3, Weights: []float64{50, 30, 20}}},
			Adjust: Adjustment{Kind: Multiply, Low: 0.6, High: 1.4, Windows: []Window{
				{From: 4 * time.Hour, To: 2 * time.Hour}, {After: true, From: 2 * time.Hour, To: 4 * time.Hour}}}},
	}
}

// newYork has the two of NYISO and Con Edison. Domain.md 3.1: the weekend's
// days and the limits of the factor are [K]; so are the least numbers, which
// are ours: as many as are kept.
func newYork() []Params {
	days := func() []Selection {
		workday := Selection{For: Workday, Lookback: 30, Skip: 1, NoHolidays: true, NoDayBefore: true,
			LowShare: 0.25, LowOf: PeakOfDays, Days: 10, Least: 5, Rank: HighLoad, Keep: 5}
		saturday := workday
		saturday.For, saturday.Days, saturday.Least, saturday.Keep = Saturday, 3, 2, 2
		sunday := saturday
		sunday.For = Sunday
		return []Selection{workday, saturday, sunday}
	}
	return []Params{
		{Name: NYISOAverageDay, Interval: time.Hour, Coverage: enough, Days: days()},
		{Name: NYISOAverageDayAdj, Interval: time.Hour, Coverage: enough, Days: days(),
			Adjust: Adjustment{Kind: Multiply, Windows: []Window{{From: 4 * time.Hour, To: 2 * time.Hour}}, Low: 0.8, High: 1.2}},
	}
}

// pjm has the three of PJM. Domain.md 3.1: all of the first are [K]; of
// match-day the day's type, 45 d and the mean absolute difference as measure
// of likeness are ours.
func pjm() []Params {
	threeTypes := func(kind DayType, days int) Selection {
		return Selection{For: kind, Lookback: 45, LowShare: 0.25, LowOf: MeanOfDays, Days: days, Least: days, DropLow: 1}
	}
	match := func(kind DayType) Selection {
		return Selection{For: kind, Lookback: 45, Days: 45, Least: 3, Rank: Match, Keep: 3}
	}
	before := Window{From: 4 * time.Hour, To: time.Hour}
	return []Params{
		{Name: PJM3DayTypes, Interval: time.Hour, Coverage: enough,
			Days:   []Selection{threeTypes(Workday, 5), threeTypes(Saturday, 3), threeTypes(Sunday, 3)},
			Adjust: Adjustment{Kind: Add, Windows: []Window{before}}},
		{Name: PJMSameDay, Interval: time.Hour, Coverage: enough,
			SameDay: []Window{before, {After: true, From: time.Hour, To: 3 * time.Hour}}},
		{Name: PJMMatchDay, Interval: time.Hour, Coverage: enough,
			Days: []Selection{match(Workday), match(Saturday), match(Sunday)}},
	}
}

// texas has the two of ERCOT. Domain.md 3.1: the formula of 8-of-10 is [K], its
// window was not recovered: two hours that end an hour before the start and
// the limits are ours, as is the hour of meter-before.
func texas() []Params {
	days := func(kind DayType) Selection {
		return Selection{For: kind, Lookback: 60, Days: 10, Least: 10, DropHigh: 1, DropLow: 1}
	}
	return []Params{
		{Name: ERCOTMid8of10, Interval: Interval, Coverage: enough,
			Days:   []Selection{days(Workday), days(Saturday | Sunday)},
			Adjust: Adjustment{Kind: Multiply, Windows: []Window{{From: 3 * time.Hour, To: time.Hour}}, Low: 0.8, High: 1.2}},
		{Name: MeterBefore, Interval: Interval, Coverage: enough, SameDay: []Window{{From: time.Hour}}},
	}
}
