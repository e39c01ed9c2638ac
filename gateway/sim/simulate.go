package sim

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"nominald/gateway/config"
	"nominald/gateway/sim/modbustcp"
)

// SimulateOptions says how a config is simulated.
type SimulateOptions struct {
	Site     SiteOptions
	NoEvent  bool          // no timeslot is awarded
	EventIn  time.Duration // until the example timeslot starts; default 30 s
	EventFor time.Duration // that it lasts; default 15 min
	Report   time.Duration // between two lines of progress; default 10 s
}

// Simulate serves the devices of a config that are on loopback addresses and,
// where leap.url is plain http on a loopback address, the Leap API with one
// example timeslot a meter. It tells progress in lines for people and returns
// when ctx ends.
func Simulate(ctx context.Context, cfg *config.Config, opts SimulateOptions, progress func(string)) error {
	opts.fill()
	site, err := NewSite(cfg, opts.Site)
	if err != nil {
		return err
	}
	for _, n := range site.Notes() {
		progress("left out: " + n)
	}
	if err := site.Listen(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	if err := serveLeap(ctx, g, cfg, opts, progress); err != nil {
		site.Close()
		return err
	}
	for _, e := range site.endpoints {
		progress(e.String())
	}
	g.Go(func() error { return site.Run(ctx) })
	g.Go(func() error {
		tell(ctx, site, opts.Report, progress)
		return nil
	})
	return g.Wait()
}

func (o *SimulateOptions) fill() {
	if o.EventIn == 0 {
		o.EventIn = 30 * time.Second
	}
	if o.EventFor == 0 {
		o.EventFor = 15 * time.Minute
	}
	if o.Report == 0 {
		o.Report = 10 * time.Second
	}
	if o.Site.Now == nil {
		o.Site.Now = time.Now
	}
	if o.Site.Start.IsZero() {
		o.Site.Start = o.Site.Now()
	}
}

// serveLeap starts the Leap API where the config points at this machine.
func serveLeap(ctx context.Context, g *errgroup.Group, cfg *config.Config, opts SimulateOptions, progress func(string)) error {
	addr, base, ok := loopbackURL(cfg.Leap.URL)
	if !ok {
		progress(fmt.Sprintf("left out: leap.url %q is not http on a loopback address", cfg.Leap.URL))
		return nil
	}
	ln, err := modbustcp.Listen(addr)
	if err != nil {
		return fmt.Errorf("leap.url %s: %w", cfg.Leap.URL, err)
	}
	var meters []string
	for _, m := range cfg.Meters {
		meters = append(meters, m.ID)
	}
	leap := NewLeap(LeapOptions{Key: cfg.Leap.APIKey.Value(), Meters: meters, Base: base, Now: opts.Site.Now})
	progress("leap: dispatch api on " + cfg.Leap.URL)
	if !opts.NoEvent {
		award(leap, meters, opts, progress)
	}
	g.Go(func() error { return leap.Serve(ctx, ln) })
	return nil
}

// award adds the example timeslot for each meter, ids of their own.
func award(leap *Leap, meters []string, opts SimulateOptions, progress func(string)) {
	start := opts.Site.Now().Add(opts.EventIn).Truncate(time.Second)
	for i, meter := range meters {
		slot := ExampleSlot(start, opts.EventFor)
		slot.MeterID = meter
		slot.EventID = ExampleSlot(start.Add(time.Duration(i)), opts.EventFor).EventID
		leap.Add(slot)
		progress(fmt.Sprintf("leap: meter %s awarded %.3f kW from %s to %s, event %s", meter, *slot.EnergyKW,
			slot.Start.UTC().Format(time.RFC3339), slot.End.UTC().Format(time.RFC3339), slot.EventID))
	}
}

// loopbackURL splits a base URL into the address to listen on and the path in
// front of /dispatch.
func loopbackURL(raw string) (addr, base string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" {
		return "", "", false
	}
	addr = u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	if modbustcp.CheckLoopback(addr) != nil {
		return "", "", false
	}
	return addr, strings.TrimSuffix(u.Path, "/") + "/", true
}

// tell reports the truth from time to time.
func tell(ctx context.Context, site *Site, every time.Duration, progress func(string)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			progress(site.Truth().String())
		}
	}
}

// String is one line for people.
func (t Truth) String() string {
	line := fmt.Sprintf("site %.2f kW, would be %.2f kW", t.SiteLoadW/1000, t.UncontrolledW/1000)
	for _, d := range t.names() {
		line += fmt.Sprintf(", %s %.2f kW", d, math.Round(t.Devices[d].PowerW)/1000+0) // no "-0.00"
	}
	return line
}
