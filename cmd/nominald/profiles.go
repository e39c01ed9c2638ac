package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"nominald/drivers"
	"nominald/drivers/profile"
	"nominald/gateway/config"
)

func profilesCommand() *cobra.Command {
	var dir string
	var asJSON, reference bool
	cmd := &cobra.Command{
		Use:   "profiles [NAME]",
		Short: "List the device profiles, or show one with its registers",
		Long: `profiles lists the devices that nominald can talk to, with the document that
each description is from and how it was tested. With a name it shows what is
read, what may be written and how a command ends by itself. A site may have
profiles of its own in a directory.`,
		Example: `  nominald profiles
  nominald profiles keba-p30
  nominald profiles --dir /etc/nominald/profiles.d`,
		Args: atMost(1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			if reference {
				dir = "" // the page is of this program, not of the machine that builds it
			}
			lib, err := openProfiles(dir)
			if err != nil {
				return err
			}
			switch {
			case len(args) > 0:
				return showProfile(w, lib, args[0], asJSON)
			case reference:
				return writeProfileReference(w, lib)
			case asJSON:
				list := []profileJSON{}
				for _, p := range lib.List() {
					list = append(list, newProfileJSON(p))
				}
				return writeJSON(w, list)
			}
			return writeProfiles(w, lib.List())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", config.DefaultProfiles, "`DIR` of the site's own profiles")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&reference, "reference", false, "print the page of all devices")
	// It serves those who build the package; people have the installed page.
	cmd.Flags().Lookup("reference").Hidden = true
	return cmd
}

// openProfiles reads the profiles; a mistake in one is told as one in a config.
func openProfiles(dir string) (*profile.Library, error) {
	lib, err := profile.Open(dir)
	if bad, ok := errors.AsType[*profile.Fault](err); ok {
		return nil, &config.Error{Path: bad.File, Line: bad.Line, Found: bad.Text}
	}
	return lib, err
}

func showProfile(w io.Writer, lib *profile.Library, name string, asJSON bool) error {
	var names []string
	for _, p := range lib.List() {
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

// writeProfileReference writes the page of devices, which is installed with the
// package.
func writeProfileReference(w io.Writer, lib *profile.Library) error {
	var b strings.Builder
	b.WriteString(`# Devices

What nominald can talk to, and from which document each description is. *Tested* says against what; a device that was
not yet on a bench is told apart by its identity registers and proved by ` + "`nominald commission`" + `. *Fallback* is
how the device itself ends a command that is not renewed. Any other device with a register list needs a file, no code:
see [profile-format.md](profile-format.md). This page is generated from the profiles.
`)
	for _, kind := range []struct {
		kind  drivers.Kind
		title string
	}{
		{drivers.Meter, "Meters"}, {drivers.Battery, "Batteries and hybrid inverters"}, {drivers.Inverter, "PV inverters"},
		{drivers.Charger, "EV chargers"}, {drivers.Thermostat, "Thermostats, air conditioning and heat pumps"}, {drivers.Relay, "Relay boards"},
	} {
		head := "\n## " + kind.title + "\n\n| profile | devices | source | revision | fallback | tested |\n|---|---|---|---|---|---|\n"
		for _, p := range lib.List() {
			if p.Kind != kind.kind {
				continue
			}
			b.WriteString(head)
			head = ""
			for _, cell := range []string{"`" + p.Name + "`", p.Maker, p.Source, p.Revision, fallbackText(p), p.Tested} {
				b.WriteString("| " + strings.ReplaceAll(cell, "|", "\\|") + " ")
			}
			b.WriteString("|\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
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
	t.row("fallback", fallbackText(p))
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
		plain := r
		plain.Unit = ""
		t.row(r.Name, at(r.Table, r.Address, r.Where), r.Type, r.Unit, acceptedText(plain))
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
	}{
		{"to command", c.Apply}, {"to charge", c.Charge}, {"to discharge", c.Discharge}, {"to hold", c.Hold},
		{"to pause", c.Pause}, {"to inhibit", c.Inhibit}, {"to release", c.Release},
	} {
		var steps []string
		for _, s := range part.steps {
			text := s.Write + " = " + s.Value
			for _, also := range s.Also {
				text += " with " + also.Write + " = " + also.Value
			}
			steps = append(steps, text)
		}
		if len(steps) > 0 {
			t.line("%s: %s", part.title, strings.Join(steps, ", then "))
		}
	}
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
		Revision: p.Revision, Tested: p.Tested, Connect: p.Connect, Fallback: fallbackText(p),
		Notes: append([]string{}, p.Notes...), Points: []registerJSON{}, Writable: []registerJSON{},
	}
	for _, pt := range p.Points {
		j.Points = append(j.Points, registerJSON{pt.Name, at(pt.Table, pt.Address, pt.Where), pt.Type, pt.Unit})
	}
	for _, r := range p.Writable {
		j.Writable = append(j.Writable, registerJSON{r.Name, at(r.Table, r.Address, r.Where), r.Type, r.Unit})
	}
	return j
}
