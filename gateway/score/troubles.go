package main

import (
	"math"
	"time"

	"nominald/dispatch"
	"nominald/gateway/config"
)

// troubles are the scenarios in which the schedule or a part changes.
func troubles() []*scenario {
	big := battery("battery", 15_000, 40_000, 90)
	ac := cooler("ac", time.Hour)
	pair := []deviceSpec{battery("battery", 5000, 13_500, 90), battery("second", 5000, 13_500, 90)}
	single := battery("battery", 5000, 13_500, 90)
	return []*scenario{
		{id: "K", what: "back to back: 8 kW, 10 kW, the most", grid: shop(), devices: []deviceSpec{big},
			reference: config.ByBaseline, hour: 14, slots: row(20 * time.Minute), nullW: 15_000, check: handOver,
			gates: []gate{{"hand_over", ">=", 95}}},
		{id: "L", what: "extended, then cancelled", grid: home(), devices: []deviceSpec{single, ac},
			reference: config.ByBaseline, exportW: 5000, hour: 17, slots: one(3, time.Hour),
			actions: []action{{30 * time.Minute, extend(90 * time.Minute)}, {75 * time.Minute, cancel}}},
		{id: "M", what: "8 kW of priority 2 over the most of priority 3", grid: shop(), devices: []deviceSpec{big},
			reference: config.ByBaseline, hour: 14, nullW: 15_000, slots: overlap(),
			bounded: "the timeslot of lower rank asks for more than the 8 kW"},
		{id: "N", what: "one of two batteries dies at 30 min", grid: home(), devices: pair, reference: config.ByDevice,
			exportW: 5000, hour: 17, slots: one(4, time.Hour), check: recovery,
			actions: []action{{30 * time.Minute, breaks("battery", dead)}}, gates: []gate{{"back_in", "<=", 30}}},
		{id: "Nd", what: "one of two batteries goes deaf at 30 min", grid: home(), devices: pair, reference: config.ByDevice,
			exportW: 5000, hour: 17, slots: one(4, time.Hour), check: recovery,
			actions: []action{{30 * time.Minute, breaks("battery", deaf)}}, gates: []gate{{"back_in", "<=", 30}}},
		{id: "O", what: "the meter is silent from 20 to 30 min", grid: home(), devices: []deviceSpec{single, ac},
			reference: config.ByBaseline, hour: 17, check: runaway,
			slots:   []slotSpec{{id: "slot-1", to: time.Hour, kw: 2, priority: 2, cap: dispatch.UpToSiteLoad}},
			actions: []action{{20 * time.Minute, breaks("main", silent)}, {30 * time.Minute, breaks("main", healthy)}},
			gates:   []gate{{"export_wh", "<=", 1}, {"runaway", "<=", 0}}},
		{id: "P", what: "reboot of 45 s at 40 min, the API is gone", grid: home(), devices: []deviceSpec{single, ac},
			reference: config.ByBaseline, exportW: 5000, hour: 17, slots: one(3, 2*time.Hour),
			actions: []action{{40 * time.Minute, crash}, {40*time.Minute + 45*time.Second, boot}}},
		{id: "Q", what: "our baseline is off by 10 %", grid: home(), devices: []deviceSpec{single, ac},
			reference: config.ByBaseline, exportW: 5000, hour: 17, slots: one(2, 2*time.Hour), bias: 0.1,
			bounded: "the bias itself"},
	}
}

// row is three timeslots back to back.
func row(each time.Duration) []slotSpec {
	var out []slotSpec
	for i, kw := range []float64{8, 10, math.NaN()} {
		out = append(out, slotSpec{id: "slot-" + string(rune('1'+i)), from: time.Duration(i) * each, to: time.Duration(i+1) * each,
			kw: kw, priority: 2, cap: dispatch.GridExportsAllowed})
	}
	return out
}

func overlap() []slotSpec {
	return []slotSpec{
		{id: "slot-1", to: time.Hour, kw: 8, priority: 2, cap: dispatch.UpToSiteLoad},
		{id: "slot-2", to: time.Hour, kw: math.NaN(), priority: 3, voluntary: true, cap: dispatch.GridExportsAllowed},
	}
}

func breaks(name string, f fault) func(*run) error {
	return func(r *run) error {
		d, err := r.world.device(name)
		if err == nil {
			d.fail(f)
		}
		return err
	}
}

func extend(to time.Duration) func(*run) error {
	return func(r *run) error {
		r.records[0].End = r.sc.start().Add(to)
		return r.reschedule()
	}
}

func cancel(r *run) error {
	r.records[0].Cancelled, r.records[0].CancelledAt = true, r.world.now
	return r.reschedule()
}

func crash(r *run) error {
	r.down = true
	return nil
}

func boot(r *run) error {
	r.down = false
	return r.driver.restart()
}
