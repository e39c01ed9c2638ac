package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// noon is the gateway's clock in these tests.
func noon() time.Time { return time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC) }

func num(v float64) *float64 { return &v }

// fakeSite is the gateway's side of the server's interfaces. The server and
// its sockets are the real ones.
type fakeSite struct {
	mu      sync.Mutex
	calls   []string
	windows []string
	stopErr error
	sick    []string
	rows    func(from, to time.Time, step time.Duration, emit func(LoadRow) error) error
}

func (f *fakeSite) Timeslots(from, to time.Time) []Timeslot {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.windows = append(f.windows, stamp(from)+"/"+stamp(to))
	return []Timeslot{{
		Record: dispatch.Record{Timeslot: dispatch.Timeslot{EventID: "e/1 ü", MeterID: "m", Start: noon(), End: noon().Add(time.Hour), EnergyKW: num(8)},
			Revision: 3, Source: dispatch.FromPoll, FirstSeen: noon(), LastChanged: noon()},
		State: dispatch.Pending, Reason: "idle",
	}}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("15:04:05")
}

func (f *fakeSite) Report(id string) (Report, bool) {
	return Report{EventID: id, DeliveredKW: num(7.9)}, id == "e/1 ü"
}

func (f *fakeSite) Stop(actor string) error   { return f.call("stop " + actor) }
func (f *fakeSite) Resume(actor string) error { return f.call("resume " + actor) }

func (f *fakeSite) call(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
	return f.stopErr
}

func (f *fakeSite) Explain(at time.Time) (json.RawMessage, error) {
	switch {
	case at.Year() < 2000:
		return nil, errors.New("disk is gone")
	case at.After(noon()):
		return nil, fmt.Errorf("%w for %s", ErrNotKept, stamp(at))
	}
	return json.RawMessage(`{"round":"` + stamp(at) + `"}`), nil
}

func (f *fakeSite) Healthy() (bool, []string) { return f.sick == nil, f.sick }
func (f *fakeSite) Ready() (bool, []string)   { return f.sick == nil, f.sick }

// Load gives a site and a battery channel; the battery is unknown each third step.
func (f *fakeSite) Load(from, to time.Time, step time.Duration, _ []string, emit func(LoadRow) error) error {
	if f.rows != nil {
		return f.rows(from, to, step, emit)
	}
	for i, t := 0, from; t.Before(to); i, t = i+1, t.Add(step) {
		w := 1234.5 - float64(i)
		if err := emit(LoadRow{T: t, Channel: "site", MeanW: num(w), MinW: num(w - 10), MaxW: num(w + 1e-7), Wh: num(w / 60), Quality: "good"}); err != nil {
			return err
		}
		row := LoadRow{T: t, Channel: `battery, "left"`, Quality: "missing"}
		if i%3 != 0 {
			row.MeanW, row.Quality = num(-1e9), "good"
		}
		if err := emit(row); err != nil {
			return err
		}
	}
	return nil
}

func sampleStatus() Status {
	ok, until := noon().Add(-9*time.Second), noon().Add(20*time.Second)
	return Status{
		Version: "1.2.3", Now: noon(), Armed: true,
		Site:      SiteInfo{Name: `Oak "Street"`, Timezone: "America/Los_Angeles"},
		Clock:     ClockState{Trusted: true},
		Leap:      LeapState{LastOK: &ok, AgeS: num(9), Failures: 0},
		SiteLoadW: num(-1500), SiteLoadAgeS: num(0.5), Store: StoreState{OK: true},
		Meters: []Meter{{ID: "m", State: "active", EventID: "e", TargetW: num(8000), DeliveredW: num(7900),
			Interval: &Interval{Start: noon(), TargetWh: 100, DeliveredWh: 99}, Reference: "baseline", Reason: "on-target"}},
		Devices: []Device{
			{Name: "battery", Kind: drivers.Battery, Online: true, PowerW: num(3000), SetpointW: num(3100), SoC: num(81), LeaseUntil: &until},
			{Name: "wallbox", Kind: drivers.Charger},
		},
		Buses: []Bus{{Name: "rs485", LoadPercent: 66.1, Units: []BusUnit{
			{Unit: 7, Requests: 1200, Timeouts: 3, Exceptions: 2, Doubts: 1, Other: 4, LatencyMS: &Latency{P50: 21, P90: 30, P99: 48, Max: 61}},
			{Unit: 8, Requests: 9, Timeouts: 9},
		}}},
	}
}

// start serves on a loopback socket until the test ends. The options may be
// changed before.
func start(t *testing.T, change func(*Options)) (*fakeSite, *Board, string) {
	t.Helper()
	site, board := &fakeSite{}, NewBoard()
	opt := options(site, board)
	if change != nil {
		change(&opt)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(opt).Serve(ctx, ln) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return site, board, ln.Addr().String()
}

func options(site *fakeSite, board *Board) Options {
	return Options{
		Board: board, Site: site, Load: site, Explain: site, Health: site, Now: noon,
		Page: map[string]http.Handler{"/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the page") })},
		Log:  slog.New(slog.DiscardHandler),
	}
}

// answer is a response read to its end.
type answer struct {
	code   int
	header http.Header
	body   string
}

// ask sends a request; headers are "Name: value".
func ask(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	a, err := tryAsk(method, url, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func tryAsk(method, url, body string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	client := &http.Client{
		Timeout:       20 * time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{code: resp.StatusCode, header: resp.Header, body: string(text)}, err
}

// wantProblem checks that an answer is an error as RFC 9457 has it.
func wantProblem(t *testing.T, a answer, code int, words ...string) {
	t.Helper()
	var p problemBody
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("status %d, body %q: %v", a.code, a.body, err)
	}
	if a.code != code || p.Status != code || p.Type != "about:blank" || p.Title != http.StatusText(code) ||
		a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %s %+v, want problem+json with %d", a.code, a.header.Get("Content-Type"), p, code)
	}
	for _, w := range words {
		if !strings.Contains(p.Detail, w) {
			t.Errorf("detail %q does not say %q", p.Detail, w)
		}
	}
}

var errDisk = errors.New("write the STOP to disk: no space left on device")
