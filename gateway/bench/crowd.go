package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/drivers/drivertest/rtuslave"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
)

// A line with as many units as RS-485 carries without repeaters, some of them
// dead, as in a building with a meter in every flat.
const (
	crowdUnits   = 32
	crowdDead    = 3 // units 8, 16 and 24
	crowdBaud    = 19200
	crowdProfile = "abb-b23"
	crowdPeriod  = time.Second      // as the gateway reads meters
	crowdWarm    = 10 * time.Second // each is identified first
	crowdTime    = 35 * time.Second // of a run, after that
	crowdRuns    = 3                // of which the median counts
	// crowdTurn is what a meter of that make needs to answer.
	crowdTurn = 5 * time.Millisecond
)

// timed notes when its device is read, and whether it answered.
type timed struct {
	drivers.Device
	from   time.Time // what comes before does not count
	begun  []time.Time
	failed int
}

// Read implements drivers.Device.
func (t *timed) Read(ctx context.Context) (drivers.Reading, error) {
	begin := time.Now()
	r, err := t.Device.Read(ctx)
	if begin.Before(t.from) || errors.Is(err, context.DeadlineExceeded) { // the run is over
		return r, err
	}
	t.begun = append(t.begun, begin)
	if err != nil {
		t.failed++
	}
	return r, err
}

// measureCrowd returns by how many percent the mean period of the worst living
// unit is off.
func measureCrowd(ctx context.Context) (float64, error) {
	fmt.Printf("%d units (%s) on a line of %d baud 8E1, %d of them dead, each to be read every %s, %d runs of %s\n",
		crowdUnits, crowdProfile, crowdBaud, crowdDead, crowdPeriod, crowdRuns, crowdTime)
	fmt.Printf("%36s%30s\n%12s%12s%12s%10s%10s%10s%8s%8s%8s%8s\n", "mean period of a unit, s", "between two reads, s",
		"best", "median", "worst", "median", "p99", "longest", "reads", "failed", "tries", "load")
	var worst []float64
	for range crowdRuns {
		v, err := runCrowd(ctx)
		if err != nil {
			return 0, err
		}
		worst = append(worst, v)
	}
	fmt.Println()
	return median(worst), nil
}

// runCrowd polls the units with the product's own worker, line and driver.
func runCrowd(ctx context.Context) (float64, error) {
	dir, err := os.MkdirTemp("", "nominald-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	slave, err := rtuslave.Open(filepath.Join(dir, "line"), rtuslave.Options{Baud: crowdBaud, Turnaround: crowdTurn, Exact: true})
	if err != nil {
		return 0, err
	}
	defer slave.Close()
	p, err := profile.Load(crowdProfile)
	if err != nil {
		return 0, err
	}
	line := modbus.NewSerial(modbus.Serial{Path: slave.Path(), Baud: crowdBaud, Format: "8E1"}, modbus.Options{})
	worker := bus.New("crowd", line, bus.Options{})
	var living, dead []*timed
	for unit := 1; unit <= crowdUnits; unit++ {
		u := line.Unit(byte(unit))
		u.SetTiming(modbus.Timing{Timeout: p.Timing.Timeout, PauseBetween: p.Timing.PauseBetween, UnitChange: p.Timing.UnitChange})
		t := &timed{Device: profile.New(p, u, profile.Params{}), from: time.Now().Add(crowdWarm)}
		worker.Attach(fmt.Sprint("meter", unit), t, crowdPeriod)
		if unit%8 == 0 && len(dead) < crowdDead {
			dead = append(dead, t)
			continue
		}
		slave.Attach(byte(unit), twin.New(p, 1))
		living = append(living, t)
	}
	run, cancel := context.WithTimeout(ctx, crowdWarm+crowdTime)
	defer cancel()
	if err := worker.Run(run); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return showCrowd(worker, living, dead)
}

// showCrowd prints a row of the table, and returns the worst unit's error.
func showCrowd(w *bus.Worker, living, dead []*timed) (float64, error) {
	var means, all []float64
	failed, tries := 0, 0
	for _, t := range living {
		n := len(t.begun) - 1
		if n < 1 {
			return 0, fmt.Errorf("a living unit of the crowded line was read %d times in %s", n+1, crowdTime)
		}
		failed += t.failed
		for i := range n {
			all = append(all, t.begun[i+1].Sub(t.begun[i]).Seconds())
		}
		means = append(means, t.begun[n].Sub(t.begun[0]).Seconds()/float64(n))
	}
	for _, t := range dead {
		tries += len(t.begun)
	}
	slices.Sort(means)
	slices.Sort(all)
	last := len(means) - 1
	fmt.Printf("%12.4f%12.4f%12.4f%10.3f%10.3f%10.3f%8d%8d%8d%7.0f%%\n", means[0], means[last/2], means[last],
		all[len(all)/2], all[len(all)*99/100], all[len(all)-1], len(all)+len(living), failed, tries, 100*w.Load())
	nominal := crowdPeriod.Seconds()
	return 100 * math.Max(math.Abs(means[0]/nominal-1), math.Abs(means[last]/nominal-1)), nil
}
