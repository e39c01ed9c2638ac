package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nominald/drivers/profile"
	"nominald/gateway/scan"
)

// siteProfiles is where a site keeps its own device profiles.
const siteProfiles = "/etc/nominald/profiles.d"

func scanCommand() *cobra.Command {
	var o scan.Options
	var units, profiles string
	var quick, asJSON bool
	cmd := &cobra.Command{
		Use:   "scan (--serial DEV ... | --tcp HOST[:PORT] ...)",
		Short: "Find Modbus devices, name them and print config to paste",
		Long: `scan asks each unit id on serial lines and TCP addresses for something short,
and what answers for its identity: SunSpec devices name themselves, others are
held against the device profiles. It only reads. It keeps a pause between two
requests and opens one line at a time.

A quick scan, which is the default, tries the usual speeds, formats and unit
ids and those of the profiles. When something answers at a setting, the others
are left out. --full tries all of them.

A line or device that the gateway talks to is not free: systemctl stop nominald
first, and start it again afterwards. Ctrl-C shows what was found by then. The
exit code is 1 when nothing was found.`,
		Example: `  nominald scan --serial /dev/serial/by-id/usb-FTDI_FT232R-if00-port0
  nominald scan --serial /dev/ttyUSB0 --serial /dev/ttyUSB1 --full
  nominald scan --serial /dev/ttyUSB0 --baud 9600 --format 8E1 --unit 1-20,200
  nominald scan --tcp 192.168.1.20 --tcp 192.168.1.21:1502
  nominald scan --tcp 192.168.1.0/24
  nominald scan --tcp 192.168.1.50:4196 --rtu`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick && o.Full {
				return &usageError{found: "--quick and --full exclude each other"}
			}
			if units != "" {
				var err error
				if o.Units, err = scan.ParseUnits(units); err != nil {
					return &usageError{found: err.Error()}
				}
			}
			library, err := profile.Open(profiles)
			if err != nil {
				return err
			}
			o.Profiles = library.List()
			return runScan(cmd, o, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Serial, "serial", nil, "serial `DEV`; may be given several times")
	f.StringArrayVar(&o.TCP, "tcp", nil, "`HOST[:PORT]`, or a network no larger than /24; may be given several times")
	f.BoolVar(&quick, "quick", false, "the usual speeds, formats and unit ids (the default)")
	f.BoolVar(&o.Full, "full", false, "all speeds, formats and unit ids, and go on behind what answers")
	f.IntSliceVar(&o.Bauds, "baud", nil, "speeds of serial lines, in their order")
	f.StringSliceVar(&o.Formats, "format", nil, "formats of serial lines: 8N1, 8E1, 8O1, 8N2")
	f.StringVar(&units, "unit", "", "unit `IDS`, as 1-20,200")
	f.IntSliceVar(&o.Ports, "port", nil, "TCP ports where an address has none (default 502,1502)")
	f.BoolVar(&o.RTU, "rtu", false, "TCP carries RTU frames: a serial device server in transparent mode")
	f.DurationVar(&o.Timeout, "timeout", 0, "how long a unit is waited for (default 200ms on a serial line, 1s over TCP)")
	f.DurationVar(&o.Pause, "pause", 0, "between two requests (default 20ms; after an answer on a serial line at least 100ms)")
	f.StringVar(&profiles, "profiles", siteProfiles, "`DIR` of the site's own device profiles")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// errNothingFound is the exit code 1 of a scan; what to check was printed.
var errNothingFound = errors.New("nothing was found")

func runScan(cmd *cobra.Command, o scan.Options, asJSON bool) error {
	out, errs := cmd.OutOrStdout(), cmd.ErrOrStderr()
	plan, err := scan.NewPlan(o)
	if err != nil {
		return &usageError{found: err.Error()}
	}
	live := newLiveLine(errs)
	for _, line := range plan.Estimate() {
		live.say("%s", line)
	}
	o.Progress = func(p scan.Progress) {
		if p.Found != nil {
			live.say("found %s: %s", p.Found.Place, scanName(*p.Found))
			return
		}
		live.update("%3.0f %%, %s left if nothing answers, %s", 100*float64(p.Done-1)/float64(max(p.Total, 1)), shortly(p.Left), p.Where)
	}
	result, err := scan.Run(cmd.Context(), o)
	live.done()
	if err != nil {
		return &usageError{found: err.Error()}
	}
	if asJSON {
		err = writeJSON(out, result)
	} else {
		err = writeScan(out, result)
	}
	for _, p := range result.Problems {
		live.say("%s: %s", p.Where, p.Text)
	}
	if result.Interrupted {
		live.say("interrupted: the scan is not whole")
	}
	if err == nil && len(result.Found) == 0 {
		fmt.Fprint(errs, result.Nothing(o))
		return errNothingFound
	}
	return err
}

func writeScan(w io.Writer, r *scan.Result) error {
	if len(r.Found) == 0 {
		return nil
	}
	t := newTable(w)
	t.row("WHERE", "UNIT", "WHAT", "SERIAL NUMBER", "PROFILE", "NOW")
	for _, f := range r.Found {
		t.row(scanWhere(f.Place), fmt.Sprint(f.Unit), scanName(f), orDash(f.SerialNumber), orDash(f.Profile), orDash(f.Live()))
	}
	t.flush()
	for _, f := range r.Found {
		if len(f.Profiles) > 1 {
			also := "other profiles that fit"
			if len(f.SunSpec) > 0 {
				also = "the same unit is also"
			}
			t.line("%s: %s: %s", f.Place, also, strings.Join(f.Profiles[1:], ", "))
		}
		if f.Note != "" {
			t.line("%s: %s", f.Place, f.Note)
		}
	}
	if config := r.Config(); config != "" {
		t.line("")
		t.line("# To paste into /etc/nominald/nominald.yaml:")
		for line := range strings.Lines(config) {
			t.line("%s", strings.TrimSuffix(line, "\n"))
		}
	}
	return t.done()
}

func orDash(s string) string {
	if s == "" {
		return dash
	}
	return s
}

// scanWhere is short: the table has a column for the unit.
func scanWhere(p scan.Place) string {
	if p.Serial != "" {
		return fmt.Sprintf("%s %d %s", filepath.Base(p.Serial), p.Baud, p.Format)
	}
	if p.RTU {
		return p.TCP + " RTU"
	}
	return p.TCP
}

// scanName is maker and model, or what came instead.
func scanName(f scan.Found) string {
	name := strings.Join(strings.Fields(f.Manufacturer+" "+f.Model), " ")
	if name == "" {
		return "not known, " + f.Answer
	}
	if runes := []rune(name); len(runes) > 60 {
		name = string(runes[:57]) + "..."
	}
	return name
}

// shortly writes a time left for people.
func shortly(d time.Duration) string { return age(d.Seconds()) }
