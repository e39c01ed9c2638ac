package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// A plot has two panels over the same time: above what is asked and what each
// controller gives, below the site under our own.
const (
	plotW, panelH = 1200, 300
	plotLeft      = 70
	plotRight     = 20
	plotTop       = 60
	panelGap      = 50
	plotEvery     = 10 // seconds a point
)

// line is one curve of a panel.
type line struct {
	name, colour string
	width        float64
	of           func(sample) float64
	from         *record
}

// drawAll writes one SVG a scenario.
func drawAll(results []*result, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, r := range results {
		path := filepath.Join(dir, strings.ToLower(r.sc.id)+".svg")
		if err := os.WriteFile(path, []byte(draw(r)), 0o644); err != nil {
			return fmt.Errorf("plot of scenario %s: %w", r.sc.id, err)
		}
	}
	return nil
}

func draw(r *result) string {
	mine := r.sample[0]
	given := func(s sample) float64 { return s.settledW }
	above := []line{{"PI 1 s", "#d9a441", 1, given, r.sample[2]}, {"open loop", "#9aa7b5", 1, given, r.sample[1]},
		{"nominald", "#1f5fa8", 1.6, given, mine}, {"asked", "#111111", 1.6, func(s sample) float64 { return s.targetW }, mine}}
	below := []line{{"net load", "#1f5fa8", 1.4, func(s sample) float64 { return s.netW }, mine},
		{"batteries", "#3a8f5c", 1.4, func(s sample) float64 { return s.batteryW }, mine}}
	if mine.sc.nullW == 0 || len(mine.samples) > 0 && mine.samples[0].baselineW != 0 {
		below = append(below, line{"baseline", "#b0413e", 1.2, func(s sample) float64 { return s.baselineW }, mine})
	}
	var b strings.Builder
	height := plotTop + 2*panelH + panelGap + 40
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n", plotW, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/><text x="%d" y="24" font-size="17">%s: %s (seed %d)</text>`+"\n",
		plotLeft, r.sc.id, r.sc.what, mine.seed)
	panel(&b, plotTop, "given, kW", above, mine)
	panel(&b, plotTop+panelH+panelGap, "site under nominald, kW", below, mine)
	b.WriteString("</svg>\n")
	return b.String()
}

// panel draws one set of curves with its axes.
func panel(b *strings.Builder, top int, title string, lines []line, mine *record) {
	low, high := 0.0, 0.0
	points := make([][]float64, len(lines))
	for i, l := range lines {
		points[i] = thin(l)
		for _, v := range points[i] {
			low, high = math.Min(low, v), math.Max(high, v)
		}
	}
	low, high = 1.05*low, 1.05*high+1
	y := func(v float64) float64 { return float64(top) + panelH*(high-v)/(high-low) }
	x := func(i, n int) float64 {
		return plotLeft + float64(plotW-plotLeft-plotRight)*float64(i)/math.Max(1, float64(n-1))
	}
	tick := niceTick((high - low) / 5)
	for v := math.Ceil(low/tick) * tick; v <= high; v += tick {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#e3e6ea"/><text x="%d" y="%.1f" text-anchor="end" fill="#555">%.4g</text>`+"\n",
			plotLeft, plotW-plotRight, y(v), y(v), plotLeft-8, y(v)+4, v/1000)
	}
	hours(b, top, mine)
	for i, l := range lines {
		var path strings.Builder
		for k, v := range points[i] {
			fmt.Fprintf(&path, "%.1f,%.1f ", x(k, len(points[i])), y(v))
		}
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="%.1f" points="%s"/>`+"\n", l.colour, l.width, path.String())
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", plotLeft+170+110*i, top-8, l.colour, l.name)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#333">%s</text>`+"\n", plotLeft, top-8, title)
}

// hours marks the quarters of an hour.
func hours(b *strings.Builder, top int, mine *record) {
	n := len(mine.samples)
	for i := range n {
		t := mine.at(i)
		if t.Second() != 0 || t.Minute()%15 != 0 {
			continue
		}
		x := plotLeft + float64(plotW-plotLeft-plotRight)*float64(i)/float64(n)
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#e3e6ea"/>`, x, x, top, top+panelH)
		if t.Minute()%30 == 0 {
			fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%s</text>`, x, top+panelH+18, t.Format("15:04"))
		}
		b.WriteString("\n")
	}
}

// thin averages a curve over plotEvery seconds.
func thin(l line) []float64 {
	var out []float64
	for i := 0; i+plotEvery <= len(l.from.samples); i += plotEvery {
		var sum float64
		for _, s := range l.from.samples[i : i+plotEvery] {
			sum += l.of(s)
		}
		out = append(out, sum/plotEvery)
	}
	return out
}

// niceTick rounds a distance of grid lines to 1, 2 or 5 times a power of ten.
func niceTick(v float64) float64 {
	if v <= 0 {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*base >= v {
			return f * base
		}
	}
	return 10 * base
}
