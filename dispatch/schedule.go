package dispatch

import (
	"slices"
	"strings"
	"time"
)

// Schedule is an immutable set of records, at most one an event id. Merge
// makes a new one and leaves the old one as it is, so that a Schedule can be
// handed to other goroutines through an atomic pointer. A nil *Schedule is an
// empty one.
//
// The slices that its methods return belong to it: callers must not change
// them, nor what the records in them point to.
type Schedule struct {
	records []Record            // by start, then event id
	index   map[string]int      // event id to position in records
	byMeter map[string][]Record // same order as records
}

// NewSchedule returns a schedule of the records, which it copies. Where an
// event id occurs more than once, the record with the latest Observed counts,
// and the last one of those.
func NewSchedule(records []Record) *Schedule {
	kept := make([]Record, 0, len(records))
	at := make(map[string]int, len(records))
	for _, r := range records {
		i, known := at[r.EventID]
		if !known {
			at[r.EventID] = len(kept)
			kept = append(kept, r)
			continue
		}
		if !r.Observed.Before(kept[i].Observed) {
			kept[i] = r
		}
	}
	return arrange(kept, nil)
}

// arrange takes ownership of the records, which must have unique event ids.
// Where prev has the same ids at the same positions its index is shared: that
// is the common case, a search that lists what is known.
func arrange(records []Record, prev *Schedule) *Schedule {
	slices.SortFunc(records, byStartThenID)
	s := &Schedule{records: records}
	if prev != nil && slices.EqualFunc(prev.records, records, sameID) {
		s.index = prev.index
	}
	if s.index == nil {
		s.index = make(map[string]int, len(records))
		for i := range records {
			s.index[records[i].EventID] = i
		}
	}
	s.byMeter = groupByMeter(records)
	return s
}

func byStartThenID(a, b Record) int {
	if c := a.Start.Compare(b.Start); c != 0 {
		return c
	}
	return strings.Compare(a.EventID, b.EventID)
}

func sameID(a, b Record) bool { return a.EventID == b.EventID }

// groupByMeter makes the lists that the planner asks for each second. A site
// with one meter, the usual one, shares the list of all records.
func groupByMeter(records []Record) map[string][]Record {
	count := make(map[string]int)
	for i := range records {
		count[records[i].MeterID]++
	}
	groups := make(map[string][]Record, len(count))
	if len(count) == 1 {
		groups[records[0].MeterID] = records[:len(records):len(records)]
		return groups
	}
	for i := range records {
		id := records[i].MeterID
		if groups[id] == nil {
			groups[id] = make([]Record, 0, count[id])
		}
		groups[id] = append(groups[id], records[i])
	}
	return groups
}

// All returns every record, sorted by start and then event id.
func (s *Schedule) All() []Record {
	if s == nil {
		return nil
	}
	return s.records[:len(s.records):len(s.records)]
}

// Len returns the number of records.
func (s *Schedule) Len() int {
	if s == nil {
		return 0
	}
	return len(s.records)
}

// Get returns the record of an event id.
func (s *Schedule) Get(eventID string) (Record, bool) {
	if s == nil {
		return Record{}, false
	}
	i, ok := s.index[canonicalID(eventID)]
	if !ok {
		return Record{}, false
	}
	return s.records[i], true
}

// ForMeter returns the records of one meter, sorted by start and then event
// id. It does not allocate.
func (s *Schedule) ForMeter(meterID string) []Record {
	if s == nil {
		return nil
	}
	return s.byMeter[canonicalID(meterID)]
}

// Since returns a schedule without the records that ended before t; history
// is the store's. Keep t further back than the widest search looks (15 days,
// domain.md 1.1), or the next search brings them back as late ones.
func (s *Schedule) Since(t time.Time) *Schedule {
	if s == nil {
		return nil
	}
	kept := make([]Record, 0, len(s.records))
	for _, r := range s.records {
		if !r.End.Before(t) {
			kept = append(kept, r)
		}
	}
	return arrange(kept, s)
}

// canonicalID makes ids comparable: a UUID is the same in either case.
func canonicalID(id string) string { return strings.ToLower(strings.TrimSpace(id)) }
