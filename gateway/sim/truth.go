package sim

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"
)

// Truth is what really happens at the simulated site, as no meter shows it.
type Truth struct {
	At        time.Time
	SiteLoadW float64 // net power at the grid connection, import positive
	BaseLoadW float64 // the part that nobody controls
	PVW       float64
	// UncontrolledW is what the site would draw had nobody commanded anything.
	UncontrolledW float64
	// Devices are the controllable ones by name.
	Devices map[string]DeviceTruth
}

// DeviceTruth is the truth of one device.
type DeviceTruth struct {
	PowerW       float64 // battery: discharge positive; load: consumption positive
	SoC          float64 // percent; batteries only
	TemperatureC float64 // thermostats only
	Commanded    bool    // somebody keeps it from what it would do by itself
}

// energy is the account of truth: what had been drawn at a moment, and what
// would have been.
type energy struct {
	at             time.Duration // since the site was made
	actualWh       float64
	uncontrolledWh float64
}

// ledger keeps the energy account once a second.
type ledger struct {
	now  energy
	rows []energy
}

const (
	ledgerEvery = time.Second
	ledgerRows  = 48 * 3600 // two days; then the older half goes
)

func newLedger() ledger { return ledger{rows: []energy{{}}} }

func (l *ledger) step(dt time.Duration, actualW, uncontrolledW float64) {
	l.now.at += dt
	l.now.actualWh += actualW * dt.Hours()
	l.now.uncontrolledWh += uncontrolledW * dt.Hours()
	if l.now.at-l.rows[len(l.rows)-1].at < ledgerEvery {
		return
	}
	if len(l.rows) >= ledgerRows {
		l.rows = append(l.rows[:0], l.rows[ledgerRows/2:]...)
	}
	l.rows = append(l.rows, l.now)
}

// reading returns the account at a moment, between two rows by a straight line.
func (l *ledger) reading(at time.Duration) (energy, error) {
	rows := l.rows
	if at < rows[0].at || at > l.now.at {
		return energy{}, fmt.Errorf("energy account at %s: kept from %s to %s", at, rows[0].at, l.now.at)
	}
	i := sort.Search(len(rows), func(i int) bool { return rows[i].at >= at })
	after := l.now
	if i < len(rows) {
		after = rows[i]
	}
	if after.at == at || i == 0 {
		return after, nil
	}
	before := rows[i-1]
	share := float64(at-before.at) / float64(after.at-before.at)
	return energy{
		at:             at,
		actualWh:       before.actualWh + share*(after.actualWh-before.actualWh),
		uncontrolledWh: before.uncontrolledWh + share*(after.uncontrolledWh-before.uncontrolledWh),
	}, nil
}

// meanReductionW returns by how much the site drew less than it would have.
func (l *ledger) meanReductionW(from, to time.Duration) (float64, error) {
	if to <= from {
		return 0, fmt.Errorf("mean reduction: window from %s to %s is empty", from, to)
	}
	first, err := l.reading(from)
	if err != nil {
		return 0, err
	}
	last, err := l.reading(to)
	if err != nil {
		return 0, err
	}
	saved := (last.uncontrolledWh - first.uncontrolledWh) - (last.actualWh - first.actualWh)
	return saved / (to - from).Hours(), nil
}

// names returns the devices in alphabetical order.
func (t Truth) names() []string {
	return slices.Sorted(maps.Keys(t.Devices))
}
