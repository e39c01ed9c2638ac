package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"nominald/dispatch/leap"
	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/store"
)

// This file holds what is done once and without the running gateway: reading
// every device for the installer, and releasing every device after a crash.

// Probed is what one device, or the API, answered.
type Probed struct {
	Name    string               `json:"name"`
	Kind    string               `json:"kind"`
	Where   string               `json:"where"`
	OK      bool                 `json:"ok"`
	Reading *drivers.Reading     `json:"reading,omitempty"`
	About   *drivers.Description `json:"about,omitempty"`
	Took    time.Duration        `json:"took_ns"`
	// Problem is empty where it answered.
	Problem string `json:"problem,omitempty"`
	// Note is what else a person should know.
	Note string `json:"note,omitempty"`
}

const onceTimeout = 10 * time.Second

// Probe reads every device and the API once, and writes nothing.
func Probe(ctx context.Context, cfg *config.Config, version string) ([]Probed, error) {
	st, _, err := store.OpenTemporary(store.Options{})
	if err != nil {
		return nil, err
	}
	devices, closeAll, err := openOnce(cfg, st, true)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	var out []Probed
	for _, d := range devices {
		out = append(out, probeDevice(ctx, d))
	}
	return append(out, probeLeap(ctx, cfg, version)), nil
}

func probeDevice(ctx context.Context, d onceDevice) Probed {
	p := Probed{Name: d.cfg.Name, Kind: string(d.cfg.Kind), Where: d.where}
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	begin := time.Now()
	reading, err := d.device.Read(ctx)
	p.Took = time.Since(begin)
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	about := d.device.Describe()
	p.OK, p.Reading, p.About = true, &reading, &about
	if !about.Fallback && d.cfg.Kind != drivers.Meter {
		p.Note = "no fallback timer of its own"
	}
	return p
}

func probeLeap(ctx context.Context, cfg *config.Config, version string) Probed {
	p := Probed{Name: "leap", Kind: "api", Where: cfg.Leap.URL}
	ctx, cancel := context.WithTimeout(ctx, 3*onceTimeout)
	defer cancel()
	begin := time.Now()
	now := begin.UTC()
	result, err := newLeapClient(cfg, version).Search(ctx, leap.Query{
		From: now.Add(-24 * time.Hour), To: now.Add(8 * 24 * time.Hour), MeterIDs: meterIDs(cfg)})
	p.Took = time.Since(begin)
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	p.OK = true
	p.Note = fmt.Sprintf("%d timeslots from yesterday to eight days ahead", len(result.Slots))
	return p
}

// Release puts every device into its neutral state, as systemd has it done
// after the service has ended in whatever way. A site that is not armed was
// never written to and is not written to here.
func Release(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	if !cfg.Site.Armed {
		log.Info("release", "result", "nothing to do: the site is not armed")
		return nil
	}
	// A thermostat's own set-point stands in the store. Without it the device
	// is released all the same, as far as it can be.
	st, _, err := store.Open(cfg.Store.Dir, store.Options{})
	if err != nil {
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
	var problems []error
	for _, d := range devices {
		if d.cfg.Kind == drivers.Meter {
			continue
		}
		if err := releaseOne(ctx, d); err != nil {
			problems = append(problems, fmt.Errorf("release %s: %w", d.cfg.Name, err))
			continue
		}
		log.Info("released", "device", d.cfg.Name)
	}
	return errors.Join(problems...)
}

func releaseOne(ctx context.Context, d onceDevice) error {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	for {
		err := tryRelease(ctx, d)
		if err == nil || errors.Is(err, drivers.ErrRefused) || errors.Is(err, drivers.ErrWrongDevice) {
			return err
		}
		// One bad reply must not leave a device commanded.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(releaseAgain):
		}
	}
}

// releaseAgain lies between two tries to release a device.
const releaseAgain = 500 * time.Millisecond

func tryRelease(ctx context.Context, d onceDevice) error {
	// Nothing is written to what does not prove to be the configured device.
	if _, err := d.device.Read(ctx); err != nil {
		return err
	}
	return d.device.Release(ctx)
}
