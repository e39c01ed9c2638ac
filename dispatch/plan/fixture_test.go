package plan

import (
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

var t0 = time.Date(2026, 7, 21, 23, 0, 0, 0, time.UTC)

const meterID = "afce893d-ea68-487f-9f8c-778b1881f60a"

func kw(v float64) *float64 { return &v }

// slot is a committed 4 kW timeslot of one hour that starts at t0.
func slot(change ...func(*dispatch.Record)) dispatch.Record {
	r := dispatch.Record{Timeslot: dispatch.Timeslot{
		MeterID: meterID, EventID: "3acfced0-16f4-4fb7-b72e-5ff939ae541e",
		Start: t0, End: t0.Add(time.Hour), EnergyKW: kw(4), NominationKW: kw(4),
		Cap: dispatch.UpToSiteLoad, Priority: 2, EventTypes: []string{"day-ahead"}, Programs: []string{"CCA"},
	}, Revision: 1, FirstSeen: t0.Add(-time.Hour)}
	for _, c := range change {
		c(&r)
	}
	return r
}

// home is a site of 6 kW with a 5 kW, 13.5 kWh battery at 80 %, settled at the
// utility's meter and tracked by the devices' own power.
func home(now time.Time, slots ...dispatch.Record) Input {
	point := &Point{Name: "main", LoadW: drivers.Some(6000), Fresh: true,
		UncontrolledW: drivers.Some(6000), UncontrolledLowW: drivers.Some(6000)}
	return Input{
		Now: now, Period: time.Second, ClockTrusted: true,
		Site:   Site{MaxImportW: 40000, Point: point},
		Policy: Policy{Basis: BasisEnergy, Voluntary: VoluntaryFollow, CommunicationTest: "dry-run", Release: 2 * time.Minute},
		Meters: []Meter{{ID: meterID, Reference: ByDevice, Point: point, Devices: []string{"battery"}}},
		Devices: []Device{
			{Name: "main", Kind: drivers.Meter, Fresh: true, PowerW: drivers.Some(6000)},
			battery(),
		},
		Slots: slots, Events: map[string]Event{},
	}
}

func battery() Device {
	return Device{Name: "battery", Kind: drivers.Battery, ReserveSoC: 20, Fresh: true, Connected: true,
		PowerW: drivers.Some(0), SoC: drivers.Some(80), CapacityWh: drivers.Some(13500), MaxDischargeW: drivers.Some(5000)}
}

func wallbox(normalW float64) Device {
	return Device{Name: "wallbox", Kind: drivers.Charger, Fresh: true, Connected: true, Phases: 1, VoltageV: 230,
		MinA: 6, MaxA: 16, PowerW: drivers.Some(normalW), NormalW: drivers.Some(normalW)}
}

func hvac() Device {
	return Device{Name: "hvac", Kind: drivers.Relay, Fresh: true, Connected: true, RatedW: 3500,
		MinOff: 5 * time.Minute, MaxOff: 30 * time.Minute}
}

func (in *Input) add(d Device) {
	in.Devices = append(in.Devices, d)
	in.Meters[0].Devices = append(in.Meters[0].Devices, d.Name)
}

// held makes the battery already follow a command, so that the ramp is past.
func (in *Input) held(watts float64) {
	d := in.device("battery")
	d.Commanded = &drivers.Command{PowerW: watts}
	d.PowerW = drivers.Some(watts)
	d.HeldSince, d.ChangedAt = in.Now.Add(-time.Minute), in.Now.Add(-time.Minute)
	in.Site.Point.LoadW = drivers.Some(in.Site.Point.UncontrolledW.V - watts)
}

func deviceOf(t *testing.T, d Decision, name string) DeviceDecision {
	t.Helper()
	for _, dd := range d.Devices {
		if dd.Name == name {
			return dd
		}
	}
	t.Fatalf("no decision for device %s in %+v", name, d.Devices)
	return DeviceDecision{}
}

func slotOf(t *testing.T, d Decision, id string) SlotDecision {
	t.Helper()
	for _, s := range d.Slots {
		if s.EventID == id {
			return s
		}
	}
	t.Fatalf("no decision for timeslot %s in %+v", id, d.Slots)
	return SlotDecision{}
}

// settle runs rounds until the battery's set-point stands, with a battery
// that follows at once, and returns the last decision.
func settle(in Input) Decision {
	var d Decision
	for range 30 {
		d = Round(in)
		for i := range in.Devices {
			dev := &in.Devices[i]
			for _, dd := range d.Devices {
				if dd.Name != dev.Name || dd.Action != Follow {
					continue
				}
				c := dd.Command
				if dev.Commanded == nil {
					dev.HeldSince, dev.ChangedAt = in.Now, in.Now
				}
				if dev.Commanded == nil || *dev.Commanded != c {
					dev.ChangedAt = in.Now
				}
				dev.Commanded = &c
				if dev.Kind == drivers.Battery {
					dev.PowerW = drivers.Some(c.PowerW)
					if pt := in.Site.Point; pt.Fresh {
						pt.LoadW = drivers.Some(pt.UncontrolledW.V - c.PowerW)
					}
				}
			}
		}
	}
	return d
}

// device returns the named device, or nil.
func (in *Input) device(name string) *Device {
	for i := range in.Devices {
		if in.Devices[i].Name == name {
			return &in.Devices[i]
		}
	}
	return nil
}
