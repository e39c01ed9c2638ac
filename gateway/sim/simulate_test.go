package sim

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"nominald/gateway/config"
)

// lines collects progress.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

func TestSimulateServesSiteAndAPI(t *testing.T) {
	lan, lanLn := freeBus(t, "lan")
	wall, wallLn := freeBus(t, "wall")
	web, webLn := freeBus(t, "web")
	cfg := bakery(lan, wall)
	cfg.Meters = []config.Meter{{ID: meterA}, {ID: meterB}}
	cfg.Leap = config.Leap{URL: "http://" + web.TCP + "/v2", APIKey: config.NewSecret("test", "secret")}
	for _, ln := range []io.Closer{lanLn, wallLn, webLn} { // Simulate opens what the config says
		ln.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var said lines
	done := make(chan error, 1)
	go func() {
		done <- Simulate(ctx, cfg, SimulateOptions{EventIn: time.Minute, Report: 20 * time.Millisecond}, said.add)
	}()
	t.Cleanup(cancel)

	for deadline := time.Now().Add(3 * time.Second); !strings.Contains(said.String(), "would be"); {
		if time.Now().After(deadline) {
			t.Fatalf("no progress:\n%s", said.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	a := &api{t: t, url: "http://" + web.TCP}
	now := time.Now().UTC()
	p := a.page(fmt.Sprintf(`{"start_date":%q,"end_date":%q}`, now.Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)))
	ids := p.ids()
	if len(p.Results) != 2 || len(ids) != 2 || ids[0] == ids[1] {
		t.Fatalf("page %+v, want a timeslot for each of two meters", p)
	}
	starts, err := time.Parse(time.RFC3339, p.Results[0].Timeslots[0]["start_time"].(string))
	if err != nil || starts.Before(now.Add(50*time.Second)) || starts.After(now.Add(time.Minute)) {
		t.Errorf("starts at %s, %v; want a minute after %s", starts, err, now)
	}
	if got := newClient(t, lan.TCP).read(200, 40_000); got != 0x5375 {
		t.Errorf("marker reads %#x", got)
	}
	for _, want := range []string{"left out: device relay", "bus lan: modbus tcp on " + lan.TCP, "meter " + meterB + " awarded 4.000 kW"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("progress does not say %q:\n%s", want, said.String())
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("simulate does not end")
	}
	if _, err := http.Get("http://" + web.TCP); err == nil {
		t.Error("the API is still there")
	}
}

func TestSimulateLeavesOtherAddressesAlone(t *testing.T) {
	for url, want := range map[string]string{
		"https://api.leap.energy/v2": "", "http://192.0.2.1:80/v2": "", "https://127.0.0.1:8443/v2": "", "": "",
		"http://127.0.0.1:9000/v2": "127.0.0.1:9000 /v2/", "http://[::1]:9000": "[::1]:9000 /", "http://localhost/v2/": "localhost:80 /v2/",
	} {
		addr, base, ok := loopbackURL(url)
		if got := strings.TrimSpace(addr + " " + base); got != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add([]byte(window("")))
	f.Add([]byte(window(`,"meter_ids":["` + meterA + `"],"page_token":"` + meterB + `"`)))
	f.Add([]byte(`{"start_date":"2026-07-01T12:00:00+02:00","end_date":"2026-07-01T12:00:01.5Z","exclude_voluntary_events":true}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := parseQuery(body)
		if err != nil {
			return
		}
		if d := q.end.Sub(q.start); d <= 0 || d > maxWindow {
			t.Fatalf("window of %s accepted", d)
		}
		if q.meters != nil && len(q.meters) == 0 || q.events != nil && len(q.events) == 0 {
			t.Fatal("empty list accepted")
		}
		if q.token != "" && !isUUID(q.token) {
			t.Fatalf("token %q accepted", q.token)
		}
	})
}
