package profile_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"nominald/drivers/drivertest"
	"nominald/drivers/drivertest/rtuslave"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
)

// onWires are the ways that RTU frames go: a serial line, and a serial device
// server.
func onWires() map[string]func(*testing.T, *profile.Profile, *rtuslave.Line) *modbus.Line {
	return map[string]func(*testing.T, *profile.Profile, *rtuslave.Line) *modbus.Line{
		"pty": func(_ *testing.T, p *profile.Profile, l *rtuslave.Line) *modbus.Line {
			s := modbus.Serial{Path: l.Path(), Baud: 115200, Format: p.Link.Format} // the line hears any rate
			return modbus.NewSerial(s, modbus.Options{Timeout: 2 * time.Second})
		},
		"rtu over tcp": func(_ *testing.T, _ *profile.Profile, l *rtuslave.Line) *modbus.Line {
			return modbus.NewRTUOverTCP(l.Path(), modbus.Options{Timeout: 2 * time.Second})
		},
	}
}

// newSerialRig is a rig on a line without pacing.
func newSerialRig(t *testing.T, p *profile.Profile, wire string) (*rig, *rtuslave.Line) {
	t.Helper()
	var l *rtuslave.Line
	r := newRigOn(t, p, func(id byte, d *twin.Twin) *modbus.Line {
		var err error
		if wire == "pty" {
			l, err = rtuslave.Open(filepath.Join(t.TempDir(), "usb-adapter"), rtuslave.Options{})
		} else {
			l, err = rtuslave.Listen("127.0.0.1:0", rtuslave.Options{})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		l.Attach(id, d)
		return onWires()[wire](t, p, l)
	})
	return r, l
}

// TestSerialProfilesConform runs the suite on serial lines, for profiles that
// between them use each function, table and width.
func TestSerialProfilesConform(t *testing.T) {
	for _, name := range []string{"eastron-sdm630", "waveshare-modbus-relay", "eletechsup-r4d", "heidelberg-energy-control", "sofar-g3", "siemens-rdf302"} {
		p := load(t, name)
		for wire := range onWires() {
			t.Run(fmt.Sprint(name, " on ", wire), func(t *testing.T) {
				t.Parallel()
				drivertest.Run(t, func(t *testing.T) *drivertest.Bench {
					r, l := newSerialRig(t, p, wire)
					return serialBench(r, l)
				})
			})
		}
	}
}

// serialBench is benchOf with the faults of a serial line.
func serialBench(r *rig, l *rtuslave.Line) *drivertest.Bench {
	b := benchOf(r)
	b.Reboot = nil // a serial device that is back within one timeout loses nothing but an answer
	b.Break = func(f drivertest.FaultKind) {
		r.impatient(f)
		if f == drivertest.FaultNone {
			l.Break(nil)
			return
		}
		l.Break(func(rtuslave.Request) rtuslave.Fault { return serialFault(f) })
	}
	return b
}

// serialFault is a fault as the simulated line has it.
func serialFault(f drivertest.FaultKind) rtuslave.Fault {
	switch f {
	case drivertest.FaultSilent:
		return rtuslave.Fault{Kind: rtuslave.Deaf}
	case drivertest.FaultLate:
		return rtuslave.Fault{Kind: rtuslave.Late, Delay: faultTimeout * 3 / 2} // the timeout and the time on the wire
	case drivertest.FaultVeryLate:
		return rtuslave.Fault{Kind: rtuslave.Late, Delay: faultTimeout * 3}
	case drivertest.FaultGarbage:
		return rtuslave.Fault{Kind: rtuslave.Garbage}
	case drivertest.FaultShort:
		return rtuslave.Fault{Kind: rtuslave.Short}
	case drivertest.FaultWrongUnit:
		return rtuslave.Fault{Kind: rtuslave.WrongUnit}
	case drivertest.FaultWrongCount:
		return rtuslave.Fault{Kind: rtuslave.WrongCount}
	case drivertest.FaultHangUp:
		return rtuslave.Fault{Kind: rtuslave.HangUp, Delay: faultTimeout / 2}
	}
	return rtuslave.Fault{Kind: rtuslave.Exception, Code: byte(f)}
}

// TestAnAdapterIsPulledAndPlugged in the middle of a command: the device is told
// again when it is back.
func TestAnAdapterIsPulledAndPlugged(t *testing.T) {
	for _, name := range []string{"sofar-g3", "heidelberg-energy-control", "waveshare-modbus-relay"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, l := newSerialRig(t, load(t, name), "pty")
			c := r.example()
			r.read()
			r.apply(c.Command)
			if err := l.Unplug(); err != nil {
				t.Fatal(err)
			}
			r.twin.Reboot()
			if _, err := r.device.Read(r.context()); err == nil {
				t.Error("the adapter is gone, Read says nothing of it")
			}
			if err := l.Plug(); err != nil {
				t.Fatal(err)
			}
			r.pass(r.quiet())
			for range 100 { // the line waits before it tries the adapter again
				if _, err := r.device.Read(r.context()); err == nil {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			r.apply(c.Command)
			r.obeys("plugged again", asked{c.Command, c.Want - resolution(r.p), c.Want + resolution(r.p), false})
		})
	}
}
