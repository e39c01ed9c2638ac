package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"nominald/dispatch/leap"
	"nominald/gateway/sim"
)

// TestPrismNamesAViolation proves that the two tests beside it can fail: what
// they look at names a wrong request and a wrong answer.
func TestPrismNamesAViolation(t *testing.T) {
	document := leapDocument(t)
	l, addr := simulatedLeap(t, sim.LeapOptions{})
	proxy := startPrism(t, "proxy", document, addr+"/v2")
	mock := startPrism(t, "mock", document)
	t.Run("request", func(t *testing.T) {
		for about, body := range wrongRequests() {
			wantNamed(t, about, post(t, proxy, body))
			wantNamed(t, about, post(t, mock, body))
		}
		wantPrinted(t, proxy, len(wrongRequests()))
		wantPrinted(t, mock, len(wrongRequests()))
		if n := len(l.Requests()); n != 0 {
			t.Errorf("%d wrong requests passed through Prism", n)
		}
	})
	t.Run("answer", func(t *testing.T) {
		for about, spoil := range wrongAnswers() {
			s := sim.ExampleSlot(time.Date(2023, 2, 20, 0, 0, 0, 0, time.UTC), time.Hour)
			s.MeterID = testMeter
			spoil(&s)
			l.Add(s)
			wantAnswerNamed(t, proxy, about)
			l.Remove(s.EventID)
		}
		l.SetFault(sim.Fault{Kind: sim.WrongSchema})
		wantAnswerNamed(t, proxy, "next_page_token")
		l.SetFault(sim.Fault{Kind: sim.BadStatus, Status: http.StatusForbidden, Envelope: sim.WebhookEnvelope})
		wantAnswerNamed(t, proxy, "code")
		wantPrinted(t, proxy, len(wrongRequests())+len(wrongAnswers())+2)
	})
}

// wrongRequests maps what must be named to a body that is wrong in it.
func wrongRequests() map[string]string {
	const window = `"start_date":"2023-02-20T00:00:00Z","end_date":"2023-02-21T00:00:00Z"`
	return map[string]string{
		"end_date":                 `{"start_date":"2023-02-20T00:00:00Z"}`,
		"start_date":               `{"start_date":"2023-02-20","end_date":"2023-02-21T00:00:00Z"}`,
		"meter_ids":                `{` + window + `,"meter_ids":[]}`,
		"meter_event_ids":          `{` + window + `,"meter_event_ids":["meter one"]}`,
		"page_token":               `{` + window + `,"page_token":"2"}`,
		"exclude_real_time_events": `{` + window + `,"exclude_real_time_events":"no"}`,
	}
}

// wrongAnswers maps the field that must be named to what makes it wrong.
func wrongAnswers() map[string]func(*sim.Slot) {
	return map[string]func(*sim.Slot){
		"performance_compensation_cap": func(s *sim.Slot) { s.Cap = "as-much-as-you-like" },
		"priority":                     func(s *sim.Slot) { s.Priority = 11 },
		"dispatch_event_types":         func(s *sim.Slot) { s.EventTypes = nil },
		"programs":                     func(s *sim.Slot) { s.Programs = []string{"CCA", "CCA"} },
		"meter_event_id":               func(s *sim.Slot) { s.EventID = "event one" },
		"energy_kw":                    func(s *sim.Slot) { *s.EnergyKW = 0 },
	}
}

// wantNamed wants the exchange refused with a violation about the field.
func wantNamed(t *testing.T, about string, e exchange) {
	t.Helper()
	if said := strings.Join(e.violations, "\n"); e.status < 400 || !strings.Contains(said, about) {
		t.Errorf("%s in %s: status %d and violations %q, want it refused and named", about, e.request, e.status, said)
	}
}

// wantPrinted wants complaints in what Prism prints, which comes a little after
// its answers.
func wantPrinted(t *testing.T, p *prism, atLeast int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); len(p.log.complaints()) < atLeast; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("Prism prints %q, want at least %d complaints", p.log.complaints(), atLeast)
			return
		}
	}
}

// wantAnswerNamed has our client ask for what Prism must not let through.
func wantAnswerNamed(t *testing.T, p *prism, about string) {
	t.Helper()
	client, sent := newClient(p.url, testKey)
	_, err := client.Search(t.Context(), windows()["all meters"].query)
	var refused *leap.APIError
	if !errors.As(err, &refused) {
		t.Errorf("%s: our client got %v, want Prism's refusal", about, err)
	}
	for _, e := range sent.take() {
		wantNamed(t, about, e)
		if !strings.Contains(fmt.Sprint(e.violations), "response") {
			t.Errorf("%s: violations %q, want them to be about the response", about, e.violations)
		}
	}
}
