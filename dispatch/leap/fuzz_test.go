package leap

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"nominald/dispatch"
)

// seeds are shapes that the decoder has to tell apart.
func seeds() [][]byte {
	return [][]byte{
		onePage(goodSlot), onePage("{}"), onePage("0", "null", "[]"), []byte(`{"results":[]}`), []byte("<html>"),
		[]byte(`{"results":[{"meter_id":"\u0061","timeslots":[{"meter_event_id":"\ud800","energy_kw":1e999}]}]}`),
		[]byte(`{"communication_test":true,"meter_dispatches":[{"meter_id":"a","timeslots":[{"priority":1.0}]}]}`),
		[]byte(`{"results":[{"meter_id":"a","timeslots":[{"start_time":"9999-12-31T23:59:59-23:59"}]}],"next_page_token":"x"}`),
	}
}

// checkSlots: whatever came in, what comes out can be stored and merged.
func checkSlots(t *testing.T, slots []dispatch.Timeslot) {
	t.Helper()
	for _, s := range slots {
		if s.EventID == "" || s.MeterID == "" {
			t.Fatalf("a timeslot without id: %+v", s)
		}
		if s.Problem == "" && dispatch.Validate(s) != "" {
			t.Fatalf("called good, but %s", dispatch.Validate(s))
		}
		if len(s.Raw) > 0 && !json.Valid(s.Raw) {
			t.Fatalf("Raw is no JSON: %q", s.Raw)
		}
		if _, err := json.Marshal(s); err != nil {
			t.Fatalf("can not be stored: %v", err)
		}
	}
	b := dispatch.Batch{Meters: []string{meterA}, Slots: slots}
	dispatch.Merge(nil, b, time.Unix(0, 0))
}

func FuzzDecodePage(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decodePage(body)
		if err != nil && len(p.slots) > 0 {
			t.Fatal("an error, and timeslots all the same")
		}
		checkSlots(t, p.slots)
		// The walker must agree with the standard library on what there is.
		var std struct {
			Results []struct {
				Timeslots []json.RawMessage `json:"timeslots"`
			} `json:"results"`
		}
		if err == nil && json.Unmarshal(body, &std) == nil && !oddKeys(body) {
			n := 0
			for _, r := range std.Results {
				n += len(r.Timeslots)
			}
			if n != len(p.slots) {
				t.Fatalf("%d timeslots, the standard library finds %d", len(p.slots), n)
			}
		}
	})
}

// oddKeys reports whether the standard library, which ignores letter case and
// merges repeated keys, may read the body otherwise than the decoder.
func oddKeys(body []byte) bool {
	var any map[string]json.RawMessage
	if json.Unmarshal(body, &any) != nil {
		return true
	}
	members := 0
	_ = eachMember(body, func(_, _ []byte) error { members++; return nil })
	odd := members != len(any)
	_ = eachElement(any["results"], func(result []byte) error {
		keys := map[string]bool{}
		return eachMember(result, func(key, _ []byte) error {
			name := string(key)
			known := name == "timeslots" || name == "meter_id" || name == "partner_reference"
			odd = odd || !known || keys[name]
			keys[name] = true
			return nil
		})
	})
	for name := range any {
		odd = odd || (name != "results" && name != "next_page_token")
	}
	return odd
}

func FuzzDecodeNotification(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		slots, err := DecodeNotification(body)
		if err != nil && len(slots) > 0 {
			t.Fatal("an error, and timeslots all the same")
		}
		checkSlots(t, slots)
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "120", "-5", "1.5", "99999999999999999999", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"} {
		f.Add(s, "Wed, 21 Oct 2015 07:27:00 GMT")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		got := parseRetryAfter(value, date, time.Unix(1e9, 0))
		if got < 0 || got > maxRetryAfter {
			t.Fatalf("%q gives %s", value, got)
		}
	})
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 7, 21, 12, 0, 0, 0, time.UTC)
	later := now.Add(90 * time.Second).Format(http.TimeFormat)
	wrong := now.Add(-24 * time.Hour) // our clock is a day behind
	for _, c := range []struct {
		value, date string
		now         time.Time
		want        time.Duration
	}{
		{"", "", now, 0},
		{"30", "", now, 30 * time.Second},
		{" 7200 ", "", now, time.Hour},
		{"99999999999999999999", "", now, time.Hour},
		{"-1", "", now, 0},
		{"soon", "", now, 0},
		{later, "", now, 90 * time.Second},
		{later, now.Format(http.TimeFormat), wrong, 90 * time.Second},
		{later, "", now.Add(time.Hour), 0},
		{later, "", wrong, time.Hour},
	} {
		if got := parseRetryAfter(c.value, c.date, c.now); got != c.want {
			t.Errorf("%q with date %q: got %s, want %s", c.value, c.date, got, c.want)
		}
	}
}
