package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/drivers/gpio"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
	"nominald/drivers/sunspec"
	"nominald/gateway/config"
)

// This file is the one place where the config's names become parts. A new
// profile needs a data file; a new driver needs a case in openDevice.

// The profiles that have a driver of their own. Those on GPIO lines are in
// package config.
const (
	profileSunSpecMeter    = "sunspec-meter"
	profileSunSpecStorage  = "sunspec-storage"
	profileSunSpecInverter = "sunspec-inverter"
)

// pollEvery is how often a device is read: as its profile asks, else at the
// pace of its kind.
func pollEvery(d config.Device, p *profile.Profile) time.Duration {
	switch {
	case p.Poll > 0:
		return p.Poll
	case d.Kind == drivers.Charger || d.Kind == drivers.Thermostat:
		// They move slowly, and many of them answer slowly (domain.md 4.4).
		return 2 * time.Second
	}
	return time.Second
}

// keepsake gives a device's driver a place for what it must not forget.
type keepsake func(device string) memory

// CheckDevices reports what in the config this program can not drive.
func CheckDevices(cfg *config.Config) error {
	point := ""
	for _, m := range cfg.Meters {
		if m.Type != config.UtilityMeter {
			continue
		}
		if point != "" && m.MeasuredBy != point {
			return cfg.Fault("meters", m.ID, "measured_by", m.MeasuredBy, point,
				"all utility meters of a site are measured at its one grid connection")
		}
		point = m.MeasuredBy
	}
	return nil
}

// openAll makes the bus workers and the devices on them. Nothing is opened or
// written yet: that is the workers' business.
func openAll(cfg *config.Config, log *slog.Logger, keep keepsake) ([]*bus.Worker, []*unit, error) {
	var workers []*bus.Worker
	var units []*unit
	lines := newLines(cfg)
	byBus := map[string]*bus.Worker{}
	for _, b := range cfg.Buses {
		line, ok := lines[b.Name]
		if !ok {
			continue
		}
		byBus[b.Name] = newWorker(b.Name, line, log)
		workers = append(workers, byBus[b.Name])
	}
	for _, d := range cfg.Devices {
		p, err := cfg.DeviceProfile(d.Profile)
		if err != nil {
			return nil, nil, fmt.Errorf("device %s: %w", d.Name, err)
		}
		device, err := openDevice(d, p, lines[d.Bus], keep, !cfg.Site.Armed)
		if err != nil {
			return nil, nil, err
		}
		w := byBus[d.Bus]
		if d.GPIO != "" {
			// A relay has a wire of its own: a held line must not delay others.
			w = newWorker("gpio-"+d.Name, nil, log)
			workers = append(workers, w)
		}
		every := pollEvery(d, p)
		units = append(units, &unit{cfg: d, every: every, now: time.Now, zone: cfg.Site.Timezone, port: w.Attach(d.Name, device, every)})
	}
	return workers, units, nil
}

// newLines makes the line of each bus. Nothing is opened before its first use.
func newLines(cfg *config.Config) map[string]*modbus.Line {
	lines := map[string]*modbus.Line{}
	opts := modbus.Options{AskAgain: true}
	for _, b := range cfg.Buses {
		switch {
		case b.Serial != "":
			lines[b.Name] = modbus.NewSerial(modbus.Serial{Path: b.Serial, Baud: b.Baud, Format: b.Format, Echo: b.Echo}, opts)
		case b.RTU:
			lines[b.Name] = modbus.NewRTUOverTCP(b.TCP, opts)
		default:
			lines[b.Name] = modbus.NewTCP(b.TCP, opts)
		}
	}
	return lines
}

func newWorker(name string, line io.Closer, log *slog.Logger) *bus.Worker {
	return bus.New(name, line, bus.Options{Log: log})
}

// openDevice makes the driver of one device. A passive one is read only: no
// register is opened for writing, so that not even a slip in a driver reaches one.
func openDevice(d config.Device, p *profile.Profile, line *modbus.Line, keep keepsake, passive bool) (drivers.Device, error) {
	if d.GPIO != "" {
		return openRelay(d, keep, passive)
	}
	if line == nil {
		return nil, fmt.Errorf("device %s: there is no bus %s", d.Name, d.Bus)
	}
	u := line.Unit(byte(d.Unit))
	u.SetTiming(modbus.Timing{Timeout: p.Timing.Timeout, PauseBetween: p.Timing.PauseBetween,
		PauseAfterConnect: p.Timing.PauseAfterConnect, UnitChange: p.Timing.UnitChange})
	replace := func(list []sunspec.Range) {
		ranges := make([]modbus.Range, len(list))
		for i, r := range list {
			ranges[i] = modbus.Range{Table: modbus.Holding, First: r.First, Last: r.Last}
		}
		u.SetAllowed(ranges...)
	}
	params := paramsOf(d, u, keep)
	if passive {
		replace, params.Allow = nil, nil
	}
	switch d.Profile {
	case profileSunSpecMeter:
		return sunspec.NewMeter(u, sunspec.MeterOptions{Invert: d.Invert}), nil
	case profileSunSpecInverter:
		return sunspec.NewInverter(u, sunspec.InverterOptions{AllowNoFallback: d.AllowNoFallback, Allow: replace}), nil
	case profileSunSpecStorage:
		return sunspec.NewStorage(u, sunspec.StorageOptions{
			MaxDischargeW: d.MaxDischargeW, MaxChargeW: d.MaxChargeW, CapacityWh: d.CapacityWh,
			AllowNoFallback: d.AllowNoFallback, Allow: replace,
		}), nil
	}
	if p.Driver != "" {
		return nil, fmt.Errorf("device %s: profile %s names the driver %s, which knows no such profile", d.Name, p.Name, p.Driver)
	}
	return profile.New(p, u, params), nil
}

// paramsOf are the owner's settings of a device as profiles know them.
func paramsOf(d config.Device, u *modbus.Unit, keep keepsake) profile.Params {
	return profile.Params{
		Channel: d.Channel, Invert: d.Invert,
		MaxDischargeW: d.MaxDischargeW, MaxChargeW: d.MaxChargeW, CapacityWh: d.CapacityWh,
		Phases: d.Phases, VoltageV: d.VoltageV, MinA: d.MinA, MaxA: d.MaxA, MaxOffsetK: d.MaxOffsetK,
		MinOff: d.MinOff, MinOn: d.MinOn, MaxOff: d.MaxOff,
		AllowNoFallback: d.AllowNoFallback, Remember: keep(d.Name),
		Allow: func(table string, first, last uint16) {
			t := modbus.Holding
			if table == "coil" {
				t = modbus.Coil
			}
			u.Allow(modbus.Range{Table: t, First: first, Last: last})
		},
	}
}

// openRelay makes the driver of a device on GPIO lines.
func openRelay(d config.Device, keep keepsake, passive bool) (drivers.Device, error) {
	wirings := map[string]gpio.Wiring{config.RelayInhibit: gpio.Inhibit, config.RelayStage: gpio.Stage, config.SGReady: gpio.SGReady}
	wiring, ok := wirings[d.Profile]
	if !ok {
		return nil, fmt.Errorf("device %s: profile %s is not for a GPIO line", d.Name, d.Profile)
	}
	return gpio.NewRelay(gpio.Options{Line: d.GPIO, Second: d.GPIO2, ActiveLow: d.ActiveLow, Wiring: wiring,
		MinOff: d.MinOff, MinOn: d.MinOn, MaxOff: d.MaxOff, Remember: keep(d.Name), Passive: passive}), nil
}
