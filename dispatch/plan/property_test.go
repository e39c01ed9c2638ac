package plan

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"strconv"
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

func anyPolicy(t *rapid.T) Policy {
	return Policy{
		Basis:     rapid.SampledFrom([]string{BasisEnergy, BasisNomination, BasisMaxPaid}).Draw(t, "basis"),
		Voluntary: rapid.SampledFrom([]string{VoluntaryFollow, VoluntaryIgnore, VoluntaryAboveSoC}).Draw(t, "policy"), VoluntaryAboveSoC: 50,
		CommunicationTest: "dry-run", OnMissing: rapid.SampledFrom([]string{"execute", MissingDrop}).Draw(t, "missing"),
		Release:        rapid.SampledFrom([]time.Duration{0, 2 * time.Minute}).Draw(t, "release"),
		ReleaseLoads:   rapid.SampledFrom([]time.Duration{0, 75 * time.Minute}).Draw(t, "release of loads"),
		ReleaseRandom:  rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(t, "random release"),
		ChargeToTarget: rapid.Bool().Draw(t, "charge"),
	}
}

// since is a time in the last so many seconds.
func since(t *rapid.T, name string, most int) time.Time {
	return t0.Add(-time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Second)
}

func anyBattery(t *rapid.T, b *Device) {
	b.SoC = anyOpt(t, "soc", 0, 100)
	b.CapacityWh = anyOpt(t, "capacity", 1000, 60000)
	b.MaxDischargeW = anyOpt(t, "max discharge", 500, 20000)
	b.MaxChargeW = anyOpt(t, "max charge", 500, 20000)
	b.PowerW = anyOpt(t, "battery power", -5000, 20000)
	b.Gain = anyOpt(t, "gain", 0, 3)
	b.Fresh = rapid.IntRange(0, 4).Draw(t, "battery fresh") > 0
	b.Refused = rapid.IntRange(0, 9).Draw(t, "refused") == 0
	if rapid.Bool().Draw(t, "held") {
		b.Commanded = &drivers.Command{PowerW: rapid.Float64Range(0, b.MaxDischargeW.Or(0)).Draw(t, "commanded")}
		b.ChangedAt = since(t, "battery changed", 60)
	}
}

// anyLoad is a thermostat or relay in any state.
func anyLoad(t *rapid.T, name string) Device {
	d := hvac()
	d.Name, d.Kind = name, rapid.SampledFrom([]drivers.Kind{drivers.Thermostat, drivers.Relay}).Draw(t, name+" kind")
	d.MinOn = 3 * time.Minute
	d.PowerW, d.NormalW = anyOpt(t, name+" power", 0, 3500), anyOpt(t, name+" normal", 0, 3500)
	d.TemperatureC, d.SetpointC = anyOpt(t, name+" temperature", 14, 32), anyOpt(t, name+" set-point", 18, 26)
	d.Fresh = rapid.IntRange(0, 4).Draw(t, name+" fresh") > 0
	switch rapid.IntRange(0, 2).Draw(t, name+" state") {
	case 0:
		d.Commanded = &drivers.Command{Inhibit: true}
		d.HeldSince = since(t, name+" held", 2400)
		d.ChangedAt = d.HeldSince
	case 1:
		d.FreeSince = since(t, name+" freed", 600)
	}
	return d
}

func anyInput(t *rapid.T) Input {
	in := home(t0)
	in.Site.MaxExportW = rapid.SampledFrom([]float64{0, 500, 5000}).Draw(t, "max export")
	in.Policy = anyPolicy(t)
	in.ClockTrusted = rapid.IntRange(0, 5).Draw(t, "clock") > 0
	in.Stopped = rapid.IntRange(0, 9).Draw(t, "stopped") == 0
	in.Meters[0].Reference = rapid.SampledFrom([]Reference{ByDevice, Relative, ByBaseline}).Draw(t, "reference")
	p := in.Site.Point
	p.LoadW = anyOpt(t, "load", -8000, 20000)
	p.UncontrolledW = anyOpt(t, "uncontrolled", -8000, 20000)
	p.UncontrolledLowW = p.UncontrolledW
	p.Fresh = rapid.IntRange(0, 4).Draw(t, "meter fresh") > 0
	p.Age = time.Duration(rapid.IntRange(0, 900).Draw(t, "meter age")) * time.Second

	anyBattery(t, in.device("battery"))
	w := wallbox(rapid.Float64Range(0, 11000).Draw(t, "charging"))
	w.Phases = rapid.SampledFrom([]int{1, 3}).Draw(t, "phases")
	if rapid.Bool().Draw(t, "charger held") {
		w.Commanded = &drivers.Command{CurrentA: float64(rapid.SampledFrom([]int{0, 6, 9, 16}).Draw(t, "amps"))}
		w.ChangedAt = since(t, "changed", 400)
	}
	in.add(w)
	for i := range rapid.IntRange(1, 4).Draw(t, "loads") {
		in.add(anyLoad(t, fmt.Sprintf("load%d", i)))
	}
	in.addSecond(t)
	for i := range rapid.IntRange(0, 6).Draw(t, "slots") {
		r := anySlot(t, i)
		in.Slots = append(in.Slots, r)
		if rapid.Bool().Draw(t, "running") {
			in.Events[r.EventID] = Event{Running: true, LastTargetW: 3000, PreStart: r.Start,
				PreLoadW: anyOpt(t, "pre load", 0, 9000), BaselineW: anyOpt(t, "baseline", -9000, 9000),
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
		if !b.Fresh {
			continue // what it gives is part of what the meter shows
		}
		now := math.Max(0, b.PowerW.Or(0))
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
	room := math.Max(0, pt.UncontrolledLowW.V+in.Site.MaxExportW+moreThanNormalW(in))
	const slack = smallestStepW // of set-points that stand, and of their rounding
	if after > room+slack && after > before+slack {
		t.Fatalf("the batteries were raised from %.0f to %.0f W where the export limit leaves %.0f", before, after, room)
	}
}

// manyCases is how many situations a property is tried in: enough that one in a
// thousand is met.
const manyCases = 10_000

// checkMany is rapid.Check with more cases than its default; a number given on
// the command line counts.
func checkMany(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if before := checks.Value.String(); before == checks.DefValue {
		if err := flag.Set("rapid.checks", strconv.Itoa(manyCases)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { flag.Set("rapid.checks", before) })
	}
	rapid.Check(t, property)
}

// TestLimitsHoldForAnySituation: whatever the schedule, the measurements and
// the gaps in them, no command leaves the limits of the owner and the device,
// nor comes sooner than its write budget lets it.
func TestLimitsHoldForAnySituation(t *testing.T) {
	checkMany(t, func(t *rapid.T) {
		in := anyInput(t)
		d := Round(in)
		for _, dd := range d.Devices {
			dev := in.device(dd.Name)
			if dd.Action == Neutral && !in.Stopped {
				checkLetGo(t, &in, dev)
			}
			if dd.Action != Follow {
				continue
			}
			if in.Stopped {
				t.Fatalf("commanded in spite of STOP: %+v", dd)
			}
			if !dev.Fresh {
				t.Fatalf("commanded without a fresh reading: %+v", dd)
			}
			switch dev.Kind {
			case drivers.Battery:
				checkBattery(t, in, dev, dd)
			case drivers.Charger:
				checkCharger(t, dev, dd)
			default:
				checkHeld(t, dev, dd)
			}
		}
		checkExport(t, in, d)
		checkEnergy(t, in, d)
		if _, err := json.Marshal(d); err != nil {
			t.Fatalf("a decision that can not be written down: %v", err)
		}
		if again := Round(in); cmp.Diff(d, again) != "" {
			t.Fatalf("the same input gave another decision:\n%s", cmp.Diff(d, again))
		}
	})
}

func checkCharger(t *rapid.T, d *Device, dd DeviceDecision) {
	a := dd.Command.CurrentA
	if a != 0 && (a < d.MinA || a > d.MaxA) || a != math.Trunc(a) {
		t.Fatalf("charger limit %v A, want 0 or whole amperes from %v to %v", a, d.MinA, d.MaxA)
	}
	if c := d.Commanded; c != nil && a != c.CurrentA && t0.Sub(d.ChangedAt) < chargerDwell {
		t.Fatalf("charger limit changed from %v to %v A after %v, want %v at least", c.CurrentA, a, t0.Sub(d.ChangedAt), chargerDwell)
	}
}

// checkHeld: a load is held off within its comfort and its least times.
func checkHeld(t *rapid.T, d *Device, dd DeviceDecision) {
	if !dd.Command.Inhibit && dd.Command.OffsetK == 0 {
		return
	}
	switch c := d.TemperatureC; {
	case c.OK && (c.V < lowestRoomC || c.V > highestRoomC):
		t.Fatalf("held off at %v C", c.V)
	case d.Commanded != nil && t0.Sub(d.HeldSince) >= d.MaxOff:
		t.Fatalf("held off for %v, the owner allows %v", t0.Sub(d.HeldSince), d.MaxOff)
	case d.Commanded == nil && !d.FreeSince.IsZero() && t0.Sub(d.FreeSince) < d.MinOn:
		t.Fatalf("held off %v after it was let go, it runs %v at least", t0.Sub(d.FreeSince), d.MinOn)
	}
}

// checkLetGo: a load is let go before its least time only where its comfort or
// the owner asks for it, or no timeslot of its meter has a say any longer.
func checkLetGo(t *rapid.T, in *Input, d *Device) {
	load := d.Kind == drivers.Thermostat || d.Kind == drivers.Relay
	if !load || !d.Fresh || d.Commanded == nil || t0.Sub(d.HeldSince) >= d.MinOff || needK(d) > budgetK {
		return
	}
	if c := d.TemperatureC; c.OK && (c.V < lowestRoomC || c.V > highestRoomC) {
		return
	}
	for i := range in.Slots {
		r := &in.Slots[i]
		if r.MeterID == meterID && !r.Cancelled && !r.IntegrationTest && !r.Voluntary && in.ClockTrusted &&
			!t0.Before(r.Start) && t0.Before(r.End) && !in.Meters[0].Device {
			t.Fatalf("let go after %v of %v in timeslot %s", t0.Sub(d.HeldSince), d.MinOff, r.EventID)
		}
	}
}

// checkEnergy: no plan gives out more than a battery has, nor more of it than a
// timeslot needs.
func checkEnergy(t *rapid.T, in Input, d Decision) {
	given := map[string]float64{}
	for _, e := range d.Energy {
		given[e.Device] += e.KeptWh
		if e.KeptWh > e.NeedWh+1e-6 || e.KeptWh < 0 {
			t.Fatalf("%s keeps %v Wh for %s, which needs %v", e.Device, e.KeptWh, e.EventID, e.NeedWh)
		}
	}
	for name, wh := range given {
		dev := in.device(name)
		if has := usableWh(dev, dev.ReserveSoC).Or(0); wh > has+1e-6 {
			t.Fatalf("%s gives out %v Wh and has %v", name, wh, has)
		}
	}
}

// moreThanNormalW is by how much loads draw more than their normal: that, too,
// is there for batteries to cover.
func moreThanNormalW(in Input) float64 {
	var sum float64
	for i := range in.Devices {
		if d := &in.Devices[i]; d.Kind != drivers.Battery && d.Kind.Dispatched() {
			sum += math.Max(0, -d.GivenW().Or(0))
		}
	}
	return sum
}

func checkBattery(t *rapid.T, in Input, b *Device, dd DeviceDecision) {
	got := dd.Command.PowerW
	switch {
	case math.IsNaN(got) || math.IsInf(got, 0):
		t.Fatalf("battery set-point %v", got)
	case got > b.MaxDischargeW.Or(0)+0.5:
		t.Fatalf("battery set-point %v W, limit %v", got, b.MaxDischargeW)
	case got < 0 && (!in.Policy.ChargeToTarget || -got > b.MaxChargeW.Or(0)+0.5 || !b.SoC.OK || b.SoC.V >= fullSoC):
		t.Fatalf("battery set-point %v W; charging up to %v: %v, state of charge %v", got, b.MaxChargeW, in.Policy.ChargeToTarget, b.SoC)
	case got > 0 && (!b.SoC.OK || b.SoC.V <= b.ReserveSoC):
		t.Fatalf("battery set-point %v W at a state of charge of %v, reserve %v", got, b.SoC, b.ReserveSoC)
	}
	if dd.Name != "battery" || in.device("battery2").Commanded != nil {
		return // a device's own meter needs no site meter; two may share anew what they give
	}
	floor := -in.Site.MaxExportW
	room := math.Max(0, in.Site.Point.UncontrolledLowW.Or(0)-floor+moreThanNormalW(in))
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
