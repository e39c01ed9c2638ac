package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"nominald/drivers"
	"nominald/gateway"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
	"nominald/gateway/sim"
	"nominald/gateway/store"
)

// The live score plays scenarios in real time: the gateway as it is installed,
// with a config, a store and a page of its own, a simulated Leap, and the same
// plants behind Modbus TCP sockets.

const (
	liveKey = "key-of-the-simulated-leap"
	// liveWarm is how long the gateway runs before the first start: it takes a
	// minute of load for what is normal.
	liveWarm = 3 * time.Minute
	// liveAfter is how long it is watched after the end.
	liveAfter = time.Minute
)

// shortened is a scenario that plays within half an hour: A has two settlement
// intervals, K's timeslots last 10 min, N's battery dies at 10 min of 20.
func shortened(sc *scenario) {
	switch sc.id {
	case "A":
		sc.slots = one(3, 30*time.Minute)
	case "K":
		sc.slots = row(10 * time.Minute)
	case "N":
		sc.slots = one(4, 20*time.Minute)
		sc.actions = []action{{10 * time.Minute, breaks("battery", dead)}}
	}
}

// liveScenario is one of them, at a wall-clock time: its own time keeps to the
// wall clock but for whole hours, so that settlement intervals and the hours of
// baselines are the same.
func liveScenario(sc *scenario, start time.Time, full bool) {
	if !full {
		shortened(sc)
	}
	sc.day = start.Truncate(24 * time.Hour)
	sc.past = start.Sub(start.Truncate(time.Hour))
	sc.after = liveAfter
}

// live is one scenario that is played in real time.
type live struct {
	*run
	mu    sync.Mutex // plants and registers
	start time.Time  // of the first timeslot, wall clock
	dir   string
	leap  *sim.Leap
}

// wall turns the scenario's time into that of the wall clock.
func (l *live) wall(t time.Time) time.Time { return l.start.Add(t.Sub(l.sc.start())) }

// playLive plays a scenario through sockets and returns its record.
func playLive(ctx context.Context, sc *scenario, seed int64, start time.Time) (*record, error) {
	r, err := newRun(sc, seed, liveWarm)
	if err != nil {
		return nil, err
	}
	l := &live{run: r, start: start, leap: sim.NewLeap(sim.LeapOptions{Key: liveKey, Meters: []string{meterID}})}
	if l.dir, err = os.MkdirTemp("", "nominald-score-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(l.dir)
	if err := l.world.connect(&l.mu); err != nil {
		return nil, err
	}
	if err := l.fillHistory(); err != nil {
		return nil, fmt.Errorf("history of scenario %s: %w", sc.id, err)
	}
	if err := l.serve(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("scenario %s: %w", sc.id, err)
	}
	return &l.out, ctx.Err()
}

// serve runs everything until the scenario is over.
func (l *live) serve(ctx context.Context) error {
	leapLn, leapAddr, err := sim.ListenLoopback()
	if err != nil {
		return err
	}
	page, pageAddr, err := sim.ListenLoopback()
	if err != nil {
		return err
	}
	cfg, err := l.config(leapAddr, pageAddr)
	if err != nil {
		return err
	}
	for _, rec := range l.records {
		l.leap.Add(leapSlot(rec.EventID, l.wall(rec.Start), l.wall(rec.End), rec.EnergyKW))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.world.serve(ctx) })
	g.Go(func() error { return l.leap.Serve(ctx, leapLn) })
	// The gateway ends first: it lets go of devices that must answer still.
	running, stop := context.WithCancel(ctx)
	g.Go(func() error {
		defer cancel()
		return gateway.Run(running, cfg, gateway.Options{Version: "score", Listener: page, Log: slog.New(slog.DiscardHandler)})
	})
	g.Go(func() error { defer stop(); return l.keepTime(ctx) })
	return g.Wait()
}

// heal mends what a scenario broke, once it is over.
func (l *live) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range append([]*device{l.world.meter}, l.world.devices...) {
		d.fault = healthy
		d.wire.faults.SetOffline(false)
	}
}

// keepTime steps the plants each second of real time and writes down what they
// do.
func (l *live) keepTime(ctx context.Context) error {
	pending := l.sc.actions
	until := l.sc.end().Add(liveAfter)
	for l.world.now.Before(until) {
		if err := sleepUntil(ctx, l.wall(l.world.now).Add(step)); err != nil {
			return err
		}
		l.mu.Lock()
		l.world.step(step)
		for len(pending) > 0 && !l.world.now.Before(l.sc.start().Add(pending[0].at)) {
			if err := pending[0].do(l.run); err != nil {
				l.mu.Unlock()
				return err
			}
			pending = pending[1:]
		}
		l.note()
		l.tell()
		l.mu.Unlock()
	}
	l.heal()
	return nil
}

// tell prints a line a minute, so that people see it move.
func (l *live) tell() {
	if l.world.now.Second() != 0 {
		return
	}
	s := l.out.samples[len(l.out.samples)-1]
	fmt.Fprintf(os.Stderr, "score: %s %s  asked %6.0f W  given %6.0f W  batteries %6.0f W  net %6.0f W\n",
		l.sc.id, l.wall(l.world.now).Format("15:04Z"), s.targetW, s.settledW, s.batteryW, s.netW)
}

func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func leapSlot(id string, start, end time.Time, kw *float64) sim.Slot {
	return sim.Slot{MeterID: meterID, EventID: liveEvent(id), Start: start, End: end, EnergyKW: kw, NominationKW: kw,
		Cap: "grid-exports-allowed", Priority: 2, EventTypes: []string{"day-ahead"}, Programs: []string{"CCA"}}
}

// liveEvent makes a UUID of a timeslot's short name.
func liveEvent(id string) string {
	return "5c0e0000-0000-4000-8000-00000000000" + id[len(id)-1:]
}

// fillHistory writes the load of the past days, and of today so far, into the
// store that the gateway will open, as it would have measured it.
func (l *live) fillHistory() error {
	st, _, err := store.Open(filepath.Join(l.dir, "store"), store.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	loads := loadlog.New(loadlog.Options{Store: st})
	for i := len(l.history) - 2; i >= -1; i-- { // the oldest first, today last
		tr := l.history[len(l.history)-1]
		if i >= 0 {
			tr = l.history[i]
		}
		for k := range tr.minutes {
			at := l.wall(tr.from.Add(time.Duration(k) * time.Minute))
			if tr.seconds[k] == 0 {
				continue
			}
			for s := time.Duration(0); s < time.Minute; s += 2 * time.Second {
				loads.Add(at.Add(s), loadlog.Site, tr.minutes[k]/tr.seconds[k], loadlog.Measured)
			}
		}
		if err := loads.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// config writes the site's file and reads it as the gateway does.
func (l *live) config(leapAddr, pageAddr string) (*config.Config, error) {
	var buses, devices, names strings.Builder
	for _, d := range append([]*device{l.world.meter}, l.world.devices...) {
		c := d.cfg
		fmt.Fprintf(&buses, "  - {name: bus-%s, tcp: \"%s\"}\n", c.Name, d.wire.listener.Addr())
		switch c.Kind {
		case drivers.Meter:
			fmt.Fprintf(&devices, "  - {name: %s, kind: meter, profile: sunspec-meter, bus: bus-%s, unit: %d}\n", c.Name, c.Name, meterUnit)
			continue
		case drivers.Battery:
			fmt.Fprintf(&devices, "  - {name: %s, kind: battery, profile: sunspec-storage, bus: bus-%s, unit: 1, reserve_soc: %g, max_discharge_kw: %g, capacity_kwh: %g}\n",
				c.Name, c.Name, c.ReserveSoC, c.MaxDischargeW.V/1000, c.CapacityWh.V/1000)
		case drivers.Thermostat:
			fmt.Fprintf(&devices, "  - {name: %s, kind: thermostat, profile: score-cooler, bus: bus-%s, unit: 1, rated_kw: %g, min_off: %s, min_on: %s, max_off: %s, allow_no_fallback: true}\n",
				c.Name, c.Name, c.RatedW/1000, c.MinOff, c.MinOn, c.MaxOff)
		}
		fmt.Fprintf(&names, "%s, ", c.Name)
	}
	reference := string(l.sc.reference)
	if l.sc.reference == config.ByBaseline {
		reference += ", baseline: caiso-10-in-10"
	}
	text := fmt.Sprintf(liveConfig, l.sc.id, l.sc.exportW/1000, l.dir, leapAddr, l.dir, meterID, reference,
		strings.TrimSuffix(names.String(), ", "), buses.String(), devices.String(), pageAddr, l.dir)
	for name, content := range map[string]string{"nominald.yaml": text, "leap.key": liveKey, "profiles/score-cooler.yaml": coolerProfile} {
		path := filepath.Join(l.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return config.Load(filepath.Join(l.dir, "nominald.yaml"))
}

const liveConfig = `site: {name: "score %s", armed: true, max_export_kw: %g, profiles: %s/profiles}
leap: {url: "http://%s/v2", api_key: file:%s/leap.key, poll: 5s}
meters:
  - {id: %s, type: utility_meter, measured_by: main, reference: %s, devices: [%s]}
buses:
%sdevices:
%shttp: {listen: "%s"}
store: {dir: %s/store}
`

// scoreLive plays A, K and N at once and compares each with the stepped run of
// the same.
func scoreLive(ctx context.Context, w io.Writer, full bool) error {
	start := time.Now().UTC().Truncate(time.Minute).Add(liveWarm + 2*time.Minute)
	ids := []string{"A", "K", "N"}
	records := make([]*record, len(ids))
	stepped := make([]*record, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	for i, id := range ids {
		sc := liveOne(id, start, full)
		fmt.Fprintf(os.Stderr, "score: %s from %s for %s, in real time\n", id, start.Format("15:04Z"), sc.end().Sub(sc.start()))
		g.Go(func() error {
			var err error
			if stepped[i], err = execute(liveOne(id, start, full), 1, newOurs); err != nil {
				return err
			}
			records[i], err = playLive(ctx, sc, 1, start)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	compareLive(w, ids, records, stepped)
	return nil
}

func liveOne(id string, start time.Time, full bool) *scenario {
	for _, sc := range scenarios() {
		if sc.id == id {
			liveScenario(sc, start, full)
			return sc
		}
	}
	return nil // the ids are those of the set
}

// compareLive prints both runs of each scenario and how far they lie apart.
func compareLive(w io.Writer, ids []string, records, stepped []*record) {
	fmt.Fprintf(w, "%-12s %8s %8s %8s %8s %6s  %s\n", "", "capped %", "15-min", "deliv. %", "worst", "viol.", "also")
	for i, id := range ids {
		a, b := records[i].rate(), stepped[i].rate()
		for _, row := range []struct {
			name string
			s    *score
		}{{id + " sockets", &a}, {id + " stepped", &b}} {
			fmt.Fprintf(w, "%-12s %8.2f %8.2f %8.2f %8.1f %6.0f  %s\n", row.name, row.s.capped, row.s.rmse15, row.s.delivered, row.s.worst15, row.s.violations, extras(row.s))
		}
	}
	for i, id := range ids {
		a, b := records[i].rate(), stepped[i].rate()
		name := "score_live_" + strings.ToLower(id)
		figure(w, name+"_capped_gap", math.Abs(a.capped-b.capped), "points", "<=", 2)
		figure(w, name+"_rmse15_gap", math.Abs(a.rmse15-b.rmse15), "points", "<=", 2)
		figure(w, name+"_violations", a.violations, "times", "<=", 0)
		for _, g := range records[i].sc.gates {
			if g.figure == "hand_over" || g.figure == "back_in" {
				figure(w, name+"_"+g.figure, a.value(g.figure), unitOf(g.figure), g.op, g.limit)
			}
		}
	}
}
