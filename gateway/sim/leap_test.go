package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

const (
	meterA = "afce893d-ea68-487f-9f8c-778b1881f60a"
	meterB = "dd21c76c-7126-4ef7-b0a6-f190fad300b2"
	search = "/v2/dispatch/meter/search"
)

var leapNow = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// api is a simulated Leap on a real socket.
type api struct {
	t    *testing.T
	leap *Leap
	url  string
}

func newAPI(t *testing.T, opts LeapOptions) *api {
	t.Helper()
	opts.Key = "secret"
	opts.ForeignKeys = []string{"staging"}
	opts.Now = func() time.Time { return leapNow }
	l := NewLeap(opts)
	srv := httptest.NewServer(l)
	t.Cleanup(srv.Close)
	return &api{t: t, leap: l, url: srv.URL}
}

// post sends a search with the right headers; header pairs change them.
func (a *api) post(body string, header ...string) (*http.Response, []byte, error) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, a.url+search, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// answer is a page as a stranger reads it.
type answer struct {
	Next    *string `json:"next_page_token"`
	Results []struct {
		MeterID   string           `json:"meter_id"`
		Timeslots []map[string]any `json:"timeslots"`
	} `json:"results"`
}

// page searches and returns a page that has to be good.
func (a *api) page(body string) answer {
	a.t.Helper()
	resp, raw, err := a.post(body)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		a.t.Fatalf("status %d: %s", resp.StatusCode, raw)
	}
	var out answer
	if err := json.Unmarshal(raw, &out); err != nil {
		a.t.Fatal(err)
	}
	return out
}

func (p answer) ids() (out []string) {
	for _, r := range p.Results {
		for _, s := range r.Timeslots {
			out = append(out, s["meter_event_id"].(string))
		}
	}
	return out
}

func window(extra string) string {
	return `{"start_date":"2026-06-30T12:00:00Z","end_date":"2026-07-10T12:00:00.000Z"` + extra + `}`
}

// slot returns an example slot that starts some hours from now.
func slot(meter string, hours int) Slot {
	s := ExampleSlot(leapNow.Add(time.Duration(hours)*time.Hour), time.Hour)
	s.MeterID = meter
	return s
}

func TestExampleSlotIsTheProductsExample(t *testing.T) {
	a := newAPI(t, LeapOptions{Meters: []string{meterA}})
	a.leap.Add(ExampleSlot(leapNow.Add(time.Hour), 15*time.Minute))
	p := a.page(window(""))
	if len(p.Results) != 1 || p.Results[0].MeterID != meterA || p.Next != nil {
		t.Fatalf("page %+v", p)
	}
	got := p.Results[0].Timeslots[0]
	if uuid.Validate(got["meter_event_id"].(string)) != nil {
		t.Errorf("event id %v", got["meter_event_id"])
	}
	delete(got, "meter_event_id")
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"cancelled":false,"dispatch_event_types":["day-ahead","capacity-test"],"end_time":"2026-07-01T13:15:00.000Z",` +
		`"energy_kw":4,"is_voluntary":false,"nomination_kw":4,"performance_compensation_cap":"up-to-site-load","priority":2,` +
		`"programs":["CCA"],"start_time":"2026-07-01T13:00:00.000Z"}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestPagesOfMoreThan500(t *testing.T) {
	a := newAPI(t, LeapOptions{})
	var want []string
	for i := range 1203 {
		s := ExampleSlot(leapNow.Add(time.Duration(i)*time.Minute), time.Minute)
		s.MeterID = []string{meterA, meterB}[i%2]
		a.leap.Add(s)
		want = append(want, s.EventID)
	}
	var got []string
	sizes := []int{}
	token := ""
	for {
		p := a.page(window(token))
		got = append(got, p.ids()...)
		sizes = append(sizes, len(p.ids()))
		if p.Next == nil {
			break
		}
		if len(sizes) == 1 { // what happens between pages does not tear the search
			a.leap.Remove(want[1202])
		}
		token = fmt.Sprintf(`,"page_token":%q`, *p.Next)
	}
	if !slices.Equal(sizes, []int{500, 500, 203}) {
		t.Errorf("pages of %v", sizes)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d slots came, %d were there, or not the same ones", len(got), len(want))
	}
	resp, body, err := a.post(`{"start_date":"2026-06-30T12:00:00Z","end_date":"2026-07-09T12:00:00Z"` + token + `}`)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a token with other filters: %v, %s", err, body)
	}
}

func TestFilters(t *testing.T) {
	a := newAPI(t, LeapOptions{Meters: []string{meterA, meterB}})
	plain, other, realTime, voluntary := slot(meterA, 1), slot(meterB, 2), slot(meterA, 3), slot(meterA, 4)
	realTime.EventTypes = []string{"5m"}
	voluntary.Voluntary, voluntary.EnergyKW = true, nil
	foreign, running, past := slot("beae2779-e392-4f00-b0cf-32e716204f78", 5), slot(meterB, -25), slot(meterB, -30)
	running.End = leapNow.Add(-23*time.Hour - 30*time.Minute)
	for _, s := range []Slot{plain, other, realTime, voluntary, foreign, running, past} {
		a.leap.Add(s)
	}
	for _, tt := range []struct {
		name, extra string
		want        []Slot
	}{
		{"by default", ``, []Slot{plain, other, voluntary, running}},
		{"with real time", `,"exclude_real_time_events":false`, []Slot{plain, other, voluntary, running, realTime}},
		{"real time explicitly left out", `,"exclude_real_time_events":true`, []Slot{plain, other, voluntary, running}},
		{"null is the default", `,"exclude_real_time_events":null,"meter_ids":null`, []Slot{plain, other, voluntary, running}},
		{"without voluntary", `,"exclude_voluntary_events":true`, []Slot{plain, other, running}},
		{"one meter", `,"meter_ids":["` + meterB + `"]`, []Slot{other, running}},
		{"one event", `,"meter_event_ids":["` + plain.EventID + `"]`, []Slot{plain}},
		{"another account's meter", `,"meter_ids":["` + foreign.MeterID + `"]`, nil},
		{"unknown fields are ignored", `,"colour":"blue"`, []Slot{plain, other, voluntary, running}},
	} {
		var want []string
		for _, s := range tt.want {
			want = append(want, s.EventID)
		}
		got := a.page(window(tt.extra)).ids()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, want)
		}
	}
}

func TestEnergyThatIsNotGiven(t *testing.T) {
	for _, omit := range []bool{false, true} {
		a := newAPI(t, LeapOptions{OmitNullEnergy: omit})
		s := slot(meterA, 1)
		s.EnergyKW, s.NominationKW = nil, nil
		a.leap.Add(s)
		got := a.page(window("")).Results[0].Timeslots[0]
		v, there := got["energy_kw"]
		if v != nil || there == omit {
			t.Errorf("omit %v: energy_kw %v, there %v", omit, v, there)
		}
		if _, there := got["nomination_kw"]; there {
			t.Error("nomination_kw is there")
		}
	}
}

func TestSearchByStart(t *testing.T) {
	a := newAPI(t, LeapOptions{SearchByStart: true})
	running, later := slot(meterA, -25), slot(meterA, 1)
	running.End = leapNow
	a.leap.Add(running)
	a.leap.Add(later)
	if got := a.page(window("")).ids(); !slices.Equal(got, []string{later.EventID}) {
		t.Errorf("got %v", got)
	}
}

func TestSlotsChangeAtRunTime(t *testing.T) {
	a := newAPI(t, LeapOptions{})
	s := slot(meterA, 1)
	a.leap.Add(s)
	if err := a.leap.Update(s.EventID, func(s *Slot) { s.Priority = 7 }); err != nil {
		t.Fatal(err)
	}
	if err := a.leap.Cancel(s.EventID); err != nil {
		t.Fatal(err)
	}
	got := a.page(window("")).Results[0].Timeslots[0]
	if got["priority"] != 7.0 || got["cancelled"] != true {
		t.Errorf("got %v", got)
	}
	a.leap.Remove(s.EventID)
	if got := a.page(window("")); got.Results == nil || len(got.Results) != 0 {
		t.Errorf("after removal: %+v, want an empty list", got)
	}
	if err := a.leap.Cancel(s.EventID); err == nil {
		t.Error("an unknown slot can be cancelled")
	}
	rec := a.leap.Requests()
	if len(rec) != 2 || rec[0].Slots != 1 || rec[1].Slots != 0 || rec[0].Status != 200 || string(rec[0].Body) != window("") {
		t.Errorf("recorded %+v", rec)
	}
}

func TestRequestsAreValidated(t *testing.T) {
	a := newAPI(t, LeapOptions{})
	for name, body := range map[string]string{
		"empty":            ``,
		"not JSON":         `hello`,
		"two objects":      window("") + window(""),
		"no start_date":    `{"end_date":"2026-07-10T12:00:00Z"}`,
		"no end_date":      `{"start_date":"2026-07-10T12:00:00Z"}`,
		"null start_date":  `{"start_date":null,"end_date":"2026-07-10T12:00:00Z"}`,
		"a day":            `{"start_date":"2026-07-01","end_date":"2026-07-10T12:00:00Z"}`,
		"backwards":        `{"start_date":"2026-07-10T12:00:00Z","end_date":"2026-07-01T12:00:00Z"}`,
		"31 days and 1 s":  `{"start_date":"2026-07-01T12:00:00Z","end_date":"2026-08-01T12:00:01Z"}`,
		"no meters":        window(`,"meter_ids":[]`),
		"no events":        window(`,"meter_event_ids":[]`),
		"meter not a uuid": window(`,"meter_ids":["main"]`),
		"event not a uuid": window(`,"meter_event_ids":["{` + meterA + `}"]`),
		"meter twice":      window(`,"meter_ids":["` + meterA + `","` + meterA + `"]`),
		"flag as text":     window(`,"exclude_real_time_events":"true"`),
		"token no uuid":    window(`,"page_token":"2"`),
		"token unknown":    window(`,"page_token":"` + meterA + `"`),
		"too large":        window(`,"padding":"` + strings.Repeat("x", 1<<20) + `"`),
	} {
		resp, raw, err := a.post(body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantError(t, name, resp, raw, http.StatusBadRequest, "BAD_REQUEST")
	}
	if p := a.page(`{"start_date":"2026-07-01T12:00:00Z","end_date":"2026-08-01T14:00:00+02:00"}`); p.Results == nil {
		t.Error("31 days with an offset are refused")
	}
}

// wantError checks an error envelope of the dispatch API.
func wantError(t *testing.T, name string, resp *http.Response, raw []byte, status int, code string) {
	t.Helper()
	var got map[string]string
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Errorf("%s: %v: %s", name, err, raw)
		return
	}
	if resp.StatusCode != status || got["code"] != code || got["message"] == "" || got["error_code"] == "" {
		t.Errorf("%s: %d %v, want %d %s", name, resp.StatusCode, got, status, code)
	}
	if resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Date") != "Wed, 01 Jul 2026 12:00:00 GMT" {
		t.Errorf("%s: header %v", name, resp.Header)
	}
}

func TestEachRefusalHasItsEnvelope(t *testing.T) {
	a := newAPI(t, LeapOptions{})
	for _, tt := range []struct {
		name, header, value string
		status              int
		code                string
	}{
		{"wrong key", "Authorization", "Bearer other", 401, "UNAUTHORIZED"},
		{"no key", "Authorization", "", 401, "UNAUTHORIZED"},
		{"basic", "Authorization", "Basic c2VjcmV0", 401, "UNAUTHORIZED"},
		{"wrong environment", "Authorization", "Bearer staging", 403, "FORBIDDEN"},
		{"form", "Content-Type", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"},
		{"no type", "Content-Type", "", 415, "UNSUPPORTED_MEDIA_TYPE"},
	} {
		resp, raw, err := a.post(window(""), tt.header, tt.value)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, tt.name, resp, raw, tt.status, tt.code)
	}
	for path, want := range map[string]struct {
		status int
		code   string
	}{search: {405, "METHOD_NOT_ALLOWED"}, "/dispatch/meter/search": {404, "NOT_FOUND"}, "/v2/dispatch/nothing": {404, "NOT_FOUND"}} {
		resp, err := http.Get(a.url + path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, "GET "+path, resp, raw, want.status, want.code)
	}
	if resp, _, err := a.post(window(""), "Content-Type", "application/json; charset=utf-8"); err != nil || resp.StatusCode != 200 {
		t.Errorf("content type with a parameter: %v", err)
	}
}

func TestFaultsOfTheAPI(t *testing.T) {
	a := newAPI(t, LeapOptions{})
	good := slot(meterA, 1)
	a.leap.Add(good)
	if resp, raw, err := a.fault(Fault{Kind: Down}); err == nil {
		t.Errorf("down: %d %s", resp.StatusCode, raw)
	}
	resp, raw, err := a.fault(Fault{Kind: BadStatus, Status: 503, RetryAfter: "17"})
	if err != nil || resp.Header.Get("Retry-After") != "17" {
		t.Fatalf("503: %v, Retry-After %q", err, resp.Header.Get("Retry-After"))
	}
	wantError(t, "503", resp, raw, 503, "SERVICE_UNAVAILABLE")
	for envelope, want := range map[Envelope]string{
		MetersEnvelope: `"title":`, WebhookEnvelope: `"error":`, StringEnvelope: `"simulated fault"`, NoEnvelope: ``,
	} {
		if resp, raw, err := a.fault(Fault{Kind: BadStatus, Status: 500, Envelope: envelope}); err != nil ||
			resp.StatusCode != 500 || !strings.Contains(string(raw), want) || (want == "") != (len(raw) == 0) {
			t.Errorf("envelope %q: %v: %s", envelope, err, raw)
		}
	}
	if resp, raw, err := a.fault(Fault{Kind: HTML}); err != nil || resp.StatusCode != 200 || raw[0] != '<' {
		t.Errorf("html: %v: %s", err, raw)
	}
	if _, raw, err := a.fault(Fault{Kind: HugeBody}); err != nil || len(raw) < 5<<20 || !json.Valid(raw) {
		t.Errorf("huge: %d bytes, %v", len(raw), err)
	}
	if _, raw, err := a.fault(Fault{Kind: Truncated}); !errors.Is(err, io.ErrUnexpectedEOF) || json.Valid(raw) {
		t.Errorf("truncated: %v: %s", err, raw)
	}
	if _, raw, err := a.fault(Fault{Kind: WrongSchema}); err != nil || !json.Valid(raw) || json.Unmarshal(raw, &answer{}) == nil {
		t.Errorf("wrong schema: %v: %s", err, raw)
	}
	before := time.Now()
	if _, raw, err := a.fault(Fault{Kind: SlowBody, Delay: 80 * time.Millisecond}); err != nil || !json.Valid(raw) ||
		time.Since(before) < 80*time.Millisecond {
		t.Errorf("slow: %v after %s: %s", err, time.Since(before), raw)
	}
	if _, raw, err := a.fault(Fault{Kind: OneBadSlot}); err != nil || !json.Valid(raw) ||
		!strings.Contains(string(raw), good.EventID) || !strings.Contains(string(raw), "not-a-uuid") {
		t.Errorf("bad slot: %v: %s", err, raw)
	}
	if got := a.page(window("")).ids(); !slices.Equal(got, []string{good.EventID}) {
		t.Errorf("after the faults: %v", got)
	}
	if rec := a.leap.Requests(); rec[0].Status != 0 || rec[1].Status != 503 {
		t.Errorf("recorded %d and %d, want 0 and 503", rec[0].Status, rec[1].Status)
	}
}

// fault searches once under a fault that lasts one request.
func (a *api) fault(f Fault) (*http.Response, []byte, error) {
	a.t.Helper()
	f.Times = 1
	a.leap.SetFault(f)
	return a.post(window(""))
}
