package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"nominald/gateway/status"
)

// get reads a JSON document from the gateway's own HTTP interface.
func get(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// watch prints one line a second until the release after the timeslot is over.
func watch(ctx context.Context, w io.Writer, url string, start, end time.Time) error {
	fmt.Fprintf(w, "%7s  %-8s %9s %9s %9s  %s\n", "", "", "site kW", "target", "delivered", "devices")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for time.Now().Before(end.Add(tail)) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		var st status.Status
		if err := get(ctx, url+"/api/v1/status", &st); err != nil {
			return err
		}
		fmt.Fprintln(w, line(st, time.Since(start)))
	}
	return nil
}

func line(st status.Status, since time.Duration) string {
	state, target, delivered := "idle", "-", "-"
	if len(st.Meters) > 0 {
		m := st.Meters[0]
		state = m.State
		if m.State == "idle" {
			state = m.Reason
		}
		if m.EventID != "" {
			target, delivered = kilowatts(m.TargetW), kilowatts(m.DeliveredW)
		}
	}
	var devices []string
	for _, d := range st.Devices {
		if d.Kind == "meter" {
			continue
		}
		text := d.Name + " " + kilowatts(d.PowerW)
		if d.PowerW == nil {
			text = d.Name
		}
		if d.SoC != nil {
			text += fmt.Sprintf(" (%.0f %%)", *d.SoC)
		}
		if d.Setpoint != "" {
			text += " <- " + d.Setpoint
		} else {
			text += " " + d.Reason
		}
		devices = append(devices, text)
	}
	return fmt.Sprintf("%+6.0fs  %-8s %9s %9s %9s  %s", since.Seconds(), state, kilowatts(st.SiteLoadW), target, delivered, strings.Join(devices, "   "))
}

func kilowatts(w *float64) string {
	if w == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", *w/1000)
}

// judge prints the report and tells whether the nomination was met, by what
// the gateway measured and by what the simulated site knows to be true.
func judge(w io.Writer, rep status.Report, trueW float64) error {
	fmt.Fprintf(w, "\nReport of %s (%s)\n", rep.EventID, rep.Label)
	fmt.Fprintf(w, "  %s to %s, %s, cap %s, reference %s\n", rep.Start.Format("15:04:05"), rep.End.Format("15:04:05Z"),
		strings.Join(rep.Programs, " "), rep.Cap, rep.Reference)
	if rep.DeliveredKW == nil || rep.NominatedKW == nil {
		fmt.Fprintln(w, "  nothing was measured")
		return ErrMissed
	}
	fmt.Fprintf(w, "  nominated  %6.3f kW\n  delivered  %6.3f kW mean, %.4f kWh of %.4f (measured for %.0f %% of the time)\n",
		*rep.NominatedKW, *rep.DeliveredKW, *rep.DeliveredKWh, *rep.TargetKWh, 100*rep.Coverage)
	fmt.Fprintf(w, "  true mean  %6.3f kW less than the simulated site would have drawn\n", trueW/1000)
	for _, d := range rep.Devices {
		fmt.Fprintf(w, "    %-10s %8.4f kWh\n", d.Name, d.DeliveredWh/1000)
	}
	for _, s := range rep.Shortfalls {
		fmt.Fprintf(w, "    %-24s %.1f min\n", s.Reason, s.Minutes)
	}
	measured := math.Abs(*rep.DeliveredKW / *rep.NominatedKW - 1)
	truth := math.Abs(trueW/1000 / *rep.NominatedKW - 1)
	if measured > withinTarget || truth > withinTarget || rep.Coverage < 0.9 {
		fmt.Fprintf(w, "NOT MET: measured %.1f %% off, true %.1f %% off, accepted %.0f %%\n", 100*measured, 100*truth, 100*withinTarget)
		return ErrMissed
	}
	fmt.Fprintf(w, "MET: measured %.1f %% off, true %.1f %% off, accepted %.0f %%\n", 100*measured, 100*truth, 100*withinTarget)
	return nil
}
