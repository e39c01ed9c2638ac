package gateway

import (
	"slices"
	"testing"
	"time"

	"nominald/gateway/status"
)

// The status tells for each bus how busy it is, and for each unit on it what
// it answered and how fast, failures by class.
func TestStatusTellsHowTheBusesFare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.run()
	var buses []status.Bus
	w.await("every unit has answered a few times", 15*time.Second, func() bool {
		buses = w.status().Buses
		return len(buses) == 2 && len(buses[0].Units) == 2 && len(buses[1].Units) == 1 &&
			!slices.ContainsFunc(slices.Concat(buses[0].Units, buses[1].Units), func(u status.BusUnit) bool { return u.Requests < 5 })
	})
	if buses[0].Name != "lan" || buses[1].Name != "wall" || buses[0].Units[0].Unit != 1 || buses[0].Units[1].Unit != 200 || buses[1].Units[0].Unit != 255 {
		t.Errorf("got %+v", buses)
	}
	for _, b := range buses {
		if b.LoadPercent <= 0 || b.LoadPercent >= 100 {
			t.Errorf("bus %s is loaded to %g %%", b.Name, b.LoadPercent)
		}
		for _, u := range b.Units {
			if l := u.LatencyMS; l == nil || l.P50 <= 0 || l.P90 < l.P50 || l.P99 < l.P90 || l.Max < l.P99 || l.Max > 10_000 {
				t.Errorf("bus %s unit %d: latency %+v", b.Name, u.Unit, l)
			}
			if u.Timeouts+u.Doubts+u.Other > 0 {
				t.Errorf("bus %s: failures of a healthy unit: %+v", b.Name, u)
			}
		}
	}
	w.site.Faults("wallbox").SetOffline(true)
	w.await("the silent charger's timeouts are counted", 15*time.Second, func() bool {
		b := w.status().Buses[1]
		return b.Units[0].Timeouts > 0 && b.Units[0].Requests > b.Units[0].Timeouts
	})
}
