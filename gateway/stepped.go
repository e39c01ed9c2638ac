package gateway

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/baseline"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/gateway/clock"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
)

// Stepped is the control of a gateway without its clockwork: the same rounds
// over the same readings, moved by whoever owns the time. The score runs on it,
// faster than real time. It opens no device, no socket and no file.
type Stepped struct {
	opts     SteppedOptions
	schedule atomic.Pointer[dispatch.Schedule]
	control  *control
	in       plan.Input
	out      plan.Decision
}

// SteppedOptions are what a stepped control stands on.
type SteppedOptions struct {
	Config *config.Config
	// Ports are the devices by name: all that the config has.
	Ports map[string]Port
	Now   func() time.Time
}

// Port is a device as the control sees it: what a bus has of it, and the way in
// for commands.
type Port interface {
	Snapshot() bus.Snapshot
	Lease(drivers.Lease)
	Neutral()
}

// NewStepped returns a control that has not made a round yet.
func NewStepped(opts SteppedOptions) (*Stepped, error) {
	s := &Stepped{opts: opts}
	s.schedule.Store(dispatch.NewSchedule(nil))
	return s, s.start(newEvents())
}

// start makes the control anew, with what is known of events.
func (s *Stepped) start(known *events) error {
	born := s.opts.Now()
	c := &control{cfg: s.opts.Config, log: slog.New(slog.DiscardHandler),
		clock: clock.New(clock.Options{Now: s.opts.Now, Elapsed: func() time.Duration { return s.opts.Now().Sub(born) },
			Synchronised: func() (bool, error) { return true, nil }}),
		loads:    loadlog.New(loadlog.Options{Store: forgetful{}}),
		schedule: &s.schedule, latch: &latch{}, events: known, point: sitePoint(s.opts.Config), period: time.Second,
		publish: func(in plan.Input, d plan.Decision) { s.in, s.out = in, d },
		wake:    make(chan struct{}, 1), born: born, now: s.opts.Now}
	normals := known.normals(born)
	for _, d := range s.opts.Config.Devices {
		p, ok := s.opts.Ports[d.Name]
		if !ok {
			return fmt.Errorf("device %s has no port", d.Name)
		}
		u := &unit{cfg: d, every: time.Second, now: s.opts.Now, zone: s.opts.Config.Site.Timezone, port: p}
		u.takeOver(normals[d.Name], born)
		c.units = append(c.units, u)
	}
	s.control = c
	return nil
}

// Restart is what a reboot leaves: the events as they were stored, a control
// that knows nothing else, and devices that hold their last command until their
// leases run out.
func (s *Stepped) Restart() error {
	known := newEvents()
	for id, raw := range s.control.events.unsaved(true) {
		if err := known.restore(raw, s.opts.Now()); err != nil {
			return fmt.Errorf("event %s: %w", id, err)
		}
	}
	return s.start(known)
}

// SetSchedule takes the timeslots that are known from now on.
func (s *Stepped) SetSchedule(records []dispatch.Record) {
	s.schedule.Store(dispatch.NewSchedule(records))
}

// SetBaseline takes the estimate of a timeslot's baseline.
func (s *Stepped) SetBaseline(r dispatch.Record, e *baseline.Estimate) {
	s.control.events.setBaseline(r, e)
}

// Round makes one round and returns what it knew and what it decided.
func (s *Stepped) Round() (plan.Input, plan.Decision) {
	s.control.round()
	return s.in, s.out
}

// forgetful is a store of a load log that lives in memory only.
type forgetful struct{}

// AppendRows keeps nothing.
func (forgetful) AppendRows(string, map[string][]byte) error { return nil }

// Range finds nothing.
func (forgetful) Range(string, string, string, func(string, []byte) error) error { return nil }

// DropBefore drops nothing.
func (forgetful) DropBefore(string, string) (int, error) { return 0, nil }
