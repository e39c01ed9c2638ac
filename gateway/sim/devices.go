package sim

import (
	"fmt"
	"time"

	"nominald/gateway/config"
	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
	"nominald/gateway/sim/registers"
)

// meterDevice measures the site.
type meterDevice struct {
	plant *plant.Meter
	show  func(*plant.Meter) // into the registers of a twin; nil where they read the plant
}

// batteryMap is what the two storage maps have in common.
type batteryMap interface {
	modbustcp.Unit
	Step(dt time.Duration)
	SetAutonomous(w float64)
	Commanded() bool
}

// batteryDevice is a battery with its map, and its uncommanded shadow.
type batteryDevice struct {
	regs            batteryMap
	plant           *plant.Battery
	shadow          *plant.Battery
	selfConsumption bool
}

func (b *batteryDevice) step(dt time.Duration, idleW, shadowIdleW float64) {
	if b.selfConsumption {
		b.regs.SetAutonomous(idleW)
		b.shadow.Command(shadowIdleW)
	}
	b.regs.Step(dt)
	b.plant.Step(dt)
	b.shadow.Step(dt)
}

func (b *batteryDevice) netW() (actual, shadow float64) {
	return -b.plant.PowerW(), -b.shadow.PowerW()
}

func (b *batteryDevice) truth() DeviceTruth {
	return DeviceTruth{PowerW: b.plant.PowerW(), SoC: b.plant.SoC(), Commanded: b.regs.Commanded()}
}

// chargerDevice is a wallbox with a vehicle.
type chargerDevice struct {
	regs   *registers.Keba
	plant  *plant.EV
	shadow *plant.EV
}

func (c *chargerDevice) step(dt time.Duration, _, _ float64) {
	c.regs.Step(dt)
	c.plant.Step(dt)
	c.shadow.Step(dt)
}

func (c *chargerDevice) netW() (actual, shadow float64) {
	return c.plant.PowerW(), c.shadow.PowerW()
}

func (c *chargerDevice) truth() DeviceTruth {
	return DeviceTruth{PowerW: c.plant.PowerW(), Commanded: c.regs.Commanded()}
}

// roomDevice is a room with an air conditioner.
type roomDevice struct {
	regs   *registers.Intesis
	plant  *plant.Room
	shadow *plant.Room
}

func (r *roomDevice) step(dt time.Duration, _, _ float64) {
	r.regs.Step(dt)
	r.plant.Step(dt)
	r.shadow.Step(dt)
}

func (r *roomDevice) netW() (actual, shadow float64) { return r.plant.PowerW(), r.shadow.PowerW() }

func (r *roomDevice) truth() DeviceTruth {
	return DeviceTruth{PowerW: r.plant.PowerW(), TemperatureC: r.plant.TempC(), Commanded: r.regs.Commanded()}
}

// sunSpec returns the map options of a device.
func (s *Site) sunSpec(name string) registers.SunSpec {
	if o, ok := s.opts.SunSpec[name]; ok {
		return o
	}
	return registers.NewSunSpec()
}

func (s *Site) buildMeter(d config.Device) (modbustcp.Unit, error) {
	m := &meterDevice{plant: plant.NewMeter(s.opts.Seed, s.load.PowerW())}
	regs, err := registers.NewMeter(m.plant, s.sunSpec(d.Name), d.Name, byte(d.Unit), d.Invert)
	if err != nil {
		return nil, err
	}
	s.meters = append(s.meters, m)
	return regs, nil
}

func (s *Site) buildBattery(d config.Device) (modbustcp.Unit, error) {
	p := plant.NewBatteryParams(5000, d.CapacityWh.Or(13_500), s.opts.SoC)
	p.MaxDischargeW = d.MaxDischargeW.Or(p.MaxDischargeW)
	p.MaxChargeW = d.MaxChargeW.Or(p.MaxChargeW)
	b := &batteryDevice{plant: plant.NewBattery(p), shadow: plant.NewBattery(p), selfConsumption: s.opts.SelfConsumption}
	opt := s.sunSpec(d.Name)
	var err error
	if opt.Flavour == registers.Storage704 {
		b.regs, err = registers.NewModern(b.plant, opt, d.Name, byte(d.Unit))
	} else {
		b.regs, err = registers.NewBasic(b.plant, opt, d.Name, byte(d.Unit))
	}
	if err != nil {
		return nil, err
	}
	s.keep(d.Name, b)
	return b.regs, nil
}

func (s *Site) buildCharger(d config.Device) modbustcp.Unit {
	p := plant.NewEVParams(or(d.Phases, 3), or(d.VoltageV, 230), or(d.MaxA, 16), s.opts.EVWantWh)
	p.Connected = s.opts.EVWantWh > 0
	c := &chargerDevice{plant: plant.NewEV(p), shadow: plant.NewEV(p)}
	c.regs = registers.NewKeba(c.plant)
	s.keep(d.Name, c)
	return c.regs
}

func (s *Site) buildRoom(d config.Device) modbustcp.Unit {
	p := plant.NewRoomParams(or(d.RatedW, 3500), s.opts.OutdoorC)
	r := &roomDevice{plant: plant.NewRoom(p), shadow: plant.NewRoom(p)}
	r.regs = registers.NewIntesis(r.plant)
	s.keep(d.Name, r)
	return r.regs
}

func (s *Site) keep(name string, c controllable) {
	s.devices[name] = c
	s.names = append(s.names, name)
}

// or returns v, or def where v was not given.
func or[T int | float64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// SetSoC puts a battery to a state of charge in percent; its shadow too.
func (s *Site) SetSoC(name string, percent float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.devices[name].(*batteryDevice)
	if !ok {
		return fmt.Errorf("device %s: not a simulated battery", name)
	}
	b.plant.SetSoC(percent)
	b.shadow.SetSoC(percent)
	return nil
}

// Plug connects a vehicle that wants an energy in Wh, or unplugs it.
func (s *Site) Plug(name string, connected bool, wantWh float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c := s.devices[name].(type) {
	case *chargerDevice:
		c.plant.Plug(connected, wantWh)
		c.shadow.Plug(connected, wantWh)
	case *twinCharger:
		c.plant.Plug(connected, wantWh)
		c.shadow.Plug(connected, wantWh)
	default:
		return fmt.Errorf("device %s: not a simulated charger", name)
	}
	return nil
}

// SetFailsafe presets a wallbox's fail-safe current in A and timeout.
func (s *Site) SetFailsafe(name string, amps float64, timeout time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.devices[name].(*chargerDevice)
	if !ok {
		return fmt.Errorf("device %s: not a simulated charger", name)
	}
	c.regs.SetFailsafe(amps, timeout)
	return nil
}
