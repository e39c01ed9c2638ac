package sunspec_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/modbus"
	"nominald/drivers/sunspec"
)

func TestBatteryInLocalControlRefusesCommandsWithAReason(t *testing.T) {
	s := storage124(t, 40000, -2)
	s.set(802, 17, 1)
	d := storage(t, s, sunspec.StorageOptions{})
	if r := read(t, d); !strings.Contains(r.State, "set to local control") {
		t.Errorf("state %q, want local control named", r.State)
	}
	if err := apply(d, 1000); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "local control") || s.get(124, 5) != 0 {
		t.Errorf("error %v, mode %d", err, s.get(124, 5))
	}
	s.set(802, 17, 0) // the switch is seen at the next read, not a minute later
	read(t, d)
	mustApply(t, d, 1000)
}

func TestBatteryThatMayNotEnterServiceRefusesCommands(t *testing.T) {
	s, w := storage704(t, 40000, 0), newWatch()
	s.model(703, 17)
	s.set(703, 2, 0)
	s.end()
	d := storage(t, s, sunspec.StorageOptions{Now: w.now})
	if r := read(t, d); !strings.Contains(r.State, "703.ES is 0") {
		t.Errorf("state %q, want the missing permission named", r.State)
	}
	if err := apply(d, 1000); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "not permitted to enter service") || s.get(704, 22) != 0 {
		t.Errorf("error %v, WSetEna %d", err, s.get(704, 22))
	}
	release(t, d)
	s.set(703, 2, 1)
	w.pass(61 * time.Second)
	read(t, d)
	mustApply(t, d, 1000)
}

func TestHeartbeatCountsOnWhereTheBatteryHasOne(t *testing.T) {
	s := storage124(t, 40000, -2)
	s.set(802, 19, 7)
	d := storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	var seen []uint16
	for range 3 {
		mustApply(t, d, 1000)
		seen = append(seen, s.get(802, 19))
	}
	if seen[0] == 7 || seen[1] != seen[0]+1 || seen[2] != seen[1]+1 {
		t.Errorf("heartbeat 7, then %v, want it to count on", seen)
	}
	s = storage124(t, 40000, -2) // none
	d = storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	mustApply(t, d, 1000)
	if got := s.get(802, 19); got != 0xFFFF {
		t.Errorf("heartbeat %d written to a battery without one", got)
	}
}

func TestRefusedHeartbeatDoesNotStopACommand(t *testing.T) {
	s := storage124(t, 40000, -2)
	s.set(802, 19, 0)
	beat, tries := s.at[802]+19, 0
	s.slave.Break(func(r drivertest.Request) drivertest.Fault {
		if r.Addr == beat && r.Values != nil {
			tries++
			return drivertest.Fault{Exception: 2}
		}
		return drivertest.Fault{}
	})
	d := storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	for range 3 {
		mustApply(t, d, 1000)
	}
	if s.get(124, 5) != 3 || tries > 2 { // function 16, then 6, once
		t.Errorf("mode %d, heartbeat tried %d times", s.get(124, 5), tries)
	}
}

// What a map that moved had open is closed again: those registers mean
// something else now.
func TestMovedMapClosesWhatWasOpen(t *testing.T) {
	s := storage124(t, 40000, -2)
	u := s.registers(t)
	var open [][]sunspec.Range
	allow := allower(u)
	d := sunspec.NewStorage(u, sunspec.StorageOptions{Allow: func(r []sunspec.Range) { open = append(open, r); allow(r) }})
	read(t, d)
	was := s.at[124] + 5
	s.set(124, 0, 0, 0)
	s.next = s.base + 2 // a firmware update puts another model in front
	s.common("SN124")
	s.model(160, 48)
	s.model(124, 24)
	s.set(124, 2, 500, 100, 100, 0)
	s.set(124, 12, 10000, 10000, 0, 0, 0, 0)
	s.set(124, 18, 1, 0, 0x8000, 0x8000, neg(-1), 0x8000, 0x8000, neg(-2))
	s.end()
	for range 3 {
		_, _ = d.Read(t.Context())
	}
	mustApply(t, d, 1000)
	if len(open) != 2 || slices.ContainsFunc(open[1], func(r sunspec.Range) bool { return r.First <= was && was <= r.Last }) {
		t.Errorf("opened %v, want a second list without %d", open, was)
	}
	if err := u.WriteRegister(t.Context(), was, 3); !errors.Is(err, modbus.ErrNotAllowed) {
		t.Errorf("write to the old address %d: %v, want it closed", was, err)
	}
}

func TestStorageSaysHowLongItHoldsACommand(t *testing.T) {
	s := storage124(t, 40000, -2)
	s.set(124, 15, 3600)
	d := storage(t, s, sunspec.StorageOptions{})
	read(t, d)
	if got := d.Describe().FallbackAfter; got != time.Hour {
		t.Errorf("before a command: %v, want what stands in the timer, 1 h", got)
	}
	mustApply(t, d, 1000)
	if got := d.Describe().FallbackAfter; got != drivertest.Lease {
		t.Errorf("after a command: %v, want %v", got, drivertest.Lease)
	}
}
