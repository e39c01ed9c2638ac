package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"

	"nominald/dispatch"
	"nominald/dispatch/leap"
	"nominald/gateway/sim"
)

// Prism (npm @stoplight/prism-cli) holds what our client sends and what our
// simulated Leap answers against Leap's own OpenAPI document. .ci/prism
// installs it and runs these tests.

// prism is a running Prism.
type prism struct {
	url string
	log *transcript
}

// transcript is what a process printed so far.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// complaints returns the lines in which Prism names something that is wrong.
func (l *transcript) complaints() []string {
	var out []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "error ") || strings.Contains(line, "warning ") || strings.Contains(line, "Violation") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// leapDocument returns the name of Leap's OpenAPI document as .ci/prism
// prepared it.
func leapDocument(t *testing.T) string {
	t.Helper()
	file := os.Getenv("NOMINALD_LEAP_SPEC")
	if file == "" || os.Getenv("NOMINALD_PRISM") == "" {
		t.Skip("NOMINALD_PRISM and NOMINALD_LEAP_SPEC are not set; .ci/prism sets them, installs Prism and runs this test")
	}
	if _, err := os.Stat(file); err != nil {
		t.Skipf("Leap's OpenAPI document is not here: %v", err)
	}
	return file
}

// startPrism runs "prism MODE DOCUMENT ARGS" on a free loopback port until the
// test ends.
func startPrism(t *testing.T, mode, document string, args ...string) *prism {
	t.Helper()
	ln, addr, err := sim.ListenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	ln.Close()
	all := append(append([]string{mode, document}, args...), "--errors", "-h", "127.0.0.1", "-p", port)
	p := &prism{url: "http://127.0.0.1:" + port, log: &transcript{}}
	cmd := exec.Command(os.Getenv("NOMINALD_PRISM"), all...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("Prism printed:\n%s", p.log)
		}
	})
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if strings.Contains(p.log.String(), "Prism is listening") {
			return p
		}
		select {
		case <-ended:
			t.Fatalf("Prism ended by itself:\n%s", p.log)
		default:
		}
	}
	t.Fatalf("Prism did not start within 60 s:\n%s", p.log)
	return nil
}

// recorder notes each exchange and what Prism finds wrong with it.
type recorder struct {
	mu        sync.Mutex
	exchanges []exchange
}

type exchange struct {
	request    string
	status     int
	violations []string
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	sent, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	request, err := io.ReadAll(sent)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exchanges = append(r.exchanges, exchange{string(request), resp.StatusCode, violations(resp.Header, body)})
	return resp, nil
}

// take returns the exchanges since the last call.
func (r *recorder) take() []exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.exchanges
	r.exchanges = nil
	return out
}

// violations reads both ways in which Prism names them: a header beside an
// answer, and a problem (RFC 7807) in place of one.
func violations(h http.Header, body []byte) []string {
	out := slices.Clone(h.Values("Sl-Violations"))
	if !strings.HasPrefix(h.Get("Content-Type"), "application/problem+json") {
		return out
	}
	var problem struct {
		Type, Title, Detail string
		Validation          []struct {
			Location []any
			Message  string
		}
	}
	if err := json.Unmarshal(body, &problem); err != nil {
		return append(out, "a problem that can not be read: "+string(body))
	}
	for _, v := range problem.Validation {
		out = append(out, fmt.Sprintf("%v %s", v.Location, v.Message))
	}
	if len(problem.Validation) == 0 {
		out = append(out, fmt.Sprintf("%s: %s: %s", problem.Type, problem.Title, problem.Detail))
	}
	return out
}

// wantClean fails the test where Prism found fault with an exchange, or its
// status is another one.
func wantClean(t *testing.T, got []exchange, status int) {
	t.Helper()
	if len(got) == 0 {
		t.Error("nothing was sent")
	}
	for _, e := range got {
		if len(e.violations) > 0 || e.status != status {
			t.Errorf("got status %d and violations %q for %s; want %d and none", e.status, e.violations, e.request, status)
		}
	}
}

// newClient returns our client and what it exchanges.
func newClient(base, key string) (*leap.Client, *recorder) {
	r := &recorder{}
	return leap.New(leap.Options{BaseURL: base, Key: func() string { return key }, HTTP: &http.Client{Transport: r}}), r
}

const secondMeter = "b5b6e0f4-3f0c-4d3e-9a53-0a4d1f1f4b11"

// windows are searches as the poller and a person may make them, with how many
// requests each takes where an answer has one page.
func windows() map[string]struct {
	query    leap.Query
	requests int
} {
	from := time.Date(2023, 2, 20, 0, 0, 0, 0, time.UTC)
	type w = struct {
		query    leap.Query
		requests int
	}
	return map[string]w{
		"all meters": {leap.Query{From: from, To: from.Add(48 * time.Hour)}, 1},
		"two meters": {leap.Query{From: from, To: from.Add(time.Hour), MeterIDs: []string{testMeter, secondMeter}}, 1},
		"one meter twice, in capitals": {leap.Query{From: from, To: from.Add(time.Hour),
			MeterIDs: []string{testMeter, strings.ToUpper(testMeter)}}, 1},
		"the longest":      {leap.Query{From: from, To: from.Add(31 * 24 * time.Hour)}, 1},
		"longer than that": {leap.Query{From: from, To: from.Add(70 * 24 * time.Hour), MeterIDs: []string{testMeter}}, 3},
		"another zone, parts of a second": {leap.Query{From: from.In(time.FixedZone("", -8*3600)).Add(time.Millisecond),
			To: from.Add(time.Hour + time.Nanosecond)}, 1},
	}
}

// TestPrismMockTakesOurRequests: a server made of nothing but Leap's document
// takes each of our requests, and its answers are read.
func TestPrismMockTakesOurRequests(t *testing.T) {
	document := leapDocument(t)
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("last page", func(t *testing.T) {
		// The document's example names a next page for ever; here it ends.
		last := regexp.MustCompile(`(?m)^(        next_page_token:) [0-9a-f-]{36}$`).ReplaceAll(raw, []byte("$1 null"))
		if bytes.Equal(last, raw) {
			t.Fatal("no example with a next_page_token in the document")
		}
		file := t.TempDir() + "/last-page.yml"
		if err := os.WriteFile(file, last, 0o600); err != nil {
			t.Fatal(err)
		}
		mockWindows(t, startPrism(t, "mock", file))
	})
	t.Run("page token", func(t *testing.T) {
		p := startPrism(t, "mock", document)
		client, sent := newClient(p.url, testKey)
		q := windows()["two meters"].query
		if _, err := client.Search(t.Context(), q); err == nil || !strings.Contains(err.Error(), "read already") {
			t.Errorf("got %v, want an error about a page that is its own next one", err)
		}
		got := sent.take()
		wantClean(t, got, http.StatusOK)
		if len(got) != 2 || !strings.Contains(got[len(got)-1].request, `"page_token":"242c3e24-43e6-4ad7-88b3-666cda21582b"`) {
			t.Errorf("got %+v, want two requests, the second with the token of the first answer", got)
		}
		if c := p.log.complaints(); len(c) > 0 {
			t.Errorf("Prism complains: %q", c)
		}
	})
}

func mockWindows(t *testing.T, p *prism) {
	client, sent := newClient(p.url, testKey)
	for name, w := range windows() {
		result, err := client.Search(t.Context(), w.query)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := sent.take()
		wantClean(t, got, http.StatusOK)
		if len(got) != w.requests || len(result.Slots) != 2*w.requests {
			t.Errorf("%s: %d requests gave %d timeslots, want %d with the example's two each", name, len(got), len(result.Slots), w.requests)
		}
		for i, s := range result.Slots {
			if s.Problem != "" || (s.EnergyKW == nil) != (i%2 == 1) || *s.NominationKW != 100 {
				t.Errorf("%s: timeslot %d of the example was read as %+v", name, i, s)
			}
		}
	}
	if c := p.log.complaints(); len(c) > 0 {
		t.Errorf("Prism complains: %q", c)
	}
}

// simulatedLeap serves a simulated Leap and returns where.
func simulatedLeap(t *testing.T, o sim.LeapOptions) (*sim.Leap, string) {
	t.Helper()
	ln, addr, err := sim.ListenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	o.Key, o.ForeignKeys = testKey, []string{"key-of-another-environment"}
	l := sim.NewLeap(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-done })
	return l, "http://" + addr
}

// TestPrismProxyPassesOurClientAndOurSimulatedLeap: Prism stands between the
// two, so that neither can be wrong in the same way as the other.
func TestPrismProxyPassesOurClientAndOurSimulatedLeap(t *testing.T) {
	document := leapDocument(t)
	l, addr := simulatedLeap(t, sim.LeapOptions{})
	p := startPrism(t, "proxy", document, addr+"/v2")
	day := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	awarded := slotsOfAllKinds(t, document, day)
	for _, s := range awarded {
		l.Add(s)
	}
	t.Run("every timeslot", func(t *testing.T) {
		client, sent := newClient(p.url, testKey)
		result, err := client.Search(t.Context(), leap.Query{From: day, To: day.Add(31 * 24 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		got := sent.take()
		wantClean(t, got, http.StatusOK)
		if want := (len(awarded) + 499) / 500; len(got) != want || want < 3 {
			t.Errorf("%d timeslots came on %d pages, want %d, at least 3", len(awarded), len(got), want)
		}
		if diff := gocmp.Diff(sorted(awarded), sorted(asSlots(t, result.Slots))); diff != "" {
			t.Errorf("awarded (-) and received (+):\n%s", diff)
		}
	})
	t.Run("refusals", func(t *testing.T) { proxyRefusals(t, p, l, day) })
	t.Run("another path", func(t *testing.T) {
		other := startPrism(t, "proxy", document, addr+"/v3")
		wantRefused(t, other, testKey, http.StatusNotFound)
	})
	if c := p.log.complaints(); len(c) > 0 {
		t.Errorf("Prism complains: %q", c)
	}
}

// proxyRefusals has each refusal that the document knows given, and read.
func proxyRefusals(t *testing.T, p *prism, l *sim.Leap, day time.Time) {
	wantRefused(t, p, "wrong-key", http.StatusUnauthorized)
	wantRefused(t, p, "key-of-another-environment", http.StatusForbidden)
	tooLong := fmt.Sprintf(`{"start_date":%q,"end_date":%q}`, day.Format(time.RFC3339), day.Add(32*24*time.Hour).Format(time.RFC3339))
	wantClean(t, []exchange{post(t, p, tooLong)}, http.StatusBadRequest)
	for _, status := range []int{400, 401, 403, 404, 500, 502, 503, 504} {
		l.SetFault(sim.Fault{Kind: sim.BadStatus, Status: status})
		wantRefused(t, p, testKey, status)
	}
	l.SetFault(sim.Fault{})
}

func wantRefused(t *testing.T, p *prism, key string, status int) {
	t.Helper()
	client, sent := newClient(p.url, key)
	_, err := client.Search(t.Context(), windows()["all meters"].query)
	var refused *leap.APIError
	if !errors.As(err, &refused) || refused.Status != status || refused.ErrorCode == "" || refused.Message == "" {
		t.Errorf("got %v, want a refusal with status %d, its code and its message", err, status)
	}
	wantClean(t, sent.take(), status)
}

// post sends a body that our client would not.
func post(t *testing.T, p *prism, body string) exchange {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/dispatch/meter/search", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	req.Header.Set("Content-Type", "application/json")
	r := &recorder{}
	resp, err := r.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return r.take()[0]
}

// slotsOfAllKinds makes more timeslots than two pages hold, with every cap,
// type and program that the document lists, with and without what may be left
// out.
func slotsOfAllKinds(t *testing.T, document string, day time.Time) []sim.Slot {
	t.Helper()
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct{ Enum []string }
		}
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	list := func(schema string) []string {
		values := doc.Components.Schemas[schema].Enum
		if len(values) < 3 {
			t.Fatalf("%s lists %q in the document", schema, values)
		}
		return values
	}
	caps, types, programs := list("PerformanceCompensationCap"), list("DispatchEventType"), list("program_identifier")
	const n = 1203
	slots := make([]sim.Slot, n)
	for i := range slots {
		s := sim.ExampleSlot(day.Add(time.Duration(i)*30*time.Minute), time.Duration(5+i%50)*time.Minute)
		s.EventID = uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "timeslot %d", i)).String()
		s.MeterID = []string{testMeter, secondMeter}[i%2]
		s.PartnerReference = []string{"", "Bäckerei \"Nord\" / 7"}[i%2]
		s.Cap, s.Priority, s.Voluntary, s.Cancelled = caps[i%len(caps)], 1+i%10, i%3 == 0, i%7 == 0
		s.EventTypes = types[:1+i%len(types)]
		s.Programs = []string{programs[i%len(programs)]}
		energy, nomination, test := []float64{0.01, 4, 12.345, 100000}[i%4], 100000-float64(i)/8, i%2 == 0
		s.EnergyKW, s.NominationKW, s.CommunicationTest = &energy, &nomination, &test
		if i%5 == 0 {
			s.EnergyKW = nil
		}
		if i%11 == 0 {
			s.NominationKW = nil
		}
		slots[i] = s
	}
	return slots
}

// asSlots turns what our client read into what was awarded.
func asSlots(t *testing.T, read []dispatch.Timeslot) []sim.Slot {
	out := make([]sim.Slot, len(read))
	for i, r := range read {
		if r.Problem != "" {
			t.Errorf("timeslot %s: %s", r.EventID, r.Problem)
		}
		out[i] = sim.Slot{MeterID: r.MeterID, PartnerReference: r.PartnerReference, EventID: r.EventID, Start: r.Start, End: r.End,
			Cancelled: r.Cancelled, EnergyKW: r.EnergyKW, NominationKW: r.NominationKW, Cap: string(r.Cap), Priority: r.Priority,
			Voluntary: r.Voluntary, EventTypes: r.EventTypes, Programs: r.Programs, CommunicationTest: &r.CommunicationTest}
	}
	return out
}

func sorted(slots []sim.Slot) []sim.Slot {
	out := slices.Clone(slots)
	slices.SortFunc(out, func(a, b sim.Slot) int { return cmp.Compare(a.EventID, b.EventID) })
	return out
}
