package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/store"
)

const (
	// releaseWithin bounds all of a release. The service's TimeoutStopSec, which
	// is longer, counts for it too.
	releaseWithin = 12 * time.Second
	// releaseTry bounds one try at one device.
	releaseTry = 4 * time.Second
	// releaseAgain lies between two rounds of tries on a bus.
	releaseAgain = 500 * time.Millisecond
)

// Release puts every device into its neutral state, as systemd has it done
// after the service has ended in whatever way. At a site that is not armed only
// a commissioning has written, so there only what one left behind is written to.
func Release(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	note := openTouched(cfg.Store.Dir)
	if !cfg.Site.Armed && !note.any() {
		log.Info("release", "result", "nothing to do: the site is not armed, and no commissioning left a device commanded")
		return nil
	}
	// A thermostat's own set-point stands in the store. Without it the device
	// is released all the same, as far as it can be.
	st, _, err := store.Open(cfg.Store.Dir, store.Options{})
	alone := err == nil
	switch {
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("nothing was released: the gateway or a commissioning runs, and releases what it commands when it ends; `nominald stop` stops the site: %w", err)
	case err != nil:
		log.Warn("release without the store: set-points that a driver remembers can not be restored", "error", err)
		if st, _, err = store.OpenTemporary(store.Options{}); err != nil {
			return err
		}
	}
	devices, closeAll, err := openOnce(cfg, st, false)
	if err != nil {
		return err
	}
	defer closeAll()
	if !cfg.Site.Armed {
		devices = note.left(devices, log)
	}
	if err := releaseAll(ctx, devices, log); err != nil || !alone {
		return err
	}
	return note.clear()
}

// releaseAll releases the devices of all wires at once.
func releaseAll(ctx context.Context, devices []onceDevice, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, releaseWithin)
	defer cancel()
	var buses sync.WaitGroup
	problems := make(chan error, len(devices))
	for _, pending := range byWire(devices) {
		buses.Go(func() { releaseBus(ctx, pending, problems, log) })
	}
	buses.Wait()
	close(problems)
	var all []error
	for err := range problems {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// byWire groups what is commanded by the wire it is on. What is on GPIO has a
// wire of its own.
func byWire(devices []onceDevice) map[string][]onceDevice {
	wires := map[string][]onceDevice{}
	for _, d := range devices {
		if !d.cfg.Kind.Dispatched() {
			continue
		}
		wire := "bus " + d.cfg.Bus
		if d.cfg.GPIO != "" {
			wire = "gpio " + d.cfg.Name
		}
		wires[wire] = append(wires[wire], d)
	}
	return wires
}

// releaseBus releases the devices of one wire, round after round until all are
// or the time is up: one that does not answer must not hold up the others, and
// one bad reply must not leave a device commanded.
func releaseBus(ctx context.Context, pending []onceDevice, problems chan<- error, log *slog.Logger) {
	for len(pending) > 0 {
		var again, silent []onceDevice
		for i, d := range pending {
			err := tryRelease(ctx, d, len(pending)-i)
			final := errors.Is(err, drivers.ErrRefused) || errors.Is(err, drivers.ErrWrongDevice) || ctx.Err() != nil
			switch {
			case err == nil:
				log.Info("released", "device", d.cfg.Name)
			case final:
				problems <- fmt.Errorf("release %s: %w", d.cfg.Name, err)
			case errors.Is(err, drivers.ErrOffline):
				silent = append(silent, d)
			default: // it was busy, or the wire was held for a silent one
				again = append(again, d)
			}
		}
		pending = append(again, silent...)
		if len(pending) > 0 {
			wait(ctx, releaseAgain)
		}
	}
}

// wait sleeps, or returns early when the context ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// tryRelease writes nothing to what does not prove to be the configured device.
// left is how many devices the time that is left has to serve, this one included.
func tryRelease(ctx context.Context, d onceDevice, left int) error {
	within := releaseTry
	if end, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(end)/time.Duration(left))
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if _, err := d.device.Read(ctx); err != nil {
		return err
	}
	if err := d.device.Release(ctx); err != nil || !d.readsBack {
		return err
	}
	reading, err := d.device.Read(ctx)
	if err == nil && reading.Inhibited {
		err = errors.New("it took the release and says that the load is held off still")
	}
	return err
}
