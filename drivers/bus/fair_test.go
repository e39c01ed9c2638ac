package bus

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"nominald/drivers"
)

// A try of a lost device that has to stand back must not keep a due command
// waiting with it, nor the loop spinning.
func TestDueWriteDoesNotWaitForALostDevice(t *testing.T) {
	w := New("rs485", nil, Options{})
	battery := w.Attach("battery", nil, 10*time.Second)
	charger := w.Attach("charger", nil, time.Second)
	now := time.Now()
	battery.met, battery.due = true, now.Add(time.Second)
	battery.wish, battery.command, battery.since = follow, drivers.Command{PowerW: 1000}, now
	charger.snap.Tried, charger.retryAt, charger.tryCost = true, now.Add(-time.Second), 3*time.Second
	w.writes = 100 // so many that a due read goes first
	if p, write := w.next(now); p != battery || !write {
		t.Errorf("next is %v, write %v; want the write to the battery", p, write)
	}
}

// Devices that died a moment ago are not known to be lost. They must not use up
// the time of those that live.
func TestShutdownLeavesTimeForTheLiving(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		var ports []*Port
		var fakes []*fake
		for _, name := range []string{"one", "two", "three", "living"} {
			p, f := b.add(name, time.Hour, 0)
			ports, fakes = append(ports, p), append(fakes, f)
		}
		b.run()
		for _, p := range ports {
			p.Lease(lease(1000, time.Hour))
		}
		b.at(time.Second)
		for _, f := range fakes[:3] {
			f.slow(time.Minute)
			f.die(true)
		}
		b.left = "one"
		b.end()
		if !fakes[3].rests() {
			t.Errorf("the living device was left with its command: %s", b.calls())
		}
	})
}

// heldWire is a device on a serial line that is held for as long as a silent
// one might still answer.
type heldWire struct {
	drivers.Device
	hold     *time.Time
	dead     bool
	released *int
}

func (d heldWire) Read(context.Context) (drivers.Reading, error) { return drivers.Reading{}, nil }
func (d heldWire) Describe() drivers.Description                 { return drivers.Description{} }

func (d heldWire) Release(ctx context.Context) error {
	if pause(ctx, time.Until(*d.hold)); ctx.Err() != nil {
		return ctx.Err()
	}
	if !d.dead {
		*d.released++
		return nil
	}
	*d.hold = time.Now().Add(5 * time.Second)
	<-ctx.Done()
	return drivers.ErrOffline
}

// Who was not reached, because the wire was held, comes before who was silent.
func TestShutdownReachesThoseBehindASilentOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hold time.Time
		released, w := 0, New("rs485", nil, Options{})
		for i := range 6 {
			w.Attach(fmt.Sprint("d", i), heldWire{hold: &hold, dead: i == 0, released: &released}, time.Hour)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, p := range w.ports {
			p.wish, p.given = rest, true
		}
		if err := w.shutdown(ctx); err == nil || released != 5 {
			t.Errorf("%d released, error %v; want the five that live, and the silent one named", released, err)
		}
	})
}

// A command that was not answered may have arrived.
func TestShutdownInsistsOnWhatMayHaveArrived(t *testing.T) {
	for _, comesBack := range []bool{true, false} {
		bubble(t, Options{}, func(t *testing.T, b *bench) {
			p, f := b.add("battery", time.Hour, 0)
			b.run()
			f.fails("apply", drivers.ErrOffline)
			p.Lease(lease(1000, time.Hour))
			b.at(time.Second)
			f.fails("release", drivers.ErrOffline)
			if comesBack {
				time.AfterFunc(2*time.Second, func() { f.fails("release", nil) })
			} else {
				b.left = "battery"
			}
			b.end()
			if f.rests() != comesBack {
				t.Errorf("comes back %v, released %v: %s", comesBack, f.rests(), b.calls())
			}
		})
	}
}

// One that the device refused did not, so nobody is told that it was left with
// a command.
func TestShutdownDoesNotAccuseARefusedCommand(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Hour, 0)
		b.run()
		f.fails("apply", drivers.ErrRefused)
		p.Lease(lease(1000, time.Hour))
		b.at(time.Second)
		f.fails("release", drivers.ErrRefused)
		b.end()
		if n := len(f.times("release")); n != 1 {
			t.Errorf("%d releases, want one", n)
		}
	})
}

// The owner's STOP must not wait for the pause of a command that failed: part of
// it may have arrived, and each try has set the device's timer anew.
func TestReleaseDoesNotWaitForAFailedCommand(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, b *bench) {
		p, f := b.add("battery", time.Second, 0)
		b.run()
		f.fails("apply", drivers.ErrOffline)
		for s := range 120 { // the pause has grown to 20 s
			b.at(time.Duration(s) * time.Second)
			p.Lease(lease(1000, 10*time.Second))
		}
		p.Neutral()
		b.at(121 * time.Second)
		if !f.rests() {
			t.Errorf("2 s after the stop: applied at %v, released at %v", f.times("apply"), f.times("release"))
		}
		b.end()
	})
}
