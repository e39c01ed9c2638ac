package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"nominald/gateway/status"
)

func statusCommand() *cobra.Command {
	var f clientFlags
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running gateway does",
		Example: `  nominald status
  nominald status --watch
  nominald status --json`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(f)
			if err != nil {
				return err
			}
			if watch {
				return watchStatus(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr(), f.json)
			}
			return showStatus(cmd.Context(), c, cmd.OutOrStdout(), f.json)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "go on, once a second, until interrupted")
	return cmd
}

func showStatus(ctx context.Context, c *client, w io.Writer, asJSON bool) error {
	var s status.Status
	raw, err := c.get(ctx, "/api/v1/status", nil, &s)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, raw)
	}
	return writeStatus(w, &s)
}

// watchStatus shows the status each second until the context ends: as a page
// that is drawn anew on a terminal, as one line a second elsewhere. A gateway
// that goes away after the first answer is waited for.
func watchStatus(ctx context.Context, c *client, w, errw io.Writer, asJSON bool) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	draw := isTerminal(w) && !asJSON
	for first := true; ; first = false {
		var s status.Status
		raw, err := c.get(ctx, "/api/v1/status", nil, &s)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil:
			fmt.Fprintln(errw, "nominald status:", err)
		default:
			if err := writeWatched(w, &s, raw, draw, asJSON); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func writeWatched(w io.Writer, s *status.Status, raw json.RawMessage, draw, asJSON bool) error {
	var page bytes.Buffer
	switch {
	case asJSON:
		if err := json.Compact(&page, raw); err != nil {
			return err
		}
		page.WriteByte('\n')
	case draw:
		page.WriteString("\x1b[H\x1b[2J") // cursor home, clear
		if err := writeStatus(&page, s); err != nil {
			return err
		}
	default:
		page.WriteString(statusLine(s) + "\n")
	}
	_, err := w.Write(page.Bytes())
	return err
}

// isTerminal reports whether a person looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// statusLine is the status in one line, for a log.
func statusLine(s *status.Status) string {
	line := newClock(s.Site.Timezone).full(s.Now) + "  site " + optKW(s.SiteLoadW)
	for _, m := range s.Meters {
		line += fmt.Sprintf("  %s %s target %s delivered %s (%s)", m.ID, m.State, optKW(m.TargetW), optKW(m.DeliveredW), m.Reason)
	}
	if s.Stopped {
		line += "  STOPPED"
	}
	return printable(line)
}

func writeStatus(w io.Writer, s *status.Status) error {
	at := newClock(s.Site.Timezone)
	t := newTable(w)
	t.line("%s  %s  nominald %s", s.Site.Name, at.full(s.Now), s.Version)
	t.row("mode", modeNow(s))
	t.row("site load", siteLoad(s))
	t.row("leap", leapNow(s))
	clockNow := "trusted"
	if !s.Clock.Trusted {
		clockNow = "NOT TRUSTED, " + because(s.Clock.Reason)
	}
	t.row("clock", clockNow)
	storeNow := "ok"
	if !s.Store.OK {
		storeNow = "NOT OK"
	}
	if s.Store.Note != "" {
		storeNow += ", " + s.Store.Note
	}
	t.row("store", storeNow)
	for _, b := range s.Buses {
		t.row("bus "+b.Name, busNow(b))
	}
	t.flush()
	for _, a := range s.Alarms {
		t.line("%s: %s (%s, since %s)", a.Level, a.Text, a.Code, at.minute(a.Since))
	}
	writeMeters(t, s, at)
	writeDevices(t, s)
	writeNext(t, s, at)
	return t.done()
}

func modeNow(s *status.Status) string {
	switch {
	case s.Stopped && s.StopBy != "":
		return "STOPPED by " + s.StopBy + "; `nominald resume` releases it"
	case s.Stopped:
		return "STOPPED; `nominald resume` releases it"
	case s.Armed:
		return "armed"
	}
	return "dry run, nothing is written to devices"
}

func siteLoad(s *status.Status) string {
	if s.SiteLoadW == nil {
		return dash
	}
	text := kw(*s.SiteLoadW) + " import"
	if *s.SiteLoadW < 0 {
		text = kw(-*s.SiteLoadW) + " export"
	}
	if s.SiteLoadAgeS != nil && *s.SiteLoadAgeS >= 5 {
		text += ", " + age(*s.SiteLoadAgeS) + " ago"
	}
	return text
}

func leapNow(s *status.Status) string {
	text := "no answer yet"
	if s.Leap.AgeS != nil {
		text = "last answer " + age(*s.Leap.AgeS) + " ago"
	}
	if s.Leap.LastError != "" {
		text += fmt.Sprintf("; failing (%d in a row): %s", s.Leap.Failures, s.Leap.LastError)
	}
	return text
}

// busNow is a bus in a line: its load, what failed on it, and its slowest unit.
func busNow(b status.Bus) string {
	var requests, timeouts, exceptions, doubts, other uint64
	slowest := 0.0
	for _, u := range b.Units {
		requests, timeouts, exceptions = requests+u.Requests, timeouts+u.Timeouts, exceptions+u.Exceptions
		doubts, other = doubts+u.Doubts, other+u.Other
		if u.LatencyMS != nil {
			slowest = max(slowest, u.LatencyMS.P99)
		}
	}
	text := fmt.Sprintf("load %.0f %%, units %d, requests %d", b.LoadPercent, len(b.Units), requests)
	for _, f := range []struct {
		name string
		n    uint64
	}{{"timeouts", timeouts}, {"exceptions", exceptions}, {"doubts", doubts}, {"other failures", other}} {
		if f.n > 0 {
			text += fmt.Sprintf(", %s %d", f.name, f.n)
		}
	}
	if slowest > 0 {
		text += fmt.Sprintf(", slowest unit %.0f ms (p99)", slowest)
	}
	return text
}

func writeMeters(t *table, s *status.Status, at clock) {
	t.line("")
	t.row("METER", "STATE", "TARGET", "DELIVERED", "THIS INTERVAL", "UNTIL", "REASON")
	for _, m := range s.Meters {
		interval := dash
		if m.Interval != nil {
			interval = fmt.Sprintf("%.2f of %.2f kWh", m.Interval.DeliveredWh/1000, m.Interval.TargetWh/1000)
		}
		t.row(m.ID, m.State, optKW(m.TargetW), optKW(m.DeliveredW), interval, at.optMinute(m.Until), because(m.Reason))
	}
	t.flush()
}

func writeDevices(t *table, s *status.Status) {
	t.line("")
	t.row("DEVICE", "KIND", "LINK", "POWER", "ASKED", "CHARGE", "REASON")
	for _, d := range s.Devices {
		link := "online"
		if !d.Online {
			link = "OFFLINE"
		}
		asked := d.Setpoint
		if asked == "" {
			asked = optKW(d.SetpointW)
		}
		reason := because(d.Reason)
		if !d.Online && d.LastError != "" {
			reason = d.LastError
		}
		t.row(d.Name, string(d.Kind), link, optKW(d.PowerW), asked, opt("%.0f %%", d.SoC), reason)
	}
	t.flush()
}

func writeNext(t *table, s *status.Status, at clock) {
	if len(s.Next) == 0 {
		t.line("")
		t.line("no timeslot runs or lies ahead")
		return
	}
	t.line("")
	writeSlots(t, s.Next, at)
}
