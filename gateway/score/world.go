package main

import (
	"fmt"
	"time"

	"nominald/drivers"
	"nominald/gateway"
	"nominald/gateway/config"
	"nominald/gateway/sim/plant"
)

const step = time.Second // of the plants (domain.md 4.6)

// grid is what a scenario's site consists of beside its devices.
type grid struct {
	minW, maxW, noiseW float64 // base load with its double peak
	appliances         float64 // an hour
	motorW             float64 // cycling, 420 s
	pvW                float64
	outdoorC           float64
}

// home and shop are the two sites of domain.md 4.6.
func home() grid {
	return grid{minW: 400, maxW: 1400, noiseW: 60, appliances: 1.5, outdoorC: 34}
}

func shop() grid {
	return grid{minW: 20_000, maxW: 30_000, noiseW: 200, motorW: 2500, outdoorC: 34}
}

// world is a site that is stepped.
type world struct {
	now     time.Time
	load    *plant.Load
	motor   *plant.Motor
	pv      *plant.PV
	meter   *device
	devices []*device // the controllable ones
	netW    float64   // true, at the grid connection
	idleW   float64   // the same had nobody commanded anything
}

// newWorld makes the site of a scenario for a seed, at a time.
func newWorld(sc *scenario, seed int64, start time.Time) *world {
	w := &world{now: start}
	day := time.Duration(start.Hour())*time.Hour + time.Duration(start.Minute())*time.Minute
	g := sc.grid
	w.load = plant.NewLoad(plant.LoadParams{MinW: g.minW, MaxW: g.maxW, NoiseW: g.noiseW,
		AppliancesPerHour: g.appliances, StartOfDay: day}, seed)
	w.motor = plant.NewMotor(g.motorW, 420*time.Second, seed)
	w.pv = plant.NewPV(g.pvW, day, seed)
	clock := func() time.Time { return w.now }
	for i, spec := range sc.devices {
		w.devices = append(w.devices, newDevice(spec, g.outdoorC, int64(i), seed, clock))
	}
	w.measure()
	w.meter = &device{cfg: config.Device{Name: "main", Kind: drivers.Meter}, now: clock, meter: plant.NewMeter(seed, w.netW)}
	w.read()
	return w
}

// newDevice makes the plant of a device, the nth of its site.
func newDevice(spec deviceSpec, outdoorC float64, n, seed int64, clock func() time.Time) *device {
	d := &device{cfg: spec.cfg, now: clock}
	switch spec.cfg.Kind {
	case drivers.Battery:
		p := plant.NewBatteryParams(spec.cfg.MaxDischargeW.V, spec.cfg.CapacityWh.V, spec.soc)
		if spec.slow {
			p.DeadTime, p.RampWPerS, p.Lag = 10*time.Second, 250, 5*time.Second
		}
		d.battery = plant.NewBattery(p)
	case drivers.Charger:
		p := plant.NewEVParams(spec.cfg.Phases, spec.cfg.VoltageV, spec.cfg.MaxA, 60_000)
		d.ev, d.idleEV = plant.NewEV(p), plant.NewEV(p)
	case drivers.Thermostat:
		p := plant.NewRoomParams(spec.cfg.RatedW, outdoorC)
		// No two rooms are alike, and each starts at a place of its own in its
		// cycle: else they would all run at once.
		p.CapacityWhPerK *= 0.9 + 0.2*unit(n+1)
		p.StartC = p.SetpointC - p.BandK + 2*p.BandK*unit(17*n+seed)
		d.room, d.idleRoom = plant.NewRoom(p), plant.NewRoom(p)
	}
	return d
}

// unit spreads seeds evenly over 0 to 1 (the golden ratio's multiples).
func unit(seed int64) float64 {
	const golden = 0.6180339887498949
	v := float64(seed) * golden
	return v - float64(int64(v))
}

// step moves the site forward by dt; readings are taken at its end.
func (w *world) step(dt time.Duration) {
	w.now = w.now.Add(dt)
	w.load.Step(dt)
	w.motor.Step(dt)
	w.pv.Step(dt)
	for _, d := range w.devices {
		d.step(dt)
	}
	w.measure()
	w.meter.meter.Step(dt, w.netW)
	w.read()
}

func (w *world) measure() {
	base := w.load.PowerW() + w.motor.PowerW() - w.pv.PowerW()
	w.netW, w.idleW = base, base
	for _, d := range w.devices {
		actual, idle := d.drawsW()
		w.netW, w.idleW = w.netW+actual, w.idleW+idle
	}
}

func (w *world) read() {
	w.meter.read()
	for _, d := range w.devices {
		d.read()
	}
}

// ports are the devices as the gateway's control sees them.
func (w *world) ports() map[string]gateway.Port {
	ports := map[string]gateway.Port{"main": w.meter}
	for _, d := range w.devices {
		ports[d.cfg.Name] = d
	}
	return ports
}

// device returns a device by name.
func (w *world) device(name string) (*device, error) {
	for _, d := range append([]*device{w.meter}, w.devices...) {
		if d.cfg.Name == name {
			return d, nil
		}
	}
	return nil, fmt.Errorf("no device %s in this scenario", name)
}
