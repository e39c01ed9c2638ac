package status

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPathsAnswerAsTheContractSays(t *testing.T) {
	_, board, host := start(t, nil)
	board.Publish(sampleStatus())
	for _, c := range []struct {
		method, path string
		code         int
		has          string
	}{
		{"GET", "/", 200, "the page"},
		{"HEAD", "/", 200, ""},
		{"GET", "/healthz", 200, `"ok":true`},
		{"GET", "/readyz", 200, `"reasons":[]`},
		{"GET", "/metrics", 200, "nominald_site_load_watts -1500\n"},
		{"GET", "/api/v1/status", 200, `"site_load_w":-1500`},
		{"GET", "/api/v1/status", 200, `"buses":[{"name":"rs485","load_percent":66.1,"units":[{"unit":7,"requests":1200,"timeouts":3,"exceptions":2,"doubts":1,"other":4,` +
			`"latency_ms":{"p50":21,"p90":30,"p99":48,"max":61}},{"unit":8,`},
		{"GET", "/api/v1/timeslots", 200, `"revision":3`},
		{"GET", "/api/v1/timeslots/e%2F1%20%C3%BC/report", 200, `"label":"local estimate, not settlement"`},
		{"GET", "/api/v1/timeslots/nobody/report", 404, "nobody"},
		{"GET", "/api/v1/load?from=-2m", 200, `{"step_s":60,"rows":[{`},
		{"GET", "/api/v1/load?step=0", 400, "parameter step"},
		{"GET", "/api/v1/explain", 200, `{"round":"12:00:00"}`},
		{"GET", "/api/v1/explain?at=-1h", 200, `{"round":"11:00:00"}`},
		{"GET", "/api/v1/explain?at=%2B1h", 404, "no round is kept for 13:00:00"},
		{"GET", "/api/v1/explain?at=1999-01-01T00:00:00Z", 500, "disk is gone"},
		{"GET", "/api/v1/explain?at=soon", 400, "parameter at"},
		{"HEAD", "/api/v1/stream", 200, ""},
		{"POST", "/api/v1/stop", 200, `{"stopped":true}`},
		{"POST", "/api/v1/resume", 200, `{"stopped":false}`},
		{"GET", "/api/v1/stop", 405, "POST"},
		{"POST", "/api/v1/status", 405, "GET"},
		{"DELETE", "/api/v1/timeslots", 405, "GET"},
		{"OPTIONS", "/api/v1/stop", 405, "POST"},
		{"PUT", "/", 405, "GET"},
		{"POST", "/api/v1/leap/notifications", 404, "no such path"},
		{"GET", "/api/v1/leap/notifications", 404, "no such path"},
		{"GET", "/api/v1/nothing", 404, "no such path"},
		{"GET", "/debug/pprof/", 404, "no such path"},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			a := ask(t, c.method, "http://"+host+c.path, "")
			if a.code != c.code || !strings.Contains(a.body, c.has) {
				t.Fatalf("got %d %s, want %d with %q", a.code, a.body, c.code, c.has)
			}
			if c.code >= 400 {
				wantProblem(t, a, c.code)
			}
			if c.code == 405 && !strings.Contains(a.header.Get("Allow"), c.has) {
				t.Errorf("Allow is %q, want %s", a.header.Get("Allow"), c.has)
			}
			if a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'self'") {
				t.Errorf("security headers are missing: %v", a.header)
			}
		})
	}
}

// Paths go out as written: no client cleans them.
func TestPathTricksReachNothing(t *testing.T) {
	site, _, host := start(t, nil)
	for _, path := range []string{
		"//api/v1/stop", "/api/v1/../v1/stop", "/api/v1/stop/", "/api/v1/./stop", "/api/v1/%73top", "/API/v1/stop",
		"/static/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/api/v1/stop%00", "/api/v1/stop;x=1",
		"/api/v1/timeslots//report", "/api/v1/timeslots/a/b/report", "/api/v1/timeslots/report",
	} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path)
		got, _ := io.ReadAll(conn)
		conn.Close()
		if !strings.HasPrefix(string(got), "HTTP/1.1 404") {
			t.Errorf("%s answered %.60q, want 404", path, got)
		}
	}
	if len(site.calls) != 0 {
		t.Errorf("reached: %v", site.calls)
	}
}

func TestStatusBeforeTheFirstRoundIs503(t *testing.T) {
	_, _, host := start(t, nil)
	wantProblem(t, ask(t, "GET", "http://"+host+"/api/v1/status", ""), 503, "first control round")
	wantProblem(t, ask(t, "GET", "http://"+host+"/metrics", ""), 503)
}

func TestStatusHasTheNamesOfTheContract(t *testing.T) {
	_, board, host := start(t, nil)
	board.Publish(sampleStatus())
	var got map[string]any
	if err := json.Unmarshal([]byte(ask(t, "GET", "http://"+host+"/api/v1/status", "").body), &got); err != nil {
		t.Fatal(err)
	}
	names := func(v any, want ...string) {
		t.Helper()
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%v is not an object", v)
		}
		for _, name := range want {
			if _, ok := m[name]; !ok {
				t.Errorf("%q is missing in %v", name, m)
			}
		}
	}
	names(got, "version", "site", "armed", "stopped", "clock", "leap", "site_load_w", "meters", "devices", "next", "store", "alarms")
	names(got["clock"], "trusted", "reason")
	names(got["leap"], "last_ok", "last_error", "age_s")
	meter := got["meters"].([]any)[0].(map[string]any)
	names(meter, "id", "state", "event_id", "target_w", "delivered_w", "interval", "reason")
	names(meter["interval"], "start", "target_wh", "delivered_wh")
	dead := got["devices"].([]any)[1]
	names(dead, "name", "kind", "online", "power_w", "setpoint_w", "soc", "limits", "lease_until", "reason", "last_seen")
	if v := dead.(map[string]any)["power_w"]; v != nil {
		t.Errorf("an unknown power is %v, want null", v)
	}
	if _, ok := got["alarms"].([]any); !ok {
		t.Errorf("alarms are %v, want []", got["alarms"])
	}
}

func TestHealthSaysWhy(t *testing.T) {
	site, _, host := start(t, nil)
	site.sick = []string{"store: read-only file system"}
	for _, path := range []string{"/healthz", "/readyz"} {
		a := ask(t, "GET", "http://"+host+path, "")
		wantProblem(t, a, 503)
		if !strings.Contains(a.body, `"reasons":["store: read-only file system"]`) {
			t.Errorf("%s: no reasons in %s", path, a.body)
		}
	}
}

func TestTimeslotWindow(t *testing.T) {
	site, _, host := start(t, nil)
	for _, q := range []string{"", "?from=-1h", "?from=-1h&to=now", "?from=2026-07-14T05:00:00-07:00&to=%2B30m"} {
		if a := ask(t, "GET", "http://"+host+"/api/v1/timeslots"+q, ""); a.code != 200 {
			t.Errorf("%q: %d %s", q, a.code, a.body)
		}
	}
	want := []string{"-/-", "11:00:00/-", "11:00:00/12:00:00", "12:00:00/12:30:00"}
	if diff := cmp.Diff(want, site.windows); diff != "" {
		t.Error(diff)
	}
	wantProblem(t, ask(t, "GET", "http://"+host+"/api/v1/timeslots?from=now&to=-1h", ""), 400, "from", "to", "before")
	wantProblem(t, ask(t, "GET", "http://"+host+"/api/v1/timeslots?from=%zz", ""), 400, "query")
}

func TestStopNamesTheActorAndTellsFailure(t *testing.T) {
	site, _, host := start(t, nil)
	ask(t, "POST", "http://"+host+"/api/v1/stop", "")
	site.mu.Lock()
	site.stopErr = errDisk
	site.mu.Unlock()
	wantProblem(t, ask(t, "POST", "http://"+host+"/api/v1/resume", ""), 500, "no space left")
	if diff := cmp.Diff([]string{"stop http 127.0.0.1", "resume http 127.0.0.1"}, site.calls); diff != "" {
		t.Error(diff)
	}
}

func TestLoadIsTheSameInCSVAndJSON(t *testing.T) {
	_, _, host := start(t, nil)
	url := "http://" + host + "/api/v1/load?from=-20m&step=1"
	var table LoadTable
	if err := json.Unmarshal([]byte(ask(t, "GET", url, "").body), &table); err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"t", "channel", "mean_w", "min_w", "max_w", "wh", "quality"}}
	for _, r := range table.Rows {
		want = append(want, []string{r.T.Format(time.RFC3339Nano), r.Channel, number(r.MeanW), number(r.MinW), number(r.MaxW), number(r.Wh), r.Quality})
	}
	if table.StepS != 1 || len(want) != 1+2*20*60 {
		t.Fatalf("step %d, %d rows", table.StepS, len(table.Rows))
	}
	for _, how := range []string{"Accept: text/csv", "Accept: application/json;q=0.5, text/csv", "Accept: text/csv, */*;q=0.1"} {
		a := ask(t, "GET", url, "", how)
		got, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", how, diff)
		}
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") {
			t.Errorf("%s: content type %s", how, a.header.Get("Content-Type"))
		}
	}
	if a := ask(t, "GET", url+"&format=json", "", "Accept: text/csv"); a.header.Get("Content-Type") != "application/json" {
		t.Errorf("format=json gave %s", a.header.Get("Content-Type"))
	}
	if a := ask(t, "GET", url+"&format=csv", ""); !strings.HasPrefix(a.body, "t,channel,") {
		t.Errorf("format=csv gave %.40s", a.body)
	}
}

func TestLoadThatFailsIsNotTakenForWhole(t *testing.T) {
	broken := errors.New("checksum of chunk 7 does not match")
	rows := 0
	_, _, host := start(t, func(o *Options) {
		o.Load = &fakeSite{rows: func(from, _ time.Time, _ time.Duration, emit func(LoadRow) error) error {
			for range rows {
				if err := emit(LoadRow{T: from, Channel: "site", MeanW: num(1)}); err != nil {
					return err
				}
			}
			return broken
		}}
	})
	wantProblem(t, ask(t, "GET", "http://"+host+"/api/v1/load", ""), 500, "checksum of chunk 7")
	rows = 1 // nothing has reached the client yet, so it can still be told
	for _, format := range []string{"json", "csv"} {
		wantProblem(t, ask(t, "GET", "http://"+host+"/api/v1/load?format="+format, ""), 500, "checksum of chunk 7")
	}
	rows = 5000
	for _, format := range []string{"json", "csv"} {
		if a, err := tryAsk("GET", "http://"+host+"/api/v1/load?format="+format, ""); err == nil {
			t.Errorf("%s: the cut table of %d bytes came as if it were whole", format, len(a.body))
		}
	}
}

func TestMetricsLeaveUnknownOut(t *testing.T) {
	_, board, host := start(t, nil)
	board.Publish(sampleStatus())
	a := ask(t, "GET", "http://"+host+"/metrics", "")
	for _, want := range []string{
		`nominald_info{version="1.2.3",site="Oak \"Street\""} 1`,
		`nominald_meter_delivered_watts{meter="m"} 7900`,
		`nominald_device_soc_percent{device="battery",kind="battery"} 81`,
		`nominald_device_online{device="wallbox",kind="charger"} 0`,
		"# TYPE nominald_device_power_watts gauge",
		`nominald_bus_load_ratio{bus="rs485"} 0.661`,
		"# TYPE nominald_bus_unit_requests_total counter",
		`nominald_bus_unit_requests_total{bus="rs485",unit="7"} 1200`,
		`nominald_bus_unit_timeouts_total{bus="rs485",unit="7"} 3`,
		`nominald_bus_unit_exceptions_total{bus="rs485",unit="7"} 2`,
		`nominald_bus_unit_doubts_total{bus="rs485",unit="7"} 1`,
		`nominald_bus_unit_other_failures_total{bus="rs485",unit="7"} 4`,
		`nominald_bus_unit_latency_seconds{bus="rs485",unit="7",quantile="0.99"} 0.048`,
		`nominald_bus_unit_requests_total{bus="rs485",unit="8"} 9`,
	} {
		if !strings.Contains(a.body, want+"\n") {
			t.Errorf("no %s in\n%s", want, a.body)
		}
	}
	if strings.Contains(a.body, `nominald_device_power_watts{device="wallbox"`) {
		t.Error("an unknown power has a sample")
	}
	if strings.Contains(a.body, `nominald_bus_unit_latency_seconds{bus="rs485",unit="8"`) {
		t.Error("a unit that never answered has a latency")
	}
}

func TestWebhookHasItsOwnSecret(t *testing.T) {
	hook := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	_, _, host := start(t, func(o *Options) { o.Webhook, o.Token = hook, "secret" })
	url := "http://" + host + notificationsPath
	if a := ask(t, "POST", url, "{}", "Host: gw.example.org", "Origin: https://leap.example"); a.code != 202 {
		t.Errorf("got %d %s, want 202", a.code, a.body)
	}
	wantProblem(t, ask(t, "GET", url, ""), 405)
	wantProblem(t, ask(t, "POST", url, strings.Repeat("x", maxBodyBytes+1)), 413)
}
