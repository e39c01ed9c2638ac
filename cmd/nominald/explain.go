package main

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/status"
)

func explainCommand() *cobra.Command {
	var f clientFlags
	var when string
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Explain the decision of one control round",
		Long: `explain shows what the gateway decided in the round that was in force at a
time: which timeslots there were, what each meter was asked, what each device
was told, and why. With --json the inputs of the round are there too.`,
		Example: `  nominald explain
  nominald explain --at -10m
  nominald explain --at 2026-07-14T17:03:00-07:00 --json`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(f)
			if err != nil {
				return err
			}
			q := url.Values{}
			if when != "" {
				q.Set("at", when)
			}
			return showExplain(cmd.Context(), c, cmd.OutOrStdout(), q, f.json)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&when, "at", "", "`TIME` (RFC 3339), now, or relative as -10m")
	return cmd
}

// explained is a round as the gateway keeps it: its decision, beside inputs
// that only --json shows.
type explained struct {
	Decision plan.Decision `json:"decision"`
}

func showExplain(ctx context.Context, c *client, w io.Writer, q url.Values, asJSON bool) error {
	var e explained
	raw, err := c.get(ctx, "/api/v1/explain", q, &e)
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
	return writeDecision(w, &e.Decision, site)
}

func writeDecision(w io.Writer, d *plan.Decision, site status.Status) error {
	kinds := map[string]drivers.Kind{}
	for _, d := range site.Devices {
		kinds[d.Name] = d.Kind
	}
	t := newTable(w)
	t.line("round of %s", newClock(site.Site.Timezone).full(d.Now))
	if len(d.Slots) > 0 {
		t.line("")
		t.row("TIMESLOT", "METER", "STATE", "REASON")
	}
	for _, s := range d.Slots {
		t.row(s.EventID, s.MeterID, string(s.State), because(string(s.Reason)))
	}
	t.line("")
	t.row("METER", "ASKED", "TARGET", "DELIVERED", "SHORT", "REFERENCE", "REASON")
	for _, m := range d.Meters {
		asked := "max"
		if m.EventID == "" {
			asked = dash
		}
		if m.AskedW.OK {
			asked = kw(m.AskedW.V)
		}
		t.row(m.ID, asked, kw(m.TargetW), known(m.DeliveredW), kw(m.ShortW), string(m.Reference), because(string(m.Reason)))
	}
	writeAsked(t, "DEVICE", d.Devices, kinds)
	if len(d.WouldDo) > 0 {
		writeAsked(t, "WOULD DO", d.WouldDo, kinds)
	}
	return t.done()
}

func writeAsked(t *table, title string, devices []plan.DeviceDecision, kinds map[string]drivers.Kind) {
	t.line("")
	t.row(title, "ACTION", "COMMAND", "GIVES", "REASON")
	for _, d := range devices {
		asked := dash
		if d.Action == plan.Follow {
			asked = commandText(kinds[d.Name], d.Command)
		}
		t.row(d.Name, string(d.Action), asked, kw(d.GiveW), because(string(d.Reason)))
	}
	t.flush()
}

// commandText writes a command in the device's own words.
func commandText(kind drivers.Kind, c drivers.Command) string {
	switch {
	case c.Inhibit:
		return "inhibit"
	case kind == drivers.Relay:
		return "run"
	case kind == drivers.Thermostat:
		return fmt.Sprintf("%+.1f K", c.OffsetK)
	case kind == drivers.Charger && c.CurrentA == 0:
		return "pause"
	case kind == drivers.Charger:
		return fmt.Sprintf("%.1f A", c.CurrentA)
	}
	return kw(c.PowerW)
}

func known(v drivers.Opt) string {
	if !v.OK {
		return dash
	}
	return kw(v.V)
}
