package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"nominald/drivers"
	"nominald/drivers/drivertest/rtuslave"
	"nominald/gateway/config"
	"nominald/gateway/sim/modbustcp"
)

// endpoint is one wire with the units behind it: a socket of package modbustcp,
// or a line of package rtuslave - a pseudo terminal, or a socket that carries
// RTU frames or coils, neither of which modbustcp knows.
type endpoint struct {
	bus      config.Bus
	units    map[byte]*shared
	names    map[byte]string // the first device of a unit, for its faults
	coils    bool
	server   *modbustcp.Server
	listener net.Listener
	line     *rtuslave.Line
}

func (e *endpoint) addr() string { return e.bus.TCP + e.bus.Serial }

// onLine tells whether package rtuslave serves it.
func (e *endpoint) onLine() bool { return e.bus.Serial != "" || e.bus.RTU || e.coils }

// String says what is served, for people.
func (e *endpoint) String() string {
	switch {
	case e.bus.Serial != "":
		return fmt.Sprintf("bus %s: modbus rtu at %d %s on %s", e.bus.Name, e.bus.Baud, e.bus.Format, e.bus.Serial)
	case e.bus.RTU:
		return fmt.Sprintf("bus %s: modbus rtu over tcp on %s", e.bus.Name, e.bus.TCP)
	}
	return fmt.Sprintf("bus %s: modbus tcp on %s", e.bus.Name, e.bus.TCP)
}

// add builds one device of the config and puts it behind its endpoint, or
// notes why it is left out.
func (s *Site) add(cfg *config.Config, d config.Device) error {
	if d.GPIO != "" {
		s.note("device %s: on GPIO %s, which is not simulated", d.Name, d.GPIO)
		return nil
	}
	i := slices.IndexFunc(cfg.Buses, func(b config.Bus) bool { return b.Name == d.Bus })
	if i < 0 {
		return fmt.Errorf("device %s: bus %q is not in the config", d.Name, d.Bus)
	}
	bus := cfg.Buses[i]
	if err := simulable(bus); err != nil {
		s.note("device %s: bus %s: %v", d.Name, bus.Name, err)
		return nil
	}
	if d.Unit < 0 || d.Unit > 255 {
		return fmt.Errorf("device %s: unit %d is not between 0 and 255", d.Name, d.Unit)
	}
	e := s.endpoint(bus)
	built, err := s.build(cfg, d)
	if err != nil {
		return fmt.Errorf("device %s: %w", d.Name, err)
	}
	if built.unit == nil {
		s.note("device %s: %s with profile %q is not simulated: %s", d.Name, d.Kind, d.Profile, built.why)
		return nil
	}
	u := e.units[byte(d.Unit)]
	if u == nil {
		u = &shared{}
		e.units[byte(d.Unit)], e.names[byte(d.Unit)] = u, d.Name
	}
	e.coils = e.coils || built.coils
	if err := u.add(built, d); err != nil {
		return fmt.Errorf("device %s on %s unit %d: %w", d.Name, e.addr(), d.Unit, err)
	}
	return nil
}

// simulable says why a bus is left alone; nil where it may be simulated.
func simulable(b config.Bus) error {
	if b.TCP != "" {
		return modbustcp.CheckLoopback(b.TCP)
	}
	if strings.HasPrefix(b.Serial, "/dev/") {
		return fmt.Errorf("%s belongs to real adapters; simulated are serial paths elsewhere, as /tmp/site/ttyA, and tcp buses on loopback addresses", b.Serial)
	}
	// What a simulation that was killed has left is a link to nowhere.
	if _, err := os.Stat(b.Serial); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists, and is left alone", b.Serial)
	}
	return nil
}

func (s *Site) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

func (s *Site) endpoint(bus config.Bus) *endpoint {
	for _, e := range s.endpoints {
		if e.bus.Name == bus.Name {
			return e
		}
	}
	e := &endpoint{bus: bus, units: map[byte]*shared{}, names: map[byte]string{}}
	s.endpoints = append(s.endpoints, e)
	return e
}

// attach drops the endpoints without a device and hands the others their units.
func (s *Site) attach() error {
	s.endpoints = slices.DeleteFunc(s.endpoints, func(e *endpoint) bool { return len(e.units) == 0 })
	for _, e := range s.endpoints {
		if e.onLine() {
			continue
		}
		e.server = modbustcp.NewServer()
		for id, u := range e.units {
			f, err := e.server.Add(id, modbustcp.Locked(&s.mu, u))
			if err != nil {
				return fmt.Errorf("%s: %w", e, err)
			}
			s.faults[e.names[id]] = f
		}
	}
	return nil
}

// Use gives the site a listener for an address of the config, so that a port
// that was found free stays so. A bus of RTU frames, or with coils, opens its
// own in its place.
func (s *Site) Use(addr string, ln net.Listener) error {
	if err := modbustcp.CheckLoopback(ln.Addr().String()); err != nil {
		return err
	}
	for _, e := range s.endpoints {
		if e.bus.TCP != addr {
			continue
		}
		if e.onLine() {
			return ln.Close()
		}
		e.listener = ln
		return nil
	}
	return fmt.Errorf("address %s: no simulated device is on it", addr)
}

// Listen opens the sockets that Use has not given, and the serial lines.
func (s *Site) Listen() error {
	for _, e := range s.endpoints {
		if err := e.open(s); err != nil {
			s.Close()
			return fmt.Errorf("bus %s: %w", e.bus.Name, err)
		}
	}
	return nil
}

func (e *endpoint) open(s *Site) error {
	if e.listener != nil || e.line != nil {
		return nil
	}
	if !e.onLine() {
		ln, err := modbustcp.Listen(e.bus.TCP)
		if err != nil {
			return err
		}
		e.listener = ln
		return nil
	}
	o := rtuslave.Options{Baud: e.bus.Baud, Echo: e.bus.Echo}
	if e.bus.Format == "8N1" {
		o.Bits = 10
	}
	var line *rtuslave.Line
	var err error
	switch {
	case e.bus.Serial != "":
		line, err = rtuslave.Open(e.bus.Serial, o)
	case e.bus.RTU:
		line, err = rtuslave.Listen(e.bus.TCP, o)
	default:
		o.Framing = rtuslave.TCP
		line, err = rtuslave.Listen(e.bus.TCP, o)
	}
	if err != nil {
		return err
	}
	for id, u := range e.units {
		line.Attach(id, modbustcp.Locked(&s.mu, u))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.line = line
	return nil
}

// Close closes what Listen has opened, of a site that is not run.
func (s *Site) Close() {
	for _, e := range s.endpoints {
		if e.listener != nil {
			e.listener.Close()
			e.listener = nil
		}
		e.closeLine(s) // the error would be about a link that somebody else has removed
	}
}

func (e *endpoint) closeLine(s *Site) error {
	s.mu.Lock()
	line := e.line
	e.line = nil
	s.mu.Unlock()
	if line == nil {
		return nil
	}
	return line.Close()
}

// Serve answers on all sockets and lines until ctx ends, without moving time.
// The caller steps the site.
func (s *Site) Serve(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, e := range s.endpoints {
		g.Go(func() error {
			if !e.onLine() {
				return e.server.Serve(ctx, e.listener)
			}
			<-ctx.Done() // the line serves by itself
			return e.closeLine(s)
		})
	}
	return g.Wait()
}

// UnplugBus pulls the adapter of a serial bus: its path is gone, and whoever
// has it open is hung up on. A socket's connection is reset and nobody answers.
func (s *Site) UnplugBus(name string) error {
	line, err := s.lineOf(name)
	if err != nil {
		return err
	}
	return line.Unplug()
}

// PlugBus puts it back.
func (s *Site) PlugBus(name string) error {
	line, err := s.lineOf(name)
	if err != nil {
		return err
	}
	return line.Plug()
}

func (s *Site) lineOf(bus string) (*rtuslave.Line, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.endpoints {
		if e.bus.Name == bus && e.line != nil {
			return e.line, nil
		}
	}
	return nil, fmt.Errorf("bus %s: no line that can be pulled", bus)
}

// DropConnections closes all Modbus connections of the site's sockets, as a
// switch that restarts does.
func (s *Site) DropConnections() {
	for _, e := range s.endpoints {
		if e.server != nil {
			e.server.Drop()
		}
	}
}

// build makes plant and map of a device.
func (s *Site) build(cfg *config.Config, d config.Device) (built, error) {
	var unit modbustcp.Unit
	var err error
	switch {
	case d.Kind == drivers.Meter && d.Profile == "sunspec-meter":
		unit, err = s.buildMeter(d)
	case d.Kind == drivers.Battery && d.Profile == "sunspec-storage":
		unit, err = s.buildBattery(d)
	case d.Kind == drivers.Charger && strings.HasPrefix(d.Profile, "keba"):
		unit = s.buildCharger(d)
	case d.Kind == drivers.Thermostat && strings.HasPrefix(d.Profile, "intesis"):
		unit = s.buildRoom(d)
	default:
		return s.buildTwin(cfg, d)
	}
	return built{unit: unit}, err
}

// ListenLoopback opens a free port on 127.0.0.1 and returns its address. The
// port stays taken until the listener is given to Use or closed.
func ListenLoopback() (net.Listener, string, error) {
	ln, err := modbustcp.Listen("127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	return ln, ln.Addr().String(), nil
}
