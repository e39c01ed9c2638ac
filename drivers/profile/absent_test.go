package profile_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/profile"
)

const variants = `kind: battery
points:
  - {name: power, address: 10, type: s16, meaning: power_w}
  - {name: room, address: 11, type: u16, meaning: temperature_c, optional: true}
  - {name: mode, address: 12, type: u16, meaning: state, optional: true, words: {0: rests}}
  - {name: in, address: 20, type: u16, meaning: import_wh, slow: true}
  - {name: out_a, address: 21, type: u16, meaning: export_wh, slow: true}
  - {name: out_b, address: 22, type: u16, meaning: export_wh, slow: true}
`

// lacks has a device refuse whatever touches some registers.
func (s *site) lacks(exception byte, addrs ...uint16) {
	s.Break(func(r drivertest.Request) drivertest.Fault {
		for _, a := range addrs {
			if r.Values == nil && int(r.Addr) <= int(a) && int(a) < int(r.Addr)+r.Count {
				return drivertest.Fault{Exception: exception}
			}
		}
		return drivertest.Fault{}
	})
}

// asked lists the reads since the last call.
func (s *site) asked() (all []uint16) {
	for _, r := range s.Requests() {
		if r.Values == nil {
			all = append(all, r.Addr, uint16(r.Count))
		}
	}
	return all
}

func (s *site) asks(when string, want ...uint16) {
	s.t.Helper()
	if got := s.asked(); !slices.Equal(got, want) {
		s.t.Errorf("%s: reads %v, want %v", when, got, want)
	}
}

// TestAVariantWithoutAValue refuses one value of a block, then another, then
// none; each poll asks for no more than it has to.
func TestAVariantWithoutAValue(t *testing.T) {
	s := newSite(t, variants)
	s.Set(unitID, 10, 5, 21, 0)
	s.Set(unitID, 20, 1, 2, 3)
	d := s.open()
	mustRead(t, d)
	mustRead(t, d) // the bus was connected in the first one
	s.asked()
	s.lacks(2, 22)
	s.now = s.now.Add(time.Minute)
	r := mustRead(t, d)
	s.asks("first", 10, 1, 11, 2, 20, 3, 20, 1, 21, 1, 22, 1)
	if r.PowerW.V != 5 || r.TemperatureC.V != 21 || r.ImportWh.V != 1 || r.ExportWh.OK || r.State != "rests" {
		t.Errorf("without out_b: %+v", r)
	}
	if about := d.Describe().Detail; !strings.Contains(about, "it has no out_b") {
		t.Errorf("Describe: %q", about)
	}
	s.now = s.now.Add(10 * time.Second)
	mustRead(t, d)
	s.asks("soon after", 10, 1, 11, 2)
	s.lacks(1, 12, 20, 21)
	s.now = s.now.Add(time.Minute)
	r = mustRead(t, d)
	s.asks("a minute later", 10, 1, 11, 2, 11, 1, 12, 1, 20, 1, 21, 1, 22, 1)
	if r.TemperatureC.V != 21 || r.ImportWh.OK || r.ExportWh.OK || r.State != "" {
		t.Errorf("without mode, in and out_a: %+v", r)
	}
	s.now = s.now.Add(10 * time.Second)
	mustRead(t, d)
	s.asks("soon after", 10, 1, 11, 1)
	s.Break(nil)
	s.now = s.now.Add(time.Minute)
	r = mustRead(t, d)
	if r.ImportWh.V != 1 || r.ExportWh.V != 5 || r.State != "rests" {
		t.Errorf("with all: %+v", r)
	}
	if about := d.Describe().Detail; strings.Contains(about, "it has no") {
		t.Errorf("Describe: %q", about)
	}
}

// What it has to have, and what fails otherwise, fails the reading.
func TestWhatIsNoVariantFails(t *testing.T) {
	for _, c := range []struct {
		exception byte
		at        uint16
		want      error
	}{{2, 10, drivers.ErrRefused}, {4, 11, drivers.ErrRefused}, {6, 20, drivers.ErrBusy}, {11, 22, drivers.ErrOffline}} {
		s := newSite(t, variants)
		s.lacks(c.exception, c.at)
		if _, err := s.open().Read(context.Background()); !errors.Is(err, c.want) {
			t.Errorf("exception %d at %d: Read: %v, want %v", c.exception, c.at, err, c.want)
		}
	}
}

// TestVariantsOfEachDevice has each device of the library refuse each of its
// points: those that it may lack are unknown, the others fail the reading.
func TestVariantsOfEachDevice(t *testing.T) {
	forEach(t, nil, func(r *rig) {
		r.read()
		for _, pt := range r.p.Points {
			before := r.read()
			r.twin.Lack(pt.Name, true)
			r.pass(2 * time.Minute)
			got, err := r.device.Read(r.context())
			switch {
			case !pt.Slow && !pt.Optional:
				if !errors.Is(err, drivers.ErrRefused) && !errors.Is(err, drivers.ErrWrongDevice) {
					r.t.Errorf("%s is refused, Read: %v", pt.Name, err)
				}
			case r.shares(pt):
			case err != nil:
				r.t.Errorf("%s is refused: Read: %v", pt.Name, err)
			case field(got, pt.Meaning).OK && pt.Meaning != "current_a":
				r.t.Errorf("%s is refused, Read says %v", pt.Name, field(got, pt.Meaning))
			case !strings.Contains(r.device.Describe().Detail, pt.Name):
				r.t.Errorf("%s is refused, Describe says %q", pt.Name, r.device.Describe().Detail)
			}
			r.twin.Lack(pt.Name, false)
			r.pass(2 * time.Minute)
			if got := r.read(); field(got, pt.Meaning) != field(before, pt.Meaning) {
				r.t.Errorf("%s is there again, Read says %v, before %v", pt.Name, field(got, pt.Meaning), field(before, pt.Meaning))
			}
		}
	})
}

// shares tells whether a point lies in registers that another point, or the
// proof, needs.
func (r *rig) shares(pt profile.Point) bool {
	for _, other := range r.p.Points {
		if other.Name != pt.Name && other.Table == pt.Table && other.Address == pt.Address {
			return true
		}
	}
	for _, c := range r.p.Identity {
		if c.Table == pt.Table && c.Address == pt.Address {
			return true
		}
	}
	return false
}
