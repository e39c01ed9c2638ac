package config

import "nominald/drivers"

// deviceKeys is the section with the most keys; most are for some kinds only.
func deviceKeys() section {
	return section{name: "devices", list: true, required: true,
		remedy: "add the device that measures the meter and those to control",
		doc:    "What is at the site. Each device has bus or gpio.",
		keys: append(append(wiringKeys(), powerKeys()...),
			key{name: "cost", shape: asNumber, span: between(0, 100), kinds: controlled(), doc: "What it costs to use it, in any unit; the cheaper are used first. Default: 10 for a charger, 20 for a battery, 30 for a thermostat, 40 for a relay."},
			key{name: "allow_no_fallback", shape: asFlag, def: "false", kinds: controlled(), doc: "The owner's consent to command a device that has no timer of its own to end a command, should the gateway die."}),
	}
}

func controlled() []drivers.Kind {
	return []drivers.Kind{drivers.Battery, drivers.Charger, drivers.Thermostat, drivers.Relay}
}

func switched() []drivers.Kind { return []drivers.Kind{drivers.Thermostat, drivers.Relay} }

func wiringKeys() []key {
	return []key{
		{name: "name", shape: asName, required: true, doc: "Name of the device, in messages, pages and the load history."},
		{name: "kind", shape: asEnum, required: true, values: []string{string(drivers.Meter), string(drivers.Battery), string(drivers.Charger), string(drivers.Thermostat), string(drivers.Relay), string(drivers.Inverter)}, doc: "What it does at the site. An inverter (photovoltaic) is measured and never dispatched."},
		{name: "profile", shape: asName, doc: "How to talk to it; `nominald profiles` lists them. Required with bus; with gpio it is relay-inhibit, with gpio2 sg-ready."},
		{name: "bus", shape: asName, doc: "Name of the bus that it is on."},
		{name: "unit", shape: asInteger, def: "1", needs: "bus", span: between(0, 255), doc: "Modbus unit id; 1 to 247 on a serial line."},
		{name: "channel", shape: asInteger, def: "1", needs: "bus", span: between(1, 64), doc: "Relay or socket of a unit that has several, from 1."},
		{name: "gpio", shape: asGPIO, kinds: switched(), doc: "Line that drives its relay: GPIO17, or chip and offset as in gpiochip0:17 or pinctrl-rp1:17. A released relay is normal operation."},
		{name: "gpio2", shape: asGPIO, kinds: switched(), needs: "gpio", doc: "Line that drives the second contact of SG-Ready; gpio drives the first."},
		{name: "active", shape: asEnum, def: "high", needs: "gpio", values: []string{"high", "low"}, doc: "Level of the line that energises the relay's coil."},
		{name: "invert", shape: asFlag, def: "false", kinds: []drivers.Kind{drivers.Meter}, doc: "Turn the sign of the power, for a meter wired the other way round. Import is positive."},
	}
}

func powerKeys() []key {
	battery := []drivers.Kind{drivers.Battery}
	charger := []drivers.Kind{drivers.Charger}
	return []key{
		{name: "reserve_soc", shape: asNumber, unit: "%", def: "20", span: between(0, 100), kinds: battery, doc: "State of charge below which the owner's reserve begins. It is never touched."},
		{name: "max_discharge_kw", shape: asNumber, unit: "kW", span: between(0, 1e5), kinds: battery, doc: "Largest discharge. The smaller of this and the device's own rating counts."},
		{name: "max_charge_kw", shape: asNumber, unit: "kW", span: between(0, 1e5), kinds: battery, doc: "Largest charge. The smaller of this and the device's own rating counts."},
		{name: "capacity_kwh", shape: asNumber, unit: "kWh", span: &span{low: 0, high: 1e5, above: true}, kinds: battery, doc: "Usable capacity. Without it the device's own figure counts."},
		{name: "phases", shape: asInteger, span: between(1, 3), kinds: charger, required: true, doc: "Phases that it is wired to."},
		{name: "voltage", shape: asNumber, unit: "V", def: "230", span: between(100, 480), kinds: charger, doc: "Voltage of one phase; 240 for a split-phase charger on one phase."},
		{name: "min_current_a", shape: asNumber, unit: "A", def: "6", span: between(6, 80), kinds: charger, doc: "Least current a phase while charging. IEC 61851-1 knows none below 6 A."},
		{name: "max_current_a", shape: asNumber, unit: "A", span: between(6, 80), kinds: charger, required: true, doc: "Most current a phase: what the circuit is fused and rated for."},
		{name: "departure", shape: asClock, kinds: charger, needs: "departure_kwh", doc: "Time of day, local, at which the vehicle leaves: 07:30. Until then it gets departure_kwh, whatever a timeslot asks."},
		{name: "departure_kwh", shape: asNumber, unit: "kWh", span: &span{low: 0, high: 1000, above: true}, kinds: charger, needs: "departure", doc: "Energy that a vehicle wants between being plugged in and its departure. Without it charging can wait as long as a timeslot lasts."},
		{name: "rated_kw", shape: asNumber, unit: "kW", span: &span{low: 0, high: 1e5, above: true}, kinds: switched(), required: true, doc: "What it draws when it runs."},
		{name: "min_off", shape: asDuration, def: "5m", span: between(0, 86400), kinds: switched(), doc: "Least time off, for the compressor's sake; with profile sg-ready the default is 10m."},
		{name: "min_on", shape: asDuration, def: "5m", span: between(0, 86400), kinds: switched(), doc: "Least time on before it is held off again; with profile sg-ready the default is 10m."},
		{name: "max_off", shape: asDuration, def: "30m", span: between(1, 86400), kinds: switched(), doc: "Most time off in a row, for people's sake, kept also if the line to the device dies where it has a timer of its own; at most 2h with profile sg-ready."},
		{name: "max_offset_k", shape: asNumber, unit: "K", def: "2", span: &span{low: 0, high: 5, above: true}, kinds: []drivers.Kind{drivers.Thermostat}, doc: "Largest shift of the room's set-point."},
	}
}
