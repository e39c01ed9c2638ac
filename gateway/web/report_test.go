package web

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/gateway/status"
)

const endedID = "12d4b3a5-0c5f-4d3c-9a0c-1f2f3a4b5c6d"

// endedSlots is a timeslot of the day before, with a report.
func endedSlots() []status.Timeslot {
	start := slotStart().Add(-24 * time.Hour)
	return []status.Timeslot{{State: dispatch.Completed, Reason: "ended", ReasonText: "it has ended", Record: dispatch.Record{Timeslot: dispatch.Timeslot{
		EventID: endedID, MeterID: "m", Start: start, End: start.Add(time.Hour), EnergyKW: num(8), NominationKW: num(8), Cap: dispatch.UpToNomination, Programs: []string{"CCA RA"}}}}}
}

// endedReport is an hour of 8 kW whose last quarter was short and half measured.
func endedReport() status.Report {
	s := endedSlots()[0]
	r := status.Report{EventID: s.EventID, MeterID: s.MeterID, Start: s.Start, End: s.End, State: s.State, Programs: s.Programs, Cap: s.Cap,
		NominatedKW: num(8), AwardedKW: num(8), DeliveredKWh: num(6.91), DeliveredKW: num(7.9), TargetKWh: num(8), PaidKWh: num(6.8875), ShortfallKWh: num(1.1125), Ratio: num(0.861),
		Reference: "baseline", Coverage: 0.875, Quality: "partial", Verdict: "Short by 1.11 kWh: 86.1 % of 8.00 kWh.", LateS: num(31), Revision: 1, FrozenAt: s.End.Add(time.Minute),
		Baseline:   &baseline.Estimate{Method: "caiso-10-in-10", Days: []string{"2026-07-13", "2026-07-10"}, Factor: 1.2, Clamped: true, Coverage: 1, Note: "<b>few</b> days"},
		Worst:      &status.ReportWorst{Start: s.Start.Add(45 * time.Minute), Ratio: 0.45},
		Devices:    []status.ReportDevice{{Name: "battery", DeliveredWh: 6910}},
		Shortfalls: []status.Shortfall{{Reason: "short-of-energy", Minutes: 7.5, Text: "the battery's energy is spread", Action: "charge it before"}}}
	for i, given := range []float64{1970, 2040, 2000, 900} {
		from := s.Start.Add(time.Duration(i) * 15 * time.Minute)
		v := status.ReportInterval{Start: from, End: from.Add(15 * time.Minute), TargetWh: 2000, TargetKW: 8, DeliveredWh: given, DeliveredKW: num(given / 250),
			BaselineWh: num(3750), BaselineKW: num(15), LoadWh: num(3750 - given), LoadKW: num(15 - given/250), CapWh: num(2000), PaidWh: min(2000, given),
			ShortfallWh: max(0, 2000-given), Coverage: 1, Quality: "measured"}
		if i == 3 {
			v.Coverage, v.Quality, v.Cause, v.DeliveredKW, v.BaselineWh, v.LoadWh, v.LoadKW = 0.5, "partial", "short-of-energy", num(7.2), num(1875), num(975), num(7.8)
		}
		r.Intervals = append(r.Intervals, v)
	}
	return r
}

// cell is what the page writes for an energy.
func cell(wh float64) string { return fmt.Sprintf("%.2f kWh", wh/1000) }

// TestReportViewShowsTheFigures goes from the page's list to the report, at a
// telephone's width, and holds what is shown to the JSON of the gateway.
func TestReportViewShowsTheFigures(t *testing.T) {
	s, url := startSite(t, slotStart().Add(12*time.Minute), "")
	ctx := browser(t, 360, 800)
	s.board.Publish(sample(s.now))
	_, body := fetch(t, "GET", url+"/api/v1/timeslots/"+endedID+"/report")
	var r status.Report
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, chromedp.Navigate(url), chromedp.WaitVisible("#past a"), chromedp.Click("#past a"), chromedp.WaitVisible("#shown"))
	becomes(t, ctx, has("title", "Report, completed"))
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`[...document.querySelectorAll("#intervals tbody tr")].map((tr) => [...tr.cells].map((c) => c.textContent).join("|")).join("\n")`))
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(text, "\n")
	if len(rows) != len(r.Intervals) {
		t.Fatalf("the page has %d rows, the report %d intervals:\n%s", len(rows), len(r.Intervals), text)
	}
	clocks := []string{"17:00", "17:15", "17:30", "17:45"}
	for i, v := range r.Intervals {
		want := strings.Join([]string{clocks[i], cell(v.TargetWh), cell(*v.BaselineWh), cell(*v.LoadWh), cell(v.DeliveredWh), cell(v.PaidWh), cell(v.ShortfallWh),
			fmt.Sprintf("%.0f %% %s", 100*v.Coverage, v.Quality), strings.ReplaceAll(v.Cause, "-", " ")}, "|")
		if rows[i] != want {
			t.Errorf("row %d\ngot  %s\nwant %s", i, rows[i], want)
		}
	}
	for _, want := range []string{
		has("verdict", r.Verdict), has("when", "17:00–18:00 America/Los_Angeles"), has("facts", cell(*r.DeliveredKWh*1000)+" of "+cell(*r.TargetKWh*1000)),
		has("facts", fmt.Sprintf("%.1f %%", 100**r.Ratio)), has("facts", cell(*r.PaidKWh*1000)), has("facts", "factor 1.20 (at its limit)"), has("facts", "2026-07-13, 2026-07-10"),
		has("facts", "<b>few</b> days"), // as text
		has("facts", "31 s late"), has("facts", "revision 1"), has("causes", "charge it before"), has("label", status.ReportLabel),
		`document.documentElement.scrollWidth <= window.innerWidth`,
		`document.querySelector("#chart path.load").getAttribute("d").split("L").length > 50`, // minutes of /api/v1/load
		`document.querySelector("#chart path.base").getAttribute("d").length > 10 && document.querySelector("#chart path.target").getAttribute("d").length > 10`,
	} {
		becomes(t, ctx, want)
	}
	heights, err := chromedp.Run(ctx, chromedp.Evaluate[[]float64](`[...document.querySelectorAll("#chart rect.bar")].map((e) => Number(e.getAttribute("height")))`))
	if err != nil || len(heights) != len(r.Intervals) {
		t.Fatalf("%d bars (%v), want one an interval", len(heights), err)
	}
	for i, v := range r.Intervals {
		if want := heights[0] * *v.DeliveredKW / *r.Intervals[0].DeliveredKW; math.Abs(heights[i]-want) > 0.3 { // drawn to a tenth of a pixel
			t.Errorf("bar %d is %v high, want %v for %v kW", i, heights[i], want, *v.DeliveredKW)
		}
	}
}

func TestReportViewSaysWhatIsWrong(t *testing.T) {
	s, url := startSite(t, slotStart(), "")
	ctx := browser(t, 1240, 1000)
	s.board.Publish(sample(s.now))
	run(t, ctx, chromedp.Navigate(url+"/static/report.html#nobody-knows-it"))
	becomes(t, ctx, has("failed", "no timeslot with event_id"))
	becomes(t, ctx, `document.getElementById("shown").hidden`)
}
