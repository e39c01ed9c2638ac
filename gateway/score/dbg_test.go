package main

import (
	"fmt"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/gateway/config"
)

func TestDbg(t *testing.T) {
	sc := &scenario{id: "dbg", grid: home(), hour: 8, reference: config.ByDevice, nullW: 5000}
	sc.grid.pvW = 6000
	a := battery("battery0", 5000, 13500, 15)
	b := battery("battery1", 5000, 13500, 100)
	b.slow = true
	sc.devices = []deviceSpec{a, b, cooler("ac0", 20*time.Minute)}
	sc.slots = []slotSpec{
		{id: "slot-0", from: time.Minute, to: 11 * time.Minute, kw: 2, priority: 3, cap: dispatch.UpToNomination},
		{id: "slot-1", from: time.Minute, to: 28 * time.Minute, kw: 2, priority: 3, cap: dispatch.UpToSiteLoad}}
	sc.actions = []action{{0, crash}, {45 * time.Second, boot}}
	rc, err := execute(sc, 2, newOurs)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(rc.violations)
	for i, s := range rc.samples {
		if i%30 == 0 && i >= 1100 && i < 3000 {
			fmt.Printf("%5d %s tgt %6.0f true %6.0f net %6.0f idle %6.0f batt %6.0f/%6.0f off %d load %4.0f\n", i, rc.at(i).Format("15:04:05"), s.targetW, s.trueW, s.netW, s.netW+s.trueW, s.batteryW, s.setW, s.off, s.loadW)
		}
	}
}
