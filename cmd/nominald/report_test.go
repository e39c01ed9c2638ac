package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/gateway/status"
)

var update = flag.Bool("update", false, "write the golden files")

// sampleReport is an hour of 3 kW, of which the last quarter was short of
// energy and half measured.
func sampleReport() status.Report {
	start := testNow().Add(-26 * time.Hour).Truncate(time.Hour)
	r := status.Report{
		EventID: testEvent, MeterID: testMeter, Start: start, End: start.Add(time.Hour), State: dispatch.Completed, Reason: dispatch.ReasonEnded,
		Programs: []string{"CCA"}, EventTypes: []string{"day-ahead"}, Cap: dispatch.UpToNomination, NominatedKW: ptr(4.0), AwardedKW: ptr(3.0), Basis: plan.BasisEnergy,
		DeliveredKW: ptr(2.94), DeliveredKWh: ptr(2.5725), TargetKWh: ptr(3.0), NominatedKWh: ptr(4.0), AwardedKWh: ptr(3.0), CapKWh: ptr(4.0), PaidKWh: ptr(2.5725),
		BaselineKWh: ptr(5.25), LoadKWh: ptr(2.6775), ShortfallKWh: ptr(0.4275), Ratio: ptr(0.8575), Reference: "baseline",
		Baseline: &baseline.Estimate{Method: baseline.CAISO10in10, Start: start, Interval: baseline.Interval, W: []float64{6000, 6000, 6000, 6000},
			Days: []string{"2026-07-10", "2026-07-09", "2026-07-08", "2026-07-07", "2026-07-06"}, Factor: 1.2, Clamped: true, Coverage: 0.998, Note: "five days only"},
		Worst: &status.ReportWorst{Start: start.Add(45 * time.Minute), Ratio: 0.43, ShortfallWh: 427.5},
		First: &status.ReportFirst{Minutes: 5, TargetKWh: 0.25, DeliveredKWh: 0.231, Coverage: 1}, LateS: ptr(42.0),
		Devices:    []status.ReportDevice{{Name: "battery", DeliveredWh: 2350}, {Name: "wallbox", DeliveredWh: 222.5}},
		Shortfalls: []status.Shortfall{{Reason: string(plan.ShortOfEnergy), Minutes: 7.5, Text: "the battery's energy is spread over the time left", Action: "charge it before timeslots"}, {Reason: string(plan.NotMeasured), Minutes: 0.5}},
		Coverage:   0.875, Quality: "partial", Verdict: "Short by 0.43 kWh: 85.8 % of 3.00 kWh, mostly short-of-energy (8 min).",
		Revision: 2, FrozenAt: start.Add(3 * time.Hour),
	}
	for i, given := range []float64{750, 760, 740, 322.5} {
		from := start.Add(time.Duration(i) * 15 * time.Minute)
		v := status.ReportInterval{Start: from, End: from.Add(15 * time.Minute), TargetWh: 750, TargetKW: 3, DeliveredWh: given, DeliveredKW: ptr(given / 250), Coverage: 1,
			NominatedWh: ptr(1000.0), NominatedKW: ptr(4.0), AwardedWh: ptr(750.0), AwardedKW: ptr(3.0), BaselineWh: ptr(1500.0), BaselineKW: ptr(6.0),
			LoadWh: ptr(1500 - given), LoadKW: ptr(6 - given/250), CapWh: ptr(1000.0), PaidWh: given, ShortfallWh: max(0, 750-given), Reference: "baseline", Quality: "measured"}
		if i == 3 {
			v.Coverage, v.Quality, v.Cause, v.BaselineWh, v.LoadWh, v.DeliveredKW = 0.5, "partial", string(plan.ShortOfEnergy), ptr(750.0), ptr(427.5), ptr(2.58)
		}
		r.Intervals = append(r.Intervals, v)
	}
	return r
}

// TestReportText holds the text to the golden file, which -update writes.
func TestReportText(t *testing.T) {
	const golden = "testdata/report.golden"
	got := reportOutput(t, "--last")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func reportOutput(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"report", "--addr", startGateway(t, "")}, args...)
	if code := run(t.Context(), args, nil, &out, &errs); code != exitDone {
		t.Fatalf("%v: exit code %d, stderr %s", args, code, &errs)
	}
	return out.String()
}

// TestReportCSVSaysTheSameAsJSON reads both and compares each interval.
func TestReportCSVSaysTheSameAsJSON(t *testing.T) {
	var r status.Report
	if err := json.Unmarshal([]byte(reportOutput(t, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	text := reportOutput(t, testEvent, "--csv")
	if strings.Count(text, "\r\n") != len(r.Intervals)+1 {
		t.Errorf("lines do not end as RFC 4180 has it: %q", text)
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i, name := range rows[0] {
		at[name] = i
	}
	for i, v := range r.Intervals {
		row := rows[i+1]
		for name, want := range map[string]float64{"target_wh": v.TargetWh, "delivered_wh": v.DeliveredWh, "baseline_wh": *v.BaselineWh, "load_wh": *v.LoadWh,
			"cap_wh": *v.CapWh, "paid_wh": v.PaidWh, "shortfall_wh": v.ShortfallWh, "coverage": v.Coverage, "nominated_kw": *v.NominatedKW, "awarded_wh": *v.AwardedWh} {
			if got, err := strconv.ParseFloat(row[at[name]], 64); err != nil || got != want {
				t.Errorf("row %d, %s: got %q, want %v", i, name, row[at[name]], want)
			}
		}
		if row[at["start"]] != v.Start.Format(time.RFC3339) || row[at["quality"]] != v.Quality || row[at["cause"]] != v.Cause {
			t.Errorf("row %d: %v", i, row)
		}
	}
}

func TestReportRefusesTwoFormats(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"report", "--json", "--csv"}, nil, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "--csv") {
		t.Errorf("exit code %d, stderr %q", code, &errs)
	}
}
