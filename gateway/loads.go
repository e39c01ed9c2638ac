package gateway

import (
	"path/filepath"
	"time"

	"nominald/gateway/loadlog"
	"nominald/gateway/status"
)

// LoadDir is the place of the measured seconds in store.dir.
const LoadDir = "load"

// openLoads opens the load log. A card that has no room for its seconds leaves
// the minutes.
func (g *Gateway) openLoads() {
	o := loadlog.Options{Store: g.store, Retain: g.cfg.Store.Retain, Dir: filepath.Join(g.cfg.Store.Dir, LoadDir),
		KeepFine: g.cfg.Store.RetainFine, KeepHours: g.eventHours}
	loads, err := loadlog.Open(o)
	if err != nil {
		g.log.Error("seconds of load are not kept, minutes are", "error", err)
		loads = loadlog.New(o)
	}
	if _, bad := loads.LostSeconds(); bad > 0 {
		g.log.Warn("some seconds of load can not be read and are gone", "pieces", bad)
	}
	g.loads = loads
}

// eventHours are the hours, since 1970, in which a timeslot ran, with one before
// and one after: what was measured then is proof for as long as reports are.
func (g *Gateway) eventHours() (map[int64]bool, error) {
	hours := map[int64]bool{}
	note := func(e *event) {
		for h := e.Start.Unix()/3600 - 1; h <= e.End.Unix()/3600+1; h++ {
			hours[h] = true
		}
	}
	err := g.events.all(g.store, note)
	return hours, err
}

// loadSource shows the load log as the HTTP interface wants it.
type loadSource struct{ log *loadlog.Log }

// Load gives the rows of [from, to).
func (s loadSource) Load(from, to time.Time, step time.Duration, channels []string, emit func(status.LoadRow) error) error {
	return s.log.Query(from, to, step, func(r loadlog.Row) error {
		row := status.LoadRow{T: r.T, Channel: r.Channel, Quality: r.Quality.String()}
		if r.Coverage > 0 {
			row.MeanW, row.MinW, row.MaxW, row.Wh = &r.MeanW, &r.MinW, &r.MaxW, &r.Wh
		}
		return emit(row)
	}, channels...)
}
