package dispatch

import (
	"cmp"
	"slices"
	"strings"
)

// Outranks reports whether a comes before b where both run at once, with the
// power that each asks for in W (domain.md 2.2, "overlap"): the smaller
// priority number, then committed before voluntary, the larger target, the
// earlier start, the event id. It is a strict total order over records with
// different ids. +Inf stands for "all there is"; NaN counts as the smallest.
func Outranks(a, b Record, targetA, targetB float64) bool {
	return compareRank(&a, &b, targetA, targetB) < 0
}

func compareRank(a, b *Record, targetA, targetB float64) int {
	return cmp.Or(
		cmp.Compare(a.Priority, b.Priority),
		compareBool(a.Voluntary, b.Voluntary),
		cmp.Compare(targetB, targetA),
		a.Start.Compare(b.Start),
		strings.Compare(a.EventID, b.EventID),
	)
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Rank returns the records in the order of Outranks, the highest first.
// targetW is asked once a record. The given slice is left as it is.
func Rank(records []Record, targetW func(*Record) float64) []Record {
	type ranked struct {
		record *Record
		watts  float64
	}
	order := make([]ranked, len(records))
	for i := range records {
		order[i] = ranked{&records[i], targetW(&records[i])}
	}
	slices.SortFunc(order, func(a, b ranked) int {
		return compareRank(a.record, b.record, a.watts, b.watts)
	})
	sorted := make([]Record, len(order))
	for i, o := range order {
		sorted[i] = *o.record
	}
	return sorted
}
