package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"nominald/drivers/profile"
	"nominald/gateway/config"
)

func profilesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "profiles [NAME]",
		Short: "List the device profiles, or show one with its registers",
		Long: `profiles lists the devices that nominald can talk to, with the document that
each description is from and how it was tested. With a name it shows what is
read, what may be written and how a command ends by itself.`,
		Example: `  nominald profiles
  nominald profiles keba-p30`,
		Args: atMost(1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			if len(args) > 0 {
				return showProfile(w, args[0], asJSON)
			}
			all := profile.List()
			if asJSON {
				list := []profileJSON{}
				for _, p := range all {
					list = append(list, newProfileJSON(p))
				}
				return writeJSON(w, list)
			}
			return writeProfiles(w, all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showProfile(w io.Writer, name string, asJSON bool) error {
	var names []string
	for _, p := range profile.List() {
		if p.Name != name {
			names = append(names, p.Name)
			continue
		}
		if asJSON {
			return writeJSON(w, newProfileJSON(p))
		}
		return writeProfile(w, p)
	}
	msg := fmt.Sprintf("there is no profile %q", name)
	if near := config.Nearest(name, names); near != "" {
		return errors.New(msg + "; did you mean " + near + "?")
	}
	return errors.New(msg + "; there are " + strings.Join(names, ", "))
}

func writeProfiles(w io.Writer, all []*profile.Profile) error {
	t := newTable(w)
	t.row("PROFILE", "KIND", "BUS", "DEVICES", "TESTED")
	for _, p := range all {
		t.row(p.Name, string(p.Kind), p.Bus, p.Maker, p.Tested)
	}
	t.line("")
	t.row("PROFILE", "SOURCE")
	for _, p := range all {
		t.row(p.Name, sourceText(p))
	}
	return t.done()
}

func sourceText(p *profile.Profile) string {
	if p.Revision == "" {
		return p.Source
	}
	return p.Source + "; " + p.Revision
}

func writeProfile(w io.Writer, p *profile.Profile) error {
	t := newTable(w)
	t.line("%s: %s, kind %s", p.Name, p.Maker, p.Kind)
	t.row("source", sourceText(p))
	t.row("tested", p.Tested)
	t.row("bus", p.Bus)
	t.row("connect", p.Connect)
	t.row("fallback", fallbackText(p.Fallback))
	if p.Driver != "" {
		t.row("driver", p.Driver)
	}
	t.flush()
	for _, n := range p.Notes {
		t.line("note: %s", n)
	}
	if len(p.Points) > 0 {
		t.line("")
		t.row("READS", "AT", "TYPE", "UNIT", "MEANS")
	}
	for _, pt := range p.Points {
		t.row(pt.Name, at(pt.Table, pt.Address, pt.Where), pt.Type, pt.Unit, pt.Meaning)
	}
	t.flush()
	if len(p.Writable) > 0 {
		t.line("")
		t.row("WRITES", "AT", "TYPE", "UNIT", "ACCEPTED")
	}
	for _, r := range p.Writable {
		accepted := "any"
		if r.Min != nil && r.Max != nil {
			accepted = fmt.Sprintf("%g to %g", *r.Min, *r.Max)
		}
		t.row(r.Name, at("", r.Address, r.Where), r.Type, r.Unit, accepted)
	}
	t.flush()
	writeSteps(t, p.Command)
	if len(p.Never) > 0 {
		t.line("never written: %s", strings.Trim(fmt.Sprint(p.Never), "[]"))
	}
	return t.done()
}

// at says where a value is: a register, or what another driver looks for.
func at(table string, address uint16, where string) string {
	if where != "" {
		return where
	}
	if table == "" {
		table = "holding"
	}
	return fmt.Sprintf("%s %d", table, address)
}

func writeSteps(t *table, c profile.Command) {
	for _, part := range []struct {
		title string
		steps []profile.Step
	}{{"to command", c.Apply}, {"to pause", c.Pause}, {"to release", c.Release}} {
		var steps []string
		for _, s := range part.steps {
			steps = append(steps, s.Write+" = "+s.Value)
		}
		if len(steps) > 0 {
			t.line("%s: %s", part.title, strings.Join(steps, ", then "))
		}
	}
}

func fallbackText(f profile.Fallback) string {
	if f.Register == "" {
		return "none known: the device does not end a command by itself"
	}
	return fmt.Sprintf("%s, %s to %s", f.Register, config.FormatDuration(f.Min), config.FormatDuration(f.Max))
}

// profileJSON is a profile as `nominald profiles --json` prints it.
type profileJSON struct {
	Name     string         `json:"name"`
	Kind     string         `json:"kind"`
	Bus      string         `json:"bus"`
	Maker    string         `json:"maker"`
	Driver   string         `json:"driver"`
	Source   string         `json:"source"`
	Revision string         `json:"revision"`
	Tested   string         `json:"tested"`
	Connect  string         `json:"connect"`
	Fallback string         `json:"fallback"`
	Notes    []string       `json:"notes"`
	Points   []registerJSON `json:"points"`
	Writable []registerJSON `json:"writable"`
}

type registerJSON struct {
	Name string `json:"name"`
	At   string `json:"at"`
	Type string `json:"type"`
	Unit string `json:"unit"`
}

func newProfileJSON(p *profile.Profile) profileJSON {
	j := profileJSON{
		Name: p.Name, Kind: string(p.Kind), Bus: p.Bus, Maker: p.Maker, Driver: p.Driver, Source: p.Source,
		Revision: p.Revision, Tested: p.Tested, Connect: p.Connect, Fallback: fallbackText(p.Fallback),
		Notes: append([]string{}, p.Notes...), Points: []registerJSON{}, Writable: []registerJSON{},
	}
	for _, pt := range p.Points {
		j.Points = append(j.Points, registerJSON{pt.Name, at(pt.Table, pt.Address, pt.Where), pt.Type, pt.Unit})
	}
	for _, r := range p.Writable {
		j.Writable = append(j.Writable, registerJSON{r.Name, at("", r.Address, r.Where), r.Type, r.Unit})
	}
	return j
}
