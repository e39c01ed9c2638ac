package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"nominald/dispatch"
	"nominald/gateway/status"
)

func reportCommand() *cobra.Command {
	var f clientFlags
	var last, asCSV bool
	cmd := &cobra.Command{
		Use:   "report [EVENT]",
		Short: "Show how a timeslot was delivered; without EVENT, the last one",
		Long: `report shows what was delivered in a timeslot, by settlement interval and by
device, against what, and why it was not more. It is a local estimate:
settlement is done by the utility and Leap. packaging/docs/report.md has the
fields, the formulae and the columns of --csv, which has one row an interval.`,
		Example: `  nominald report --last
  nominald report 12d4b3a5-0c5f-4d3c-9a0c-1f2f3a4b5c6d --json
  nominald report --last --csv > report.csv`,
		Args: atMost(1, "one EVENT, the meter_event_id that `nominald timeslots` lists"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if last && len(args) > 0 {
				return &usageError{found: "both an EVENT and --last are given", remedy: "remove one of them"}
			}
			if asCSV && f.json {
				return &usageError{found: "both --json and --csv are given", remedy: "remove one of them"}
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
			if asCSV {
				return copyReport(cmd.Context(), c, cmd.OutOrStdout(), event)
			}
			return showReport(cmd.Context(), c, cmd.OutOrStdout(), event, f.json)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&last, "last", false, "the timeslot that ended last (the default)")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print one row an interval as CSV")
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

func reportPath(event string) string {
	return "/api/v1/timeslots/" + url.PathEscape(event) + "/report"
}

// copyReport passes the gateway's CSV on as it comes.
func copyReport(ctx context.Context, c *client, w io.Writer, event string) error {
	resp, err := c.do(ctx, http.MethodGet, reportPath(event), nil, "text/csv")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("copy the report, which is not whole: %w", err)
	}
	return nil
}

func showReport(ctx context.Context, c *client, w io.Writer, event string, asJSON bool) error {
	var r status.Report
	raw, err := c.get(ctx, reportPath(event), nil, &r)
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
