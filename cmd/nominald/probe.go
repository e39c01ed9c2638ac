package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nominald/drivers"
	"nominald/gateway"
	"nominald/gateway/config"
)

// probeAll prints what every device and the API answered; the error tells the
// exit code.
func probeAll(cmd *cobra.Command, cfg *config.Config, asJSON bool) error {
	rows, err := gateway.Probe(cmd.Context(), cfg, versionText())
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(cmd.OutOrStdout(), rows)
	} else {
		err = writeProbe(cmd.OutOrStdout(), rows)
	}
	if err != nil {
		return err
	}
	silent := 0
	for _, r := range rows {
		if !r.OK {
			silent++
		}
	}
	if silent > 0 {
		return fmt.Errorf("%d of %d did not answer", silent, len(rows))
	}
	return nil
}

// writeProbe prints two tables: who was reached and how well, and what each
// says of itself. What failed is told in full below.
func writeProbe(w io.Writer, rows []gateway.Probed) error {
	t := newTable(w)
	t.row("NAME", "KIND", "WHERE", "ANSWER", "LATENCY", "WORST", "BUS ERRORS")
	for _, r := range rows {
		answer, median, worst := "ok", millis(r.Took), dash
		switch {
		case !r.OK:
			answer, median = "NO", dash
		case r.Latency != nil:
			median, worst = millis(r.Latency.Median), millis(r.Latency.Max)
		}
		t.row(r.Name, r.Kind, r.Where, answer, median, worst, busErrors(r.Bus))
	}
	t.line("")
	t.row("NAME", "IDENTITY", "NOW", "FALLBACK")
	for _, r := range rows {
		if r.OK && r.About != nil {
			t.row(r.Name, orDash(identityText(r.About)), orDash(readingText(r.Reading)), orDash(r.Fallback))
		}
	}
	t.flush()
	for _, r := range rows {
		for _, text := range []string{r.Problem, detailText(r), r.Note} {
			if text != "" {
				t.line("%s: %s", r.Name, text)
			}
		}
	}
	return t.done()
}

func detailText(r gateway.Probed) string {
	if r.About == nil {
		return ""
	}
	return r.About.Detail
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}

// busErrors counts what went wrong on the wire, by class.
func busErrors(b *gateway.BusCounts) string {
	if b == nil {
		return dash
	}
	var parts []string
	for _, c := range []struct {
		n    uint64
		name string
	}{{b.Timeouts, "timeouts"}, {b.Doubts, "spoiled"}, {b.Exceptions, "exceptions"}, {b.Other, "other"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.name))
		}
	}
	return fmt.Sprintf("%s of %d", orNone(strings.Join(parts, ", ")), b.Requests)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// identityText is what a device says of itself, to hold against its name plate.
func identityText(a *drivers.Description) string {
	var parts []string
	add := func(label, text string) {
		if text != "" {
			parts = append(parts, label+text)
		}
	}
	add("", strings.Join(strings.Fields(a.Manufacturer+" "+a.Model), " "))
	add("serial number ", a.Serial)
	add("firmware ", a.Version)
	return strings.Join(parts, ", ")
}

// readingText are the live values with their units, to compare with the
// device's own display.
func readingText(r *drivers.Reading) string {
	if r == nil {
		return ""
	}
	var parts []string
	for _, v := range []struct {
		o      drivers.Opt
		scale  float64
		format string
	}{
		{r.PowerW, 1000, "%.2f kW"}, {r.SoC, 1, "%.0f %% charged"}, {r.CapacityWh, 1000, "of %.1f kWh"}, {r.CurrentA, 1, "%.1f A"},
		{r.TemperatureC, 1, "%.1f C"}, {r.SetpointC, 1, "set to %.1f C"}, {r.ImportWh, 1000, "%.1f kWh imported"}, {r.ExportWh, 1000, "%.1f kWh exported"},
		{r.MaxDischargeW, 1000, "at most %.1f kW"},
	} {
		if v.o.OK {
			parts = append(parts, fmt.Sprintf(v.format, v.o.V/v.scale))
		}
	}
	if r.State != "" {
		parts = append(parts, r.State)
	}
	return strings.Join(parts, ", ")
}
