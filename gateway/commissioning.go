package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/leap"
	"nominald/gateway/commission"
	"nominald/gateway/config"
	"nominald/gateway/store"
)

// Commissioning is a site opened for its wiring test, in place of the running
// gateway: while it is open it holds the store, so the service can not start.
type Commissioning struct {
	Site commission.Site
	// Unsure says why nobody knows whether a timeslot is near; empty where it
	// is known. A person has to take that upon himself.
	Unsure string

	buttons  []*button
	latch    *latch
	closeAll func()
}

// Close gives the lines and the store free.
func (c *Commissioning) Close() { c.closeAll() }

// OpenCommissioning opens the devices and learns which timeslots are near, from
// the store and from Leap. Nothing is read from or written to a device. It
// refuses while the gateway runs and while the owner's STOP is latched.
func OpenCommissioning(ctx context.Context, cfg *config.Config, version string) (*Commissioning, error) {
	st, notice, err := store.Open(cfg.Store.Dir, store.Options{})
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("the gateway runs, and devices take commands from one side only: stop it (systemctl stop nominald), and start it again afterwards: %w", err)
	}
	if err != nil {
		return nil, err
	}
	stop := openLatch(cfg.Store.Dir)
	if stopped, by := stop.state(); stopped {
		st.Close()
		return nil, fmt.Errorf("the site is stopped (by %s) and nothing may be commanded; `nominald resume` ends that while the gateway runs", by)
	}
	c := &Commissioning{buttons: openInputs(cfg, nil), latch: stop}
	slots, err := c.schedule(ctx, cfg, st, version)
	if err != nil {
		st.Close()
		return nil, err
	}
	devices, closeAll, err := openOnce(cfg, st, false)
	if err != nil {
		return nil, err
	}
	if notice.Reason != "" {
		c.Site.Schedule += "; the store was damaged: " + notice.Reason
	}
	c.closeAll = closeAll
	c.Site.Config, c.Site.Slots = cfg, slots
	if point := sitePoint(cfg); point != nil {
		c.Site.Meter = point.name
	}
	note := openTouched(cfg.Store.Dir)
	c.Site.Mark, c.Site.Unmark = note.add, note.clear
	for _, d := range devices {
		c.Site.Devices = append(c.Site.Devices, commission.Device{Config: d.cfg, Driver: d.device, Where: d.where,
			ReadsBack: d.readsBack, LeastTimer: d.leastTimer, Anew: d.anew})
		if note.has(d.cfg.Name) && d.cfg.Kind.Dispatched() {
			c.Site.Left = append(c.Site.Left, d.cfg.Name)
		}
	}
	return c, nil
}

// schedule returns the timeslots that would be carried out, of the store and of
// Leap together: absence from a search is not a cancellation.
func (c *Commissioning) schedule(ctx context.Context, cfg *config.Config, st *store.Store, version string) ([]commission.Slot, error) {
	records, bad, err := st.LoadSchedule()
	if err != nil {
		return nil, fmt.Errorf("read the stored timeslots: %w", err)
	}
	known := map[string]dispatch.Timeslot{}
	for _, r := range records {
		known[r.EventID] = r.Timeslot
	}
	now := time.Now().UTC()
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	result, err := newLeapClient(cfg, version).Search(ctx, leap.Query{
		From: now.Add(-24 * time.Hour), To: now.Add(48 * time.Hour), MeterIDs: meterIDs(cfg)})
	batch, batchErr := st.LastBatch()
	switch {
	case err == nil:
		c.Site.Schedule = "asked at Leap just now, and the stored ones"
	case batchErr == nil && !batch.At.IsZero() && len(bad) == 0:
		c.Site.Schedule = fmt.Sprintf("stored, last asked at Leap %s; Leap does not answer now: %v", batch.At.UTC().Format(time.RFC3339), err)
	default:
		c.Unsure = fmt.Sprintf("Leap does not answer (%v) and no schedule is stored, so nobody knows whether a timeslot is near", err)
		c.Site.Schedule = "not known: " + c.Unsure
	}
	for _, slot := range result.Slots {
		known[slot.EventID] = slot
	}
	var slots []commission.Slot
	for _, slot := range known {
		if !slot.Cancelled && !slot.IntegrationTest && slot.Problem == "" {
			slots = append(slots, commission.Slot{EventID: slot.EventID, Start: slot.Start, End: slot.End})
		}
	}
	return slots, nil
}
