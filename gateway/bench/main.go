// Command bench measures the gateway and prints one figure a line
// (design.md 1.4). It runs the built binary as a process of its own against a
// simulated site and a simulated Leap, both on loopback, so that what it
// weighs is the gateway alone. "bench bus" measures the wires instead, "bench round" the planner,
// "bench store" what is written to the card.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) == 4 && os.Args[1] == "store-part" {
		if err := storePart(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	measure := measureAll
	if len(os.Args) >= 2 {
		switch os.Args[1] {
		case "bus":
			measure = measureBus
		case "round":
			measure = measureRound
		case "store":
			measure = measureStore
		}
	}
	if err := measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// figure prints a measurement in the form that design.md 1.4 fixes.
func figure(name string, value float64, unit, op string, limit float64) {
	verdict := "short"
	if (op == "<=" && value <= limit) || (op == ">=" && value >= limit) {
		verdict = "ok"
	}
	fmt.Printf("figure %s %.4g %s goal %s %g %s\n", name, value, unit, op, limit, verdict)
}

func measureAll(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "nominald-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join("build", "nominald")
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("%w; run `make build` first", err)
	}
	run, err := measureRun(ctx, dir, binary)
	if err != nil {
		return err
	}
	tcp, err := measureTCP(ctx)
	if err != nil {
		return err
	}
	intake, err := measureIntake(ctx, dir)
	if err != nil {
		return err
	}
	size, err := measureSize(ctx, dir)
	if err != nil {
		return err
	}
	figure("rss_run", run.rssMB, "MB", "<=", 16)
	figure("cpu_run", run.cpuPercent, "%core", "<=", 0.2)
	figure("start_to_ready", run.startMS, "ms", "<=", 100)
	figure("modbus_tcp_to_echo", tcp, "ratio", ">=", 0.85)
	figure("intake_per_timeslot", intake.microseconds, "us", "<=", 200)
	figure("intake_to_floor", intake.ratio, "ratio", "<=", 15)
	figure("binary_arm64", size, "MB", "<=", 12)
	return nil
}

// measureTCP runs the line's own benchmark, which has the raw echo in the same
// run, and takes its ratio: the median of five.
func measureTCP(ctx context.Context) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkTCP$", "-benchtime", "2s", "-count", "5", "./drivers/modbus")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("benchmark of the Modbus line: %w", err)
	}
	fmt.Printf("%s\n", out)
	var ratios []float64
	for _, m := range regexp.MustCompile(`([0-9.]+) ratio`).FindAllSubmatch(out, -1) {
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return 0, err
		}
		ratios = append(ratios, v)
	}
	if len(ratios) == 0 {
		return 0, fmt.Errorf("the benchmark of the Modbus line printed no ratio")
	}
	return median(ratios), nil
}

// measureSize builds the stripped arm64 binary and weighs it.
func measureSize(ctx context.Context, dir string) (float64, error) {
	out := filepath.Join(dir, "nominald-arm64")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "./cmd/nominald")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("build for arm64: %w", err)
	}
	info, err := os.Stat(out)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / 1e6, nil
}
