package main

import (
	"math"
	"time"
)

// sample is one second of a run.
type sample struct {
	targetW   float64 // asked; 0 where nothing is
	settledW  float64 // given, as it is settled
	trueW     float64 // given, against the same site that nobody commands
	netW      float64
	baselineW float64
	batteryW  float64 // measured of all batteries
	setW      float64 // told to all batteries
	loadW     float64 // drawn by the loads that can be commanded
	off       int     // loads that are held off
	lost      bool    // a battery holds a command and nobody reaches it
}

// record is a run second by second, with what broke the owner's limits.
type record struct {
	sc         *scenario
	seed       int64
	start      time.Time
	samples    []sample
	violations map[string]float64 // seconds, or times, by limit
	switches   int
	lastSet    map[string]float64 // of a charger, by device: A
	changed    map[string]time.Time
	freed      map[string]time.Time
	exportWh   float64
	exporting  time.Duration // beyond the limit without a pause
	travelW    float64
	reversals  int
	direction  float64
	lastSetW   float64
}

const (
	// exportActs is the time in which an active-power limit is expected to act
	// (domain.md 4.4, IEEE 1547).
	exportActs   = 30 * time.Second
	exportSlackW = 100 // meter resolution and noise
	comfortK     = 3   // above the set-point of 24 C
	dwell        = 30 * time.Second
)

func (rc *record) add(w *world, s sample) {
	if rc.violations == nil {
		rc.violations = map[string]float64{}
		rc.lastSet, rc.changed, rc.freed = map[string]float64{}, map[string]time.Time{}, map[string]time.Time{}
	}
	rc.samples = append(rc.samples, s)
	rc.travel(s)
	rc.checkExport()
	for _, d := range w.devices {
		rc.checkDevice(w.now, d)
	}
}

// travel adds up how far set-points move, and how often they turn.
func (rc *record) travel(s sample) {
	move := s.setW - rc.lastSetW
	rc.lastSetW = s.setW
	rc.travelW += math.Abs(move)
	if move*rc.direction < 0 {
		rc.reversals++
	}
	if move != 0 {
		rc.direction = move
	}
}

// checkExport: no export beyond the site's limit by what a battery gives, but
// for the time in which a limit is expected to act. What the sun feeds in is
// nobody's action.
func (rc *record) checkExport() {
	last := rc.samples[len(rc.samples)-1]
	beyondW := math.Min(last.batteryW, -rc.sc.exportW-last.netW)
	if beyondW > 0 {
		rc.exportWh += beyondW / 3600
	}
	// What a device does until its own timer ends it is beyond anybody's reach.
	if beyondW <= exportSlackW || last.lost {
		rc.exporting = 0
		return
	}
	if rc.exporting += step; rc.exporting > exportActs {
		rc.violations["export"]++
	}
}

func (rc *record) checkDevice(now time.Time, d *device) {
	name := d.cfg.Name
	switch {
	case d.battery != nil:
		if d.battery.SoC() < d.cfg.ReserveSoC-0.15 && d.applied.PowerW > 0 {
			rc.violations["reserve"]++
		}
		low := 0.0
		if rc.sc.charges {
			low = -d.cfg.MaxChargeW.V
		}
		if d.applied.PowerW > d.cfg.MaxDischargeW.V+1 || d.applied.PowerW < low-1 {
			rc.violations["power"]++
		}
	case d.ev != nil && d.commanded:
		rc.checkCharger(now, d)
	case d.room != nil:
		held := 0.0
		if d.held {
			held = 1
		}
		if held != rc.lastSet[name] {
			rc.switches++
			if d.held && !rc.freed[name].IsZero() && now.Sub(rc.freed[name]) < d.cfg.MinOn-2*time.Second {
				rc.violations["min-on"]++
			}
			if !d.held {
				rc.freed[name] = now
			}
		}
		rc.lastSet[name] = held
		if d.heldFor > d.cfg.MaxOff+10*time.Second {
			rc.violations["max-off"]++
		}
		if d.room.TempC() > d.idleRoom.SetpointC()+comfortK && d.held {
			rc.violations["comfort"]++
		}
	}
}

func (rc *record) checkCharger(now time.Time, d *device) {
	amps, name := d.applied.CurrentA, d.cfg.Name
	last, known := rc.lastSet[name]
	if known && amps == last {
		return
	}
	if amps > 0 && amps < d.cfg.MinA || amps > d.cfg.MaxA {
		rc.violations["current"]++
	}
	if known && (amps == 0) != (last == 0) {
		rc.switches++
	}
	if !rc.changed[name].IsZero() && now.Sub(rc.changed[name]) < dwell {
		rc.violations["dwell"]++
	}
	rc.lastSet[name], rc.changed[name] = amps, now
}

// at is when the second of sample i begins.
func (rc *record) at(i int) time.Time { return rc.start.Add(time.Duration(i) * step) }

// broken is the sum of what broke a limit.
func (rc *record) broken() float64 {
	var sum float64
	for _, v := range rc.violations {
		sum += v
	}
	return sum
}
