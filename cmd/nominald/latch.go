package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

// latchCommand is stop or resume: the owner's STOP and its release.
func latchCommand(what string) *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     what,
		Short:   "Stop the site: every device goes to neutral and stays there until resume",
		Example: "  nominald " + what,
		Args:    noArgs(),
	}
	done := "stopped: every device goes to neutral; `nominald resume` releases it"
	if what == "resume" {
		cmd.Short = "Release the owner's STOP"
		done = "resumed: timeslots are followed again"
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(f)
		if err != nil {
			return err
		}
		var answer struct {
			Stopped bool `json:"stopped"`
		}
		raw, err := c.call(cmd.Context(), http.MethodPost, "/api/v1/"+what, nil, &answer)
		if err != nil {
			return err
		}
		if answer.Stopped != (what == "stop") {
			return fmt.Errorf("the gateway at %s answers %s and is in the other state", c.base, raw)
		}
		if f.json {
			return writeJSON(cmd.OutOrStdout(), raw)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
		return err
	}
	f.register(cmd)
	return cmd
}
