package leap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"nominald/dispatch"
)

// openAPI is Leap's own description, where it lies beside the project.
const openAPI = "../../../shared/leap/dispatch.openapi.yml"

// loadExamples returns every example of the description that holds meter
// dispatches, as JSON, by its place in the document.
func loadExamples(t *testing.T) map[string][]byte {
	t.Helper()
	b, err := os.ReadFile(openAPI)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("Leap's OpenAPI file is not here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	collect(t, "", doc, found)
	return found
}

// collect walks the document for objects with meter dispatches in them.
func collect(t *testing.T, place string, node any, found map[string][]byte) {
	switch n := node.(type) {
	case []any:
		for i, v := range n {
			collect(t, fmt.Sprintf("%s[%d]", place, i), v, found)
		}
	case map[string]any:
		_, notification := n["meter_dispatches"].([]any)
		_, results := n["results"].([]any)
		if notification || results {
			b, err := json.Marshal(n)
			if err != nil {
				t.Fatal(err)
			}
			found[place] = b
			return
		}
		for k, v := range n {
			collect(t, place+"/"+k, v, found)
		}
	}
}

// TestExamplesOfTheAPI decodes every example of the description, which is what
// Leap's own test cases are made of (domain.md 1.3).
func TestExamplesOfTheAPI(t *testing.T) {
	slots, pages := 0, 0
	for place, body := range loadExamples(t) {
		var got []dispatch.Timeslot
		var err error
		switch {
		case strings.Contains(string(body), `"market_group_id"`):
			continue
		case strings.Contains(string(body), `"results"`):
			var p page
			p, err = decodePage(body)
			got = p.slots
			if err == nil && p.next == "" {
				t.Errorf("%s: the example's page token was not read", place)
			}
			pages++
		default:
			got, err = DecodeNotification(body)
		}
		if err != nil || len(got) == 0 {
			t.Errorf("%s: %d timeslots, error %v", place, len(got), err)
		}
		slots += len(got)
		for _, s := range got {
			if s.Problem != "" || s.Start.IsZero() || !s.Cap.Known() || s.Raw == nil {
				t.Errorf("%s: %s: problem %q, cap %q", place, s.EventID, s.Problem, s.Cap)
			}
		}
	}
	if slots < 16 || pages != 1 {
		t.Errorf("%d timeslots and %d pages found, which is too few", slots, pages)
	}
}

// TestExamplesByProgram checks the values of domain.md 1.3 against the file.
func TestExamplesByProgram(t *testing.T) {
	examples := loadExamples(t)
	for name, want := range map[string]string{
		"CAISO - CCA Capacity Test": "2x1h 1 false up-to-nomination capacity-test 10/10",
		"CAISO - CCA Market Award":  "2x1h 2 false up-to-site-load day-ahead 8/10",
		"CAISO - ELRP":              "1x4h 3 true grid-exports-allowed standard null/10",
		"CAISO - DSGS Option 3":     "1x2h 4 true grid-exports-allowed standard 10/10",
	} {
		seen := false
		for place, body := range examples {
			if !strings.Contains(place, "/meter/") || !strings.HasSuffix(place, "/"+name+"/value") {
				continue
			}
			seen = true
			slots, err := DecodeNotification(body)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(slots); got != want {
				t.Errorf("%s: got %s, want %s", name, got, want)
			}
		}
		if !seen {
			t.Errorf("%s: no such example", name)
		}
	}
}

func describe(slots []dispatch.Timeslot) string {
	s := slots[0]
	energy := "null"
	if s.EnergyKW != nil {
		energy = fmt.Sprint(*s.EnergyKW)
	}
	return fmt.Sprintf("%dx%.0fh %d %v %s %s %s/%v", len(slots), s.End.Sub(s.Start).Hours(),
		s.Priority, s.Voluntary, s.Cap, s.EventTypes[0], energy, *s.NominationKW)
}

// TestExamplesArePostedOneAfterTheOther: their ids are reused, so every field
// of a record changes; and all lie in 2023, so none may ever be followed.
func TestExamplesArePostedOneAfterTheOther(t *testing.T) {
	now := time.Date(2026, 7, 21, 12, 0, 0, 0, time.UTC)
	var s *dispatch.Schedule
	ids := map[string]bool{}
	for _, body := range loadExamples(t) {
		slots, err := DecodeNotification(body)
		if err != nil {
			continue // groups, and pages of a search
		}
		now = now.Add(time.Minute)
		b := dispatch.Batch{Source: dispatch.FromWebhook, Observed: now, Slots: slots}
		for _, slot := range slots {
			ids[slot.EventID] = true
			b.Meters = append(b.Meters, slot.MeterID)
		}
		s, _ = dispatch.Merge(s, b, now)
		for _, slot := range slots {
			r, _ := s.Get(slot.EventID)
			if r.Priority != slot.Priority || r.Cap != slot.Cap || !r.Start.Equal(slot.Start) {
				t.Errorf("%s was not overwritten", slot.EventID)
			}
		}
	}
	if s.Len() != len(ids) || s.Len() == 0 {
		t.Errorf("%d records of %d ids", s.Len(), len(ids))
	}
	for _, r := range s.All() {
		if state, _ := r.StateAt(now, time.Hour); state != dispatch.Expired {
			t.Errorf("%s is %s", r.EventID, state)
		}
	}
}
