package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"nominald/gateway/config"
)

// defaultConfig is where the package installs the config.
const defaultConfig = "/etc/nominald/nominald.yaml"

func checkCommand() *cobra.Command {
	var path string
	var file string
	var asJSON, reference, probe bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read the config strictly and say what it means",
		Long: `check reads the config and the files that it refers to, starts nothing and
talks to no device. A fault is told in one line with its place, and the exit
code is 78. With --probe it also reads every device and the API, writes
nothing, and prints what answered; stop the service first where a device takes
one client only. With --profile it reads a device profile instead and says what
was understood: the requests of a poll, what example commands would write, and
all that may be written.`,
		Example: `  nominald check --config /etc/nominald/nominald.yaml
  nominald check --config site.yaml --json
  nominald check --config site.yaml --probe
  nominald check --profile wallbox.yaml`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reference {
				_, err := io.WriteString(cmd.OutOrStdout(), config.ReferencePage())
				return err
			}
			if file != "" && (probe || cmd.Flags().Changed("config")) {
				return &usageError{found: "--profile checks a profile, --config and --probe a site", remedy: "give one of them"}
			}
			if file != "" {
				return checkProfile(cmd.OutOrStdout(), file, asJSON)
			}
			if probe {
				cfg, err := loadForDriving(path)
				if err != nil {
					return err
				}
				return probeAll(cmd, cfg, asJSON)
			}
			return check(cmd.OutOrStdout(), path, asJSON)
		},
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "config `FILE`")
	cmd.Flags().StringVar(&file, "profile", "", "check the device profile `FILE` instead of a config")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&probe, "probe", false, "also read every device and the API once")
	cmd.Flags().BoolVar(&reference, "reference", false, "print the page of all config keys")
	// It serves those who build the package; people have the installed page.
	cmd.Flags().Lookup("reference").Hidden = true
	return cmd
}

// check reads the config and prints what it means; with --json as JSON, where a
// fault is printed as well.
func check(w io.Writer, path string, asJSON bool) error {
	cfg, err := loadForDriving(path)
	if asJSON {
		return errors.Join(err, writeJSON(w, newCheckResult(path, cfg, err)))
	}
	if err != nil {
		return err
	}
	return writeCheck(w, cfg)
}

func writeCheck(w io.Writer, c *config.Config) error {
	t := newTable(w)
	t.line("%s: ok", c.Path)
	t.row("site", c.Site.Name+", "+c.Site.Timezone.String())
	t.row("mode", mode(c.Site.Armed))
	limit := "import not given"
	if c.Site.MaxImportW > 0 {
		limit = "import " + kw(c.Site.MaxImportW)
	}
	t.row("limits", limit+", export "+kw(c.Site.MaxExportW))
	t.row("leap", fmt.Sprintf("%s every %s, key from %s", c.Leap.URL, config.FormatDuration(c.Leap.Poll), c.Leap.APIKey))
	t.row("http", c.HTTP.Listen+", token "+c.HTTP.Token.String())
	t.row("store", c.Store.Dir+", kept "+config.FormatDuration(c.Store.Retain))
	t.flush()
	t.line("")
	t.row("METER", "TYPE", "MEASURED BY", "AGAINST", "DEVICES")
	for _, m := range c.Meters {
		against := string(m.Reference)
		if m.Reference == config.ByBaseline {
			against += " " + m.Baseline
		}
		t.row(m.ID, string(m.Type), m.MeasuredBy, against, strings.Join(m.Devices, ", "))
	}
	t.flush()
	t.line("")
	t.row("DEVICE", "KIND", "PROFILE", "REACHED BY")
	for _, d := range c.Devices {
		t.row(d.Name, string(d.Kind), d.Profile, reachedBy(c, d))
	}
	t.flush()
	for _, warning := range c.Warnings {
		t.line("warning: %s", warning)
	}
	return t.done()
}

func mode(armed bool) string {
	if armed {
		return "armed: devices are driven"
	}
	return "dry run: nothing is written to devices (site.armed is false)"
}

// reachedBy says how a device is wired: "lan (192.168.1.20:502) unit 1".
func reachedBy(c *config.Config, d config.Device) string {
	if d.GPIO != "" {
		level := "high"
		if d.ActiveLow {
			level = "low"
		}
		lines := d.GPIO
		if d.GPIO2 != "" {
			lines += " and " + d.GPIO2
		}
		return lines + ", active " + level
	}
	for _, b := range c.Buses {
		if b.Name != d.Bus {
			continue
		}
		address := b.TCP
		if b.Serial != "" {
			address = fmt.Sprintf("%s %d %s", b.Serial, b.Baud, b.Format)
		}
		if b.RTU {
			address += " RTU"
		}
		at := fmt.Sprintf("%s (%s) unit %d", b.Name, address, d.Unit)
		if d.Channel > 0 {
			at += fmt.Sprintf(" channel %d", d.Channel)
		}
		return at
	}
	return d.Bus
}
