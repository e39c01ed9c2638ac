package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/gateway/status"
)

func reportCommand() *cobra.Command {
	var f clientFlags
	var last bool
	cmd := &cobra.Command{
		Use:   "report [EVENT]",
		Short: "Show how a timeslot was delivered; without EVENT, the last one",
		Long: `report shows what was delivered in a timeslot, by settlement interval and by
device, and why it was not more. It is a local estimate: settlement is done by
the utility and Leap.`,
		Example: `  nominald report --last
  nominald report 12d4b3a5-0c5f-4d3c-9a0c-1f2f3a4b5c6d --json`,
		Args: atMost(1, "one EVENT, the meter_event_id that `nominald timeslots` lists"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if last && len(args) > 0 {
				return &usageError{found: "both an EVENT and --last are given", remedy: "remove one of them"}
			}
			c, err := newClient(f)
			if err != nil {
				return err
			}
			var event string
			if len(args) > 0 {
				event = args[0]
			} else if event, err = lastEvent(cmd.Context(), c); err != nil {
				return err
			}
			return showReport(cmd.Context(), c, cmd.OutOrStdout(), event, f.json)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&last, "last", false, "the timeslot that ended last (the default)")
	return cmd
}

// lastEvent finds the timeslot that ended last and ran at least in part.
func lastEvent(ctx context.Context, c *client) (string, error) {
	var slots []status.Timeslot
	if _, err := c.get(ctx, "/api/v1/timeslots", url.Values{"to": {"now"}}, &slots); err != nil {
		return "", err
	}
	var last *status.Timeslot
	for i, s := range slots {
		ran := s.State == dispatch.Completed || s.Reason == dispatch.ReasonCancelledActive
		if ran && (last == nil || s.End.After(last.End)) {
			last = &slots[i]
		}
	}
	if last == nil {
		return "", errors.New("no timeslot has ended yet; `nominald timeslots` lists those ahead")
	}
	return last.EventID, nil
}

func showReport(ctx context.Context, c *client, w io.Writer, event string, asJSON bool) error {
	var r status.Report
	raw, err := c.get(ctx, "/api/v1/timeslots/"+url.PathEscape(event)+"/report", nil, &r)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, raw)
	}
	site, err := siteNow(ctx, c)
	if err != nil {
		return err
	}
	return writeReport(w, &r, newClock(site.Site.Timezone))
}

func writeReport(w io.Writer, r *status.Report, at clock) error {
	t := newTable(w)
	t.line("report of %s (%s)", r.EventID, r.Label)
	t.row("time", at.minute(r.Start)+" to "+at.minute(r.End))
	t.row("meter", r.MeterID)
	t.row("state", string(r.State))
	t.row("programs", strings.Join(r.Programs, ", "))
	t.row("awarded", award(r.AwardedKW)+", nominated "+opt("%.2f kW", r.NominatedKW)+", paid "+string(r.Cap))
	t.row("delivered", fmt.Sprintf("%s on average, %s of %s", opt("%.2f kW", r.DeliveredKW), opt("%.2f kWh", r.DeliveredKWh), opt("%.2f kWh", r.TargetKWh)))
	t.row("ratio", percent(r.Ratio))
	t.row("measured", fmt.Sprintf("%.1f %% of the time, against %s", 100*r.Coverage, r.Reference))
	if b := r.Baseline; b != nil {
		t.row("baseline", baselineText(b))
	}
	if b := r.BaselineAfter; b != nil {
		t.row("with the hours after", baselineText(b)+fmt.Sprintf(", known to %s", at.minute(b.Known)))
	}
	t.flush()
	if len(r.Intervals) > 0 {
		t.line("")
		t.row("INTERVAL", "TARGET", "DELIVERED", "RATIO", "MEASURED")
	}
	for _, i := range r.Intervals {
		t.row(at.minute(i.Start), kwh(i.TargetWh), kwh(i.DeliveredWh), share(i.DeliveredWh, i.TargetWh), fmt.Sprintf("%.0f %%", 100*i.Coverage))
	}
	t.flush()
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
		t.row("SHORT FOR", "REASON")
	}
	for _, s := range r.Shortfalls {
		t.row(fmt.Sprintf("%.0f min", s.Minutes), because(s.Reason))
	}
	return t.done()
}

func kwh(wh float64) string { return fmt.Sprintf("%.2f kWh", wh/1000) }

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
	text := fmt.Sprintf("%s, %d days, factor %.2f", b.Method, len(b.Days), b.Factor)
	if b.AddW != 0 {
		text += fmt.Sprintf(", %+.2f kW", b.AddW/1000)
	}
	if b.Clamped {
		text += " (at its limit)"
	}
	if b.Note != "" {
		text += ", " + b.Note
	}
	return text
}
