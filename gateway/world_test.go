package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nominald/drivers/gpio"
	"nominald/gateway/config"
	"nominald/gateway/sim"
	"nominald/gateway/status"
)

// world is a simulated site and a simulated Leap on loopback sockets, with a
// config for them. The gateway under test reaches them only through sockets.
type world struct {
	t        *testing.T
	dir      string
	path     string // of the config
	cfg      *config.Config
	site     *sim.Site
	leap     *sim.Leap
	stopLeap context.CancelFunc
	httpAddr string
	httpLn   net.Listener // held for the first run: a freed port may be given to another test
	ran      bool
	logged   synced                                        // what the gateway logged
	contact  func(string, gpio.Pull) (gpio.Contact, error) // of inputs; nil is the real one
}

const (
	testKey   = "key-of-the-simulated-leap"
	testMeter = "afce893d-ea68-487f-9f8c-778b1881f60a"
)

const worldConfig = `site: {name: Test Site, timezone: America/Los_Angeles, armed: %t, max_import_kw: 40}
leap: {url: "http://%s/v2", api_key: "file:%s/leap.key", poll: 5s}
meters:
  - {id: %s, type: utility_meter, measured_by: main, reference: device, devices: [battery, wallbox]}
buses:
  - {name: lan, tcp: "%s"}
  - {name: wall, tcp: "%s"}
devices:
  - {name: main, kind: meter, profile: sunspec-meter, bus: lan, unit: 200}
  - {name: battery, kind: battery, profile: sunspec-storage, bus: lan, unit: 1, reserve_soc: 20, max_discharge_kw: 5, capacity_kwh: 13.5}
  - {name: wallbox, kind: charger, profile: keba-p30, bus: wall, unit: 255, phases: 1, voltage: 230, min_current_a: 6, max_current_a: 16}
policy: {release: 0s}
http: {listen: "%s"}
store: {dir: %s/store}
`

// newWorld serves a bakery of 5-7 kW with a battery and a vehicle.
func newWorld(t *testing.T, armed bool) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	leapLn := w.listen()
	lan, wall := w.listen(), w.listen()
	w.httpLn = w.listen()
	w.httpAddr = w.httpLn.Addr().String()
	t.Cleanup(func() { w.httpLn.Close() })
	w.write("leap.key", testKey)
	w.path = w.write("nominald.yaml", fmt.Sprintf(worldConfig, armed, leapLn.Addr(), w.dir, testMeter,
		lan.Addr(), wall.Addr(), w.httpAddr, w.dir))
	var err error
	if w.cfg, err = config.Load(w.path); err != nil {
		t.Fatal(err)
	}
	if w.site, err = sim.NewSite(w.cfg, sim.SiteOptions{Preset: sim.Bakery, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	for _, ln := range []net.Listener{lan, wall} {
		if err := w.site.Use(ln.Addr().String(), ln); err != nil {
			t.Fatal(err)
		}
	}
	w.leap = sim.NewLeap(sim.LeapOptions{Key: testKey, Meters: []string{testMeter}})
	w.serve(leapLn)
	return w
}

// synced is a text that several goroutines write.
type synced struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// serve runs the site and Leap until the test ends.
func (w *world) serve(leapLn net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	leapCtx, stopLeap := context.WithCancel(ctx)
	w.stopLeap = stopLeap
	done := make(chan struct{}, 2)
	go func() { w.site.Run(ctx); done <- struct{}{} }()
	go func() { w.leap.Serve(leapCtx, leapLn); done <- struct{}{} }()
	w.t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
}

func (w *world) listen() net.Listener {
	w.t.Helper()
	ln, _, err := sim.ListenLoopback()
	if err != nil {
		w.t.Fatal(err)
	}
	return ln
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// award adds the product's own example, 4 kW, for the test's meter.
func (w *world) award(start time.Time, d time.Duration) sim.Slot {
	s := sim.ExampleSlot(start, d)
	s.MeterID = testMeter
	w.leap.Add(s)
	return s
}

// run runs the gateway inside the test until the test ends or stop is called.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	ln := w.httpLn
	if w.ran {
		ln = nil
	}
	w.ran = true
	go func() {
		ended <- Run(ctx, w.cfg, Options{Version: "test", Listener: ln, Log: slog.New(slog.NewTextHandler(io.MultiWriter(w.t.Output(), &w.logged), nil)), contact: w.contact,
			Ready: func() { close(ready) }})
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("the gateway ended with: %v", err)
			}
		case <-time.After(20 * time.Second):
			w.t.Error("the gateway did not end within 20 s")
		}
	}
	w.t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		w.t.Fatalf("the gateway ended before it was ready: %v", err)
	case <-time.After(20 * time.Second):
		w.t.Fatal("the gateway did not become ready within 20 s")
	}
	return stop
}

// status asks the gateway over HTTP.
func (w *world) status() status.Status {
	w.t.Helper()
	var st status.Status
	w.get("/api/v1/status", &st)
	return st
}

func (w *world) get(path string, into any) {
	w.t.Helper()
	resp, err := http.Get("http://" + w.httpAddr + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("GET %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		w.t.Fatalf("GET %s: %v", path, err)
	}
}

func (w *world) device(name string) status.Device {
	w.t.Helper()
	for _, d := range w.status().Devices {
		if d.Name == name {
			return d
		}
	}
	w.t.Fatalf("no device %s in the status", name)
	return status.Device{}
}

// await polls until the condition holds.
func (w *world) await(what string, limit time.Duration, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.t.Fatalf("not within %s: %s", limit, what)
}
