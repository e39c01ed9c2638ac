package profile_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"nominald/drivers/profile"
)

// sound is a profile with most of what the format knows and nothing wrong.
const sound = `name: bench-battery
kind: battery
maker: nobody
bus: modbus
source: this file
tested: here
link: {baud: 9600, format: 8N1, port: 502, units: [1]}
timing: {timeout: 2s, pause_between: 50ms}
channels: 2
max_registers: 20
max_gap: 2
holes: [[40, 49]]
points:
  - {name: w, address: 10, stride: 100, type: s32, unit: W, scale: -1, meaning: power_w}
  - {name: soc, table: input, address: 22, type: u16sw, scale: 0.1, meaning: soc, unset: [0xFFFF], min: 0, max: 100}
identity:
  - {address: 0, type: text, length: 4, text: ACME}
  - {address: 4, type: u16, one_of: [7, 9]}
writable:
  - {name: mode, address: 50, stride: 10, type: u16, function: 6, min: 0, max: 4}
  - {name: power, address: 51, stride: 10, type: s16, function: 16, min: -5000, max: 5000, clamp: true, changed: true, per_day: 10}
  - {name: lease, address: 52, stride: 10, type: u16, function: 16, unit: s, scale: 60}
never: [70]
command:
  apply:
    - {write: mode, value: 2}
    - {write: power, value: command, also: [{write: lease, value: timer}]}
  release:
    - {write: mode, value: 0}
read_back: {point: w, after: 5s, tolerance: 100}
fallback: {register: lease, min: 1m, max: 60m, renew: 30s, state: self consumption}
`

func TestSoundProfileParses(t *testing.T) {
	p, err := profile.Parse("b.yaml", []byte(strings.Replace(sound, "u16sw", "u16", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if p.Points[0].Table != "holding" || p.Points[1].Table != "input" || p.Fallback.Max != time.Hour || p.Writable[1].PerDay != 10 {
		t.Errorf("parsed %+v", p)
	}
}

// Each case changes one thing of the sound profile; the mistake is told with
// the line of what was changed.
func TestEachMistakeHasItsLine(t *testing.T) {
	good := strings.Replace(sound, "u16sw", "u16", 1)
	for _, c := range []struct{ old, new, want string }{
		{"kind: battery", "kind: batery", "2: kind is"},
		{"name: bench-battery", "name: Bench Battery", "1: name is"},
		{"bus: modbus", "bus: can", "4: bus is"},
		{"maker: nobody", "marker: nobody", `3: key "marker" is not known; did you mean "maker"`},
		{"baud: 9600", "baud: 96", "7: baud is 96"},
		{"format: 8N1", "format: 7E1", "7: format is"},
		{"units: [1]", "units: [256]", "7: unit is 256"},
		{"timeout: 2s", "timeout: 2h", "8: timeout is 2h"},
		{"tested: here", "tested: {by: us}", "6: tested is a map of keys, accepted is text"},
		{"channels: 2", "channels: [2]", "9: channels is a list, accepted is a whole number"},
		{"units: [1]", "units: [one]", "7: units is one, accepted is a whole number"},
		{"timeout: 2s", "timeout: 2", "8: timeout is 2, accepted is a time with its unit, as 500ms, 30s or 10m"},
		{"pause_between: 50ms", "pause_betwen: 50ms", `8: key "pause_betwen" is not known; did you mean "pause_between"`},
		{"channels: 2", "channels: 65", "9: channels is 65"},
		{"channels: 2", "channels: 2\nchannels: 2", `10: mapping key "channels" already defined`},
		{"max_registers: 20", "max_registers: 126", "10: max_registers is 126"},
		{"holes: [[40, 49]]", "holes: [[49, 40]]", "12: hole is 49 to 40"},
		{"holes: [[40, 49]]", "holes: [[111, 111]]", "14: w at 110 lies in the hole"},
		{"name: soc,", "name: w,", "15: name of a point"},
		{"address: 10, stride: 100", "address: 65500, stride: 100", "14: w reaches address 65601 in channel 2"},
		{"address: 10,", "address: 65536,", "14: address is 65536, accepted is a whole number from 0 to 65535"},
		{"type: s32", "type: s24", "14: type of w"},
		{"table: input, address: 22", "table: coil, address: 22", "15: type of soc"},
		{"table: input", "table: inputs", "15: table of soc"},
		{"type: s32", "type: bit", "14: type of w"},
		{"scale: -1", "scale: .nan", "14: scale of w"},
		{"meaning: power_w", "meaning: watts", "14: meaning of w"},
		{"meaning: power_w", "meaning: soc", "15: meaning of soc is soc, which w has"},
		{"unset: [0xFFFF]", "unset: [0xFFFFF]", "15: unset of soc"},
		{"unset: [0xFFFF]", "mask: 0x10000", "15: mask of soc"},
		{"unset: [0xFFFF]", "shift: 16", "15: shift of soc"},
		{"max: 100}", "max: -100}", "15: limits of soc"},
		{"length: 4, text: ACME", "length: 1, text: ACME", "17: text"},
		{"one_of: [7, 9]", "one_of: [7, 9], unset: [0x10000]", "18: unset of identity at"},
		{"length: 4, text: ACME", "length: 4, text: ACME, unset: [1]", "17: unset of identity at"},
		{"one_of: [7, 9]", "one_off: [7, 9]", `18: key "one_off" is not known; did you mean "one_of"`},
		{"function: 6,", "function: 3,", "20: function of mode"},
		{"function: 6,", "function: 5,", "20: "},
		{"type: s16, function: 16", "type: s32, function: 6", "21: power takes 2 registers"},
		{"type: s16, function: 16", "type: s32, function: 16", "22: lease writes holding 52, which power writes"},
		{"name: lease, address: 52", "name: lease, address: 61", "22: lease writes holding 61, which power writes"},
		{"name: mode, address: 50", "name: mode, address: 70", "20: mode writes register 70, which must never be written"},
		{"name: mode, address: 50", "name: mode, address: 60", "20: mode writes register 70, which must never be written"},
		{"min: -5000, max: 5000", "min: -50000, max: 5000", "21: limit -50000"},
		{"per_day: 10", "per_day: -1", "21: budget of power"},
		{"name: lease,", "name: power,", "22: name of a writable"},
		{"{write: mode, value: 2}", "{write: mod, value: 2}", `26: "mod" is not among`},
		{"{write: mode, value: 2}", "{write: mode, value: 5}", "26: value of mode is 5, accepted are 0 to 4"},
		{"{write: mode, value: 2}", "{write: mode, value: 1.5}", "26: value of mode is 1.5, accepted are multiples"},
		{"{write: mode, value: 2}", "{write: mode, value: remembered}", "26: value of mode"},
		{"{write: mode, value: 2}", "{write: mode, value: 2, also: [{write: power, value: 1}]}", "26: power is written together with mode"},
		{"{write: mode, value: 2}", "{write: mode, value: 2, only: 2}", "26: only of mode is 2, which is what is written"},
		{"{write: mode, value: 2}", "{write: mode, value: 2, only: [1, 0.5]}", "26: only of mode is 0.5, accepted are multiples"},
		{"{write: mode, value: 2}", "{write: mode, value: 2, only: [1, 70000]}", "26: only of mode: 70000 does not fit"},
		{"{write: mode, value: 2}", "{write: mode, value: 2, only: .nan}", "26: only of mode is NaN"},
		{"{write: mode, value: 2}", "{write: mode, value: 2, only: [one]}", "26: only is one, accepted is a number"},
		{"also: [{write: lease, value: timer}]", "only: 7, also: [{write: lease, value: timer}]", "27: also at a step with only"},
		{"also: [{write: lease, value: timer}]", "also: [{write: lease, value: timer, only: 7}]", `27: key "only" is not known`},
		{"also: [{write: lease, value: timer}]", "also: [{write: mode, value: 1}]", "27: mode is written together with power"},
		{"also: [{write: lease, value: timer}]", "", "25: apply does not write timer"},
		{"also: [{write: lease, value: timer}]", "also: [{write: lease, value: 60}]", "25: apply does not write timer"},
		{"  release:\n    - {write: mode, value: 0}\n", "", "24: a battery is commanded by"},
		{"  apply:\n", "  charge:\n", "24: a battery is commanded by"},
		{"  apply:\n", "  aply:\n", `25: key "aply" is not known; did you mean "apply"`},
		{"point: w,", "point: watt,", `30: read_back names point "watt"`},
		{"after: 5s", "after: 5h", "30: after is 5h"},
		{"register: lease", "register: leas", "31: fallback register"},
		{"min: 1m,", "min: 61m,", "31: min is 1h1m0s"},
		{"renew: 30s", "renew: 60m", "31: renew is 1h0m0s"},
		{"renew: 30s", "after: 60s", "31: fallback has register and after"},
		{"renew: 30s", "proof: nix", "31: proof names point"},
		{"renew: 30s", "keep_alive: [{write: x, value: 1}]", "31: "},
		{"max: 60m", "max: 60h", "31: max is 60h"},
		{"tested: here", "tested: &a here", "6: anchors"},
		{"fallback:", "---\nfallback:", "1: one profile a file"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Errorf("%q is not in the sound profile", c.old)
			continue
		}
		_, err := profile.Parse("b.yaml", []byte(bad))
		if err == nil || !strings.HasPrefix(err.Error(), "b.yaml:"+c.want) {
			t.Errorf("%q for %q: error %v, want b.yaml:%s", c.new, c.old, err, c.want)
		}
	}
}

// The keys that are accepted are the fields that there are.
func TestKeysAreTheFieldsOfTheTypes(t *testing.T) {
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if f.Anonymous {
				walk(path, f.Type)
				continue
			}
			if key == "" {
				key = strings.ToLower(f.Name)
			}
			at := path + "/" + key
			if !profile.HasKey(at) {
				t.Errorf("field %s: key %s is not accepted", f.Name, at)
			}
			if f.Name != "Also" { // write and value only: a test of mistakes holds that
				walk(at, f.Type)
			}
		}
	}
	walk("", reflect.TypeFor[profile.Profile]())
	if profile.HasKey("/colour") || profile.HasKey("/points/colour") {
		t.Error("HasKey: colour is a key")
	}
}
