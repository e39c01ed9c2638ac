package config

import (
	"strings"
	"testing"

	"nominald/dispatch/baseline"
)

// dsgs is a battery that is settled at itself, with what else its meter says.
func dsgs(meter, battery string) string {
	return `site: {name: Oak Street}
leap: {url: "https://api.leap.energy/v2", api_key: "file:/etc/nominald/leap.key"}
meters:
  - id: afce893d-ea68-487f-9f8c-778b1881f60a
    type: device
    measured_by: battery
    devices: [battery]
` + meter + `
buses:
  - {name: lan, tcp: 192.168.1.20}
devices:
  - {name: battery, kind: battery, profile: sunspec-storage, bus: lan` + battery + `}
`
}

// evening has 0.1 kW per kWh in the evening, from 16:00 to 21:00.
func evening() string {
	return "[" + strings.Repeat("0, ", 16) + strings.Repeat("0.1, ", 5) + "0, 0, 0]"
}

func TestMethodHasWhatTheFileGives(t *testing.T) {
	c, err := Parse(strings.NewReader(dsgs("    reference: baseline\n    baseline: dsgs-option-3\n    baseline_kw_per_kwh: "+evening(), ", capacity_kwh: 13.5")), "n.yaml", testEnv())
	if err != nil {
		t.Fatal(err)
	}
	p, ok := c.Method(c.Meters[0])
	if !ok || p.Name != baseline.DSGSOption3 || len(p.PerKWh) != 24 || p.PerKWh[15] != 0 || p.PerKWh[16] != 0.1 || p.PerKWh[21] != 0 || p.CapacityWh != 13_500 {
		t.Errorf("method %+v, want the shape of the file for 13,500 Wh", p)
	}
	c, err = Parse(strings.NewReader(dsgs("    reference: baseline\n    baseline: dsgs-option-3", "")), "n.yaml", testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := c.Method(c.Meters[0]); !ok || p.PerKWh[18] != 0 {
		t.Errorf("method %+v, want zeros", p)
	}
	c.Meters[0].Reference = ByDevice
	if p, ok := c.Method(c.Meters[0]); ok {
		t.Errorf("a meter with reference device has method %+v", p)
	}
}

func TestFaultsOfAPrescribedBaseline(t *testing.T) {
	for _, c := range []struct{ what, meter, battery, want string }{
		{"too few hours", "    reference: baseline\n    baseline: dsgs-option-3\n    baseline_kw_per_kwh: [0, 0.1]", ", capacity_kwh: 13.5",
			`n.yaml:10: meters[0].baseline_kw_per_kwh: has 2 values; accepted: a list of 24 numbers in kW per kWh from -1 to 1`},
		{"no list", "    reference: baseline\n    baseline: dsgs-option-3\n    baseline_kw_per_kwh: 0.1", ", capacity_kwh: 13.5",
			`n.yaml:10: meters[0].baseline_kw_per_kwh: found a single value; accepted: a list of 24 numbers in kW per kWh from -1 to 1`},
		{"a word among them", "    reference: baseline\n    baseline: dsgs-option-3\n    baseline_kw_per_kwh: " + strings.Replace(evening(), "0,", "none,", 1), ", capacity_kwh: 13.5",
			`n.yaml:10: meters[0].baseline_kw_per_kwh[0]: "none" is not a number; accepted: a number in kW per kWh from -1 to 1`},
		{"a method without a shape", "    reference: baseline\n    baseline: zero\n    baseline_kw_per_kwh: " + evening(), ", capacity_kwh: 13.5",
			`n.yaml:10: meters[0].baseline_kw_per_kwh: means nothing to "zero" with reference baseline; remove the line, or set reference: baseline and baseline: dsgs-option-3`},
		{"another reference", "    baseline: dsgs-option-3\n    baseline_kw_per_kwh: " + evening(), ", capacity_kwh: 13.5",
			`n.yaml:9: meters[0].baseline_kw_per_kwh: means nothing to "dsgs-option-3" with reference device; remove the line, or set reference: baseline and baseline: dsgs-option-3`},
		{"no capacity", "    reference: baseline\n    baseline: dsgs-option-3\n    baseline_kw_per_kwh: " + evening(), "",
			`n.yaml:10: meters[0].baseline_kw_per_kwh: is for each kWh, and no battery among battery has capacity_kwh; give that battery its capacity_kwh, as the program counts it`},
		{"no baseline beside it", "    baseline_kw_per_kwh: " + evening(), ", capacity_kwh: 13.5",
			`n.yaml:8: meters[0].baseline_kw_per_kwh: means nothing without baseline; add baseline or remove the line`},
	} {
		_, err := Parse(strings.NewReader(dsgs(c.meter, c.battery)), "n.yaml", testEnv())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.what, err, c.want)
		}
	}
}
