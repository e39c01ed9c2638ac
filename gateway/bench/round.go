package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// measureRound prints what one control round costs with 500 timeslots known, at
// 5, 50 and 500 devices: time, beside a copy of all that it looks at, what it
// allocates, and what it leaves on the heap for ever.
func measureRound(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark(Round|Floor|Growth)$", "-benchmem",
		"-benchtime", "500ms", "-count", "5", "./dispatch/plan")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("benchmark of the round: %w", err)
	}
	fmt.Printf("%s\n", out)
	row := regexp.MustCompile(`Benchmark(Round|Floor|Growth)/devices=(\d+)\S*\s+\d+\s+([0-9.]+) ns/op(?:\s+([0-9.e+-]+) B/round)?\s+(\d+) B/op`)
	values := map[string][]float64{}
	for _, m := range row.FindAllStringSubmatch(string(out), -1) {
		for i, what := range []string{"ns", "growth", "bytes"} {
			if v, err := strconv.ParseFloat(m[3+i], 64); err == nil {
				key := m[1] + m[2] + what
				values[key] = append(values[key], v)
			}
		}
	}
	limits := map[string]float64{"5": 200, "50": 200, "500": 2000}
	for _, n := range []string{"5", "50", "500"} {
		ns, floor, grown, bytes := values["Round"+n+"ns"], values["Floor"+n+"ns"], values["Growth"+n+"growth"], values["Round"+n+"bytes"]
		if len(ns) == 0 || len(floor) == 0 || len(grown) == 0 || len(bytes) == 0 {
			return fmt.Errorf("the benchmark of the round printed nothing for %s devices", n)
		}
		figure("round_"+n+"_devices", median(ns)/1000, "us", "<=", limits[n])
		// The floor copies the input and plans nothing: the ratio takes the speed of
		// this machine out of the figure, no plan comes near 1.
		figure("round_"+n+"_devices_to_floor", median(ns)/median(floor), "ratio", "<=", 100)
		figure("round_"+n+"_devices_allocated", median(bytes)/1000, "kB", "<=", 1000)
		figure("round_"+n+"_devices_growth", median(grown), "B", "<=", 0)
	}
	return nil
}
