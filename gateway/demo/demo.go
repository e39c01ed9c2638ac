// Package demo runs the whole thing on one machine with nothing configured: a
// simulated Leap API, a simulated site behind real Modbus TCP sockets, and
// between them the real gateway, which reaches both only through sockets. One
// timeslot goes the whole way, from award to report.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"nominald/gateway"
	"nominald/gateway/config"
	"nominald/gateway/sim"
	"nominald/gateway/status"
)

// Options say how the demonstration runs.
type Options struct {
	For     time.Duration // the whole run, report included; default 90 s
	Listen  string        // of the page; default 127.0.0.1:8645
	Keep    string        // directory for config and store; empty: temporary
	Stay    bool          // keep running after the report until the context ends
	Version string
	Out     io.Writer // what people read
	Log     io.Writer // the gateway's log; nil discards it
}

const (
	// lead is from the award to the start of the timeslot: a few seconds for
	// the next poll, and enough to see the devices being prepared.
	lead = 18 * time.Second
	// tail is from the end of the timeslot to the report: the release.
	tail     = 6 * time.Second
	startUp  = 4 * time.Second // everything up to the award, generously
	shortest = 30 * time.Second
	// withinTarget is how near the mean must come to the nomination.
	withinTarget = 0.03
	apiKey       = "demonstration-key-of-the-simulated-leap"
	meterID      = "afce893d-ea68-487f-9f8c-778b1881f60a"
)

// ErrMissed means that the demonstration ran and the nomination was not met.
var ErrMissed = errors.New("the nomination was not met")

// Run runs the demonstration and prints its progress and the report.
func Run(ctx context.Context, o Options) error {
	o.fill()
	if o.For < startUp+lead+shortest+tail {
		return fmt.Errorf("--for %s is too short: the least is %s", o.For, startUp+lead+shortest+tail)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := build(o)
	if err != nil {
		return err
	}
	defer s.close()
	s.describe(o.Out)

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.site.Run(groupCtx) })
	group.Go(func() error { return s.leap.Serve(groupCtx, s.leapListener) })
	ready := make(chan struct{})
	group.Go(func() error {
		return gateway.Run(groupCtx, s.cfg, gateway.Options{Version: o.Version, Listener: s.page,
			Log: gatewayLog(o.Log), Ready: func() { close(ready) }})
	})
	var outcome error
	group.Go(func() error {
		defer cancel()
		outcome = s.play(groupCtx, o, ready)
		if o.Stay && groupCtx.Err() == nil {
			fmt.Fprintf(o.Out, "\nThe page stays at %s until Ctrl-C.\n", s.pageURL())
			<-groupCtx.Done()
		}
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return outcome
}

func (o *Options) fill() {
	if o.For == 0 {
		o.For = 90 * time.Second
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:8645"
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
}

func gatewayLog(w io.Writer) *slog.Logger {
	if w == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// stage is everything that the demonstration needs.
type stage struct {
	dir          string
	temporary    bool
	cfg          *config.Config
	site         *sim.Site
	leap         *sim.Leap
	leapListener net.Listener
	page         net.Listener
}

// build takes free loopback ports, writes a config for them as an installer
// would, and reads it back the way the gateway does.
func build(o Options) (*stage, error) {
	if host, _, err := net.SplitHostPort(o.Listen); err != nil || (host != "localhost" && !net.ParseIP(host).IsLoopback()) {
		return nil, fmt.Errorf("--listen %s: the demonstration serves this machine only; give a loopback address such as 127.0.0.1:8646", o.Listen)
	}
	s := &stage{}
	var err error
	if s.page, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, fmt.Errorf("open the page on %s: %w; another gateway may run there, give another with --listen 127.0.0.1:0", o.Listen, err)
	}
	buses := map[string]net.Listener{}
	for _, name := range []string{"lan", "wall", "room"} {
		ln, _, err := sim.ListenLoopback()
		if err != nil {
			return nil, err
		}
		buses[name] = ln
	}
	if s.leapListener, _, err = sim.ListenLoopback(); err != nil {
		return nil, err
	}
	if err := s.writeConfig(o, buses); err != nil {
		return nil, err
	}
	if s.cfg, err = config.Load(s.configPath()); err != nil {
		return nil, err
	}
	if s.site, err = sim.NewSite(s.cfg, sim.SiteOptions{Preset: sim.Bakery, Seed: 1}); err != nil {
		return nil, err
	}
	for _, ln := range buses {
		if err := s.site.Use(ln.Addr().String(), ln); err != nil {
			return nil, err
		}
	}
	s.leap = sim.NewLeap(sim.LeapOptions{Key: apiKey, Meters: []string{meterID}})
	return s, nil
}

func (s *stage) configPath() string { return filepath.Join(s.dir, "nominald.yaml") }
func (s *stage) pageURL() string    { return "http://" + s.page.Addr().String() }

func (s *stage) writeConfig(o Options, buses map[string]net.Listener) error {
	var err error
	if s.dir = o.Keep; s.dir == "" {
		s.temporary = true
		if s.dir, err = os.MkdirTemp("", "nominald-demo-"); err != nil {
			return fmt.Errorf("make a directory for the demonstration: %w", err)
		}
	} else if err = os.MkdirAll(s.dir, 0o750); err != nil {
		return fmt.Errorf("make %s (--keep): %w", s.dir, err)
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "leap.key"), []byte(apiKey+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the demonstration's key: %w", err)
	}
	text := fmt.Sprintf(configText, s.leapListener.Addr(), s.dir, meterID,
		buses["lan"].Addr(), buses["wall"].Addr(), buses["room"].Addr(), s.page.Addr(), s.dir)
	if err := os.WriteFile(s.configPath(), []byte(text), 0o640); err != nil {
		return fmt.Errorf("write the demonstration's config: %w", err)
	}
	return nil
}

const configText = `site:
  name: Oak Street Bakery
  timezone: America/Los_Angeles
  armed: true
  max_import_kw: 40
  max_export_kw: 0
leap:
  url: http://%s/v2
  api_key: file:%s/leap.key
  poll: 5s
meters:
  - id: %s
    type: utility_meter
    measured_by: main
    reference: device
    devices: [battery, wallbox, hvac]
buses:
  - {name: lan, tcp: "%s"}
  - {name: wall, tcp: "%s"}
  - {name: room, tcp: "%s"}
devices:
  - {name: main, kind: meter, profile: sunspec-meter, bus: lan, unit: 200}
  - {name: battery, kind: battery, profile: sunspec-storage, bus: lan, unit: 1, reserve_soc: 20, max_discharge_kw: 5, max_charge_kw: 5, capacity_kwh: 13.5}
  - {name: wallbox, kind: charger, profile: keba-p30, bus: wall, unit: 255, phases: 1, voltage: 230, min_current_a: 6, max_current_a: 16}
  - {name: hvac, kind: thermostat, profile: intesis-inmbs, bus: room, unit: 1, rated_kw: 2.5, max_offset_k: 2, allow_no_fallback: true}
policy:
  release: 4s
http:
  listen: "%s"
store:
  dir: %s/store
`

func (s *stage) describe(w io.Writer) {
	fmt.Fprintf(w, "Oak Street Bakery, simulated: a meter, a 5 kW battery, a wallbox with a vehicle and an air\n"+
		"conditioner behind Modbus TCP sockets, and a Leap API. The gateway between them is the real one.\n"+
		"Page: %s   (in a second terminal: nominald status --watch, nominald timeslots)\n\n", s.pageURL())
}

func (s *stage) close() {
	s.site.Close()
	s.leapListener.Close()
	s.page.Close()
	if s.temporary {
		os.RemoveAll(s.dir)
	}
}

// play is the demonstration itself: award, dispatch, report.
func (s *stage) play(ctx context.Context, o Options, ready <-chan struct{}) error {
	select {
	case <-ready:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(startUp + lead):
		return errors.New("the gateway did not become ready")
	}
	length := o.For - startUp - lead - tail
	start := time.Now().UTC().Add(lead).Truncate(time.Second)
	slot := sim.ExampleSlot(start, length)
	slot.MeterID = meterID
	s.leap.Add(slot)
	fmt.Fprintf(o.Out, "Leap awards %s: 4 kW from %s for %s (CCA, day-ahead, capacity test, up to site load).\n\n",
		slot.EventID, start.Format("15:04:05Z"), length)
	if err := watch(ctx, o.Out, s.pageURL(), slot.Start, slot.End); err != nil {
		return err
	}
	var rep status.Report
	if err := get(ctx, s.pageURL()+"/api/v1/timeslots/"+slot.EventID+"/report", &rep); err != nil {
		return err
	}
	trueW, err := s.site.MeanReductionW(slot.Start, slot.End)
	if err != nil {
		return err
	}
	return judge(o.Out, rep, trueW)
}
