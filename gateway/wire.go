package gateway

import (
	"math"
	"time"

	"nominald/drivers/bus"
	"nominald/drivers/modbus"
	"nominald/gateway/status"
)

// showBuses tells how the Modbus lines fare. A relay's line of its own has no
// units and is not shown.
func showBuses(workers []*bus.Worker) []status.Bus {
	var out []status.Bus
	for _, w := range workers {
		line, ok := w.Line().(*modbus.Line)
		if !ok {
			continue
		}
		b := status.Bus{Name: w.Name(), LoadPercent: math.Round(1000*w.Load()) / 10, Units: []status.BusUnit{}}
		for _, u := range line.Units() {
			b.Units = append(b.Units, showUnit(u))
		}
		out = append(out, b)
	}
	return out
}

func showUnit(u modbus.UnitStats) status.BusUnit {
	out := status.BusUnit{Unit: int(u.Unit), Requests: u.Requests, Timeouts: u.Timeouts,
		Exceptions: u.Exceptions, Doubts: u.Doubts, Other: u.Other}
	if u.Max > 0 {
		out.LatencyMS = &status.Latency{P50: millis(u.P50), P90: millis(u.P90), P99: millis(u.P99), Max: millis(u.Max)}
	}
	return out
}

// millis is a duration in ms, to the hundredth.
func millis(d time.Duration) float64 { return math.Round(100*d.Seconds()*1000) / 100 }
