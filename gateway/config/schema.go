package config

import (
	"slices"
	"time"

	"nominald/dispatch/baseline"
	"nominald/drivers"
)

// shape is how a value is written in the file.
type shape int

const (
	asText      shape = iota // any line of text
	asName                   // a name of ours: [a-z0-9][a-z0-9-]*
	asNameList               // names, or a list of them
	asHost                   // a host name
	asHostList               // host names
	asEnum                   // one of key.values
	asFlag                   // true or false
	asInteger                // a whole number
	asNumber                 // a number, the unit is in the key
	asHours                  // a number for each local hour of a day, from 00:00
	asDuration               // 90s, 5m, 400d
	asSecret                 // file:PATH, env:NAME or credential:NAME
	asMeterID                // a UUID, as Leap names its meters
	asURL                    // https://...
	asEndpoint               // host:port
	asZone                   // an IANA time zone
	asPath                   // an absolute path
	asGPIO                   // GPIO17, gpiochip0:17 or pinctrl-rp1:17
	asVoluntary              // follow, ignore or follow-above-soc:N
	asClock                  // a time of day, 07:30
)

// span is the range of a number; of seconds for a duration. low is excluded
// where above is true, so that a size can be "more than 0".
type span struct {
	low, high float64
	above     bool
}

// key is one key of the file. The parser, the defaults and the reference page
// all read this one table, so that they can not differ.
type key struct {
	name     string
	shape    shape
	unit     string // for people: "kW", "%", "A"
	def      string // default as it would be written; "" is none
	values   []string
	span     *span
	required bool
	kinds    []drivers.Kind // devices: the kinds it is for; nil is all
	needs    string         // key that must stand beside it
	refused  string         // recognised, but this build can not do it
	doc      string
}

// section is one part of the file: a mapping, or a list of them.
type section struct {
	name     string
	list     bool
	required bool
	remedy   string // what to say where a required section is missing
	doc      string
	keys     []key
}

func (s *section) key(name string) (*key, bool) {
	i := slices.IndexFunc(s.keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return nil, false
	}
	return &s.keys[i], true
}

// keyNames lists the keys that a file may have.
func (s *section) keyNames() []string {
	var names []string
	for _, k := range s.keys {
		if k.refused == "" {
			names = append(names, k.name)
		}
	}
	return names
}

func between(low, high float64) *span { return &span{low: low, high: high} }

// schema returns the whole file, in the order in which the reference shows it.
func schema() []section {
	return []section{siteKeys(), leapKeys(), meterKeys(), busKeys(), deviceKeys(),
		inputKeys(), policyKeys(), httpKeys(), storeKeys()}
}

func siteKeys() section {
	return section{name: "site", required: true,
		remedy: "add a site with its name",
		doc:    "The grid connection and its owner's limits.",
		keys: []key{
			{name: "name", shape: asText, required: true, doc: "What people call the site."},
			{name: "timezone", shape: asZone, def: "UTC", doc: "IANA time zone, for instance America/Los_Angeles. Baselines count the site's local days; pages show its local time."},
			{name: "armed", shape: asFlag, def: "false", doc: "false is a dry run: everything happens but writes to devices. Arming is an act of its own, after `nominald check --probe`."},
			{name: "max_import_kw", shape: asNumber, unit: "kW", def: "0", span: between(0, 1e5), doc: "Service rating; never exceeded by the gateway's own action. 0 means not given."},
			{name: "max_export_kw", shape: asNumber, unit: "kW", def: "0", span: between(0, 1e5), doc: "Interconnection limit. 0 means no export, whatever Leap allows."},
			{name: "profiles", shape: asPath, def: DefaultProfiles, doc: "Directory of the site's own device profiles, *.yaml. They need not be there. One takes the place of a profile that the program brings along where it says replaces."},
		}}
}

func leapKeys() section {
	const noRelay = "this build asks Leap itself and can not be served by a relay"
	return section{name: "leap", required: true,
		remedy: "add leap with url and api_key",
		doc:    "The dispatch API.",
		keys: []key{
			{name: "url", shape: asURL, required: true, doc: "Base of the dispatch API: https://api.leap.energy/v2, for staging https://api.staging.leap.energy/v2. Plain http is accepted for loopback addresses only."},
			{name: "api_key", shape: asSecret, required: true, doc: "Where the API key is kept; never the key itself."},
			{name: "poll", shape: asDuration, def: "60s", span: between(5, 3600), doc: "Time between two searches. Leap supports one a minute."},
			{name: "relay", shape: asText, refused: noRelay, doc: "A fleet's relay."},
			{name: "credentials", shape: asText, refused: noRelay, doc: "Credential for a relay."},
		}}
}

// baselineHistory is how far back a baseline may look.
const baselineHistory = 60 * 24 * time.Hour

func meterKeys() section {
	return section{name: "meters", list: true, required: true,
		remedy: "add the Leap meter that this gateway answers for",
		doc:    "Leap meters that this gateway answers for.",
		keys: []key{
			{name: "id", shape: asMeterID, required: true, doc: "Leap's meter_id."},
			{name: "type", shape: asEnum, required: true, values: []string{string(UtilityMeter), string(DeviceMeter)}, doc: "What Leap settles: the utility's meter, with every device behind it, or one device's own."},
			{name: "measured_by", shape: asName, required: true, doc: "Name of the device that measures it: one of kind meter or, with type device, the device itself."},
			{name: "reference", shape: asEnum, values: []string{string(ByBaseline), string(ByDevice), string(Relative)}, doc: "What a target is measured against: the site's estimated baseline, the device's own power, or the load before the event. Default: baseline for utility_meter, device for type device."},
			{name: "baseline", shape: asEnum, values: baseline.Names(), doc: "Baseline preset; packaging/docs/baselines.md says what each does. Required with reference baseline. zero and dsgs-option-3 are for type device."},
			{name: "baseline_kw_per_kwh", shape: asHours, unit: "kW per kWh", span: between(-1, 1), needs: "baseline", doc: "What the program lays down for dsgs-option-3: the discharge that counts for nothing, by local hour from 00:00, for each kWh of capacity_kwh. Default: 0."},
			{name: "upload", shape: asFlag, def: "false", doc: "Send its intervals of 15 minutes to Leap, daily and after each timeslot. For programs whose data the partner supplies, mostly with type device; utilities send those of their own meters. The key needs the permission for it."},
			{name: "devices", shape: asNameList, required: true, doc: "Names of the devices that are dispatched for it."},
		}}
}

func busKeys() section {
	return section{name: "buses", list: true,
		doc: "Modbus connections. Each has tcp or serial.",
		keys: []key{
			{name: "name", shape: asName, required: true, doc: "Name that devices refer to."},
			{name: "tcp", shape: asEndpoint, doc: "Address of a Modbus TCP device or gateway, HOST or HOST:PORT; the port is 502 unless given."},
			{name: "framing", shape: asEnum, def: "tcp", needs: "tcp", values: []string{"tcp", "rtu"}, doc: "What runs over the socket: Modbus TCP, or RTU frames as a serial device server in its raw mode passes them on."},
			{name: "serial", shape: asPath, doc: "Serial line; prefer /dev/serial/by-id/..., which stays the same after a re-plug."},
			{name: "baud", shape: asInteger, unit: "Bd", def: "9600", needs: "serial", values: []string{"1200", "2400", "4800", "9600", "19200", "38400", "57600", "115200"}, doc: "Speed of the serial line."},
			{name: "format", shape: asEnum, def: "8N1", needs: "serial", values: []string{"8N1", "8E1", "8O1", "8N2"}, doc: "Data bits, parity and stop bits of the serial line."},
			{name: "echo", shape: asFlag, def: "false", needs: "serial", doc: "The adapter hears what it sends, as half-duplex ones without a switched receiver do."},
		}}
}

// DefaultProfiles is where a site keeps device profiles of its own.
const DefaultProfiles = "/etc/nominald/profiles.d"

// RoleStop is the role of an input that latches the owner's STOP.
const RoleStop = "stop"

func inputKeys() section {
	return section{name: "inputs", list: true,
		doc: "Contacts on GPIO lines. Wire a STOP button normally closed, from the line to ground, with `active: high` and `pull: up`: " +
			"then a broken wire stops the site as the button does. An input that can not be read for 5 s counts as pressed. " +
			"STOP is latched; only `nominald resume` or the page ends it, and not while the button is held.",
		keys: []key{
			{name: "name", shape: asName, required: true, doc: "Name of the input, in messages and on pages."},
			{name: "gpio", shape: asGPIO, required: true, doc: "The line: its name, or chip and offset."},
			{name: "role", shape: asEnum, required: true, values: []string{RoleStop}, doc: "What it does: stop latches the owner's STOP, as `nominald stop` does."},
			{name: "active", shape: asEnum, required: true, values: []string{"high", "low"}, doc: "Level of the line that means pressed: high for a normally closed contact to ground, low for a normally open one."},
			{name: "pull", shape: asEnum, def: "up", values: []string{"up", "down", "none"}, doc: "Bias of the line; none where the board has a resistor of its own."},
			{name: "debounce", shape: asDuration, def: "50ms", span: between(0.005, 5), doc: "How long a level has to stand before it counts."},
		}}
}

func policyKeys() section {
	return section{name: "policy", doc: "How the site answers what Leap leaves open.",
		keys: []key{
			{name: "basis", shape: asEnum, def: "energy", values: []string{"energy", "nomination", "max-paid"}, doc: "What to deliver where award and nomination differ: the award, the nomination, or all that is paid."},
			{name: "voluntary", shape: asVoluntary, def: "follow", doc: "Events without a commitment: follow them, ignore them, or follow them while the battery's state of charge is above N percent."},
			{name: "communication_test", shape: asEnum, def: "dry-run", values: []string{"dry-run", "ignore", "actuate"}, doc: "What to do in a communication test: plan and show it, leave it, or really actuate."},
			{name: "on_missing", shape: asEnum, def: "execute", values: []string{"execute", "drop"}, doc: "A timeslot that Leap no longer lists and never cancelled: execute it, or drop it."},
			{name: "release", shape: asDuration, def: "2m", span: between(0, 3600), doc: "Devices go back to normal over this time after a timeslot; 0s is at once."},
			{name: "release_loads", shape: asDuration, def: "75m", span: between(0, 5400), doc: "Three or more thermostats and relays are let go one after another over this time, the neediest room first, so that they do not all start at once; fewer go back within release."},
			{name: "release_random", shape: asDuration, def: "0s", span: between(0, 1800), doc: "A site waits a time of its own, up to this, before its chargers and loads go back, so that a fleet does not step. 0s is no wait."},
			{name: "precharge", shape: asDuration, def: "0s", span: between(0, 86400), doc: "Batteries charge over this time ahead of a timeslot that needs more energy than they have, at their own power and within max_import_kw; 0s is never."},
			{name: "precool", shape: asDuration, def: "0s", span: between(0, 7200), doc: "Thermostats with a set-point are cooled ahead (heat pumps heated) by 1.5 K, max_offset_k at most, over this time before a timeslot; 30m to 1h is usual; 0s is never."},
			{name: "prepare_in_window", shape: asFlag, def: "false", doc: "precharge and precool also in the hours by which a baseline is adjusted to the day (the 15 minutes that reference relative measures): it raises the baseline, which some programs call gaming. It is written into the log."},
			{name: "charge_to_target", shape: asFlag, def: "false", doc: "In a timeslot batteries may charge what the site would give beyond the target. The energy serves later; a program that pays beyond the target pays less. Only for meters whose reference is baseline or relative."},
		}}
}

func httpKeys() section {
	return section{name: "http", doc: "The local page and API.",
		keys: []key{
			{name: "listen", shape: asEndpoint, def: "127.0.0.1:8645", doc: "Address to listen on. Anything but loopback needs a token."},
			{name: "token", shape: asSecret, doc: "Where the access token is kept, at least 16 characters."},
			{name: "hosts", shape: asHostList, doc: "Further host names that count as the gateway's own."},
		}}
}

func storeKeys() section {
	return section{name: "store", doc: "Where state is kept.",
		keys: []key{
			{name: "dir", shape: asPath, def: "/var/lib/nominald", doc: "Directory of schedule, load history and journal."},
			{name: "retain", shape: asDuration, def: "400d", span: between(86400, 3650*86400), doc: "How long measured load is kept. Baselines look back up to 60 days."},
			{name: "retain_seconds", shape: asDuration, def: "30d", span: between(86400, 400*86400), doc: "How long it is kept second by second: about 2 MB a day for 20 channels. The hours around timeslots stay as long as `retain`."},
		}}
}
