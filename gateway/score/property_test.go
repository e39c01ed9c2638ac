package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nominald/dispatch"
	"nominald/gateway/config"
)

// anyScenario is a site, its timeslots and what goes wrong there.
func anyScenario(t *rapid.T) *scenario {
	sc := &scenario{id: "any", grid: home(), hour: rapid.IntRange(6, 18).Draw(t, "hour"),
		reference: rapid.SampledFrom([]config.Reference{config.ByDevice, config.Relative}).Draw(t, "reference"),
		exportW:   rapid.SampledFrom([]float64{0, 2000, 10_000}).Draw(t, "export"), charges: rapid.Bool().Draw(t, "charges"), nullW: 5000}
	names := []string{"main"}
	if rapid.Bool().Draw(t, "sun") {
		// Nobody sees the sun come out while the meter is silent.
		sc.grid.pvW, names = 6000, nil
	}
	add := func(d deviceSpec) { sc.devices, names = append(sc.devices, d), append(names, d.cfg.Name) }
	for i := range rapid.IntRange(0, 2).Draw(t, "batteries") {
		b := battery(fmt.Sprintf("battery%d", i), 5000, 13_500, rapid.Float64Range(15, 100).Draw(t, "soc"))
		// One that takes 35 s from full to nothing can not keep a limit that has
		// to act within 30 s.
		b.slow = sc.exportW >= 10_000 && rapid.Bool().Draw(t, "slow")
		add(b)
	}
	if rapid.Bool().Draw(t, "vehicle") {
		add(wallbox())
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "coolers") {
		add(cooler(fmt.Sprintf("ac%d", i), 20*time.Minute))
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "timeslots") {
		from := time.Duration(rapid.IntRange(0, 25).Draw(t, "from")) * time.Minute
		s := slotSpec{id: fmt.Sprintf("slot-%d", i), from: from, to: from + time.Duration(rapid.IntRange(1, 30).Draw(t, "minutes"))*time.Minute,
			kw: rapid.SampledFrom([]float64{0.5, 2, 4, 9, math.NaN()}).Draw(t, "kw"), priority: rapid.IntRange(1, 3).Draw(t, "priority"),
			voluntary: rapid.Bool().Draw(t, "voluntary"),
			cap:       rapid.SampledFrom([]dispatch.Cap{dispatch.UpToNomination, dispatch.UpToSiteLoad, dispatch.GridExportsAllowed}).Draw(t, "cap")}
		sc.slots = append(sc.slots, s)
	}
	troubles := rapid.IntRange(0, 3).Draw(t, "troubles")
	if len(names) == 0 {
		troubles = 0
	}
	for range troubles {
		at := time.Duration(rapid.IntRange(0, 1800).Draw(t, "at")) * time.Second
		f := rapid.SampledFrom([]fault{dead, deaf, silent, healthy}).Draw(t, "fault")
		sc.actions = append(sc.actions, action{at, breaks(rapid.SampledFrom(names).Draw(t, "device"), f)})
	}
	if rapid.IntRange(0, 3).Draw(t, "crash") == 0 {
		at := time.Duration(rapid.IntRange(0, 1200).Draw(t, "crash at")) * time.Second
		sc.actions = append(sc.actions, action{at, crash}, action{at + 45*time.Second, boot})
	}
	slices.SortStableFunc(sc.actions, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	return sc
}

// TestNoLimitIsBrokenInAnyScenario closes the loop: whatever the site, its
// timeslots and its faults, seconds of simulated plants later no limit of the
// owner is broken, nor the write budget of a device.
func TestNoLimitIsBrokenInAnyScenario(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc := anyScenario(t)
		rc, err := execute(sc, rapid.Int64Range(1, 1000).Draw(t, "seed"), newOurs)
		if err != nil {
			t.Fatal(err)
		}
		if rc.broken() > 0 {
			t.Fatalf("broken: %v", rc.violations)
		}
	})
}
