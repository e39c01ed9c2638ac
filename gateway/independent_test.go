package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nominald/gateway/config"
	"nominald/gateway/sim"
	"nominald/gateway/status"
)

// The site here is not ours: testdata/pymodbus_site.py runs on the Modbus
// server of Debian's python3-pymodbus, with its own physics and its own account
// of what happened. Only that account is believed.

const independentConfig = `site: {name: Independent Site, timezone: America/Los_Angeles, armed: true, max_import_kw: 40}
leap: {url: "http://%s/v2", api_key: "file:%s/leap.key", poll: 5s}
meters:
  - {id: %s, type: utility_meter, measured_by: main, reference: device, devices: [battery]}
buses:
  - {name: lan, tcp: "%s"}
devices:
  - {name: main, kind: meter, profile: sunspec-meter, bus: lan, unit: 200}
  - {name: battery, kind: battery, profile: sunspec-storage, bus: lan, unit: 1, reserve_soc: 20}
policy: {release: 0s}
http: {listen: "%s"}
store: {dir: %s/store}
`

// siteTruth is a line of the site's account: powers now, energies since its
// start, the reversion timer given last and how often one ran out, and how
// often each register was written.
type siteTruth struct {
	T         float64 // Unix time, s
	BatteryW  float64 `json:"battery_w"`
	LoadWs    float64 `json:"load_ws"`
	NetWs     float64 `json:"net_ws"`
	Commanded bool
	TimerS    float64 `json:"timer_s"`
	Lapses    int
	Writes    map[string]int
}

// pymodbusSite is the running script.
type pymodbusSite struct {
	addr  string
	ended chan struct{} // when its output ended
	mu    sync.Mutex
	lines []siteTruth
}

// startPymodbusSite starts a site whose battery is commanded through the given
// SunSpec model.
func startPymodbusSite(t *testing.T, model string) *pymodbusSite {
	t.Helper()
	const python = "/usr/bin/python3" // Debian's, which sees Debian's packages
	if out, err := exec.Command(python, "-c", "import pymodbus.server").CombinedOutput(); err != nil {
		t.Skipf("Debian packages python3-pymodbus, python3-serial and python3-serial-asyncio are not installed: %v %s",
			err, lastLine(string(out)))
	}
	cmd := exec.Command(python, "testdata/pymodbus_site.py", model)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe() // the site ends with it, whatever becomes of the test
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &pymodbusSite{ended: make(chan struct{})}
	ready := make(chan string, 1)
	go func() { defer close(s.ended); s.listen(stdout, ready) }()
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		<-s.ended
		cmd.Wait()
	})
	select {
	case port := <-ready:
		s.addr = "127.0.0.1:" + port
	case <-s.ended:
		t.Fatal("the pymodbus site ended before it was ready")
	case <-time.After(30 * time.Second):
		t.Fatal("the pymodbus site was not ready within 30 s")
	}
	return s
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func (s *pymodbusSite) listen(out io.Reader, ready chan<- string) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if port, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			ready <- port
			continue
		}
		var l siteTruth
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			return // half a line: the site is ended
		}
		s.mu.Lock()
		s.lines = append(s.lines, l)
		s.mu.Unlock()
	}
}

// now returns the newest line.
func (s *pymodbusSite) now(t *testing.T) siteTruth {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) == 0 {
		return siteTruth{}
	}
	l := s.lines[len(s.lines)-1]
	if age := time.Since(unix(l.T)); age > 5*time.Second {
		t.Fatalf("the site said nothing for %s", age)
	}
	return l
}

func unix(s float64) time.Time { return time.UnixMilli(int64(s * 1000)) }

// meanReductionW returns by how much less the site drew, on average, than its
// load alone would have. Between two lines the power is taken as constant.
func (s *pymodbusSite) meanReductionW(t *testing.T, from, to time.Time) float64 {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	at := func(when time.Time) float64 {
		for i := 1; i < len(s.lines); i++ {
			a, b := s.lines[i-1], s.lines[i]
			if unix(b.T).Before(when) || unix(a.T).After(when) {
				continue
			}
			part := when.Sub(unix(a.T)).Seconds() / (b.T - a.T)
			reduced := func(l siteTruth) float64 { return l.LoadWs - l.NetWs }
			return reduced(a) + part*(reduced(b)-reduced(a))
		}
		t.Fatalf("the site's account does not reach %s", when)
		return math.NaN()
	}
	return (at(to) - at(from)) / to.Sub(from).Seconds()
}

// newIndependentWorld has the simulated Leap, and the pymodbus site in place of
// a simulated one.
func newIndependentWorld(t *testing.T, model string) (*world, *pymodbusSite) {
	t.Helper()
	site := startPymodbusSite(t, model)
	w := &world{t: t, dir: t.TempDir()}
	leapLn, free := w.listen(), w.listen()
	w.httpLn, w.httpAddr = free, free.Addr().String()
	t.Cleanup(func() { free.Close() })
	w.write("leap.key", testKey)
	w.path = w.write("nominald.yaml", fmt.Sprintf(independentConfig, leapLn.Addr(), w.dir, testMeter, site.addr, w.httpAddr, w.dir))
	var err error
	if w.cfg, err = config.Load(w.path); err != nil {
		t.Fatal(err)
	}
	w.leap = sim.NewLeap(sim.LeapOptions{Key: testKey, Meters: []string{testMeter}})
	ctx, cancel := context.WithCancel(context.Background())
	w.stopLeap = cancel
	done := make(chan struct{})
	go func() { defer close(done); w.leap.Serve(ctx, leapLn) }()
	t.Cleanup(func() { cancel(); <-done })
	return w, site
}

// TestDeliversThroughIndependentParts: the site delivers what was awarded, and
// ends neutral because the gateway said so, not because a timer ran out.
func TestDeliversThroughIndependentParts(t *testing.T) {
	t.Parallel()
	for model, mode := range controlModes() {
		t.Run("model "+model, func(t *testing.T) {
			t.Parallel()
			w, site := newIndependentWorld(t, model)
			s := w.award(time.Now().UTC().Truncate(time.Second).Add(18*time.Second), 40*time.Second)
			stop := w.run()
			// The ramp begins before the timeslot: 10 s for all of the battery's
			// power, and its dead time.
			time.Sleep(time.Until(s.Start.Add(-13 * time.Second)))
			if l := site.now(t); l.Commanded || !maps.Equal(l.Writes, map[string]int{mode: 1}) {
				t.Errorf("before the timeslot: %+v, want nothing written but the reset of %s at the start", l, mode)
			}
			time.Sleep(time.Until(s.End.Add(2 * time.Second)))
			meanW := site.meanReductionW(t, s.Start, s.End)
			t.Logf("mean reduction %.0f W, writes %v", meanW, site.now(t).Writes)
			if math.Abs(meanW-4000) > 0.03*4000 {
				t.Errorf("the site drew %.0f W less than its load, want 4000 within 3 %%", meanW)
			}
			var rep status.Report
			w.get("/api/v1/timeslots/"+s.EventID+"/report", &rep)
			if rep.DeliveredKW == nil || math.Abs(1000**rep.DeliveredKW-meanW) > 0.03*4000 {
				t.Errorf("report: %+v, want the %.0f W that the site accounts for within 3 %%", rep, meanW)
			}
			stop()
			w.await("the battery is neutral", 10*time.Second, func() bool {
				l := site.now(t)
				return !l.Commanded && l.BatteryW == 0
			})
			l := site.now(t)
			if l.Lapses != 0 {
				t.Errorf("%d commands were ended by the battery's timer, want the gateway to end them", l.Lapses)
			}
			if l.Writes[mode] < 2 {
				t.Errorf("writes %v: want %s to be set and reset", l.Writes, mode)
			}
		})
	}
}

// controlModes maps the storage models to the register that switches a command
// on and off.
func controlModes() map[string]string {
	return map[string]string{"124": "StorCtl_Mod", "704": "WSetEna"}
}

// TestIndependentBatteryOutlivesAKilledGateway: nothing of ours is left to end
// the command, so the device's own timer must have been set to do it.
func TestIndependentBatteryOutlivesAKilledGateway(t *testing.T) {
	t.Parallel()
	for model := range controlModes() {
		t.Run("model "+model, func(t *testing.T) {
			t.Parallel()
			w, site := newIndependentWorld(t, model)
			w.award(time.Now().UTC().Add(-time.Second), time.Hour)
			binary := filepath.Join(w.dir, "nominald")
			if out, err := exec.Command("go", "build", "-o", binary, "../cmd/nominald").CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			gateway := startProcess(t, w, binary)
			w.await("the battery delivers", 20*time.Second, func() bool { return site.now(t).BatteryW > 3500 })
			time.Sleep(3 * time.Second) // at least one refresh of the command
			if err := gateway.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			gateway.Wait()
			time.Sleep(300 * time.Millisecond) // what was on the wire has arrived
			killed := site.now(t)
			if killed.BatteryW < 3500 || !killed.Commanded || killed.Lapses != 0 {
				t.Fatalf("after the kill: %+v, want a battery that still delivers", killed)
			}
			if killed.TimerS <= 0 || killed.TimerS > 60 {
				t.Fatalf("the reversion timer is %g s, want one of at most a minute", killed.TimerS)
			}
			w.await("the timer ended the command", time.Duration(killed.TimerS+1)*time.Second, func() bool { return !site.now(t).Commanded })
			w.await("the battery is at rest", 10*time.Second, func() bool { return site.now(t).BatteryW == 0 })
			l := site.now(t)
			if l.Commanded || l.Lapses != 1 || !maps.Equal(l.Writes, killed.Writes) {
				t.Errorf("got %+v, want one timer run out and no write after %v", l, killed.Writes)
			}
		})
	}
}
