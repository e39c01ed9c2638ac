package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"nominald/gateway/status"
)

func loadCommand() *cobra.Command {
	var f clientFlags
	var from, to, step string
	var channels []string
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Show the measured load of the site and its devices",
		Example: `  nominald load
  nominald load --from -1d --step 15m
  nominald load --from -5m --step 1s --csv
  nominald load --from -1d --step 15m --channel site,battery`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asCSV && f.json {
				return &usageError{found: "both --csv and --json are given", remedy: "remove one of them"}
			}
			c, err := newClient(f)
			if err != nil {
				return err
			}
			q := loadQuery(from, to, step, channels)
			switch {
			case asCSV:
				return copyLoad(cmd.Context(), c, cmd.OutOrStdout(), q, "text/csv")
			case f.json:
				return copyLoad(cmd.Context(), c, cmd.OutOrStdout(), q, "application/json")
			}
			return showLoad(cmd.Context(), c, cmd.OutOrStdout(), q)
		},
	}
	f.register(cmd)
	registerSpan(cmd, &from, &to)
	cmd.Flags().StringVar(&step, "step", "", "`DURATION` of a row, as 1s, 1m, 15m")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print CSV")
	registerChannels(cmd, &channels)
	return cmd
}

func registerChannels(cmd *cobra.Command, channels *[]string) {
	cmd.Flags().StringSliceVar(channels, "channel", nil, "`NAME` of a device, or site; more than one with commas (default all)")
}

func exportCommand() *cobra.Command {
	var f clientFlags
	var from, to, step string
	var channels []string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the measured load of a period to stdout, as CSV or JSON",
		Example: `  nominald export --from -30d --step 15m > load.csv
  nominald export --from 2026-07-01T00:00:00-07:00 --to 2026-08-01T00:00:00-07:00 --step 15m > july.csv`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(f)
			if err != nil {
				return err
			}
			accept := "text/csv"
			if f.json {
				accept = "application/json"
			}
			return copyLoad(cmd.Context(), c, cmd.OutOrStdout(), loadQuery(from, to, step, channels), accept)
		},
	}
	f.register(cmd)
	registerSpan(cmd, &from, &to)
	cmd.Flags().Lookup("from").DefValue = "-1d"
	from = "-1d"
	cmd.Flags().StringVar(&step, "step", "15m", "`DURATION` of a row")
	registerChannels(cmd, &channels)
	return cmd
}

func loadQuery(from, to, step string, channels []string) url.Values {
	q := span(from, to)
	for _, c := range channels {
		q.Add("channel", c)
	}
	if step != "" {
		q.Set("step", step)
	}
	return q
}

// copyLoad passes the table on as it comes, however long it is. A table that
// the gateway had to cut off is an error.
func copyLoad(ctx context.Context, c *client, w io.Writer, q url.Values, accept string) error {
	c.http.Timeout = exportTimeout
	resp, err := c.do(ctx, http.MethodGet, "/api/v1/load", q, accept)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("copy the load table, which is not whole: %w", err)
	}
	return nil
}

func showLoad(ctx context.Context, c *client, w io.Writer, q url.Values) error {
	var l status.LoadTable
	if _, err := c.get(ctx, "/api/v1/load", q, &l); err != nil {
		return err
	}
	site, err := siteNow(ctx, c)
	if err != nil {
		return err
	}
	at := newClock(site.Site.Timezone)
	t := newTable(w)
	if len(l.Rows) == 0 {
		text := "nothing was measured in this time"
		if asked := q["channel"]; len(asked) > 0 {
			text += " of " + strings.Join(asked, ", ") + "; a channel is the name of a device, or site"
		}
		t.line("%s", text)
		return t.done()
	}
	t.row("TIME", "CHANNEL", "MEAN", "LEAST", "MOST", "ENERGY", "QUALITY")
	for _, r := range l.Rows {
		energy := dash
		if r.Wh != nil {
			energy = fmt.Sprintf("%.3f kWh", *r.Wh/1000)
		}
		t.row(at.full(r.T), r.Channel, optKW(r.MeanW), optKW(r.MinW), optKW(r.MaxW), energy, r.Quality)
	}
	return t.done()
}
