package profile_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
)

// What the owner of the simulated sites has set.
const (
	sitePhases  = 3
	siteVolts   = 230.0
	siteMinA    = 6.0
	siteMaxA    = 16.0
	siteOffsetK = 3.0
	siteMaxW    = 1e9
)

// rig is one profile's driver on a real socket, with the device that the same
// profile describes at the other end, and a clock that both live by.
type rig struct {
	t      *testing.T
	p      *profile.Profile
	twin   *twin.Twin
	slave  *drivertest.Slave
	unit   *modbus.Unit
	params profile.Params
	device drivers.Device
	now    time.Time
	kept   memory
	log    []stamped
}

// stamped is a write with the moment at which it arrived.
type stamped struct {
	twin.Write
	at      time.Time
	release bool
}

type memory struct{ data []byte }

func (m *memory) Load() ([]byte, error) { return m.data, nil }
func (m *memory) Save(b []byte) error   { m.data = b; return nil }

// interpreted are the profiles that this package drives: those of the library,
// and some of no device, which say what no profile of the library does.
func interpreted(t *testing.T) []*profile.Profile {
	t.Helper()
	all, err := parsed()
	if err != nil || len(all) < 5 {
		t.Fatalf("%d profiles: %v", len(all), err)
	}
	return all
}

// parsed reads the files once; nobody changes a profile.
var parsed = sync.OnceValues(func() ([]*profile.Profile, error) {
	files, err := filepath.Glob("testdata/conformance/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*profile.Profile
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		p, err := profile.Parse(file, data)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	for _, p := range profile.List() {
		if p.Driver == "" && p.Bus == "modbus" {
			out = append(out, p)
		}
	}
	return out, nil
})

// commanded tells whether a profile takes commands.
func commanded(p *profile.Profile) bool { return len(p.Command.Release) > 0 }

// forEach runs a test on a rig of each profile that it is for.
func forEach(t *testing.T, wanted func(*profile.Profile) bool, run func(*rig)) {
	for _, p := range interpreted(t) {
		if wanted != nil && !wanted(p) {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			run(newRig(t, p, 2*time.Second))
		})
	}
}

// newRig connects by Modbus TCP.
func newRig(t *testing.T, p *profile.Profile, timeout time.Duration) *rig {
	t.Helper()
	slave := drivertest.NewSlave(t)
	r := newRigOn(t, p, func(id byte, d *twin.Twin) *modbus.Line {
		slave.Serve(id, d)
		return modbus.NewTCP(slave.Addr(), modbus.Options{Timeout: timeout})
	})
	r.slave = slave
	return r
}

// newRigOn opens the last channel of a device, so that a stride that is left out
// shows, on a line that connect makes.
func newRigOn(t *testing.T, p *profile.Profile, connect func(id byte, d *twin.Twin) *modbus.Line) *rig {
	t.Helper()
	id := byte(1)
	if len(p.Link.Units) > 0 {
		id = byte(p.Link.Units[0])
	}
	r := &rig{t: t, p: p, now: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)}
	r.twin = twin.New(p, p.Channels)
	r.twin.Install(twin.Site{Phases: sitePhases, VoltageV: siteVolts, MaxA: siteMaxA})
	line := connect(id, r.twin)
	t.Cleanup(func() { _ = line.Close() })
	r.unit = line.Unit(id)
	r.params = profile.Params{
		Channel: p.Channels, Phases: sitePhases, VoltageV: siteVolts, MinA: siteMinA, MaxA: siteMaxA,
		MaxDischargeW: drivers.Some(siteMaxW), MaxChargeW: drivers.Some(siteMaxW), // more than any register takes
		MaxOffsetK: siteOffsetK, AllowNoFallback: true, Remember: &r.kept,
		Allow: func(table string, first, last uint16) {
			kind := modbus.Holding
			if table == "coil" {
				kind = modbus.Coil
			}
			r.unit.Allow(modbus.Range{Table: kind, First: first, Last: last})
		},
		Now: func() time.Time { return r.now },
	}
	r.device = profile.New(p, r.unit, r.params)
	t.Cleanup(r.checkWrites)
	return r
}

// restart is what a restart of the program does: nothing is known but what was
// remembered.
func (r *rig) restart() { r.device = profile.New(r.p, r.unit, r.params) }

// pass lets time go by for both sides.
func (r *rig) pass(d time.Duration) {
	r.now = r.now.Add(d)
	r.twin.Step(d)
}

// collect notes the writes since the last call.
func (r *rig) collect(release bool) []stamped {
	var fresh []stamped
	for _, w := range r.twin.Writes() {
		fresh = append(fresh, stamped{w, r.now, release})
	}
	r.log = append(r.log, fresh...)
	return fresh
}

// checkWrites holds at the end of every test what no driver may do: write
// outside its list, or write what the device refuses.
func (r *rig) checkWrites() {
	r.collect(false)
	for _, w := range r.log {
		if r.twin.Stray(w.Write) {
			r.t.Errorf("function %d wrote % x to %d: outside the allow-list", w.Function, w.Values, w.Addr)
		}
		if w.Refused != 0 {
			r.t.Errorf("function %d wrote % x to %d: the device answers %v", w.Function, w.Values, w.Addr, w.Refused)
		}
	}
}

func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *rig) read() drivers.Reading {
	r.t.Helper()
	reading, err := r.device.Read(r.context())
	if err != nil {
		r.t.Fatalf("Read: %v", err)
	}
	r.collect(false)
	return reading
}

func (r *rig) apply(c drivers.Command) {
	r.t.Helper()
	if err := r.device.Apply(r.context(), c, drivertest.Lease); err != nil {
		r.t.Fatalf("Apply %+v: %v", c, err)
	}
	r.collect(false)
}

func (r *rig) release() {
	r.t.Helper()
	if err := r.device.Release(r.context()); err != nil {
		r.t.Fatalf("Release: %v", err)
	}
	r.collect(true)
}

// told is what the device is told, as the one number that its kind goes by:
// W, A, C, or 1 for an inhibit.
func (r *rig) told() (v float64, active bool) {
	c, active := r.twin.Commanded()
	switch r.p.Kind {
	case drivers.Charger:
		return c.CurrentA, active
	case drivers.Thermostat:
		if !r.p.Inhibits() {
			return c.SetpointC, active
		}
	case drivers.Battery, drivers.Inverter:
		return c.PowerW, active
	}
	if c.Inhibit {
		return 1, active
	}
	return 0, active
}

// resolution is the step of the registers that carry the command, in its unit.
func resolution(p *profile.Profile) float64 {
	step := 0.0
	for _, w := range carriers(p) {
		reg, _ := register(p, w.Write)
		s := math.Abs(reg.Scale)
		if strings.HasPrefix(reg.Type, "f") {
			s = 1e-3
		}
		if w.Value == "watts" {
			s /= sitePhases * siteVolts
		}
		step = math.Max(step, s)
	}
	return step
}

// carriers are the steps that carry the command's number.
func carriers(p *profile.Profile) []profile.Step {
	var out []profile.Step
	for _, steps := range [][]profile.Step{p.Command.Apply, p.Command.Charge, p.Command.Discharge} {
		for _, s := range steps {
			for _, one := range append([]profile.Step{s}, s.Also...) {
				switch one.Value {
				case "command", "charge", "discharge", "watts":
					out = append(out, one)
				}
			}
		}
	}
	return out
}

func register(p *profile.Profile, name string) (profile.Register, bool) {
	for _, w := range p.Writable {
		if w.Name == name {
			return w, true
		}
	}
	return profile.Register{}, false
}

// example is a command of the kind and what the device must be told then.
func (r *rig) example() drivertest.Case {
	switch r.p.Kind {
	case drivers.Battery:
		return drivertest.Case{Command: drivers.Command{PowerW: 2000}, Want: 2000}
	case drivers.Inverter:
		return drivertest.Case{Command: drivers.Command{PowerW: 3000}, Want: 3000}
	case drivers.Charger:
		return drivertest.Case{Command: drivers.Command{CurrentA: 10}, Want: 10}
	case drivers.Thermostat:
		if !r.p.Inhibits() {
			user, direction := r.occupant()
			return drivertest.Case{Command: drivers.Command{OffsetK: 2}, Want: user + 2*direction}
		}
	}
	return drivertest.Case{Command: drivers.Command{Inhibit: true}, Want: 1}
}

// TestEveryProfileConforms runs the suite that every driver has to pass. Its
// commands and readings are swept in more detail by the tests beside it.
func TestEveryProfileConforms(t *testing.T) {
	for _, p := range interpreted(t) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, func(t *testing.T) *drivertest.Bench { return benchOf(newRig(t, p, 2*time.Second)) })
		})
	}
}

// faultTimeout is of one transaction where devices fail to answer in time. While
// they are well it is long, so that a busy machine is not taken for a fault.
const faultTimeout = 120 * time.Millisecond

// impatient has the driver's line wait for a fault's answer so long as suits it.
func (r *rig) impatient(f drivertest.FaultKind) {
	timing := modbus.Timing{Timeout: 2 * time.Second}
	if f < drivertest.FaultNone {
		timing.Timeout = faultTimeout
	}
	r.unit.SetTiming(timing)
}

func benchOf(r *rig) *drivertest.Bench {
	b := &drivertest.Bench{
		Device: r.device, Kind: r.p.Kind,
		FallsBack: r.p.Fallback.Register != "" || r.p.Fallback.After > 0,
		Faults:    drivertest.ModbusFaults(),
		Break: func(f drivertest.FaultKind) {
			r.impatient(f)
			r.slave.Break(func(q drivertest.Request) drivertest.Fault { return f.On(q, faultTimeout) })
		},
	}
	if !commanded(r.p) {
		return b
	}
	b.Cases = []drivertest.Case{r.example()}
	b.Commanded = r.told
	b.Step = resolution(r.p)
	b.Settle = func() { r.pass(r.quiet()) }
	b.Reboot = func(hangUps int) {
		var asked atomic.Int64 // each connection has its own goroutine
		r.slave.Break(func(drivertest.Request) drivertest.Fault {
			if asked.Add(1) > int64(hangUps) {
				return drivertest.Fault{}
			}
			r.twin.Reboot()
			return drivertest.Fault{Drop: true}
		})
	}
	return b
}
