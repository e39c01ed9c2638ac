package main

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/gateway/config"
)

// scenarios is the reference set of domain.md 4.6 with the gates that this
// project holds itself to.
func scenarios() []*scenario {
	all := homes()
	all = append(all, energies()...)
	all = append(all, loads()...)
	return append(all, troubles()...)
}

func homes() []*scenario {
	fast := battery("battery", 5000, 13_500, 90)
	slow := fast
	slow.slow = true
	ac := cooler("ac", time.Hour)
	sunny := home()
	sunny.pvW = 6000
	return []*scenario{
		{id: "A", what: "battery and air conditioner, 3 kW for 2 h", grid: home(), devices: []deviceSpec{fast, ac},
			reference: config.ByBaseline, exportW: 5000, hour: 17, slots: one(3, 2*time.Hour),
			gates: []gate{{"capped", ">=", 98}, {"rmse15", "<=", 4}}},
		{id: "B", what: "the same on a slow bus", grid: home(), devices: []deviceSpec{slow, ac},
			reference: config.ByBaseline, exportW: 5000, hour: 17, slots: one(3, 2*time.Hour),
			gates: []gate{{"capped", ">=", 97}, {"rmse15", "<=", 5}}},
		{id: "C", what: "clouds over 6 kW of PV, 2 kW for 2 h", grid: sunny, devices: []deviceSpec{fast, ac},
			reference: config.ByBaseline, exportW: 12_000, hour: 12, slots: one(2, 2*time.Hour), charges: true,
			gates: []gate{{"capped", ">=", 98}, {"rmse15", "<=", 3}}},
		{id: "D", what: "home settled by baseline, 2 kW for 2 h", grid: home(), devices: []deviceSpec{fast, ac},
			reference: config.ByBaseline, exportW: 5000, hour: 17, slots: one(2, 2*time.Hour), weatherK: 3,
			gates: []gate{{"worst_hour", ">=", 92}}},
		{id: "E", what: "shop settled by baseline, 10 kW for 4 h", grid: shop(), devices: []deviceSpec{battery("battery", 30_000, 60_000, 95)},
			reference: config.ByBaseline, hour: 14, slots: one(10, 4*time.Hour), weatherK: 3,
			gates: []gate{{"worst_hour", ">=", 98}}},
	}
}

func energies() []*scenario {
	null := []slotSpec{{id: "slot-1", to: 2 * time.Hour, kw: math.NaN(), priority: 2, cap: dispatch.GridExportsAllowed}}
	two := []slotSpec{
		{id: "slot-1", to: 2 * time.Hour, kw: 4, priority: 3, cap: dispatch.GridExportsAllowed},
		{id: "slot-2", from: 7 * time.Hour, to: 9 * time.Hour, kw: 4, priority: 1, cap: dispatch.GridExportsAllowed},
	}
	return []*scenario{
		{id: "F95", what: "2.4 kW for 4 h from 95 %", grid: home(), devices: []deviceSpec{battery("battery", 5000, 13_500, 95)},
			reference: config.ByDevice, exportW: 5000, hour: 17, slots: one(2.4, 4*time.Hour),
			bounded: "energy for 99.98 % of the target", allUsed: true, gates: []gate{{"worst15", ">=", 97}}},
		{id: "F70", what: "2.4 kW for 4 h from 70 %", grid: home(), devices: []deviceSpec{battery("battery", 5000, 13_500, 70)},
			reference: config.ByDevice, exportW: 5000, hour: 17, slots: one(2.4, 4*time.Hour), check: flatness,
			bounded: "energy for 67 % of the target only", allUsed: true, gates: []gate{{"min_to_mean", ">=", 0.97}}},
		{id: "G", what: "the most there is for 2 h", grid: home(), devices: []deviceSpec{battery("battery", 5000, 13_500, 90)},
			reference: config.ByDevice, exportW: 5000, hour: 17, slots: null, nullW: 0.7 * 13_500 * math.Sqrt(0.9) / 2,
			bounded: "all the energy there is", allUsed: true},
		{id: "R", what: "two timeslots, energy for one", grid: home(), devices: []deviceSpec{battery("battery", 5000, 13_500, 90)},
			reference: config.ByDevice, exportW: 5000, hour: 10, slots: two, check: higherRank,
			bounded: "energy for one of two timeslots only", allUsed: true, gates: []gate{{"higher_rank", ">=", 99}}},
	}
}

func loads() []*scenario {
	charge := []slotSpec{
		{id: "slot-1", to: time.Hour, kw: 3, priority: 2, cap: dispatch.GridExportsAllowed},
		{id: "slot-2", from: time.Hour, to: 2 * time.Hour, kw: 6.9, priority: 2, cap: dispatch.GridExportsAllowed},
	}
	office := grid{minW: 500, maxW: 500, noiseW: 20, outdoorC: 36}
	return []*scenario{
		{id: "H", what: "vehicle only: 3 kW, then 6.9 kW in the gap below 6 A", grid: home(), devices: []deviceSpec{wallbox()},
			reference: config.ByDevice, hour: 17, slots: charge, check: toggles, bounded: "whole amperes, and nothing between 0 and 6 A",
			gates: []gate{{"capped", ">=", 99}, {"toggles", "<=", 4}}},
		{id: "I", what: "eight air conditioners, 6 kW for 3 h", grid: office, devices: coolers(8),
			reference: config.ByBaseline, hour: 14, slots: one(6, 3*time.Hour), after: 100 * time.Minute,
			gates: []gate{{"capped", ">=", 96}, {"rmse15", "<=", 15}}},
		{id: "J", what: "the same with a battery", grid: office, devices: append(coolers(8), battery("battery", 10_000, 20_000, 90)),
			reference: config.ByBaseline, hour: 14, slots: one(6, 3*time.Hour), after: 100 * time.Minute, charges: true,
			gates: []gate{{"capped", ">=", 99.5}, {"rmse15", "<=", 5}}},
	}
}
