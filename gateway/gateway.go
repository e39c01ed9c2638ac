// Package gateway is the running program: it makes the parts that the config
// names, connects them and owns every goroutine.
//
// The way of a timeslot: the poller hands a page to intake, which merges it,
// stores it and publishes the new schedule. Each second the control round
// looks at the schedule, the clock and the readings, lets plan.Round decide
// and posts leases to the bus workers, which write registers. The outcome goes
// to the load log, to the events and to the status board.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/leap"
	"nominald/dispatch/plan"
	"nominald/drivers/bus"
	"nominald/drivers/gpio"
	"nominald/gateway/clock"
	"nominald/gateway/config"
	"nominald/gateway/intervals"
	"nominald/gateway/loadlog"
	"nominald/gateway/notify"
	"nominald/gateway/status"
	"nominald/gateway/store"
)

// Options are what does not come from the config.
type Options struct {
	Version string
	Log     *slog.Logger
	// Listener serves HTTP instead of the config's address.
	Listener net.Listener
	// Period is the time between two rounds; 0 is one second.
	Period time.Duration
	// contact opens an input's line; nil opens the real one.
	contact func(line string, pull gpio.Pull) (gpio.Contact, error)
	// Ready is called once when everything runs and each device was tried.
	Ready func()
}

// Gateway is one site's gateway. Its fields are set before its tasks start;
// what changes afterwards is atomic or has a lock of its own.
type Gateway struct {
	cfg     *config.Config
	opts    Options
	log     *slog.Logger
	started time.Time // by the gateway's clock
	born    time.Time // monotonic

	store    *store.Store
	clock    *clock.Clock
	loads    *loadlog.Log
	sender   *intervals.Sender // nil: no intervals are sent
	schedule atomic.Pointer[dispatch.Schedule]
	events   *events
	rounds   *rounds
	latch    *latch
	leap     atomic.Pointer[leap.Status]
	decision atomic.Pointer[plan.Decision]

	workers []*bus.Worker
	units   []*unit
	inputs  []*button
	diary   diary
	lookout *lookout // the control goroutine's
	poller  *leap.Poller
	control *control
	board   *status.Board
	server  *status.Server
	sd      *notify.Notifier

	storeShown  atomic.Pointer[status.StoreState]
	storeNotice string
	alarmSince  map[string]time.Time // the control goroutine's
	intake      sync.Mutex           // one delivery at a time
	retainedAt  time.Time            // under intake
	running     atomic.Bool
}

// Run runs the gateway until the context ends. On the way out every device
// that was commanded is put into its neutral state.
func Run(ctx context.Context, cfg *config.Config, opts Options) error {
	releaseTouched(ctx, cfg, opts.Log)
	g, err := assemble(cfg, opts)
	if err != nil {
		return err
	}
	defer func() {
		if err := errors.Join(g.loads.Close(), g.store.Close()); err != nil {
			g.log.Error("close store", "error", err)
		}
	}()
	ln := opts.Listener
	if ln == nil {
		if ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTP.Listen); err != nil {
			return fmt.Errorf("serve http on %s (http.listen): %w; another program may hold the address", cfg.HTTP.Listen, err)
		}
	}
	g.log.Info("start", "site", cfg.Site.Name, "armed", cfg.Site.Armed, "version", opts.Version,
		"devices", len(g.units), "timeslots", g.schedule.Load().Len(), "http", ln.Addr().String())
	return g.runTasks(ctx, ln)
}

// runTasks runs everything. The buses outlive the control round, so that no
// command can follow the release on the way out.
func (g *Gateway) runTasks(ctx context.Context, ln net.Listener) error {
	busCtx, endBuses := context.WithCancel(context.WithoutCancel(ctx))
	defer endBuses()
	tasks := []task{
		{"poll leap", g.poller.Run},
		{"control", func(ctx context.Context) error { defer endBuses(); return g.control.run(ctx) }},
		{"load log", g.loads.Run},
		{"journal", g.rounds.run},
		{"baseline", (&baseliner{cfg: g.cfg, log: g.log, loads: g.loads, store: g.store, events: g.events,
			schedule: &g.schedule, now: g.clock.Now, tried: map[string]attempt{}}).run},
		{"clock", g.clock.Run},
		{"events", (&keeper{store: g.store, events: g.events, diary: &g.diary, log: g.log, failed: g.noteStore}).run},
		{"reports", (&archivist{events: g.events, schedule: &g.schedule, reporter: g.reporter(), now: g.clock.Now,
			trusted: func() bool { return g.clock.State().Trusted }, ended: g.ended, log: g.log}).run},
		{"http", func(ctx context.Context) error { return g.server.Serve(ctx, ln) }},
		{"watchdog", g.sd.Run},
		{"ready", g.awaitReady},
	}
	if g.sender != nil {
		tasks = append(tasks, task{"intervals", g.sender.Run})
	}
	for _, b := range g.inputs {
		tasks = append(tasks, task{"input " + b.cfg.Name, func(ctx context.Context) error {
			return b.input.Run(ctx, func(s gpio.InputState) { g.seen(b, s) })
		}})
	}
	// What could not be released must not be lost among the tasks that end.
	left := make([]error, len(g.workers))
	for i, w := range g.workers {
		tasks = append(tasks, task{w.String(), func(ctx context.Context) error {
			if left[i] = w.Run(busCtx); left[i] != nil {
				return left[i]
			}
			<-ctx.Done() // the control round has ended, so the whole does
			return nil
		}})
	}
	err := runAll(ctx, tasks)
	g.log.Info("stopped", "ran", time.Since(g.born).Round(time.Second))
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return errors.Join(left...)
	}
	return err
}

// awaitReady tells systemd, and whoever waits, when all is up.
func (g *Gateway) awaitReady(ctx context.Context) error {
	g.running.Store(true)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for announced := false; ; {
		if !announced && g.tasksRun() {
			announced = true
			g.sd.Ready()
		}
		if ok, _ := g.Ready(); ok {
			if g.opts.Ready != nil {
				g.opts.Ready()
			}
			<-ctx.Done()
			g.sd.Stopping()
			return nil
		}
		select {
		case <-ctx.Done():
			g.sd.Stopping()
			return nil
		case <-look.C:
		}
	}
}
