package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"nominald/drivers"
	"nominald/gateway/sim"
	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/registers"
)

// wire is a device's place on a socket.
type wire struct {
	listener net.Listener
	server   *modbustcp.Server
	faults   *modbustcp.Faults
	storage  *registers.Basic // a battery's map
	cooler   *coolerMap
}

// Unit ids on the sockets.
const (
	meterUnit  = 200
	deviceUnit = 1
)

// connect puts every device of a world behind a socket of its own.
func (w *world) connect(mu *sync.Mutex) error {
	for _, d := range append([]*device{w.meter}, w.devices...) {
		if err := d.connect(mu); err != nil {
			return err
		}
	}
	return nil
}

func (d *device) connect(mu *sync.Mutex) error {
	x := &wire{server: modbustcp.NewServer()}
	var unit modbustcp.Unit
	var err error
	id := byte(deviceUnit)
	switch {
	case d.meter != nil:
		id = meterUnit
		unit, err = registers.NewMeter(d.meter, registers.NewSunSpec(), d.cfg.Name, id, false)
	case d.battery != nil:
		x.storage, err = registers.NewBasic(d.battery, registers.NewSunSpec(), d.cfg.Name, id)
		unit = x.storage
	case d.room != nil:
		x.cooler = &coolerMap{device: d}
		unit = x.cooler
	default:
		return fmt.Errorf("device %s: a %s has no registers here", d.cfg.Name, d.cfg.Kind)
	}
	if err != nil {
		return fmt.Errorf("registers of %s: %w", d.cfg.Name, err)
	}
	if x.faults, err = x.server.Add(id, modbustcp.Locked(mu, unit)); err != nil {
		return err
	}
	if x.listener, _, err = sim.ListenLoopback(); err != nil {
		return err
	}
	d.wire = x
	return nil
}

// serve answers on all sockets until the context ends.
func (w *world) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range append([]*device{w.meter}, w.devices...) {
		g.Go(func() error { return d.wire.server.Serve(ctx, d.wire.listener) })
	}
	return g.Wait()
}

// step has the timers of the registers run, and breaks the line of a device
// that is dead.
func (x *wire) step(d *device, dt time.Duration) {
	x.faults.SetOffline(d.fault == dead || d.fault == silent)
	switch {
	case x.storage != nil && d.fault == healthy:
		x.storage.Step(dt)
		d.commanded = x.storage.Commanded()
		d.applied = drivers.Command{}
		if d.commanded {
			d.applied.PowerW = math.Round(d.battery.PowerW())
		}
		d.renewed = d.now()
	case x.cooler != nil:
		d.holdOff(x.cooler.hold)
	}
}

// coolerMap is the register map of coolerProfile.
type coolerMap struct {
	device *device
	hold   bool
}

// The registers of a cooler.
const (
	coolerPower = iota
	coolerRoom
	coolerSetpoint
	coolerHold
	coolerRegisters
)

// coolerProfile is how the gateway is told of it.
const coolerProfile = `name: score-cooler
kind: thermostat
maker: the score's air conditioner
bus: modbus
source: the score's own register map
revision: "1"
tested: simulated
connect: TCP, unit 1
link: {port: 502, units: [1]}
max_registers: 10
points:
  - {name: power, address: 0, type: u16, unit: W, meaning: power_w, min: 0, max: 60000}
  - {name: room, address: 1, type: s16, scale: 0.1, unit: C, meaning: temperature_c, min: -40, max: 80}
  - {name: setpoint, address: 2, type: s16, scale: 0.1, unit: C, meaning: setpoint_c, min: 5, max: 40}
  - {name: hold, address: 3, type: u16, meaning: state, words: {0: runs, 1: held off}}
identity:
  - {address: 3, type: u16, min: 0, max: 1}
writable:
  - {name: hold, address: 3, type: u16, function: 6, min: 0, max: 1, changed: true}
command:
  inhibit:
    - {write: hold, value: 1}
  release:
    - {write: hold, value: 0}
read_back: {point: hold}
`

// Read shows the room.
func (m *coolerMap) Read(_ byte, addr, count uint16) ([]uint16, error) {
	if int(addr)+int(count) > coolerRegisters {
		return nil, modbustcp.Exception(2)
	}
	all := [coolerRegisters]uint16{
		coolerPower:    uint16(m.device.room.PowerW()),
		coolerRoom:     uint16(int16(math.Round(10 * m.device.room.TempC()))),
		coolerSetpoint: uint16(int16(math.Round(10 * m.device.idleRoom.SetpointC()))),
	}
	if m.hold {
		all[coolerHold] = 1
	}
	return append([]uint16(nil), all[addr:addr+count]...), nil
}

// Write holds it off or lets it run.
func (m *coolerMap) Write(_ byte, addr uint16, values []uint16) error {
	if addr != coolerHold || len(values) != 1 || values[0] > 1 {
		return modbustcp.Exception(2)
	}
	m.hold = values[0] == 1
	return nil
}
