package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"nominald/dispatch/leap"
	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/store"
)

// This file holds what is done once and without the running gateway: reading
// every device for the installer. release.go releases every device after a crash.

// Probed is what one device, or the API, answered.
type Probed struct {
	Name    string               `json:"name"`
	Kind    string               `json:"kind"`
	Where   string               `json:"where"`
	OK      bool                 `json:"ok"`
	Reading *drivers.Reading     `json:"reading,omitempty"`
	About   *drivers.Description `json:"about,omitempty"`
	Took    time.Duration        `json:"took_ns"` // the first answer, with all that is found out once
	Latency *Latency             `json:"latency,omitempty"`
	Bus     *BusCounts           `json:"bus,omitempty"`
	// Fallback says what the device does by itself when a command is not
	// renewed, and after how long.
	Fallback string `json:"fallback,omitempty"`
	// Problem is empty where it answered.
	Problem string `json:"problem,omitempty"`
	// Note is what else a person should know.
	Note string `json:"note,omitempty"`
}

// Latency is how long polls took that came after the first.
type Latency struct {
	Polls  int           `json:"polls"`
	Median time.Duration `json:"median_ns"`
	Max    time.Duration `json:"max_ns"`
}

// BusCounts are the requests to the device's unit id during the probe.
type BusCounts struct {
	Requests   uint64 `json:"requests"`
	Exceptions uint64 `json:"exceptions"`
	Timeouts   uint64 `json:"timeouts"`
	Doubts     uint64 `json:"doubts"`
	Other      uint64 `json:"other"`
}

const (
	onceTimeout = 10 * time.Second
	// morePolls are made after the first, a little apart, to see the latency.
	morePolls  = 5
	betweenTwo = 100 * time.Millisecond
)

// Probe reads every device a few times and the API once, and writes nothing.
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
		p := probeDevice(ctx, d)
		p.Bus = countsOf(d)
		out = append(out, p)
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
	var failed int
	if reading, p.Latency, failed = pollAgain(ctx, d, reading); failed > 0 {
		p.Note = fmt.Sprintf("%d of %d further polls failed", failed, morePolls)
	}
	about := d.device.Describe()
	p.OK, p.Reading, p.About = true, &reading, &about
	p.Fallback = fallbackText(d, about)
	return p
}

// pollAgain reads some more and returns the newest reading.
func pollAgain(ctx context.Context, d onceDevice, first drivers.Reading) (newest drivers.Reading, l *Latency, failed int) {
	var took []time.Duration
	newest = first
	for range morePolls {
		time.Sleep(betweenTwo)
		begin := time.Now()
		reading, err := d.device.Read(ctx)
		if err != nil {
			failed++
			continue
		}
		newest = reading
		took = append(took, time.Since(begin))
	}
	if len(took) == 0 {
		return newest, nil, failed
	}
	slices.Sort(took)
	return newest, &Latency{Polls: len(took), Median: took[len(took)/2], Max: took[len(took)-1]}, failed
}

// countsOf are the counts of the device's unit; nil on GPIO.
func countsOf(d onceDevice) *BusCounts {
	if d.line == nil {
		return nil
	}
	for _, u := range d.line.Units() {
		if int(u.Unit) == d.cfg.Unit {
			return &BusCounts{u.Requests, u.Exceptions, u.Timeouts, u.Doubts, u.Other}
		}
	}
	return &BusCounts{}
}

// fallbackText says how a command ends that nobody renews.
func fallbackText(d onceDevice, about drivers.Description) string {
	switch {
	case d.cfg.Kind == drivers.Meter || d.cfg.Kind == drivers.Inverter:
		return ""
	case d.cfg.GPIO != "":
		return "the kernel lets go of the line when the gateway ends"
	case !about.Fallback && d.cfg.AllowNoFallback:
		return "none: accepted by allow_no_fallback"
	case !about.Fallback:
		return "none: needs allow_no_fallback"
	}
	text := "its own timer, set with each command"
	if about.FallbackAfter > 0 {
		text = "after " + about.FallbackAfter.String()
	}
	if d.does != "" {
		text += ": " + d.does
	}
	return text
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
