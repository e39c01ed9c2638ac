package main

import (
	"context"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"nominald/dispatch"
	"nominald/gateway/status"
)

func timeslotsCommand() *cobra.Command {
	var f clientFlags
	var from, to string
	cmd := &cobra.Command{
		Use:   "timeslots",
		Short: "List the stored timeslots with their states",
		Example: `  nominald timeslots
  nominald timeslots --from -7d --to now
  nominald timeslots --from 2026-07-14T00:00:00-07:00 --json`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(f)
			if err != nil {
				return err
			}
			return showTimeslots(cmd.Context(), c, cmd.OutOrStdout(), span(from, to), f.json)
		},
	}
	f.register(cmd)
	registerSpan(cmd, &from, &to)
	return cmd
}

func registerSpan(cmd *cobra.Command, from, to *string) {
	cmd.Flags().StringVar(from, "from", "", "begin, as `TIME` (RFC 3339), now, or relative as -7d, -2h")
	cmd.Flags().StringVar(to, "to", "", "end, as `TIME` (RFC 3339), now, or relative")
}

// span makes query parameters of the times; the gateway reads them by its own
// clock, so that -1h is an hour of the gateway.
func span(from, to string) url.Values {
	q := url.Values{}
	if from != "" {
		q.Set("from", from)
	}
	if to != "" {
		q.Set("to", to)
	}
	return q
}

func showTimeslots(ctx context.Context, c *client, w io.Writer, q url.Values, asJSON bool) error {
	var slots []status.Timeslot
	raw, err := c.get(ctx, "/api/v1/timeslots", q, &slots)
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
	t := newTable(w)
	if len(slots) == 0 {
		t.line("no timeslot is stored for this time")
	} else {
		writeSlots(t, slots, newClock(site.Site.Timezone))
	}
	return t.done()
}

// siteNow asks the gateway for its status, for the site's time zone and the
// kinds of its devices. Before its first round it has none to tell; times are
// then in UTC.
func siteNow(ctx context.Context, c *client) (status.Status, error) {
	var s status.Status
	if _, err := c.get(ctx, "/api/v1/status", nil, &s); err != nil && ctx.Err() != nil {
		return s, err
	}
	return s, nil
}

func writeSlots(t *table, slots []status.Timeslot, at clock) {
	t.row("START", "END", "STATE", "AWARD", "NOMINATED", "PRIO", "KIND", "PROGRAMS", "EVENT", "REASON")
	for _, s := range slots {
		kind := "committed"
		if s.Voluntary {
			kind = "voluntary"
		}
		t.row(at.minute(s.Start), at.minute(s.End), string(s.State), award(s.EnergyKW), opt("%.2f kW", s.NominationKW),
			strconv.Itoa(s.Priority), kind, strings.Join(s.Programs, ","), s.EventID, because(slotReason(s)))
	}
	t.flush()
}

// award writes the awarded power; without one Leap asks for the most that the
// site can give.
func award(kw *float64) string {
	if kw == nil {
		return "max"
	}
	return opt("%.2f kW", kw)
}

// slotReason prefers the problem of a timeslot that is unusable: it says more
// than the code.
func slotReason(s status.Timeslot) string {
	if s.State == dispatch.Invalid && s.Problem != "" {
		return s.Problem
	}
	return s.Reason
}
