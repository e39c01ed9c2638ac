package gateway

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nominald/dispatch/leap"
	"nominald/drivers"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
	"nominald/gateway/clock"
	"nominald/gateway/config"
	"nominald/gateway/notify"
	"nominald/gateway/status"
	"nominald/gateway/store"
	"nominald/gateway/web"
)

// assemble makes all parts and connects them. Nothing runs yet.
func assemble(cfg *config.Config, opts Options) (*Gateway, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Period <= 0 {
		opts.Period = time.Second
	}
	g := &Gateway{cfg: cfg, opts: opts, log: opts.Log, events: newEvents(), board: status.NewBoard(),
		alarmSince: map[string]time.Time{}}
	if err := g.openStore(); err != nil {
		return nil, err
	}
	if err := g.connect(); err != nil {
		g.store.Close()
		return nil, err
	}
	return g, nil
}

func (g *Gateway) connect() error {
	g.clock = newClock(g.store)
	g.started, g.born = g.clock.Now(), time.Now()
	if err := g.restore(); err != nil {
		return err
	}
	g.rounds = newRounds(filepath.Join(g.cfg.Store.Dir, JournalDir), g.opts.Version, !g.cfg.Site.Armed, g.log)
	g.openLoads()
	var err error
	g.workers, g.units, err = openAll(g.cfg, g.log, func(device string) memory { return memory{g.store, device} })
	if err != nil {
		return err
	}
	g.inputs, g.lookout = openInputs(g.cfg, g.opts.contact), newLookout(&g.diary)
	g.diary.note(g.started, status.Started, "", "nominald %s started.", g.opts.Version)
	normals := g.events.normals(g.clock.Now())
	for _, u := range g.units {
		u.takeOver(normals[u.cfg.Name], g.started)
	}
	g.control = &control{cfg: g.cfg, log: g.log, clock: g.clock, loads: g.loads, schedule: &g.schedule,
		latch: g.latch, events: g.events, units: g.units, point: sitePoint(g.cfg), period: g.opts.Period,
		publish: g.show, wake: make(chan struct{}, 1), born: time.Now(), now: time.Now}
	g.poller, g.sender = g.newPoller(), g.newSender()
	if err := g.newServer(); err != nil {
		return err
	}
	g.sd = notify.New(func(stalls []notify.Stall) {
		for _, s := range stalls {
			g.log.Error("no progress; the watchdog is not fed", "part", s.Name, "idle", s.Idle, "limit", s.Limit)
		}
	})
	for _, p := range g.parts() {
		g.sd.Register(p.name, p.progress, p.limit)
	}
	return nil
}

// openStore opens the store. A file that is damaged beyond use is set aside
// and the schedule fetched again, loudly.
func (g *Gateway) openStore() error {
	st, notice, err := store.Open(g.cfg.Store.Dir, store.Options{})
	if err != nil {
		return err
	}
	g.store, g.latch = st, openLatch(g.cfg.Store.Dir)
	if notice.Reason != "" {
		g.storeNotice = storeNotice(notice)
		g.log.Error("store was damaged", "reason", notice.Reason, "set_aside", notice.SetAside,
			"recovered", notice.Recovered, "lost", notice.Lost)
	}
	g.storeShown.Store(&status.StoreState{OK: true, Note: g.storeNotice})
	return nil
}

// storeNotice says for the owner what became of a damaged store. The schedule
// is fetched again in any case.
func storeNotice(n store.Notice) string {
	said := fmt.Sprintf("The store was damaged (%s); the schedule is fetched again.", n.Reason)
	if n.Recovered == "" {
		said += " Load and reports from before are gone."
	} else {
		said += " Recovered: " + n.Recovered + "."
		if n.Lost != "" {
			said += " Lost: " + n.Lost + "."
		}
	}
	if n.SetAside != "" {
		said += " The damaged file is kept as " + n.SetAside + "."
	}
	return said
}

const (
	clockBucket = "clock"
	carriedKey  = "carried"
)

// newClock makes the clock with what earlier processes knew of the time.
func newClock(st *store.Store) *clock.Clock {
	floor, err := st.LastTrusted()
	if err != nil {
		floor = time.Time{} // no stored time: the build time alone counts
	}
	opts := clock.Options{Elapsed: clock.SinceBoot, BootID: clock.BootID(), Floor: later(floor, buildTime())}
	if raw, found, err := st.Get(clockBucket, carriedKey); err == nil && found {
		var c clock.Carried
		if json.Unmarshal(raw, &c) == nil {
			opts.Carried = &c
		}
	}
	var c *clock.Clock
	opts.Remember = func(t time.Time) error {
		if carried, ok := c.Carry(); ok {
			raw, err := json.Marshal(carried)
			if err != nil {
				return err
			}
			if err := st.Put(clockBucket, carriedKey, raw); err != nil {
				return err
			}
		}
		return st.SaveLastTrusted(t)
	}
	c = clock.New(opts)
	return c
}

// buildTime is when the binary was written to this machine: a time that has
// certainly passed, unless the clock was wrong then; zero where unknown.
func buildTime() time.Time {
	path, err := os.Executable()
	if err != nil {
		return time.Time{}
	}
	info, err := os.Stat(path)
	if err != nil || info.ModTime().After(time.Now()) {
		return time.Time{}
	}
	return info.ModTime()
}

// sitePoint is the measurement of the grid connection: what the first utility
// meter is measured by, else the first device that is a meter.
func sitePoint(cfg *config.Config) *pointWatch {
	for _, m := range cfg.Meters {
		if m.Type == config.UtilityMeter {
			return &pointWatch{name: m.MeasuredBy}
		}
	}
	for _, d := range cfg.Devices {
		if d.Kind == drivers.Meter {
			return &pointWatch{name: d.Name}
		}
	}
	return nil
}

func meterIDs(cfg *config.Config) []string {
	var ids []string
	for _, m := range cfg.Meters {
		ids = append(ids, m.ID)
	}
	return ids
}

func newLeapClient(cfg *config.Config, version string) *leap.Client {
	return leap.New(leap.Options{BaseURL: cfg.Leap.URL, Key: cfg.Leap.APIKey.Value, UserAgent: "nominald/" + version})
}

func (g *Gateway) newPoller() *leap.Poller {
	return leap.NewPoller(leap.PollerOptions{
		Client: newLeapClient(g.cfg, g.opts.Version), Meters: meterIDs(g.cfg), Poll: g.cfg.Leap.Poll,
		Deliver: g.deliver, OfferTime: g.clock.Offer, Report: g.noteLeap, Now: g.clock.Now,
	})
}

// noteLeap keeps how polling goes for the status, and logs when that changes.
func (g *Gateway) noteLeap(s leap.Status) {
	before := g.leap.Swap(&s)
	failedBefore := before != nil && before.LastError != ""
	switch {
	case s.LastError != "" && (!failedBefore || before.Class != s.Class):
		g.log.Warn("fetch", "error", s.LastError, "class", string(s.Class), "retry_at", s.NextAt.Format(time.RFC3339))
	case s.LastError == "" && failedBefore:
		g.log.Info("fetch works again", "failures", before.Failures)
	}
}

func (g *Gateway) newServer() error {
	pages, err := web.Pages()
	if err != nil {
		return err
	}
	g.server = status.New(status.Options{Board: g.board, Site: g, Load: loadSource{g.loads}, Explain: g.rounds,
		Health: g, Intervals: g.Intervals, Page: pages, Token: g.cfg.HTTP.Token.Value(), Hosts: g.cfg.HTTP.Hosts, Now: g.clock.Now, Log: g.log})
	return nil
}

// onceDevice is a device that is opened without the running gateway.
type onceDevice struct {
	cfg    config.Device
	device drivers.Device
	where  string
	line   *modbus.Line // nil on GPIO
	does   string       // what it does once it has ended a command by itself; empty where that is not known
	// anew makes another driver of it, which holds nothing; nil on GPIO, where
	// the lines are this driver's as long as the program runs.
	anew func() (drivers.Device, error)
	// readsBack: the device itself shows whether it is inhibited.
	readsBack  bool
	leastTimer time.Duration // the shortest that its own timer takes; 0 where that is not known
}

// openOnce opens all devices for one use, with what their drivers remember in
// the given store.
func openOnce(cfg *config.Config, st *store.Store, passive bool) ([]onceDevice, func(), error) {
	var out []onceDevice
	lines := newLines(cfg)
	closeAll := func() {
		for _, l := range lines {
			l.Close()
		}
		st.Close()
	}
	for _, d := range cfg.Devices {
		p, err := cfg.DeviceProfile(d.Profile)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("device %s: %w", d.Name, err)
		}
		open := func() (drivers.Device, error) {
			return openDevice(d, p, lines[d.Bus], func(name string) memory { return memory{st, name} }, passive)
		}
		device, err := open()
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		if d.GPIO != "" {
			open = nil
		}
		out = append(out, onceDevice{cfg: d, anew: open, device: device, where: where(cfg, d), line: lines[d.Bus], does: p.Fallback.State,
			leastTimer: p.Fallback.Min,
			readsBack:  slices.ContainsFunc(p.Points, func(pt profile.Point) bool { return pt.Meaning == "inhibited" })})
	}
	return out, closeAll, nil
}

// where says how a device is reached.
func where(cfg *config.Config, d config.Device) string {
	for _, b := range cfg.Buses {
		if b.Name == d.Bus {
			at := fmt.Sprintf("%s unit %d", address(b), d.Unit)
			if d.Channel > 0 {
				at += fmt.Sprintf(" channel %d", d.Channel)
			}
			return at
		}
	}
	return strings.TrimSuffix(d.GPIO+" and "+d.GPIO2, " and ")
}

// address is a bus with its settings.
func address(b config.Bus) string {
	switch {
	case b.Serial != "":
		return fmt.Sprintf("%s %d %s", b.Serial, b.Baud, b.Format)
	case b.RTU:
		return b.TCP + " (RTU)"
	}
	return b.TCP
}
