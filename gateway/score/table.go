package main

import (
	"fmt"
	"io"
	"strings"
)

// printTable prints a block a scenario, a line a controller.
func printTable(w io.Writer, results []*result) {
	for _, r := range results {
		fmt.Fprintf(w, "\n%s  %s\n", r.sc.id, r.sc.what)
		fmt.Fprintf(w, "%-10s %7s %7s %7s %7s %7s %7s %7s %7s %7s %8s %7s %7s %5s %8s  %s\n", "", "1-min", "15-min", "deliv.", "capped",
			"truly", "worst", "worst", "first", "over-", "travel", "turns", "switch", "viol.", "rebound", "also")
		fmt.Fprintf(w, "%-10s %7s %7s %7s %7s %7s %7s %7s %7s %7s %8s %7s %7s %5s %8s\n", "controller", "RMSE %", "RMSE %", "%", "%",
			"%", "15 min", "hour", "5 min", "shoot%", "kW/h", "1/h", "times", "", "W")
		for i, c := range controllers() {
			s := &r.all[i]
			fmt.Fprintf(w, "%-10s %7.1f %7.2f %7.1f %7.2f %7.1f %7.1f %7.1f %7.1f %7.1f %8.1f %7.1f %7.0f %5.0f %8.0f  %s\n", c.name,
				s.rmse1, s.rmse15, s.delivered, s.capped, s.truly, s.worst15, s.worst1h, s.firstFive, s.overshoot,
				s.travel, s.reversals, s.switches, s.violations, s.rebound, extras(s))
		}
	}
	fmt.Fprintln(w)
}

func extras(s *score) string {
	var out []string
	for _, e := range s.extras {
		out = append(out, fmt.Sprintf("%s %.4g", e.name, e.value))
	}
	return strings.Join(out, ", ")
}

// printFigures prints what the scenarios have to reach.
func printFigures(w io.Writer, results []*result) {
	for _, r := range results {
		id := strings.ToLower(r.sc.id)
		for _, g := range r.sc.gates {
			figure(w, "score_"+id+"_"+g.figure, r.all[0].value(g.figure), unitOf(g.figure), g.op, g.limit)
		}
		figure(w, "score_"+id+"_violations", r.all[0].violations, "times", "<=", 0)
		figure(w, "score_"+id+"_capped_ahead", r.all[0].capped-max(r.all[1].capped, r.all[2].capped), "points", ">=", evenWithin(r.sc))
		if r.sc.bounded == "" {
			figure(w, "score_"+id+"_rmse15_ahead", min(r.all[1].rmse15, r.all[2].rmse15)-r.all[0].rmse15, "points", ">=", 0)
		}
	}
}

// evenWithin is how far behind counts as even: a tenth of a point where every
// controller has used all the energy that there is.
func evenWithin(sc *scenario) float64 {
	if sc.allUsed {
		return -0.1
	}
	return 0
}

func unitOf(name string) string {
	switch name {
	case "min_to_mean":
		return "ratio"
	case "toggles", "violations":
		return "times"
	case "back_in", "runaway":
		return "s"
	case "export_wh":
		return "Wh"
	}
	return "%"
}

// figure prints a measurement in the form that design.md 1.4 fixes.
func figure(w io.Writer, name string, value float64, unit, op string, limit float64) {
	verdict := "short"
	if (op == "<=" && value <= limit) || (op == ">=" && value >= limit) {
		verdict = "ok"
	}
	fmt.Fprintf(w, "figure %s %.4g %s goal %s %g %s\n", name, value, unit, op, limit, verdict)
}
