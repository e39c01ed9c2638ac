package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/gateway/config"
)

// explainFlags are what explain was asked for.
type explainFlags struct {
	clientFlags
	at            string
	replay        bool
	dir           string
	from, to, day string
}

func explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Explain the decision of one control round, or replay many",
		Long: `explain shows what the gateway decided in the round that was in force at a
time: which timeslots there were, what each meter was asked, what each device
was told, and why. With --json the inputs of the round are there too.

Rounds are kept for 14 days: every one while a timeslot is prepared, runs or
ends, one a minute otherwise. A power cut may cost the last minute.

With --replay this program decides once more from the kept inputs and compares
byte by byte; the exit code is 1 when a decision differs. With --from and --to,
or --day, it replays every kept round of that time, straight from the files:
name the directory with --dir (as root or user nominald), or the config. The
gateway may run meanwhile.`,
		Example: `  nominald explain
  nominald explain --at -10m
  nominald explain --at 2026-07-14T17:03:00-07:00 --json
  nominald explain --at -3d --replay
  nominald explain --replay --day 2026-07-14 --config /etc/nominald/nominald.yaml
  nominald explain --replay --from -2h --to now --dir /var/lib/nominald`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if f.span() {
				return replaySpan(cmd.Context(), f, cmd.OutOrStdout())
			}
			return explainOne(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.at, "at", "", "`TIME` (RFC 3339), now, or relative as -10m")
	cmd.Flags().BoolVar(&f.replay, "replay", false, "decide again from the kept inputs, and compare")
	registerSpan(cmd, &f.from, &f.to)
	cmd.Flags().StringVar(&f.day, "day", "", "with --replay, all of one day: `DATE` as 2026-07-14, at the site with --config, else UTC")
	cmd.Flags().StringVar(&f.dir, "dir", "", "read the files in `DIR` (store.dir) and ask no gateway")
	return cmd
}

// span tells whether many rounds are asked for.
func (f *explainFlags) span() bool { return f.from != "" || f.to != "" || f.day != "" }

func (f *explainFlags) check() error {
	switch {
	case f.span() && !f.replay:
		return &usageError{found: "--from, --to and --day are for --replay", remedy: "one round is shown with --at"}
	case f.span() && f.at != "":
		return &usageError{found: "--at names one round, --from, --to and --day name many", remedy: "remove one of them"}
	case f.day != "" && (f.from != "" || f.to != ""):
		return &usageError{found: "--day is given beside --from or --to", remedy: "remove one of them"}
	case f.span() && f.addr != "":
		return &usageError{found: "many rounds are replayed from the files, not over --addr", remedy: "use --dir or --config"}
	case f.dir != "" && f.addr != "":
		return &usageError{found: "both --dir and --addr are given", remedy: "remove one of them"}
	}
	return nil
}

// explained is a round as the gateway keeps it.
type explained struct {
	Input    plan.Input    `json:"input"`
	Decision plan.Decision `json:"decision"`
}

// explainOne shows or replays one round.
func explainOne(ctx context.Context, f explainFlags, w io.Writer) error {
	raw, zone, err := fetchRound(ctx, f)
	switch {
	case err != nil:
		return err
	case f.replay:
		return replayOne(raw, w, f.json)
	case f.json:
		return writeJSON(w, raw)
	}
	var e explained
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("read a kept round: %w", err)
	}
	at, err := zone()
	if err != nil {
		return err
	}
	return writeDecision(w, &e, at)
}

// fetchRound asks the gateway, or with --dir looks into the files. zone is the
// site's clock, where it is known; only people need it.
func fetchRound(ctx context.Context, f explainFlags) (raw json.RawMessage, zone func() (clock, error), err error) {
	if f.dir != "" {
		j, err := openJournal(f)
		if err != nil {
			return nil, nil, err
		}
		raw, err := j.find(f.at)
		return raw, func() (clock, error) { return clock{zone: j.zone}, nil }, err
	}
	c, err := newClient(f.clientFlags)
	if err != nil {
		return nil, nil, err
	}
	q := url.Values{}
	if f.at != "" {
		q.Set("at", f.at)
	}
	var e explained
	raw, err = c.get(ctx, "/api/v1/explain", q, &e)
	return raw, func() (clock, error) {
		site, err := siteNow(ctx, c)
		return newClock(site.Site.Timezone), err
	}, err
}

func writeDecision(w io.Writer, e *explained, at clock) error {
	d := &e.Decision
	kinds := map[string]drivers.Kind{}
	for _, dev := range e.Input.Devices {
		kinds[dev.Name] = dev.Kind
	}
	t := newTable(w)
	t.line("round of %s", at.full(d.Now))
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
	writeEnergy(t, d.Energy)
	return t.done()
}

func writeAsked(t *table, title string, devices []plan.DeviceDecision, kinds map[string]drivers.Kind) {
	aims := false // a round that an older version kept has none
	for _, d := range devices {
		aims = aims || d.AimW != 0 || d.ClampedBy != ""
	}
	t.line("")
	head := []string{title, "ACTION", "COMMAND", "GIVES"}
	if aims {
		head = append(head, "AIM", "CLAMPED BY")
	}
	t.row(append(head, "REASON")...)
	for _, d := range devices {
		asked, aim := dash, dash
		if d.Action == plan.Follow {
			asked, aim = commandText(kinds[d.Name], d.Command), kw(d.AimW)
		}
		cells := []string{d.Name, string(d.Action), asked, kw(d.GiveW)}
		if aims {
			cells = append(cells, aim, orDash(d.ClampedBy))
		}
		t.row(append(cells, because(string(d.Reason)))...)
	}
	t.flush()
}

// writeEnergy shows how the batteries' energy is shared over the timeslots, in
// the order in which it was given out: the one that ranks highest is first.
func writeEnergy(t *table, shares []plan.EnergyShare) {
	if len(shares) == 0 {
		return
	}
	t.line("")
	t.row("ENERGY PLAN", "TIMESLOT", "NEEDS", "GETS")
	for _, s := range shares {
		t.row(s.Device, s.EventID, kwh(s.NeedWh), kwh(s.KeptWh))
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

// siteOf is the config that says where the files are and in which zone the
// site lives; nil without --config.
func siteOf(f explainFlags) (*config.Config, *time.Location, error) {
	if f.config == "" {
		return nil, time.UTC, nil
	}
	cfg, err := config.Load(f.config)
	if err != nil {
		return nil, nil, err
	}
	return cfg, cfg.Site.Timezone, nil
}
