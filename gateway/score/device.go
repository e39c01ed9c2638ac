package main

import (
	"math"
	"time"

	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/gateway/config"
	"nominald/gateway/sim/plant"
)

// fault is what is wrong with a device.
type fault int

const (
	healthy fault = iota
	// dead: it answers nothing and gives nothing.
	dead
	// deaf: it answers, takes its commands and does nothing.
	deaf
	// silent: nobody reaches it; what it was told last stands until its own
	// timer ends it.
	silent
)

// fallbackAfter is the timer of the devices themselves: they let go of a
// command that nobody renews (domain.md 4.4: 3-6 control periods, and no
// inverter takes less than some tens of seconds).
const fallbackAfter = 60 * time.Second

// device is a plant with its twin that nobody commands, and its place on a bus.
type device struct {
	cfg       config.Device
	battery   *plant.Battery
	ev        *plant.EV
	room      *plant.Room
	idleEV    *plant.EV
	idleRoom  *plant.Room
	fault     fault
	now       func() time.Time
	lease     *drivers.Lease
	renewed   time.Time
	applied   drivers.Command
	commanded bool
	appliedAt time.Time
	reading   drivers.Reading
	meter     *plant.Meter // of the grid connection
	held      bool         // a room that is held off
	heldFor   time.Duration
	freed     time.Time // when it was let go last
	wire      *wire     // its registers, where it is reached over a socket
}

// Snapshot is what the bus has of the device.
func (d *device) Snapshot() bus.Snapshot {
	online := d.fault != dead && d.fault != silent
	return bus.Snapshot{Reading: d.reading, Tried: true, Online: online, LastSeen: d.reading.At, Lease: d.lease,
		Applied: d.applied, AppliedAt: d.appliedAt, Neutral: d.lease == nil && online,
		Description: drivers.Description{Fallback: true, FallbackAfter: fallbackAfter}}
}

// Lease takes a command.
func (d *device) Lease(l drivers.Lease) {
	d.lease = &l
	if d.fault == healthy || d.fault == deaf {
		d.apply(l.Command)
	}
}

// Neutral ends a command.
func (d *device) Neutral() {
	d.lease = nil
	if d.fault == healthy || d.fault == deaf {
		d.release()
	}
}

func (d *device) apply(c drivers.Command) {
	d.renewed, d.applied, d.appliedAt, d.commanded = d.now(), c, d.now(), true
	if d.fault == deaf {
		return
	}
	switch {
	case d.battery != nil:
		d.battery.Command(c.PowerW)
	case d.ev != nil:
		d.ev.Limit(c.CurrentA)
	case d.room != nil:
		d.holdOff(c.Inhibit)
		d.room.SetSetpoint(d.idleRoom.SetpointC() + c.OffsetK)
	}
}

// holdOff holds a room off or lets it run. The driver keeps the compressor's
// least times, whoever asks (domain.md 6, F6).
func (d *device) holdOff(off bool) {
	switch {
	case off == d.held:
		return
	case off && !d.freed.IsZero() && d.now().Sub(d.freed) < d.cfg.MinOn:
		return
	case !off && d.heldFor < d.cfg.MinOff:
		return
	}
	d.room.Enable(!off)
	d.held = off
	if !off {
		d.freed = d.now()
	}
}

func (d *device) release() {
	d.commanded, d.applied, d.appliedAt = false, drivers.Command{}, time.Time{}
	switch {
	case d.battery != nil:
		d.battery.Command(0)
	case d.ev != nil:
		d.ev.Limit(d.cfg.MaxA)
	case d.room != nil:
		d.holdOff(false)
		d.room.SetSetpoint(d.idleRoom.SetpointC())
	}
}

// fail breaks the device, or mends it.
func (d *device) fail(f fault) {
	d.fault = f
	if d.battery != nil && (f == dead || f == deaf) {
		d.battery.Command(0)
	}
}

// step moves the plants forward and ends what nobody renews.
func (d *device) step(dt time.Duration) {
	if d.wire != nil {
		d.wire.step(d, dt)
	}
	if d.lease != nil && d.now().After(d.lease.Until) {
		d.lease = nil
		if d.fault == healthy || d.fault == deaf {
			d.release()
		}
	}
	if d.commanded && d.now().Sub(d.renewed) > fallbackAfter {
		d.release()
	}
	switch {
	case d.battery != nil:
		d.battery.Step(dt)
	case d.ev != nil:
		d.ev.Step(dt)
		d.idleEV.Step(dt)
	case d.room != nil:
		d.room.Step(dt)
		d.idleRoom.Step(dt)
		d.heldFor += dt
		if !d.held {
			d.heldFor = 0
		}
		if d.held && !d.commanded {
			d.holdOff(false) // its least time was not over when it was let go
		}
	}
}

// drawsW is the consumption now, and what it would be without us.
func (d *device) drawsW() (actual, idle float64) {
	switch {
	case d.battery != nil:
		return -d.battery.PowerW(), 0
	case d.ev != nil:
		return d.ev.PowerW(), d.idleEV.PowerW()
	case d.room != nil:
		return d.room.PowerW(), d.idleRoom.PowerW()
	}
	return 0, 0
}

// read polls the device once.
func (d *device) read() {
	if d.fault == dead || d.fault == silent {
		return
	}
	r := drivers.Reading{At: d.now(), Connected: true}
	switch {
	case d.meter != nil:
		r.PowerW = drivers.Some(d.meter.PowerW())
	case d.battery != nil:
		r.PowerW = drivers.Some(math.Round(d.battery.PowerW()))
		r.SoC = drivers.Some(math.Round(d.battery.SoC()*10) / 10)
		r.CapacityWh = drivers.Some(d.battery.Params().CapacityWh)
		r.MaxDischargeW = drivers.Some(d.battery.Params().MaxDischargeW)
	case d.ev != nil:
		r.PowerW = drivers.Some(math.Round(d.ev.PowerW()))
	case d.room != nil:
		r.PowerW = drivers.Some(d.room.PowerW())
		r.TemperatureC = drivers.Some(math.Round(d.room.TempC()*10) / 10)
		r.SetpointC = drivers.Some(d.idleRoom.SetpointC())
	}
	d.reading = r
}
