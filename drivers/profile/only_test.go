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

const economizer = `kind: thermostat
points:
  - {name: mode, address: 10, type: u16, meaning: state, words: {1: comfort, 3: economy, 4: protection}}
writable:
  - {name: mode, address: 10, type: u16, function: 6, min: 1, max: 3, changed: true}
command:
  inhibit: [{write: mode, value: 3, only: 1}]
  release: [{write: mode, value: 1, only: 3}]
`

func inhibit(d drivers.Device) error {
	return d.Apply(context.Background(), drivers.Command{Inhibit: true}, 30*time.Second)
}

// TestACommandFromTheOwnersChoice goes through what a thermostat may hold when it
// is to be held off, renewed and let go, with a restart in between.
func TestACommandFromTheOwnersChoice(t *testing.T) {
	for _, c := range []struct {
		name              string
		holds, later      uint16 // at first, and what somebody chooses while it is held off; 0 nothing
		refused           string
		wrote, wroteAfter string
	}{
		{"comfort", 1, 0, "", "6@10=[3]", "6@10=[1]"},
		{"economy of the owner", 3, 0, "", "", ""},
		{"protection", 4, 0, "mode holds 4, and is changed only from 1", "", ""},
		{"protection chosen later", 1, 4, "", "6@10=[3]", ""},
		{"comfort chosen later", 1, 1, "", "6@10=[3]", ""},
	} {
		for _, restarts := range []bool{false, true} {
			s := newSite(t, economizer)
			s.Set(unitID, 10, c.holds)
			d := s.open()
			release(t, d) // as at the start of the service
			s.wrote("")
			mustRead(t, d)
			for range 3 {
				s.now = s.now.Add(10 * time.Second)
				if err := inhibit(d); c.refused != "" {
					refused(t, err, c.refused)
				} else if err != nil {
					t.Errorf("%s: Apply: %v", c.name, err)
				}
				if r := mustRead(t, d); r.Inhibited != (c.refused == "") {
					t.Errorf("%s: Read says inhibited %v", c.name, r.Inhibited)
				}
			}
			s.wrote(c.wrote)
			if c.later != 0 {
				s.Set(unitID, 10, c.later)
			}
			if restarts {
				d = s.open()
			}
			for range 2 {
				release(t, d)
			}
			s.wrote(c.wroteAfter)
			if len(s.kept) > 0 && strings.Contains(string(s.kept), "ours") {
				t.Errorf("%s: after Release %s is kept", c.name, s.kept)
			}
		}
	}
}

// A register that can not be read, memory that can not be loaded, and no memory
// at all: what is not known to be somebody else's is taken back.
func TestAReleaseThatCanNotKnow(t *testing.T) {
	s := newSite(t, economizer)
	s.Set(unitID, 10, 3)
	s.Break(func(r drivertest.Request) drivertest.Fault {
		if r.Values == nil {
			return drivertest.Fault{Exception: 2}
		}
		return drivertest.Fault{}
	})
	release(t, s.open())
	s.wrote("6@10=[1]")
	s.Break(nil)
	for _, c := range []struct {
		name   string
		memory profile.Memory
		ok     bool
	}{{"none", nil, true}, {"lost", lostMemory{}, false}} {
		s.Set(unitID, 10, 3)
		s.params.Remember = c.memory
		if err := s.open().Release(context.Background()); (err == nil) != c.ok {
			t.Errorf("memory %s: Release: %v", c.name, err)
		}
		s.wrote("6@10=[1]")
		s.Set(unitID, 10, 4)
		_ = s.open().Release(context.Background())
		s.wrote("")
	}
}

// lostMemory is on a disk that fails.
type lostMemory struct{}

func (lostMemory) Load() ([]byte, error) { return nil, errors.New("disk") }
func (lostMemory) Save([]byte) error     { return errors.New("disk") }

// A change that can not be remembered is not made: after a crash nobody would
// take it back.
func TestAChangeIsRememberedBeforeItIsMade(t *testing.T) {
	s := newSite(t, economizer)
	s.Set(unitID, 10, 1)
	s.params.Remember = &forgetful{}
	if err := inhibit(s.open()); err == nil {
		t.Error("the change was not remembered, Apply says nothing")
	}
	s.wrote("")
}

// forgetful memory is on a disk that is full.
type forgetful struct{}

func (*forgetful) Load() ([]byte, error) { return nil, nil }
func (*forgetful) Save([]byte) error     { return errors.New("disk full") }

// Coils and several accepted values; the release here is the device's alone.
func TestOnlyOfCoilsAndOfSeveralValues(t *testing.T) {
	s := newSite(t, `kind: relay
writable:
  - {name: contact, address: 3, function: 5}
  - {name: hours, address: 10, type: s16, function: 6, scale: -0.5, min: -100, max: 100}
command:
  inhibit: [{write: contact, value: 1}, {write: hours, value: -2}]
  release: [{write: contact, value: 0, only: 1}, {write: hours, value: 0, only: [-2, -1.5]}]
`)
	for _, c := range []struct {
		contact, hours uint16
		wrote          string
	}{
		{0, 0, ""}, {1, 4, "5@3=[0] 6@10=[0]"}, {1, 3, "5@3=[0] 6@10=[0]"}, {0, 2, ""}, {0, 0xFFFC, ""},
	} {
		s.SetCoil(unitID, 3, c.contact)
		s.Set(unitID, 10, c.hours)
		release(t, s.open())
		s.wrote(c.wrote)
	}
	d := s.open()
	if err := inhibit(d); err != nil {
		t.Fatal(err)
	}
	release(t, d)
	s.wrote("5@3=[65280] 6@10=[4] 5@3=[0] 6@10=[0]")
}

func TestPreviewNamesWhatIsWrittenOnlySomewhere(t *testing.T) {
	p := newSite(t, economizer).p
	var got []string
	for _, v := range p.Previews(profile.Params{}) {
		if v.Problem != "" || len(v.Writes) != 1 {
			t.Errorf("%s: %d writes, %s", v.Title, len(v.Writes), v.Problem)
			continue
		}
		got = append(got, v.Title+": "+v.Writes[0].When)
	}
	if want := "inhibit: mode holds 1, release: mode holds 3"; strings.Join(got, ", ") != want {
		t.Errorf("previews %q, want %q", strings.Join(got, ", "), want)
	}
}

// sparing tells whether a release of the profile looks before it writes.
func sparing(p *profile.Profile) bool { return len(choices(p.Command.Release)) > 0 }

// choices are the steps that look.
func choices(steps []profile.Step) []profile.Step {
	var out []profile.Step
	for _, s := range steps {
		if len(s.Only) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// TestReleaseLeavesWhatTheOwnerChose has the owner of each device choose each
// mode: at a stop of the service it stays, and what a command leaves goes.
func TestReleaseLeavesWhatTheOwnerChose(t *testing.T) {
	forEach(t, sparing, func(r *rig) {
		for _, s := range choices(r.p.Command.Release) {
			neutral := r.twin.Holds(s.Write)
			for v := 0.0; v <= 12; v++ {
				ours := slices.Contains(s.Only, v)
				if ours && sparing(&profile.Profile{Command: profile.Command{Release: r.p.Command.Inhibit}}) {
					continue // whether it is ours is remembered
				}
				if !r.twin.Choose(s.Write, v) {
					r.t.Fatalf("%s can not hold %g", s.Write, v)
				}
				r.restart()
				r.release()
				got, want := r.twin.Holds(s.Write), v
				if ours {
					want = neutral
				}
				if got != want {
					r.t.Errorf("%s held %g, after Release %g, want %g", s.Write, v, got, want)
				}
			}
			r.twin.Choose(s.Write, neutral)
		}
	})
}

// TestReleaseTakesBackACommandAfterARestart is the other half: what a command
// left goes, whoever asks.
func TestReleaseTakesBackACommandAfterARestart(t *testing.T) {
	forEach(t, sparing, func(r *rig) {
		r.read()
		r.apply(r.example().Command)
		if _, active := r.told(); !active {
			r.t.Fatal("the command did not arrive")
		}
		r.restart()
		r.release()
		if v, active := r.told(); active {
			r.t.Errorf("after a restart and Release the device is told %g", v)
		}
	})
}
