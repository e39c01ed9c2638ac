package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// measureBus prints the figures of the wires: how much of a serial line's time
// is used, how near Modbus TCP comes to a bare socket, what a poll allocates,
// and whether a crowded line with dead units keeps its periods.
func measureBus(ctx context.Context) error {
	rows, err := measureSerial(ctx)
	if err != nil {
		return err
	}
	tcp, err := measureTCP(ctx)
	if err != nil {
		return err
	}
	crowd, err := measureCrowd(ctx)
	if err != nil {
		return err
	}
	goals := map[string]float64{"9600": 0.95, "19200": 0.95, "115200": 0.90}
	for _, r := range rows {
		if r.baud != "" {
			figure("rtu_"+r.baud+"_r"+r.regs, r.value["ours"], "ratio", ">=", goals[r.baud])
		}
	}
	for _, r := range rows {
		if r.baud != "" {
			figure("stock_rtu_"+r.baud+"_r"+r.regs, r.value["stock"], "ratio", "<=", 1)
		}
	}
	figure("modbus_tcp_to_echo", tcp, "ratio", ">=", 0.85)
	allocs := rows[len(rows)-1].value
	figure("tcp_allocs", allocs["tcp-wire-allocs"], "allocs", "<=", 0)
	figure("rtu_allocs", allocs["rtu-wire-allocs"], "allocs", "<=", 0)
	figure("bus32_period_error", crowd, "%", "<=", 10)
	return nil
}

// row is one line of a benchmark's output: what it measured, by unit.
type row struct {
	baud, regs string // empty but for a serial line
	value      map[string]float64
}

// measureSerial runs the line's own benchmarks, which have goburrow's client
// in the same run, since only that package may import it.
func measureSerial(ctx context.Context) ([]row, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark(Serial|Allocs)$", "-benchtime", "1x", "-timeout", "5m", "./drivers/modbus")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("benchmark of the serial line: %w\n%s", err, out)
	}
	rows, err := benchRows(string(out))
	if err != nil {
		return nil, err
	}
	if len(rows) != 10 {
		return nil, fmt.Errorf("the benchmark of the serial line printed %d rows, want 9 and the allocations", len(rows))
	}
	fmt.Println("reads over a paced pty, 8E1, medians; the wire's own time counts 3.5 characters of silence twice")
	fmt.Printf("%8s %9s %9s %9s %9s %7s %7s %7s\n", "baud", "registers", "wire ms", "ours ms", "stock ms", "ours", "stock", "errors")
	for _, r := range rows[:9] {
		fmt.Printf("%8s %9s %9.2f %9.2f %9.2f %7.3f %7.3f %7.0f\n", r.baud, r.regs,
			r.value["wire-ms"], r.value["ours-ms"], r.value["stock-ms"], r.value["ours"], r.value["stock"], r.value["stock-errors"])
	}
	v := rows[9].value
	fmt.Printf("\nallocations of a poll of 20 registers: in the wire %g (TCP), %g (RTU); with goburrow's client above it %g, %g\n\n",
		v["tcp-wire-allocs"], v["rtu-wire-allocs"], v["tcp-poll-allocs"], v["rtu-poll-allocs"])
	return rows, nil
}

// benchRows reads the output of go test -bench.
func benchRows(out string) ([]row, error) {
	name := regexp.MustCompile(`^Benchmark\w+(?:/(\d+)/(\d+))?(?:-\d+)?\s+1\s+(.*)$`)
	var rows []row
	for line := range strings.Lines(out) {
		m := name.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		r := row{baud: m[1], regs: m[2], value: map[string]float64{}}
		fields := strings.Fields(m[3])
		for i := 0; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("benchmark line %q: %w", line, err)
			}
			r.value[fields[i+1]] = v
		}
		rows = append(rows, r)
	}
	return rows, nil
}
