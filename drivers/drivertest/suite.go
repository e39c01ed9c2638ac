package drivertest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"nominald/drivers"
)

// Case is a command and what the device must then be told, in the command's
// unit as the simulated device understands it.
type Case struct {
	Command drivers.Command
	Want    float64
}

// Bench is one driver with the simulated device behind it. The functions speak
// from the device's side and in the gateway's units and signs, so that they
// have to decode registers on their own.
type Bench struct {
	Device drivers.Device
	Kind   drivers.Kind

	// Measure has the device measure a power in W; nil where it measures none.
	Measure func(w float64)
	// StepW is the resolution of that measurement.
	StepW float64
	// Blank has the device leave its measurements unimplemented; nil if it can
	// not. Read must then return unknown, not zero.
	Blank func()

	// Cases are commands to try; none for a meter.
	Cases []Case
	// Commanded returns what the device is commanded to do. It is not active
	// where the device is neutral.
	Commanded func() (v float64, active bool)
	// Step is the resolution of a command.
	Step float64
	// Fallback returns what the device's own timer was last set to; nil for a
	// device without one.
	Fallback func() time.Duration
	// ClearFallback sets that timer to 0 from outside.
	ClearFallback func()
	// FallsBack is true for a device that ends a command by itself though its
	// timer can not be seen as above.
	FallsBack bool

	// Break makes the device fail; FaultNone mends it. Faults lists those it
	// can have.
	Break  func(FaultKind)
	Faults []FaultKind
	// Reboot has the device close the connection at each of the next requests,
	// so many, and lose its command; nil if it can not.
	Reboot func(hangUps int)
	// Settle lets the least time between two writes go by; nil for a device
	// without.
	Settle func()
	// StrayWrites returns writes to registers that a driver must not touch.
	StrayWrites func() []Request
}

// patience bounds one call of a driver.
const patience = 5 * time.Second

// Lease is the length of the leases that the suite gives.
const Lease = 30 * time.Second

// Run runs the parts of the conformance suite that apply to the device. Each
// gets a bench of its own.
func Run(t *testing.T, open func(*testing.T) *Bench) {
	b := open(t)
	commanded := len(b.Cases) > 0
	parts := []struct {
		name    string
		applies bool
		run     func(*testing.T, *Bench)
	}{
		{"read is fresh and describes the device", true, readIsFresh},
		{"measured power has the right unit and sign", b.Measure != nil, powerIsRight},
		{"what is unimplemented is unknown", b.Blank != nil, blankIsUnknown},
		{"a command arrives as asked", commanded, commandArrives},
		{"a repeated command renews the fallback", commanded && b.Fallback != nil, fallbackIsRenewed},
		{"release leaves the device neutral", commanded, releaseIsNeutral},
		{"a reboot is noticed and the command given again", commanded && b.Reboot != nil, rebootIsNoticed},
		{"a meter takes no command", b.Kind == drivers.Meter, meterRefuses},
	}
	for _, p := range parts {
		if !p.applies {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			b := open(t)
			p.run(t, b)
			checkStray(t, b)
		})
	}
	t.Run("faults have their class and give no value", func(t *testing.T) { faultsAreClassed(t, b.Faults, open) })
}

func checkStray(t *testing.T, b *Bench) {
	t.Helper()
	if b.StrayWrites == nil {
		return
	}
	if stray := b.StrayWrites(); len(stray) > 0 {
		t.Errorf("writes outside the allow-list: %+v", stray)
	}
}

// bounded returns a context that outlives a call but not a hanging one.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func mustRead(t *testing.T, b *Bench) drivers.Reading {
	t.Helper()
	r, err := b.Device.Read(bounded(t))
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return r
}

func mustApply(t *testing.T, b *Bench, c drivers.Command) {
	t.Helper()
	if err := b.Device.Apply(bounded(t), c, Lease); err != nil {
		t.Fatalf("Apply %+v: %v", c, err)
	}
}

func readIsFresh(t *testing.T, b *Bench) {
	first := mustRead(t, b)
	if first.At.IsZero() {
		t.Error("Read: the reading has no time")
	}
	if second := mustRead(t, b); second.At.Before(first.At) {
		t.Errorf("Read: time went from %v back to %v", first.At, second.At)
	}
	about := b.Device.Describe()
	if about.Detail == "" {
		t.Error("Describe: no detail after a Read")
	}
	if want := b.Fallback != nil || b.FallsBack; len(b.Cases) > 0 && about.Fallback != want {
		t.Errorf("Describe: fallback %v, want %v", about.Fallback, want)
	}
}

func powerIsRight(t *testing.T, b *Bench) {
	for _, w := range []float64{0, 1500, 4200, -2300} {
		if w < 0 && (b.Kind == drivers.Charger || b.Kind == drivers.Thermostat) {
			continue
		}
		b.Measure(w)
		got := mustRead(t, b).PowerW
		if !got.OK || math.Abs(got.V-w) > b.StepW {
			t.Errorf("device measures %g W, Read says %+v", w, got)
		}
	}
}

func blankIsUnknown(t *testing.T, b *Bench) {
	b.Measure(1000)
	mustRead(t, b)
	b.Blank()
	if got := mustRead(t, b).PowerW; got.OK {
		t.Errorf("power is unimplemented, Read says %g W", got.V)
	}
}

func commandArrives(t *testing.T, b *Bench) {
	mustReadIfPossible(t, b)
	for _, c := range b.Cases {
		for range 2 { // the second must change nothing
			mustApply(t, b, c.Command)
			got, active := b.Commanded()
			if !active || !(math.Abs(got-c.Want) <= b.Step) {
				t.Fatalf("Apply %+v: device is told %g (active %v), want %g", c.Command, got, active, c.Want)
			}
			if got*c.Want < 0 {
				t.Fatalf("Apply %+v: device is told %g, the other direction", c.Command, got)
			}
		}
	}
}

// mustReadIfPossible reads once: the bus worker does so before it commands.
func mustReadIfPossible(t *testing.T, b *Bench) {
	t.Helper()
	if len(b.Cases) > 0 {
		mustRead(t, b)
	}
}

func fallbackIsRenewed(t *testing.T, b *Bench) {
	mustRead(t, b)
	for range 2 {
		b.ClearFallback()
		mustRead(t, b) // a driver that writes on change has to notice
		mustApply(t, b, b.Cases[0].Command)
		if got := b.Fallback(); got < Lease || got > Lease+time.Second {
			t.Errorf("Apply for %v: the device's timer is set to %v", Lease, got)
		}
	}
}

func releaseIsNeutral(t *testing.T, b *Bench) {
	mustRead(t, b)
	mustApply(t, b, b.Cases[0].Command)
	for range 2 {
		if err := b.Device.Release(bounded(t)); err != nil {
			t.Fatalf("Release: %v", err)
		}
		if v, active := b.Commanded(); active {
			t.Fatalf("after Release the device is still told %g", v)
		}
	}
	mustRead(t, b)
}

// faultsAreClassed gives each fault a bench of its own, all at once: most of it
// is waiting for devices that are silent or late.
func faultsAreClassed(t *testing.T, faults []FaultKind, open func(*testing.T) *Bench) {
	var all sync.WaitGroup
	for _, f := range faults {
		b := open(t)
		all.Go(func() {
			if err := faultIsClassed(b, f); err != nil {
				t.Errorf("fault %v: %v", f, err)
			}
			checkStray(t, b)
		})
	}
	all.Wait()
}

// faultIsClassed breaks a device, mends it, and returns what was wrong.
func faultIsClassed(b *Bench, f FaultKind) error {
	var wrong []error
	if err := heals(b); err != nil {
		return err
	}
	b.Break(f)
	for range 2 { // the second meets the driver in doubt
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := b.Device.Read(ctx)
		if !errors.Is(err, f.class()) {
			wrong = append(wrong, fmt.Errorf("error of Read %v, want %w", err, f.class()))
		}
		if r.PowerW.OK || r.SoC.OK || !r.At.IsZero() {
			wrong = append(wrong, fmt.Errorf("a reading came beside the error: %+v", r))
		}
		if len(b.Cases) == 0 {
			continue
		}
		if err := b.Device.Apply(ctx, b.Cases[0].Command, Lease); !errors.Is(err, f.class()) {
			wrong = append(wrong, fmt.Errorf("error of Apply %v, want %w", err, f.class()))
		}
	}
	b.Break(FaultNone)
	return errors.Join(append(wrong, heals(b), obeysAgain(b))...)
}

// heals gives a driver a few polls to find its device again.
func heals(b *Bench) error {
	var err error
	for range 8 { // a SunSpec driver may look at another base address first
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, err = b.Device.Read(ctx)
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("the device is well, Read still fails: %w", err)
}

// obeysAgain gives a device a command after it was broken.
func obeysAgain(b *Bench) error {
	if len(b.Cases) == 0 {
		return nil
	}
	if b.Settle != nil {
		b.Settle()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := b.Cases[0]
	if err := b.Device.Apply(ctx, c.Command, Lease); err != nil {
		return fmt.Errorf("the device is well, Apply %+v still fails: %w", c.Command, err)
	}
	if got, active := b.Commanded(); !active || !(math.Abs(got-c.Want) <= b.Step) {
		return fmt.Errorf("the device is well, after Apply %+v it is told %g (active %v), want %g", c.Command, got, active, c.Want)
	}
	return nil
}

// rebootIsNoticed has the device reboot in mid-transaction: with one connection
// lost, which the line may mend on its own, and with several.
func rebootIsNoticed(t *testing.T, b *Bench) {
	c := b.Cases[0]
	for _, hangUps := range []int{3, 1} {
		mustRead(t, b)
		if b.Settle != nil {
			b.Settle()
		}
		mustApply(t, b, c.Command)
		b.Reboot(hangUps)
		for range hangUps {
			_, _ = b.Device.Read(bounded(t)) // fails, or not: the line decides
		}
		if err := errors.Join(heals(b), obeysAgain(b)); err != nil {
			t.Errorf("after a reboot with %d lost connections: %v", hangUps, err)
		}
	}
}

func meterRefuses(t *testing.T, b *Bench) {
	mustRead(t, b)
	err := b.Device.Apply(bounded(t), drivers.Command{PowerW: 1000}, Lease)
	if !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("Apply: error %v, want %v", err, drivers.ErrRefused)
	}
	if err := b.Device.Release(bounded(t)); err != nil {
		t.Errorf("Release: %v", err)
	}
}
