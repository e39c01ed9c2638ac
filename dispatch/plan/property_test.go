package plan

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"nominald/dispatch"
	"nominald/drivers"
)

// anyOpt is a quantity that is sometimes unknown.
func anyOpt(t *rapid.T, name string, low, high float64) drivers.Opt {
	if rapid.IntRange(0, 5).Draw(t, name+" unknown") == 0 {
		return drivers.Opt{}
	}
	return drivers.Some(rapid.Float64Range(low, high).Draw(t, name))
}

func anySlot(t *rapid.T, i int) dispatch.Record {
	r := slot(func(r *dispatch.Record) { r.EventID = fmt.Sprintf("event-%d", i) })
	r.Start = t0.Add(time.Duration(rapid.IntRange(-180, 180).Draw(t, "start")) * time.Minute)
	r.End = r.Start.Add(time.Duration(rapid.IntRange(1, 300).Draw(t, "minutes")) * time.Minute)
	if rapid.Bool().Draw(t, "of the second meter") {
		r.MeterID = secondMeter
	}
	r.Priority = rapid.IntRange(1, 10).Draw(t, "priority")
	r.Voluntary = rapid.Bool().Draw(t, "voluntary")
	r.Cancelled = rapid.IntRange(0, 4).Draw(t, "cancelled") == 0
	r.CancelledAt = t0.Add(-time.Duration(rapid.IntRange(0, 300).Draw(t, "cancelled at")) * time.Second)
	r.Cap = rapid.SampledFrom([]dispatch.Cap{dispatch.UpToNomination, dispatch.UpToSiteLoad,
		dispatch.GridExportsAllowed, "new-cap"}).Draw(t, "cap")
	if v := anyOpt(t, "energy", 0.01, 200); v.OK {
		r.EnergyKW = &v.V
	} else {
		r.EnergyKW = nil
	}
	if v := anyOpt(t, "nomination", 0.01, 200); v.OK {
		r.NominationKW = &v.V
	} else {
		r.NominationKW = nil
	}
	r.IntegrationTest = rapid.IntRange(0, 9).Draw(t, "integration") == 0
	return r
}

func anyInput(t *rapid.T) Input {
	in := home(t0)
	in.Site.MaxExportW = rapid.SampledFrom([]float64{0, 500, 5000}).Draw(t, "max export")
	in.Policy.Basis = rapid.SampledFrom([]string{BasisEnergy, BasisNomination, BasisMaxPaid}).Draw(t, "basis")
	in.Policy.Voluntary = rapid.SampledFrom([]string{VoluntaryFollow, VoluntaryIgnore, VoluntaryAboveSoC}).Draw(t, "policy")
	in.Policy.VoluntaryAboveSoC = 50
	in.ClockTrusted = rapid.IntRange(0, 5).Draw(t, "clock") > 0
	in.Stopped = rapid.IntRange(0, 9).Draw(t, "stopped") == 0
	in.Meters[0].Reference = rapid.SampledFrom([]Reference{ByDevice, Relative, ByBaseline}).Draw(t, "reference")
	p := in.Site.Point
	p.LoadW = anyOpt(t, "load", -8000, 20000)
	p.UncontrolledW = anyOpt(t, "uncontrolled", -8000, 20000)
	p.UncontrolledLowW = p.UncontrolledW
	p.Fresh = rapid.IntRange(0, 4).Draw(t, "meter fresh") > 0

	b := in.device("battery")
	b.SoC = anyOpt(t, "soc", 0, 100)
	b.CapacityWh = anyOpt(t, "capacity", 1000, 60000)
	b.MaxDischargeW = anyOpt(t, "max discharge", 500, 20000)
	b.PowerW = anyOpt(t, "battery power", -5000, 20000)
	b.Gain = anyOpt(t, "gain", 0, 3)
	b.Fresh = rapid.IntRange(0, 4).Draw(t, "battery fresh") > 0
	if rapid.Bool().Draw(t, "held") {
		b.Commanded = &drivers.Command{PowerW: rapid.Float64Range(0, b.MaxDischargeW.Or(0)).Draw(t, "commanded")}
	}
	w := wallbox(rapid.Float64Range(0, 11000).Draw(t, "charging"))
	w.Phases = rapid.SampledFrom([]int{1, 3}).Draw(t, "phases")
	if rapid.Bool().Draw(t, "charger held") {
		w.Commanded = &drivers.Command{CurrentA: float64(rapid.SampledFrom([]int{0, 6, 9, 16}).Draw(t, "amps"))}
		w.ChangedAt = t0.Add(-time.Duration(rapid.IntRange(0, 60).Draw(t, "changed")) * time.Second)
	}
	in.add(w)
	in.add(hvac())
	in.addSecond(t)
	for i := range rapid.IntRange(0, 6).Draw(t, "slots") {
		r := anySlot(t, i)
		in.Slots = append(in.Slots, r)
		if rapid.Bool().Draw(t, "running") {
			in.Events[r.EventID] = Event{Running: true, LastTargetW: 3000, PreStart: r.Start,
				PreLoadW:         anyOpt(t, "pre load", 0, 9000),
				IntervalTargetWh: rapid.Float64Range(0, 2000).Draw(t, "target"), IntervalDeliveredWh: rapid.Float64Range(-500, 2000).Draw(t, "delivered")}
		}
	}
	return in
}

const secondMeter = "dd21c76c-7126-4ef7-b0a6-f190fad300b2"

// addSecond adds a second battery, that only the second meter has, or both.
func (in *Input) addSecond(t *rapid.T) {
	b := battery()
	b.Name = "battery2"
	b.PowerW = drivers.Some(rapid.Float64Range(0, 5000).Draw(t, "second power"))
	b.Fresh = rapid.IntRange(0, 4).Draw(t, "second fresh") > 0
	b.Unresponsive = rapid.IntRange(0, 4).Draw(t, "second unresponsive") == 0
	if rapid.Bool().Draw(t, "second held") {
		b.Commanded = &drivers.Command{PowerW: rapid.Float64Range(0, 5000).Draw(t, "second commanded")}
	}
	in.Devices = append(in.Devices, b)
	m := Meter{ID: secondMeter, Device: true, Reference: ByDevice, Devices: []string{"battery2"}}
	if rapid.Bool().Draw(t, "shared") {
		in.Meters[0].Devices = append(in.Meters[0].Devices, "battery2")
	}
	in.Meters = append(in.Meters, m)
}

// checkExport: all batteries together never rise while they give more than the
// export limit leaves.
func checkExport(t *rapid.T, in Input, d Decision) {
	pt := in.Site.Point
	if !pt.Fresh || !pt.UncontrolledLowW.OK {
		return
	}
	var before, after float64
	for i, dd := range d.Devices {
		b := &in.Devices[i]
		if b.Kind != drivers.Battery {
			continue
		}
		now := math.Max(0, b.PowerW.Or(0))
		if !b.Fresh {
			now = 0
		}
		if b.Commanded != nil {
			now = b.Commanded.PowerW
		}
		before += now
		switch dd.Action {
		case Follow:
			now = dd.Command.PowerW
		case Neutral:
			now = math.Min(now, math.Max(0, b.PowerW.Or(0)))
		}
		after += now
	}
	room := math.Max(0, pt.UncontrolledLowW.V+in.Site.MaxExportW)
	if after > room+2 && after > before+2 {
		t.Fatalf("the batteries were raised from %.0f to %.0f W where the export limit leaves %.0f", before, after, room)
	}
}

// TestLimitsHoldForAnySituation: whatever the schedule, the measurements and
// the gaps in them, no command leaves the limits of the owner and the device.
func TestLimitsHoldForAnySituation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyInput(t)
		d := Round(in)
		b := in.device("battery")
		for _, dd := range d.Devices {
			if dd.Action != Follow {
				continue
			}
			if in.Stopped {
				t.Fatalf("commanded in spite of STOP: %+v", dd)
			}
			if !in.device(dd.Name).Fresh {
				t.Fatalf("commanded without a fresh reading: %+v", dd)
			}
			switch dd.Name {
			case "battery":
				checkBattery(t, in, b, dd)
			case "battery2":
				if got := dd.Command.PowerW; !(got >= 0 && got <= 5000) {
					t.Fatalf("second battery set-point %v W", got)
				}
			case "wallbox":
				if a := dd.Command.CurrentA; a != 0 && (a < 6 || a > 16) {
					t.Fatalf("charger limit %v A, want 0 or 6 to 16", a)
				}
			}
		}
		checkExport(t, in, d)
		if again := Round(in); cmp.Diff(d, again) != "" {
			t.Fatalf("the same input gave another decision:\n%s", cmp.Diff(d, again))
		}
	})
}

func checkBattery(t *rapid.T, in Input, b *Device, dd DeviceDecision) {
	got := dd.Command.PowerW
	switch {
	case math.IsNaN(got) || math.IsInf(got, 0):
		t.Fatalf("battery set-point %v", got)
	case got < 0 || got > math.Round(b.MaxDischargeW.Or(0)):
		t.Fatalf("battery set-point %v W, limits 0 to %v", got, b.MaxDischargeW)
	case got > 0 && (!b.SoC.OK || b.SoC.V <= b.ReserveSoC):
		t.Fatalf("battery set-point %v W at a state of charge of %v, reserve %v", got, b.SoC, b.ReserveSoC)
	}
	floor := -in.Site.MaxExportW
	room := math.Max(0, in.Site.Point.UncontrolledLowW.Or(0)-floor)
	from := 0.0
	if b.Commanded != nil {
		from = b.Commanded.PowerW
	} else if b.PowerW.OK {
		from = b.PowerW.V
	}
	if got > room+1 && got > from {
		t.Fatalf("battery raised from %v to %v W where the export limit leaves %v", from, got, room)
	}
}
