package gateway

import (
	"fmt"
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/intervals"
	"nominald/gateway/loadlog"
)

// uploadAt is when a day is sent, UTC: every site's day is over in most of North
// America, and the partner's own work has not begun.
const uploadAt = 9 * time.Hour

// newSender makes what sends intervals to Leap; nil where no meter's are sent.
func (g *Gateway) newSender() *intervals.Sender {
	load := meterLoad{log: g.loads, meters: map[string]meterChannel{}}
	var ids []string
	for _, m := range g.cfg.Meters {
		if !m.Upload {
			continue
		}
		ch := meterChannel{name: m.MeasuredBy, sign: 1}
		if point := sitePoint(g.cfg); m.Type == config.UtilityMeter && point != nil && point.name == m.MeasuredBy {
			ch.name = loadlog.Site
		}
		for _, u := range g.units {
			if u.cfg.Name == m.MeasuredBy && u.cfg.Kind == drivers.Battery {
				ch.sign = -1 // its discharge is positive here, and comes out of the meter
			}
		}
		load.meters[m.ID] = ch
		ids = append(ids, m.ID)
	}
	if len(ids) == 0 {
		return nil
	}
	client := newLeapClient(g.cfg, g.opts.Version)
	return intervals.New(intervals.Options{API: client, Missing: client, Store: g.store, Load: load, Meters: ids, At: uploadAt,
		Site: g.cfg.Site.Name, Now: g.clock.Now, Trusted: func() bool { return g.clock.State().Trusted }, Report: g.noteUploads})
}

// noteUploads logs how sending goes when that changes.
func (g *Gateway) noteUploads(err error) {
	if err != nil {
		g.log.Warn("intervals are not sent", "error", err)
		return
	}
	g.log.Info("intervals are sent again")
}

// meterChannel is the channel of the load log that measures a Leap meter.
type meterChannel struct {
	name string
	sign float64 // -1 where what is measured leaves the meter
}

// meterLoad is the load log as the sender of intervals reads it.
type meterLoad struct {
	log    *loadlog.Log
	meters map[string]meterChannel
}

// Intervals gives the intervals of a meter.
func (l meterLoad) Intervals(meter string, from, to time.Time) ([]intervals.Row, error) {
	ch, ok := l.meters[meter]
	if !ok {
		return nil, fmt.Errorf("no channel measures meter %s", meter)
	}
	var rows []intervals.Row
	var counted []time.Time // rows that go by the meter's counters
	err := l.log.Query(from, to, intervals.Quarter, func(r loadlog.Row) error {
		// Of an interval that counts as measured a twentieth may be missing: there
		// the load was what it was in the rest.
		if r.Quality == loadlog.Recovered {
			counted = append(counted, r.T)
		}
		rows = append(rows, intervals.Row{Start: r.T, NetWh: ch.sign * r.MeanW * intervals.Quarter.Hours(), Quality: r.Quality.String()})
		return nil
	}, ch.name)
	if err != nil {
		return nil, err
	}
	return rows, l.dropSpread(rows, counted, ch.name)
}

// dropSpread marks what counters spread over a gap too long to tell when in it
// that was drawn: it is no interval data. (Not within the query: the store's
// readers do not nest.)
func (l meterLoad) dropSpread(rows []intervals.Row, counted []time.Time, channel string) error {
	next := 0
	for i := range rows {
		if next >= len(counted) || !rows[i].Start.Equal(counted[next]) {
			continue
		}
		next++
		_, known, err := l.log.Mean(channel, rows[i].Start, rows[i].Start.Add(intervals.Quarter))
		if err != nil {
			return err
		}
		if known < wholeFrom {
			rows[i].Quality = loadlog.Partial.String()
		}
	}
	return nil
}

// ended tells the sender of a timeslot that has ended.
func (g *Gateway) ended(event string, end time.Time) {
	if g.sender != nil {
		g.sender.Ended(event, end)
	}
}

// Intervals says what became of the intervals that were sent, nil where none are.
func (g *Gateway) Intervals() (any, error) {
	if g.sender == nil {
		return nil, nil
	}
	return g.sender.Summary()
}
