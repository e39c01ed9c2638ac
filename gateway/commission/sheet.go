package commission

import (
	"fmt"
	"strings"
	"time"

	"nominald/drivers"
)

// Verdict is how a test ended.
type Verdict string

// The verdicts.
const (
	Passed Verdict = "passed"
	Failed Verdict = "failed"
	// Skipped: there is nothing to prove, or a person has accepted that.
	Skipped Verdict = "skipped"
	// Missing: what the gateway will rely on was not proved.
	Missing Verdict = "not done"
)

// Sheet is the hand-over sheet: what was there, what was tried and what was
// measured. It is written as JSON as it is, and as Markdown.
type Sheet struct {
	Began       time.Time      `json:"began"`
	Ended       time.Time      `json:"ended"`
	Site        string         `json:"site"`
	Timezone    string         `json:"timezone"`
	Config      string         `json:"config"`
	Gateway     string         `json:"gateway"` // its version
	Machine     string         `json:"machine"`
	Armed       bool           `json:"armed"`
	MaxImportW  float64        `json:"max_import_w"` // 0: not given
	MaxExportW  float64        `json:"max_export_w"`
	Schedule    string         `json:"schedule"`   // where it is known from that no timeslot was near
	SiteMeter   string         `json:"site_meter"` // device at the grid connection
	Devices     []*DeviceSheet `json:"devices"`
	Restored    []Restored     `json:"restored"`
	LeftOut     []string       `json:"left_out"` // devices that were read only, because others were asked for
	Result      string         `json:"result"`   // Passed, Not passed, or Incomplete and what is lacking
	Tests       string         `json:"tests"`    // how many ended how
	Warnings    []string       `json:"warnings"`
	Todo        []string       `json:"todo"`                  // proofs that are lacking, and what to do for them
	Interrupted string         `json:"interrupted,omitempty"` // why it ended early
}

// DeviceSheet is one device of the sheet.
type DeviceSheet struct {
	Name    string              `json:"name"`
	Kind    drivers.Kind        `json:"kind"`
	Profile string              `json:"profile"`
	Where   string              `json:"where"`
	About   drivers.Description `json:"about"`
	Reading drivers.Reading     `json:"reading"` // the first one
	Invert  bool                `json:"invert,omitempty"`
	Tests   []*Test             `json:"tests"`
}

// Test is one proof.
type Test struct {
	Name    string        `json:"name"`
	Verdict Verdict       `json:"verdict"`
	Why     string        `json:"why,omitempty"`
	Values  []Value       `json:"values"`
	Began   time.Time     `json:"began"`
	Took    time.Duration `json:"took_ns"`
}

// Value is one measured value, as people write it down.
type Value struct {
	Name string  `json:"name"`
	V    float64 `json:"value"`
	Unit string  `json:"unit"`
}

// Restored is a device that was commanded, and whether it was released.
type Restored struct {
	Name    string `json:"name"`
	Problem string `json:"problem,omitempty"` // empty: it was read back as neutral
	Note    string `json:"note,omitempty"`    // how it became so, where that is not plain
}

func (t *Test) add(name string, v float64, unit string) {
	t.Values = append(t.Values, Value{name, v, unit})
}

// Value returns a measured value by its name.
func (t *Test) Value(name string) (float64, bool) {
	for _, v := range t.Values {
		if v.Name == name {
			return v.V, true
		}
	}
	return 0, false
}

// Device returns the sheet of a device, or nil.
func (s *Sheet) Device(name string) *DeviceSheet {
	for _, d := range s.Devices {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Test returns a test of the device, or nil.
func (d *DeviceSheet) Test(name string) *Test {
	for _, t := range d.Tests {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Count returns how many tests ended with the verdict.
func (s *Sheet) Count(v Verdict) int {
	n := 0
	for _, d := range s.Devices {
		for _, t := range d.Tests {
			if t.Verdict == v {
				n++
			}
		}
	}
	return n
}

// Good tells whether nothing failed or is lacking, nothing was cut short and
// every device was released.
func (s *Sheet) Good() bool { return s.sound() && s.Count(Missing) == 0 }

// Incomplete tells whether the sheet would be good, were all tests done.
func (s *Sheet) Incomplete() bool { return s.sound() && s.Count(Missing) > 0 }

func (s *Sheet) sound() bool {
	return s.Interrupted == "" && s.Count(Failed) == 0 && len(s.NotReleased()) == 0
}

// NotReleased are the devices that are still commanded, or may be.
func (s *Sheet) NotReleased() []string {
	var names []string
	for _, r := range s.Restored {
		if r.Problem != "" {
			names = append(names, r.Name)
		}
	}
	return names
}

// Lacking lists the tests that were not done, by their devices.
func (s *Sheet) Lacking() string {
	var parts []string
	for _, d := range s.Devices {
		var tests []string
		for _, t := range d.Tests {
			if t.Verdict == Missing {
				tests = append(tests, t.Name)
			}
		}
		if len(tests) > 0 {
			parts = append(parts, d.Name+" ("+strings.Join(tests, ", ")+")")
		}
	}
	return strings.Join(parts, ", ")
}

// Counts says how many tests ended how.
func (s *Sheet) Counts() string {
	line := fmt.Sprintf("%d passed, %d failed, %d skipped", s.Count(Passed), s.Count(Failed), s.Count(Skipped))
	if n := s.Count(Missing); n > 0 {
		line += fmt.Sprintf(", %d not done", n)
	}
	return line
}
