package status

import (
	"bytes"
	"encoding/csv"
	"os"
	"strings"
	"testing"
	"time"
)

// TestReportCSVIsDocumented holds the columns to packaging/docs/report.md.
func TestReportCSVIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../packaging/docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Join(strings.Fields(string(doc)), " ")
	if want := "`" + strings.Join(ReportColumns(), "` `") + "`"; !strings.Contains(listed, want) {
		t.Errorf("the page does not list the columns as they are: %s", want)
	}
}

// TestReportCSVQuotesAndLeavesUnknownEmpty reads back what has commas, quotes
// and line ends in it, and numbers that are not known.
func TestReportCSVQuotesAndLeavesUnknownEmpty(t *testing.T) {
	r := Report{EventID: "a,\"b\"\nc", MeterID: "m", Revision: 2, Intervals: []ReportInterval{{Start: noon(), End: noon().Add(time.Hour),
		TargetWh: 1000, DeliveredWh: -12.5, Quality: "gap"}}}
	var out bytes.Buffer
	if err := writeReportCSV(&out, &r); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d rows (%v), want a header and one", len(rows), err)
	}
	got := map[string]string{}
	for i, name := range rows[0] {
		got[name] = rows[1][i]
	}
	for name, want := range map[string]string{"event_id": r.EventID, "revision": "2", "delivered_wh": "-12.5", "target_wh": "1000", "load_wh": "", "cap_wh": "", "quality": "gap"} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
}
