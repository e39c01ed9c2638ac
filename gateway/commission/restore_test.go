package commission_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest/twin"
	"nominald/gateway/commission"
	"nominald/gateway/config"
)

// stopAt ends the tests at a line of progress, as Ctrl-C does.
func stopAt(t *testing.T, o *commission.Options, line string, after time.Duration) context.Context {
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	tell := o.Tell
	var once sync.Once
	o.Tell = func(l string) {
		tell(l)
		if strings.Contains(l, line) {
			once.Do(func() { time.AfterFunc(after, func() { cancel(errors.New("terminated signal received")) }) })
		}
	}
	return ctx
}

// Whenever a signal comes, everything is neutral when the program ends, and the
// sheet says the truth of it.
func TestASignalInAnyPhaseLeavesAllNeutral(t *testing.T) {
	t.Parallel()
	for _, phase := range []struct{ device, line string }{
		{"battery", "identity of"}, {"battery", "noise and refresh"}, {"battery", "holds battery at 0 W"}, {"battery", "discharges"},
		{"battery", "rests again"}, {"battery", "not renewed"}, {"wallbox", "no vehicle charges"}, {"room", "shifts"},
	} {
		t.Run(phase.device+" "+phase.line, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && phase.line == "not renewed" {
				t.Skip("comes late: half a minute")
			}
			b := newBench(t, benchOptions{})
			o := b.options(phase.device)
			s, err := b.run(stopAt(t, &o, phase.line, 300*time.Millisecond), o)
			if err != nil {
				t.Fatal(err)
			}
			b.neutral()
			if s.Good() || !strings.Contains(s.Interrupted, "terminated signal") || s.Count(commission.Failed) > 0 || len(s.NotReleased()) > 0 {
				t.Errorf("%s", s.Markdown())
			}
			commands := phase.line != "identity of" && phase.line != "noise and refresh"
			if released := strings.Contains(s.Markdown(), "- "+phase.device+": released"); released != commands {
				t.Errorf("the sheet says released: %v", released)
			}
		})
	}
}

// held waits for the device to be commanded, or not to be any more.
func held(t *testing.T, board *twin.Twin) bool {
	t.Helper()
	_, active := board.Commanded()
	return active
}

func inhibitBenches(t *testing.T, minOff time.Duration) map[string]func(*testing.T) (commission.Site, *twin.Twin) {
	return map[string]func(*testing.T) (commission.Site, *twin.Twin){
		"relay board": func(t *testing.T) (commission.Site, *twin.Twin) { return relayBench(t, minOff) },
		"thermostat": func(t *testing.T) (commission.Site, *twin.Twin) {
			return inhibitBench(t, "siemens-rdf302", config.Device{Name: "boiler", Kind: drivers.Thermostat, ByInhibit: true,
				AllowNoFallback: true, MinOff: minOff, MaxOff: time.Hour})
		},
	}
}

// A signal while a load is held off: its compressor's least time off is kept,
// and the program ends only when the register says that the load is let go.
func TestASignalWhileHeldOffWaitsForMinOff(t *testing.T) {
	t.Parallel()
	for name, open := range inhibitBenches(t, 4*time.Second) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site, board := open(t)
			o := relayOptions(t, true)
			o.Confirm = nil
			var said []string
			o.Tell = func(l string) { said = append(said, l); t.Log(l) }
			began := time.Now()
			s, err := commission.Run(stopAt(t, &o, "holds the load off", time.Second), site, o)
			if err != nil {
				t.Fatal(err)
			}
			if held(t, board) {
				t.Error("the program ended and the device is still commanded")
			}
			if took := time.Since(began); took < 4*time.Second || took > 9*time.Second {
				t.Errorf("ended after %v, min_off is 4 s", took)
			}
			if len(s.Restored) != 1 || s.Restored[0].Problem != "" || !strings.Contains(s.Restored[0].Note, "min_off") {
				t.Errorf("restored %+v", s.Restored)
			}
			waits := slices.IndexFunc(said, func(l string) bool { return strings.Contains(l, "is still held off, for 3s more") })
			released := slices.IndexFunc(said, func(l string) bool { return strings.HasPrefix(l, "released boiler") })
			if waits < 0 || released < waits {
				t.Errorf("said %q", said)
			}
		})
	}
}

// A second Ctrl-C does not wait for the min_off.
func TestASecondSignalLetsGoAtOnce(t *testing.T) {
	t.Parallel()
	for name, open := range inhibitBenches(t, time.Hour) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site, board := open(t)
			o := relayOptions(t, true)
			hurry := make(chan struct{})
			o.Hurry, o.Confirm = hurry, nil
			ctx := stopAt(t, &o, "holds the load off", 500*time.Millisecond)
			tell, stillHeld := o.Tell, false
			o.Tell = func(l string) {
				tell(l)
				if strings.Contains(l, "is still held off") {
					stillHeld = held(t, board)
					time.AfterFunc(time.Second, func() { close(hurry) })
				}
			}
			s, err := commission.Run(ctx, site, o)
			if err != nil {
				t.Fatal(err)
			}
			if !stillHeld || held(t, board) {
				t.Errorf("held before the second signal %v, after it %v", stillHeld, held(t, board))
			}
			if len(s.Restored) != 1 || s.Restored[0].Problem != "" || !strings.Contains(s.Restored[0].Note, "at once, 59m58s before its least time off") {
				t.Errorf("restored %+v", s.Restored)
			}
		})
	}
}

// stuckDriver says that its load is held off, whatever it was told.
type stuckDriver struct{ drivers.Device }

func (d stuckDriver) Read(ctx context.Context) (drivers.Reading, error) {
	r, err := d.Device.Read(ctx)
	r.Inhibited, r.State = true, "held off"
	return r, err
}

// A relay that took its release and stays as it was is not "released".
func TestARelayThatSticksIsNotReleased(t *testing.T) {
	t.Parallel()
	site, _ := relayBench(t, 0)
	site.Devices[0].Driver = stuckDriver{site.Devices[0].Driver}
	unmarked := false
	site.Mark, site.Unmark = func(string) error { return nil }, func() error { unmarked = true; return nil }
	o := relayOptions(t, true)
	s, err := commission.Run(stopAt(t, &o, "holds the load off", 300*time.Millisecond), site, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.NotReleased()) != 1 || !strings.Contains(s.Markdown(), "NOT RELEASED") || unmarked {
		t.Errorf("restored %+v, note taken back %v", s.Restored, unmarked)
	}
}

// The note on the disk comes before the first byte, and goes once all is
// neutral. Where it can not be written nothing is commanded.
func TestNotesBeforeItCommands(t *testing.T) {
	t.Parallel()
	site, board := relayBench(t, 0)
	full := errors.New("no space left on device")
	site.Mark = func(string) error { return full }
	o := relayOptions(t, true)
	s, err := commission.Run(t.Context(), site, o)
	if err != nil {
		t.Fatal(err)
	}
	if click := s.Device("boiler").Test("relay click"); click.Verdict != commission.Failed || !strings.Contains(click.Why, full.Error()) || len(board.Writes()) > 0 {
		t.Errorf("%+v, %d writes", click, len(board.Writes()))
	}

	site, board = relayBench(t, 0)
	var notes []string
	site.Mark = func(name string) error {
		notes = append(notes, name)
		if n := len(board.Writes()); n > 0 {
			t.Errorf("noted after %d writes", n)
		}
		return nil
	}
	site.Unmark = func() error {
		notes = append(notes, "none")
		if held(t, board) {
			t.Error("the note was taken back while the device was commanded")
		}
		return nil
	}
	o = relayOptions(t, true)
	if _, err := commission.Run(stopAt(t, &o, "holds the load off", 300*time.Millisecond), site, o); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(notes, []string{"boiler", "none"}) {
		t.Errorf("notes %q", notes)
	}
}
