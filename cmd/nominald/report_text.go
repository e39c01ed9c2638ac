package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"nominald/dispatch/baseline"
	"nominald/gateway/status"
)

// writeReport prints a report for people: what became of it, its head, a table
// by interval, the causes, and what the baseline stands on.
func writeReport(w io.Writer, r *status.Report, at clock) error {
	t := newTable(w)
	t.line("report of %s (%s)", r.EventID, r.Label)
	if r.Verdict != "" {
		t.line("%s", r.Verdict)
	}
	t.line("")
	writeHead(t, r, at)
	writeEvidence(t, r, at)
	t.flush()
	writeIntervals(t, r, at)
	if len(r.Devices) > 0 {
		t.line("")
		t.row("DEVICE", "DELIVERED")
	}
	for _, d := range r.Devices {
		t.row(d.Name, kwh(d.DeliveredWh))
	}
	t.flush()
	if len(r.Shortfalls) > 0 {
		t.line("")
		t.row("SHORT FOR", "REASON", "WHAT TO DO")
	}
	for _, s := range r.Shortfalls {
		t.row(minutes(s.Minutes), because(s.Reason), orDash(s.Action))
	}
	return t.done()
}

// minutes writes a time that may be a few seconds only.
func minutes(m float64) string {
	if m < 2 {
		return fmt.Sprintf("%.0f s", 60*m)
	}
	return fmt.Sprintf("%.0f min", m)
}

func writeHead(t *table, r *status.Report, at clock) {
	t.row("time", at.minute(r.Start)+" to "+at.minute(r.End))
	if !r.CancelledAt.IsZero() {
		t.row("cancelled", at.full(r.CancelledAt))
	}
	t.row("meter", r.MeterID)
	t.row("state", stateText(r))
	t.row("programs", strings.Join(r.Programs, ", "))
	t.row("awarded", award(r.AwardedKW)+", nominated "+opt("%.2f kW", r.NominatedKW)+", paid "+string(r.Cap))
	t.row("delivered", fmt.Sprintf("%s on average, %s of %s", opt("%.2f kW", r.DeliveredKW), opt("%.2f kWh", r.DeliveredKWh), opt("%.2f kWh", r.TargetKWh)))
	t.row("ratio", percent(r.Ratio)+", each interval up to its target")
	if r.PaidKWh != nil {
		limit := "no limit"
		if r.CapKWh != nil {
			limit = fmt.Sprintf("at most %.2f kWh", *r.CapKWh)
		}
		t.row("counts", fmt.Sprintf("%.2f kWh as the cap allows (%s), %s short of the target", *r.PaidKWh, limit, opt("%.2f kWh", r.ShortfallKWh)))
	}
	if r.Worst != nil {
		t.row("worst", fmt.Sprintf("%s, %.1f %%, %s short", at.minute(r.Worst.Start), 100*r.Worst.Ratio, kwh(r.Worst.ShortfallWh)))
	}
	if f := r.First; f != nil {
		t.row(fmt.Sprintf("first %.0f min", f.Minutes), fmt.Sprintf("%.3f of %.3f kWh", f.DeliveredKWh, f.TargetKWh))
	}
	const worthSaying = 5 // s: devices are told each second or two
	if r.LateS != nil && *r.LateS >= worthSaying {
		t.row("late", age(*r.LateS)+" after the start")
	}
	if r.Revision > 0 {
		t.row("fixed", fmt.Sprintf("revision %d of %s", r.Revision, at.full(r.FrozenAt)))
	}
}

func stateText(r *status.Report) string {
	if r.Reason == "" {
		return string(r.State)
	}
	return string(r.State) + " (" + because(r.Reason) + ")"
}

// writeEvidence says what the load was measured against, and how well.
func writeEvidence(t *table, r *status.Report, at clock) {
	text := fmt.Sprintf("%.1f %% of the time", 100*r.Coverage)
	if r.Quality != "" {
		text += " (" + r.Quality + ")"
	}
	if r.Reference != "" {
		text += ", against " + r.Reference
	}
	t.row("measured", text)
	b := r.Baseline
	if b == nil {
		return
	}
	t.row("baseline", baselineText(b))
	if len(b.Days) > 0 {
		t.row("its days", strings.Join(b.Days, ", "))
	}
	if b := r.BaselineAfter; b != nil {
		t.row("counted by", baselineText(b)+", known to "+at.minute(b.Known))
	}
}

// writeIntervals prints the table. With a baseline, BASELINE less LOAD is
// DELIVERED.
func writeIntervals(t *table, r *status.Report, at clock) {
	if len(r.Intervals) == 0 {
		return
	}
	t.line("")
	t.row("INTERVAL", "TARGET", "BASELINE", "LOAD", "DELIVERED", "RATIO", "COUNTS", "SHORT", "MEASURED", "CAUSE")
	for i := range r.Intervals {
		v := &r.Intervals[i]
		measured := fmt.Sprintf("%.0f %%", 100*v.Coverage)
		if v.Quality != "" {
			measured += " " + v.Quality
		}
		t.row(at.minute(v.Start)+length(v), kwh(v.TargetWh), optKWh(v.BaselineWh), optKWh(v.LoadWh), kwh(v.DeliveredWh), share(v.DeliveredWh, v.TargetWh),
			kwh(v.PaidWh), kwh(v.ShortfallWh), measured, orDash(v.Cause))
	}
	t.flush()
}

// length names an interval that is not a whole quarter of an hour.
func length(v *status.ReportInterval) string {
	d := v.End.Sub(v.Start)
	if d == 15*time.Minute || d <= 0 {
		return ""
	}
	return " (" + age(d.Seconds()) + ")"
}

func kwh(wh float64) string { return fmt.Sprintf("%.2f kWh", wh/1000) }

func optKWh(wh *float64) string {
	if wh == nil {
		return dash
	}
	return kwh(*wh)
}

func percent(ratio *float64) string {
	if ratio == nil {
		return dash
	}
	return fmt.Sprintf("%.1f %%", 100**ratio)
}

// share writes a part of a whole in percent; of nothing there is no share.
func share(part, whole float64) string {
	if whole <= 0 {
		return dash
	}
	ratio := part / whole
	return percent(&ratio)
}

// baselineText says what a baseline stands on.
func baselineText(b *baseline.Estimate) string {
	text, whose := b.Method, "its" // one without days is laid down, or goes by the day itself
	if len(b.Days) > 0 {
		text += fmt.Sprintf(", %d days, factor %.2f", len(b.Days), b.Factor)
		whose = "their"
	}
	if b.AddW != 0 {
		text += fmt.Sprintf(", moved by %s", kw(b.AddW))
	}
	if b.Clamped {
		text += " (at its limit)"
	}
	if len(b.Days) > 0 || b.Coverage < 1 {
		text += fmt.Sprintf(", %.1f %% of %s load known", 100*b.Coverage, whose)
	}
	if b.Note != "" {
		text += ", " + b.Note
	}
	return text
}
