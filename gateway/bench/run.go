package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nominald/gateway/config"
	"nominald/gateway/sim"
)

const (
	benchKey   = "key-of-the-simulated-leap"
	benchMeter = "afce893d-ea68-487f-9f8c-778b1881f60a"
	starts     = 7                // of which the median counts
	settle     = 15 * time.Second // before the weighing begins
	weigh      = 15 * time.Second // a window
	windows    = 5                // of which the median counts: shared machines are noisy
)

// runFigures is what one process of the gateway weighs.
type runFigures struct{ rssMB, cpuPercent, startMS float64 }

// measureRun weighs `nominald run` with ten devices that are read once a
// second, each at least 20 registers.
func measureRun(ctx context.Context, dir, binary string) (runFigures, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	path, httpAddr, err := startWorld(ctx, dir)
	if err != nil {
		return runFigures{}, err
	}
	var f runFigures
	var times []float64
	for range starts {
		p, ms, err := startOnce(ctx, binary, path, httpAddr)
		if err != nil {
			return f, err
		}
		times = append(times, ms)
		if err := p.end(); err != nil {
			return f, err
		}
	}
	fmt.Printf("start to /readyz, ms, sorted: %.1f\n", times)
	f.startMS = median(times)
	p, _, err := startOnce(ctx, binary, path, httpAddr)
	if err != nil {
		return f, err
	}
	defer p.end()
	time.Sleep(settle)
	var shares []float64
	for range windows {
		share, err := p.cpuShare()
		if err != nil {
			return f, err
		}
		shares = append(shares, share)
	}
	fmt.Printf("CPU in %d windows of %s, %% of a core: %.3f\n", windows, weigh, shares)
	f.cpuPercent = median(shares)
	f.rssMB, err = p.rss()
	return f, err
}

// cpuShare is the share of a core used in one window, in percent.
func (p process) cpuShare() (float64, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	time.Sleep(weigh)
	after, err := p.cpu()
	if err != nil {
		return 0, err
	}
	return 100 * (after - before).Seconds() / time.Since(began).Seconds(), nil
}

// startWorld serves the simulated site and Leap, and writes a config for them.
func startWorld(ctx context.Context, dir string) (path, httpAddr string, err error) {
	leapLn, leapAddr, err := sim.ListenLoopback()
	if err != nil {
		return "", "", err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	httpAddr = free.Addr().String()
	free.Close()
	var buses, devices strings.Builder
	var lns []net.Listener
	for i := range 10 {
		ln, addr, err := sim.ListenLoopback()
		if err != nil {
			return "", "", err
		}
		lns = append(lns, ln)
		fmt.Fprintf(&buses, "  - {name: bus%d, tcp: \"%s\"}\n", i, addr)
		if i < 2 {
			fmt.Fprintf(&devices, "  - {name: meter%d, kind: meter, profile: sunspec-meter, bus: bus%d, unit: 200}\n", i, i)
		} else {
			fmt.Fprintf(&devices, "  - {name: battery%d, kind: battery, profile: sunspec-storage, bus: bus%d, unit: 1, reserve_soc: 20}\n", i, i)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "leap.key"), []byte(benchKey), 0o600); err != nil {
		return "", "", err
	}
	path = filepath.Join(dir, "nominald.yaml")
	text := fmt.Sprintf("site: {name: Bench, armed: true}\nleap: {url: \"http://%s/v2\", api_key: \"file:%s/leap.key\"}\n"+
		"meters:\n  - {id: %s, type: utility_meter, measured_by: meter0, reference: device, devices: [battery2, battery3]}\n"+
		"buses:\n%sdevices:\n%shttp: {listen: \"%s\"}\nstore: {dir: %s/store}\n",
		leapAddr, dir, benchMeter, buses.String(), devices.String(), httpAddr, dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", "", err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return "", "", err
	}
	site, err := sim.NewSite(cfg, sim.SiteOptions{Preset: sim.Bakery, Seed: 1})
	if err != nil {
		return "", "", err
	}
	for _, ln := range lns {
		if err := site.Use(ln.Addr().String(), ln); err != nil {
			return "", "", err
		}
	}
	go site.Run(ctx)
	go sim.NewLeap(sim.LeapOptions{Key: benchKey, Meters: []string{benchMeter}}).Serve(ctx, leapLn)
	return path, httpAddr, nil
}

// process is one gateway that was started here.
type process struct{ cmd *exec.Cmd }

// startOnce starts the gateway and waits until /readyz says 200.
func startOnce(ctx context.Context, binary, path, httpAddr string) (process, float64, error) {
	cmd := exec.CommandContext(ctx, binary, "run", "--config", path)
	log, err := os.Create(filepath.Join(filepath.Dir(path), "run.log"))
	if err != nil {
		return process{}, 0, err
	}
	defer log.Close()
	cmd.Stderr = log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return process{}, 0, err
	}
	p := process{cmd}
	client := &http.Client{Timeout: time.Second}
	for time.Since(began) < 20*time.Second {
		resp, err := client.Get("http://" + httpAddr + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p, float64(time.Since(began).Microseconds()) / 1000, nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	p.end()
	return p, 0, errors.New("the gateway did not become ready within 20 s; see run.log")
}

func (p process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// rss is the resident size in MB, file-backed pages included.
func (p process) rss() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, errors.New("no VmRSS in /proc")
}

// cpu is the processor time used so far, user and system.
func (p process) cpu() (time.Duration, error) {
	// schedstat counts nanoseconds; stat's ticks of 10 ms are too coarse. It
	// is kept a thread, so threads that ended are missing; a Go program's do
	// not end.
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, t := range tasks {
		raw, err := os.ReadFile(t)
		if err != nil {
			return 0, err
		}
		ns, err := strconv.ParseInt(strings.Fields(string(raw))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

func median(v []float64) float64 {
	sort.Float64s(v)
	return v[len(v)/2]
}
