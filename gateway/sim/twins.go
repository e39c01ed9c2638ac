package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/profile"
	"nominald/gateway/config"
	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
)

// built is the register side of a device, or why there is none.
type built struct {
	unit    modbustcp.Unit
	profile *profile.Profile // of a twin
	coils   bool
	why     string
}

// shared is one unit id with the devices that share it: the relays of a board,
// or the battery and the meter of a hybrid inverter.
type shared struct {
	parts []part
}

// part is one device of a unit id.
type part struct {
	unit    modbustcp.Unit
	profile *profile.Profile // of a twin
	channel int              // from 1
}

func (u *shared) add(b built, d config.Device) error {
	for _, p := range u.parts {
		if p.profile == nil || b.profile == nil {
			return errors.New("unit id is taken: only devices made from profiles share one")
		}
	}
	u.parts = append(u.parts, part{b.unit, b.profile, max(d.Channel, 1)})
	return nil
}

// Read answers from the first device that has the registers. Where several are
// channels of one board, each shows its own values.
func (u *shared) Read(function byte, addr, count uint16) ([]uint16, error) {
	var regs []uint16
	var from string
	var refusal error
	for _, p := range u.parts {
		if regs != nil && p.name() != from {
			continue
		}
		got, err := p.unit.Read(function, addr, count)
		switch {
		case err != nil && refusal == nil:
			refusal = err
		case err == nil && regs == nil:
			regs, from = got, p.name()
		case err == nil:
			p.overlay(function, addr, regs, got)
		}
	}
	if regs == nil {
		return nil, refusal
	}
	return regs, nil
}

// name is the profile's; devices without one share no unit id.
func (p part) name() string {
	if p.profile == nil {
		return ""
	}
	return p.profile.Name
}

// overlay copies the registers of this channel's points.
func (p part) overlay(function byte, addr uint16, regs, got []uint16) {
	for _, pt := range p.profile.Points {
		if pt.Stride == 0 || functionOf(pt.Table) != function {
			continue
		}
		first := int(pt.Address) + int(pt.Stride)*(p.channel-1)
		for i := first; i < first+wordsOf(pt.Type); i++ {
			if at := i - int(addr); at >= 0 && at < len(regs) {
				regs[at] = got[at]
			}
		}
	}
}

// functionOf is the Modbus function that reads a table.
func functionOf(table string) byte {
	switch table {
	case "coil":
		return 1
	case "discrete":
		return 2
	case "input":
		return 4
	}
	return 3
}

// wordsOf is how many registers a type takes: u32 is 2, f64sw is 4.
func wordsOf(kind string) int {
	switch {
	case len(kind) < 3 || kind == "bit":
		return 1
	case kind[1:3] == "64":
		return 4
	case kind[1:3] == "32":
		return 2
	}
	return 1
}

// Write tells every device that shares the registers; it is refused where all
// of them refuse.
func (u *shared) Write(function byte, addr uint16, values []uint16) error {
	var refusal error
	taken := false
	for _, p := range u.parts {
		if err := p.unit.Write(function, addr, values); err != nil {
			refusal = err
		} else {
			taken = true
		}
	}
	if taken {
		return nil
	}
	return refusal
}

// buildTwin makes a device from its profile, with a plant behind it.
func (s *Site) buildTwin(cfg *config.Config, d config.Device) (built, error) {
	p, err := cfg.DeviceProfile(d.Profile)
	switch {
	case err != nil:
		return built{why: "there is no such profile"}, nil
	case p.Driver != "":
		return built{why: "it has no map here"}, nil
	case p.Kind != d.Kind:
		return built{why: "the profile is for kind " + string(p.Kind)}, nil
	}
	t := twin.New(p, d.Channel)
	s.twins[d.Name] = t
	t.Install(twin.Site{Phases: d.Phases, VoltageV: d.VoltageV, MaxA: d.MaxA})
	switch d.Kind {
	case drivers.Meter:
		m := &meterDevice{plant: plant.NewMeter(s.opts.Seed, s.load.PowerW()), show: func(m *plant.Meter) {
			sign := 1.0
			if d.Invert {
				sign = -1
			}
			t.Measure("power_w", sign*m.PowerW())
			t.Measure("import_wh", m.ImportWh())
			t.Measure("export_wh", m.ExportWh())
		}}
		m.show(m.plant)
		s.meters = append(s.meters, m)
	case drivers.Battery:
		s.twinBattery(d, t)
	case drivers.Charger:
		s.twinCharger(d, t)
	case drivers.Thermostat:
		s.twinRoom(d, p, t)
	case drivers.Relay:
		s.keep(d.Name, &loadDevice{twin: t, ratedW: or(d.RatedW, 1000)})
	case drivers.Inverter:
		s.keep(d.Name, &inverterDevice{twin: t, sun: s.generator()})
	}
	return built{unit: t, profile: p, coils: usesCoils(p)}, nil
}

// Restart takes the supply of a device that is made from a profile away for a
// moment: it forgets every command.
func (s *Site) Restart(device string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.twins[device]
	if !ok {
		return fmt.Errorf("device %s: not made from a profile here", device)
	}
	t.Reboot()
	return nil
}

func usesCoils(p *profile.Profile) bool {
	bits := func(table string) bool { return table == "coil" || table == "discrete" }
	return slices.ContainsFunc(p.Points, func(pt profile.Point) bool { return bits(pt.Table) }) ||
		slices.ContainsFunc(p.Writable, func(r profile.Register) bool { return bits(r.Table) })
}

// twinMap drives a battery's plant by what is written into its twin.
type twinMap struct {
	*twin.Twin
	plant      *plant.Battery
	autonomous float64
}

// SetAutonomous says what the battery does by itself, W.
func (m *twinMap) SetAutonomous(w float64) { m.autonomous = w }

// Commanded tells whether somebody commands it.
func (m *twinMap) Commanded() bool {
	_, active := m.Twin.Commanded()
	return active
}

// Step has the timer run, the plant follow and the registers show it. What is
// written in part is no command: the plant goes on with the one before.
func (m *twinMap) Step(dt time.Duration) {
	m.Twin.Step(dt)
	switch c, active := m.Twin.Commanded(); {
	case !active:
		m.plant.Command(m.autonomous)
	case !math.IsNaN(c.PowerW):
		m.plant.Command(c.PowerW)
	}
	m.show()
}

func (m *twinMap) show() {
	m.Measure("power_w", m.plant.PowerW())
	m.Measure("soc", m.plant.SoC())
	m.Measure("capacity_wh", m.plant.Params().CapacityWh)
}

func (s *Site) twinBattery(d config.Device, t *twin.Twin) {
	p := plant.NewBatteryParams(5000, d.CapacityWh.Or(13_500), s.opts.SoC)
	p.MaxDischargeW = d.MaxDischargeW.Or(p.MaxDischargeW)
	p.MaxChargeW = d.MaxChargeW.Or(p.MaxChargeW)
	b := &batteryDevice{plant: plant.NewBattery(p), shadow: plant.NewBattery(p), selfConsumption: s.opts.SelfConsumption}
	m := &twinMap{Twin: t, plant: b.plant}
	b.regs = m
	m.show()
	s.keep(d.Name, b)
}

// twinCharger is a wallbox with a vehicle behind a twin.
type twinCharger struct {
	twin          *twin.Twin
	plant, shadow *plant.EV
	maxA          float64
}

func (s *Site) twinCharger(d config.Device, t *twin.Twin) {
	p := plant.NewEVParams(or(d.Phases, 3), or(d.VoltageV, 230), or(d.MaxA, 16), s.opts.EVWantWh)
	p.Connected = s.opts.EVWantWh > 0
	c := &twinCharger{twin: t, plant: plant.NewEV(p), shadow: plant.NewEV(p), maxA: or(d.MaxA, 16)}
	c.show()
	s.keep(d.Name, c)
}

func (c *twinCharger) step(dt time.Duration, _, _ float64) {
	c.twin.Step(dt)
	switch cmd, active := c.twin.Commanded(); {
	case !active:
		c.plant.Limit(c.maxA)
	case !math.IsNaN(cmd.CurrentA):
		c.plant.Limit(cmd.CurrentA)
	}
	c.plant.Step(dt)
	c.shadow.Step(dt)
	c.show()
}

func (c *twinCharger) show() {
	connected := 0.0
	if c.plant.Params().Connected {
		connected = 1
	}
	c.twin.Measure("connected", connected)
	c.twin.Measure("current_a", c.plant.CurrentA())
	c.twin.Measure("power_w", c.plant.PowerW())
}

func (c *twinCharger) netW() (actual, shadow float64) { return c.plant.PowerW(), c.shadow.PowerW() }

func (c *twinCharger) truth() DeviceTruth {
	_, active := c.twin.Commanded()
	return DeviceTruth{PowerW: c.plant.PowerW(), Commanded: active}
}

// twinRoom is a room with an air conditioner behind a twin.
type twinRoom struct {
	twin          *twin.Twin
	plant, shadow *plant.Room
	own           float64 // the occupant's set-point, C
	inhibits      bool
}

func (s *Site) twinRoom(d config.Device, p *profile.Profile, t *twin.Twin) {
	rp := plant.NewRoomParams(or(d.RatedW, 3500), s.opts.OutdoorC)
	r := &twinRoom{twin: t, plant: plant.NewRoom(rp), shadow: plant.NewRoom(rp), own: rp.SetpointC, inhibits: p.Inhibits()}
	t.Measure("setpoint_c", r.own)
	r.show()
	s.keep(d.Name, r)
}

func (r *twinRoom) step(dt time.Duration, _, _ float64) {
	r.twin.Step(dt)
	cmd, active := r.twin.Commanded()
	switch {
	case r.inhibits:
		r.plant.Enable(!active || !cmd.Inhibit)
	case !active:
		r.plant.SetSetpoint(r.own)
	case !math.IsNaN(cmd.SetpointC):
		r.plant.SetSetpoint(cmd.SetpointC)
	}
	r.plant.Step(dt)
	r.shadow.Step(dt)
	r.show()
}

func (r *twinRoom) show() {
	r.twin.Measure("temperature_c", r.plant.TempC())
	r.twin.Measure("power_w", r.plant.PowerW())
}

func (r *twinRoom) netW() (actual, shadow float64) { return r.plant.PowerW(), r.shadow.PowerW() }

func (r *twinRoom) truth() DeviceTruth {
	_, active := r.twin.Commanded()
	return DeviceTruth{PowerW: r.plant.PowerW(), TemperatureC: r.plant.TempC(), Commanded: active}
}

// loadDevice is a load behind a relay: it draws its rated power unless it is
// held off.
type loadDevice struct {
	twin   *twin.Twin
	ratedW float64
	off    bool
}

func (l *loadDevice) step(dt time.Duration, _, _ float64) {
	l.twin.Step(dt)
	cmd, active := l.twin.Commanded()
	l.off = active && cmd.Inhibit
}

func (l *loadDevice) netW() (actual, shadow float64) {
	if l.off {
		return 0, l.ratedW
	}
	return l.ratedW, l.ratedW
}

func (l *loadDevice) truth() DeviceTruth {
	w, _ := l.netW()
	return DeviceTruth{PowerW: w, Commanded: l.off}
}

// inverterDevice is a roof of its own.
type inverterDevice struct {
	twin *twin.Twin
	sun  *plant.PV
	fedW float64
}

// inverterPeakW is the roof of an inverter where SiteOptions names none.
const inverterPeakW = 4000

func (s *Site) generator() *plant.PV {
	return plant.NewPV(or(s.opts.PVPeakW, inverterPeakW), s.startOfDay, s.opts.Seed+int64(len(s.names)))
}

func (s *Site) hasInverter() bool {
	for _, d := range s.devices {
		if _, ok := d.(*inverterDevice); ok {
			return true
		}
	}
	return false
}

func (v *inverterDevice) step(dt time.Duration, _, _ float64) {
	v.twin.Step(dt)
	v.sun.Step(dt)
	v.fedW = v.sun.PowerW()
	if c, active := v.twin.Commanded(); active && !math.IsNaN(c.PowerW) {
		v.fedW = min(v.fedW, c.PowerW)
	}
	v.twin.Measure("power_w", v.fedW)
}

func (v *inverterDevice) netW() (actual, shadow float64) { return -v.fedW, -v.sun.PowerW() }

func (v *inverterDevice) truth() DeviceTruth {
	_, active := v.twin.Commanded()
	return DeviceTruth{PowerW: v.fedW, Commanded: active}
}
