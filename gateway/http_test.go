package gateway

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"nominald/gateway/status"
)

// TestHTTPShowsTheRunningGateway asks the paths of design.md 1.3 of a gateway
// that runs, with the very parameters that the page and the commands use.
func TestHTTPShowsTheRunningGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	s := w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	w.run()
	w.await("some load is measured", 15*time.Second, func() bool {
		var table status.LoadTable
		w.get("/api/v1/load?from=-15m&step=5", &table)
		return channels(table)["site"] > 1 && channels(table)["battery"] > 1
	})
	var minutes status.LoadTable
	w.get("/api/v1/load?from=-5m", &minutes)
	if minutes.StepS != 60 || channels(minutes)["site"] == 0 {
		t.Errorf("load by minutes: %+v", minutes)
	}
	rows, err := csv.NewReader(strings.NewReader(w.text("/api/v1/load?from=-1m&step=1&format=csv"))).ReadAll()
	if err != nil || len(rows) < 5 || strings.Join(rows[0], ",") != "t,channel,mean_w,min_w,max_w,wh,quality" {
		t.Errorf("load as CSV: %v, %d rows", err, len(rows))
	}
	var round struct {
		Decision struct {
			Devices []struct{ Name, Reason string } `json:"devices"`
		} `json:"decision"`
	}
	w.get("/api/v1/explain", &round)
	if len(round.Decision.Devices) != 3 {
		t.Errorf("explain: %+v, want a reason for each of the three devices", round)
	}
	var rep status.Report
	w.get("/api/v1/timeslots/"+s.EventID+"/report", &rep)
	if rep.State != "active" || rep.Label != status.ReportLabel || *rep.AwardedKW != 4 {
		t.Errorf("report while it runs: %+v", rep)
	}
	if text := w.text("/metrics"); !strings.Contains(text, `nominald_device_online{device="battery"`) {
		t.Errorf("metrics without the battery:\n%s", text)
	}
	if text := w.text("/"); !strings.Contains(text, "<html") {
		t.Errorf("the page: %.80s", text)
	}
	w.streams()
}

func channels(t status.LoadTable) map[string]int {
	n := map[string]int{}
	for _, r := range t.Rows {
		if r.MeanW != nil {
			n[r.Channel]++
		}
	}
	return n
}

// streams reads two events of the stream.
func (w *world) streams() {
	w.t.Helper()
	resp, err := http.Get("http://" + w.httpAddr + "/api/v1/stream")
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 64<<10)
	n, err := io.ReadAtLeast(resp.Body, buf, 200)
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(buf[:n])) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var st status.Status
			if err := json.Unmarshal([]byte(strings.TrimSpace(data)), &st); err == nil && len(st.Devices) == 3 {
				return
			}
		}
	}
	w.t.Errorf("no status in the stream: %.300s", buf[:n])
}

func (w *world) text(path string) string {
	w.t.Helper()
	resp, err := http.Get("http://" + w.httpAddr + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
	return string(body)
}
