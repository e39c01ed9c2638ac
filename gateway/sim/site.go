// Package sim is a site and a Leap API to try the gateway against: plant
// models behind real Modbus TCP sockets and pseudo terminals, and an HTTP
// server that answers as Leap's dispatch API does. Everything listens on
// loopback addresses only.
//
// It shares no code with the drivers, the Leap client or the planner, so that
// a mistake there can not cancel itself out here. Devices without a register
// map of their own here are made from their profiles, read by package twin.
package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"nominald/drivers/drivertest/twin"
	"nominald/gateway/config"
	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
	"nominald/gateway/sim/registers"
)

// SiteOptions says what a config leaves open about the simulated site.
type SiteOptions struct {
	Seed   int64
	Preset Preset // default Home
	// Start is the simulated time at which a site that is stepped begins, and
	// the time of day of one that is run; Run itself keeps to the wall clock.
	Start time.Time
	SoC   float64 // percent of all batteries at the start; default 80
	// PVPeakW adds a photovoltaic generator.
	PVPeakW  float64
	OutdoorC float64 // default 34
	// EVWantWh is what a plugged-in vehicle wants; default 40 kWh. Negative: no
	// vehicle is plugged in.
	EVWantWh float64
	// SelfConsumption lets batteries cover the site's load by themselves while
	// nobody commands them.
	SelfConsumption bool
	// SunSpec overrides the register map of single devices, by name.
	SunSpec map[string]registers.SunSpec
	// Now is the wall clock that Run steps by; default time.Now.
	Now func() time.Time
}

// Preset names a kind of site by its base load.
type Preset string

// The presets.
const (
	Home   Preset = "home"   // 0.4-1.4 kW with appliances (domain.md 4.6)
	Bakery Preset = "bakery" // 5-7 kW, nearly flat: 4 kW less is no export
)

// stepSize is the longest step of the physics; dead times of seconds and ramps
// of 1 kW/s are fine enough with it.
const stepSize = 100 * time.Millisecond

// Site is a simulated site. Use, Listen and Close come before Serve or Run; the
// other methods may be called from any goroutine at any time.
type Site struct {
	opts  SiteOptions
	notes []string

	mu         sync.Mutex // guards everything below and all register maps
	start      time.Time
	startOfDay time.Duration
	elapsed    time.Duration
	load       *plant.Load
	pv         *plant.PV
	meters     []*meterDevice
	devices    map[string]controllable
	names      []string // of devices, in the config's order
	account    ledger
	actualW    float64
	shadowW    float64

	endpoints []*endpoint
	faults    map[string]*modbustcp.Faults
	twins     map[string]*twin.Twin // devices made from profiles, by name
}

// controllable is a device that draws or gives power and can be commanded,
// together with its shadow that nobody commands.
type controllable interface {
	// step moves both forward; idleW is what the site draws beside batteries.
	step(dt time.Duration, idleW, shadowIdleW float64)
	// netW returns the consumption of the device and of its shadow.
	netW() (actual, shadow float64)
	truth() DeviceTruth
}

// NewSite builds the site of a config. Devices that can not be simulated are
// left out, and Notes says why; a site without any is an error.
func NewSite(cfg *config.Config, opts SiteOptions) (*Site, error) {
	opts.fill()
	startOfDay := opts.startOfDay(cfg.Site.Timezone)
	base, err := opts.Preset.load(startOfDay)
	if err != nil {
		return nil, err
	}
	s := &Site{
		opts: opts, start: opts.Start, startOfDay: startOfDay, account: newLedger(),
		load:    plant.NewLoad(base, opts.Seed),
		pv:      plant.NewPV(opts.PVPeakW, base.StartOfDay, opts.Seed),
		devices: map[string]controllable{}, faults: map[string]*modbustcp.Faults{}, twins: map[string]*twin.Twin{},
	}
	for _, d := range cfg.Devices {
		if err := s.add(cfg, d); err != nil {
			return nil, err
		}
	}
	if s.hasInverter() {
		s.pv = plant.NewPV(0, startOfDay, opts.Seed) // the roof is the inverter's
	}
	if err := s.attach(); err != nil {
		return nil, err
	}
	if len(s.endpoints) == 0 {
		return nil, fmt.Errorf("%s: no device can be simulated; give at least one a bus with tcp: 127.0.0.1:PORT, or serial: with a path that does not exist (%s)",
			cfg.Path, strings.Join(s.notes, "; "))
	}
	s.measure(0)
	return s, nil
}

func (o *SiteOptions) fill() {
	if o.Preset == "" {
		o.Preset = Home
	}
	if o.SoC == 0 {
		o.SoC = 80
	}
	if o.OutdoorC == 0 {
		o.OutdoorC = 34
	}
	if o.EVWantWh == 0 {
		o.EVWantWh = 40_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// startOfDay returns the time of day at which the simulation starts; noon when
// it is not said.
func (o *SiteOptions) startOfDay(zone *time.Location) time.Duration {
	if o.Start.IsZero() {
		return 12 * time.Hour
	}
	if zone == nil {
		zone = time.UTC
	}
	t := o.Start.In(zone)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

func (p Preset) load(startOfDay time.Duration) (plant.LoadParams, error) {
	switch p {
	case Home:
		return plant.LoadParams{MinW: 400, MaxW: 1400, NoiseW: 60, AppliancesPerHour: 1.5, StartOfDay: startOfDay}, nil
	case Bakery:
		return plant.LoadParams{MinW: 5700, MaxW: 6300, NoiseW: 100, StartOfDay: startOfDay}, nil
	}
	return plant.LoadParams{}, fmt.Errorf("preset %q: known are %q and %q", p, Home, Bakery)
}

// Notes says which devices of the config are not simulated, and why.
func (s *Site) Notes() []string { return slices.Clone(s.notes) }

// Step moves the site forward. It is called by Run; a test that does not run
// the site in real time calls it instead.
func (s *Site) Step(dt time.Duration) {
	for dt > 0 {
		d := min(dt, stepSize)
		s.mu.Lock()
		s.step(d)
		s.mu.Unlock()
		dt -= d
	}
}

func (s *Site) step(dt time.Duration) {
	s.elapsed += dt
	s.load.Step(dt)
	s.pv.Step(dt)
	idle := s.load.PowerW() - s.pv.PowerW()
	shadowIdle := idle
	for _, name := range s.names { // loads first, so that batteries see them
		if _, ok := s.devices[name].(*batteryDevice); !ok {
			s.devices[name].step(dt, 0, 0)
			a, sh := s.devices[name].netW()
			idle, shadowIdle = idle+a, shadowIdle+sh
		}
	}
	for _, name := range s.names {
		if b, ok := s.devices[name].(*batteryDevice); ok {
			b.step(dt, idle, shadowIdle)
		}
	}
	s.measure(dt)
}

// measure adds everything up at the grid connection.
func (s *Site) measure(dt time.Duration) {
	s.actualW = s.load.PowerW() - s.pv.PowerW()
	s.shadowW = s.actualW
	for _, name := range s.names {
		a, sh := s.devices[name].netW()
		s.actualW, s.shadowW = s.actualW+a, s.shadowW+sh
	}
	for _, m := range s.meters {
		m.plant.Step(dt, s.actualW)
		if m.show != nil {
			m.show(m.plant)
		}
	}
	s.account.step(dt, s.actualW, s.shadowW)
}

// Truth returns what really happens now.
func (s *Site) Truth() Truth {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Truth{
		At: s.anchor().Add(s.elapsed), SiteLoadW: s.actualW, BaseLoadW: s.load.PowerW(), PVW: s.pv.PowerW(),
		UncontrolledW: s.shadowW, Devices: map[string]DeviceTruth{},
	}
	for _, name := range s.names {
		t.Devices[name] = s.devices[name].truth()
	}
	return t
}

// anchor returns the wall time of the simulation's start and fixes it where
// nobody has.
func (s *Site) anchor() time.Time {
	if s.start.IsZero() {
		s.start = s.opts.Now().Add(-s.elapsed)
	}
	return s.start
}

// MeanReductionW returns by how much the site drew less, on average over a
// window of simulated time, than it would have drawn uncommanded.
func (s *Site) MeanReductionW(from, to time.Time) (float64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := s.anchor()
	return s.account.meanReductionW(from.Sub(start), to.Sub(start))
}

// Faults returns the hooks to break a device with, nil for an
// unknown one and for those on a line that can be pulled.
func (s *Site) Faults(device string) *modbustcp.Faults { return s.faults[device] }

// Run serves the site and moves it in real time until ctx ends.
func (s *Site) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Serve(ctx) })
	g.Go(func() error { s.keepTime(ctx); return nil })
	return g.Wait()
}

// keepTime steps the site by the time that passed.
func (s *Site) keepTime(ctx context.Context) {
	tick := time.NewTicker(stepSize)
	defer tick.Stop()
	s.mu.Lock()
	last := s.opts.Now()
	s.start = last.Add(-s.elapsed)
	s.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := s.opts.Now()
			s.Step(now.Sub(last))
			last = now
		}
	}
}
