package baseline

import "time"

// IsOffDay tells whether a local day is a Saturday, a Sunday or a holiday of
// North America's power industry (NERC's list: New Year's Day, Memorial Day,
// Independence Day, Labor Day, Thanksgiving and Christmas; one that falls on a
// Sunday is kept on the Monday).
func IsOffDay(t time.Time) bool {
	switch t.Weekday() {
	case time.Saturday, time.Sunday:
		return true
	case time.Monday:
		return isHoliday(t) || isFixedHoliday(t.AddDate(0, 0, -1))
	}
	return isHoliday(t)
}

func isHoliday(t time.Time) bool { return isFixedHoliday(t) || isMovingHoliday(t) }

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
