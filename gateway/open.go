package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
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

// The profiles that have a driver of their own.
const (
	profileSunSpecMeter   = "sunspec-meter"
	profileSunSpecStorage = "sunspec-storage"
	profileRelay          = "relay-inhibit"
)

// pollEvery is how often a device is read.
func pollEvery(d config.Device) time.Duration {
	if d.Kind == drivers.Charger || d.Kind == drivers.Thermostat {
		// They move slowly, and many of them answer slowly (domain.md 4.4).
		return 2 * time.Second
	}
	return time.Second
}

// keepsake gives a device's driver a place for what it must not forget.
type keepsake func(device string) memory

// CheckDevices reports what in the config this program can not drive, and adds
// to its warnings what it does otherwise than the config's words suggest.
func CheckDevices(cfg *config.Config) error {
	for _, b := range cfg.Buses {
		used := slices.ContainsFunc(cfg.Devices, func(d config.Device) bool { return d.Bus == b.Name })
		if b.Serial != "" && used {
			return cfg.Fault("buses", b.Name, "serial", b.Serial,
				"a TCP endpoint", "reach the device through a Modbus TCP gateway: this version drives Modbus TCP only")
		}
	}
	point := ""
	for i, m := range cfg.Meters {
		if m.Type != config.UtilityMeter {
			continue
		}
		if point != "" && m.MeasuredBy != point {
			return cfg.Fault("meters", m.ID, "measured_by", m.MeasuredBy, point,
				"all utility meters of a site are measured at its one grid connection")
		}
		point = m.MeasuredBy
		if m.Reference == config.ByBaseline {
			cfg.Warnings = append(cfg.Warnings, fmt.Sprintf("meters[%d].reference: this version has no baseline of its own; "+
				"it measures against the mean load of the 15 minutes before a timeslot, as reference: relative does", i))
		}
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
		device, err := openDevice(d, lines[d.Bus], keep, !cfg.Site.Armed)
		if err != nil {
			return nil, nil, err
		}
		w := byBus[d.Bus]
		if d.GPIO != "" {
			// A relay has a wire of its own: a held line must not delay others.
			w = newWorker("gpio-"+d.Name, nil, log)
			workers = append(workers, w)
		}
		every := pollEvery(d)
		units = append(units, &unit{cfg: d, every: every, port: w.Attach(d.Name, device, every)})
	}
	return workers, units, nil
}

// newLines makes the line of each bus. Nothing is opened before its first use.
func newLines(cfg *config.Config) map[string]*modbus.Line {
	lines := map[string]*modbus.Line{}
	for _, b := range cfg.Buses {
		if b.TCP != "" {
			lines[b.Name] = modbus.NewTCP(b.TCP, modbus.Options{})
		}
	}
	return lines
}

func newWorker(name string, line io.Closer, log *slog.Logger) *bus.Worker {
	return bus.New(name, line, bus.Options{Log: log})
}

// openDevice makes the driver of one device. A passive one is read only.
func openDevice(d config.Device, line *modbus.Line, keep keepsake, passive bool) (drivers.Device, error) {
	if d.Profile == profileRelay {
		return gpio.NewRelay(gpio.Options{Line: d.GPIO, ActiveLow: d.ActiveLow,
			MinOff: d.MinOff, MaxOff: d.MaxOff, Remember: keep(d.Name), Passive: passive}), nil
	}
	if line == nil {
		return nil, fmt.Errorf("device %s: bus %s is no TCP endpoint", d.Name, d.Bus)
	}
	u := line.Unit(byte(d.Unit))
	allow := func(first, last uint16) {
		u.Allow(modbus.Range{Table: modbus.Holding, First: first, Last: last})
	}
	switch d.Profile {
	case profileSunSpecMeter:
		return sunspec.NewMeter(u, sunspec.MeterOptions{Invert: d.Invert}), nil
	case profileSunSpecStorage:
		return sunspec.NewStorage(u, sunspec.StorageOptions{
			MaxDischargeW: d.MaxDischargeW, MaxChargeW: d.MaxChargeW, CapacityWh: d.CapacityWh,
			AllowNoFallback: d.AllowNoFallback, Allow: allow,
		}), nil
	}
	p, err := profile.Load(d.Profile)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.Name, err)
	}
	return profile.New(p, u, profile.Params{
		Phases: d.Phases, VoltageV: d.VoltageV, MinA: d.MinA, MaxA: d.MaxA, MaxOffsetK: d.MaxOffsetK,
		AllowNoFallback: d.AllowNoFallback, Allow: allow, Remember: keep(d.Name),
	}), nil
}
