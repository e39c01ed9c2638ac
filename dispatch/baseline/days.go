package baseline

import "time"

// DayType is a set of kinds of local days: a method compares a day with days of
// its own kind.
type DayType uint8

// The kinds of days. A holiday counts as a Sunday, whatever weekday it is.
const (
	Workday DayType = 1 << iota // Monday to Friday
	Saturday
	Sunday // and holidays
)

// TypeOf tells which kind of day a local time lies in.
func TypeOf(t time.Time) DayType {
	switch {
	case IsHoliday(t) || t.Weekday() == time.Sunday:
		return Sunday
	case t.Weekday() == time.Saturday:
		return Saturday
	}
	return Workday
}

// IsOffDay tells whether a local day is a Saturday, a Sunday or a holiday.
func IsOffDay(t time.Time) bool { return TypeOf(t) != Workday }

// IsHoliday tells whether a local day is a holiday of North America's power
// industry (NERC's list: New Year's Day, Memorial Day, Independence Day, Labor
// Day, Thanksgiving and Christmas; one that falls on a Sunday is kept on the
// Monday).
func IsHoliday(t time.Time) bool {
	return isFixedHoliday(t) || isMovingHoliday(t) || t.Weekday() == time.Monday && isFixedHoliday(t.AddDate(0, 0, -1))
}

func isFixedHoliday(t time.Time) bool {
	switch m, d := t.Month(), t.Day(); {
	case m == time.January && d == 1, m == time.July && d == 4, m == time.December && d == 25:
		return true
	}
	return false
}

func isMovingHoliday(t time.Time) bool {
	switch d := t.Day(); t.Month() {
	case time.May: // the last Monday
		return t.Weekday() == time.Monday && d > 24
	case time.September: // the first Monday
		return t.Weekday() == time.Monday && d <= 7
	case time.November: // the fourth Thursday
		return t.Weekday() == time.Thursday && d > 21 && d <= 28
	}
	return false
}
