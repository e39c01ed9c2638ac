package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"nominald/gateway/intervals"
)

func leapCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "leap",
		Short:   "See what was sent to Leap",
		Long:    `leap shows what the running gateway has sent to Leap beside its searches.`,
		Example: `  nominald leap intervals`,
		Args:    cobra.ArbitraryArgs, // so that an unknown command is our error, with exit code 2
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(leapIntervalsCommand())
	return cmd
}

func leapIntervalsCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:   "intervals",
		Short: "Say what became of the intervals that were sent",
		Long: `intervals shows the ledger of the measured intervals of 15 minutes: how many
Leap has taken, which files are under way, and which it did not take, with its
own error codes. Meters with upload: true in the config are sent.`,
		Example: `  nominald leap intervals
  nominald leap intervals --json`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(f)
			if err != nil {
				return err
			}
			return showIntervals(cmd.Context(), c, cmd.OutOrStdout(), f.json)
		},
	}
	f.register(cmd)
	return cmd
}

func showIntervals(ctx context.Context, c *client, w io.Writer, asJSON bool) error {
	var s intervals.Summary
	raw, err := c.get(ctx, "/api/v1/intervals", nil, &s)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, raw)
	}
	t := newTable(w)
	t.row("taken by Leap", fmt.Sprintf("%d intervals", s.Intervals))
	t.row("under way", fmt.Sprintf("%d files", s.Pending))
	t.row("not taken", fmt.Sprintf("%d intervals", s.Refused))
	if s.LastError != "" {
		t.row("last error", s.LastError)
	}
	t.flush()
	if len(s.Days) > 0 {
		t.line("")
		t.row("DAY", "METER", "STATE", "LINE", "COLUMN", "CODE", "MESSAGE")
	}
	for i := range s.Days {
		d := &s.Days[i]
		if len(d.Problems) == 0 {
			t.row(d.Date, d.Meter, dayState(d))
		}
		for _, p := range d.Problems {
			t.row(d.Date, d.Meter, dayState(d), fmt.Sprint(p.Line), orDash(p.Column), p.Code, p.Message)
		}
	}
	return t.done()
}

// dayState says in a word or two where a day stands.
func dayState(d *intervals.Day) string {
	switch {
	case len(d.Refused) > 0:
		return fmt.Sprintf("refused %d times, not sent again", d.Failures)
	case d.Pending != nil && d.Pending.Job == "":
		return "sent, no answer yet"
	case d.Pending != nil:
		return "Leap works on it"
	}
	return fmt.Sprintf("refused %d times, sent again later", d.Failures)
}
