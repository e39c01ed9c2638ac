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
	"sync/atomic"
	"syscall"
	"time"
)

// promSeconds is how long Prometheus scrapes: it knows no other time than ours.
const promSeconds = 120

// measurePrometheus has Prometheus, where it is installed, scrape the same
// channels each second into its own database on the disk.
func measurePrometheus(ctx context.Context, d *disk, ours float64) error {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		fmt.Println("Prometheus: skipped, it is not installed (Debian package prometheus)")
		return nil
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l := newLoads()
	var scrapes atomic.Int64
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		scrapes.Add(1) // one scraper, one connection: the loads are its alone
		for ch := range storeChannels {
			fmt.Fprintf(w, "load_w{channel=%q} %.0f\n", channelName(ch), l.next(ch))
		}
	})}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	dir := filepath.Join(d.dir, "prometheus")
	config := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs: [{job_name: load, metrics_path: /, static_configs: [{targets: ['%s']}]}]\n", ln.Addr())
	file := dir + ".yml"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, binary, "--config.file="+file, "--storage.tsdb.path="+dir, "--web.listen-address=127.0.0.1:0", "--log.level=error")
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("prometheus: %w", err)
	}
	stop := func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		return errors.Join(err, cmd.Wait())
	}
	if err := waitFor(ctx, 5*time.Second); err != nil { // it makes its files first
		return errors.Join(err, stop())
	}
	first := scrapes.Load()
	fmt.Fprintf(os.Stderr, "Prometheus scrapes for %d s\n", promSeconds)
	written, err := d.during(func() error { return waitFor(ctx, promSeconds*time.Second) })
	samples := float64(scrapes.Load()-first) * storeChannels
	if err := errors.Join(err, stop()); err != nil {
		return fmt.Errorf("prometheus: %w", err)
	}
	if samples == 0 {
		return errors.New("prometheus: it scraped nothing")
	}
	figure("store_prometheus_per_sample", written/samples, "B", ">=", ours)
	return nil
}

func waitFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
