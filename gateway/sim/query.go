package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"
)

// maxWindow is the longest search window (dispatch.openapi.yml, end_date).
const maxWindow = 31 * 24 * time.Hour

// query is a search that was found valid.
type query struct {
	start, end       time.Time
	meters, events   []string // nil: all
	excludeRealTime  bool
	excludeVoluntary bool
	token            string
}

// wireQuery is a search as it comes; pointers tell absent from empty.
type wireQuery struct {
	StartDate        *string   `json:"start_date"`
	EndDate          *string   `json:"end_date"`
	MeterIDs         *[]string `json:"meter_ids"`
	MeterEventIDs    *[]string `json:"meter_event_ids"`
	ExcludeRealTime  *bool     `json:"exclude_real_time_events"`
	ExcludeVoluntary *bool     `json:"exclude_voluntary_events"`
	PageToken        *string   `json:"page_token"`
}

// parseQuery reads a request body and checks everything that the schema of
// SearchMeterDispatchEventRequest asks for.
func parseQuery(body []byte) (query, error) {
	var w wireQuery
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&w); err != nil {
		return query{}, fmt.Errorf("request body: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return query{}, fmt.Errorf("request body: something follows the JSON object")
	}
	q := query{excludeRealTime: true}
	var err error
	if q.start, err = dateOf("start_date", w.StartDate); err != nil {
		return query{}, err
	}
	if q.end, err = dateOf("end_date", w.EndDate); err != nil {
		return query{}, err
	}
	if !q.end.After(q.start) {
		return query{}, fmt.Errorf("end_date must be after start_date")
	}
	if q.end.Sub(q.start) > maxWindow {
		return query{}, fmt.Errorf("end_date must be max 31 days after start_date")
	}
	if q.meters, err = idsOf("meter_ids", w.MeterIDs); err != nil {
		return query{}, err
	}
	if q.events, err = idsOf("meter_event_ids", w.MeterEventIDs); err != nil {
		return query{}, err
	}
	if w.ExcludeRealTime != nil {
		q.excludeRealTime = *w.ExcludeRealTime
	}
	if w.ExcludeVoluntary != nil {
		q.excludeVoluntary = *w.ExcludeVoluntary
	}
	if w.PageToken != nil {
		if !isUUID(*w.PageToken) {
			return query{}, fmt.Errorf("page_token: %q is not a uuid", *w.PageToken)
		}
		q.token = *w.PageToken
	}
	return q, nil
}

func dateOf(field string, v *string) (time.Time, error) {
	if v == nil {
		return time.Time{}, fmt.Errorf("%s is required", field)
	}
	t, err := time.Parse(time.RFC3339, *v)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %q is not a date-time", field, *v)
	}
	return t, nil
}

func idsOf(field string, v *[]string) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	if len(*v) == 0 {
		return nil, fmt.Errorf("%s must have at least one item", field)
	}
	seen := map[string]bool{}
	for _, id := range *v {
		if !isUUID(id) {
			return nil, fmt.Errorf("%s: %q is not a uuid", field, id)
		}
		if seen[id] {
			return nil, fmt.Errorf("%s: %q is there twice", field, id)
		}
		seen[id] = true
	}
	return *v, nil
}

// isUUID accepts the usual form of 36 characters only.
func isUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }

// sameFilters reports whether a page is asked for with the filters of the
// first one.
func (q query) sameFilters(o query) bool {
	return q.start.Equal(o.start) && q.end.Equal(o.end) && slices.Equal(q.meters, o.meters) &&
		slices.Equal(q.events, o.events) && q.excludeRealTime == o.excludeRealTime &&
		q.excludeVoluntary == o.excludeVoluntary
}

// wants reports whether a slot is asked for. Leap does not say whether the
// window selects by start or by overlap (domain.md 1.1): byStart decides.
func (q query) wants(s Slot, byStart bool) bool {
	inside := s.Start.Before(q.end) && s.End.After(q.start)
	if byStart {
		inside = !s.Start.Before(q.start) && s.Start.Before(q.end)
	}
	switch {
	case !inside,
		q.meters != nil && !slices.Contains(q.meters, s.MeterID),
		q.events != nil && !slices.Contains(q.events, s.EventID),
		q.excludeRealTime && slices.Contains(s.EventTypes, "5m"),
		q.excludeVoluntary && s.Voluntary:
		return false
	}
	return true
}
