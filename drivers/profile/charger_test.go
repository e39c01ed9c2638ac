package profile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/profile"
)

func TestKebaReads(t *testing.T) {
	k := newKeba(t)
	k.Set(unitID, 1000, 0, 3)
	k.Set(unitID, 1008, 0, 15900)
	k.Set(unitID, 1010, 0, 16000)
	k.Set(unitID, 1036, 0x0001, 0x86A0) // 100000
	k.milliwatts(11040.5)
	u, allow := bus(t, k.Slave)
	d := profile.New(load(t, "keba-p30"), u, profile.Params{Allow: allow})
	r := mustRead(t, d)
	if r.CurrentA.V != 16 || r.PowerW.V != 11040.5 || r.ImportWh.V != 10000 || !r.Connected || r.State != "charging" {
		t.Errorf("%+v, want 16 A, 11040.5 W, 10000 Wh, connected, charging", r)
	}
	k.Set(unitID, 1004, 0, 3) // cable in the charger, no car
	if r := mustRead(t, d); r.Connected {
		t.Error("no car: connected")
	}
	if about := d.Describe(); !about.Fallback || !strings.Contains(about.Detail, "fail-safe current is 0 A") {
		t.Errorf("Describe: %+v, want the fail-safe current named", about)
	}
	for _, r := range k.Requests() {
		if r.Count != 2 {
			t.Errorf("request of %d registers, this device takes 2", r.Count)
		}
	}
}

// A P40 has the same registers and pauses otherwise; its product code has seven
// digits, as in the tests of OpenEMS.
func TestAP40IsNoP30(t *testing.T) {
	k := newKeba(t)
	u, _ := bus(t, k.Slave)
	for _, c := range []struct {
		product uint32
		known   bool
	}{{313_028, true}, {4_212_311, false}, {0, false}} {
		k.Set(unitID, 1016, uint16(c.product>>16), uint16(c.product))
		if err := load(t, "keba-p30").Identify(context.Background(), u); (err == nil) != c.known {
			t.Errorf("product %d: Identify: %v", c.product, err)
		}
	}
}

func TestKebaTimerIsRewrittenAtHalf(t *testing.T) {
	k := newKeba(t)
	u, allow := bus(t, k.Slave)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	d := profile.New(load(t, "keba-p30"), u, profile.Params{MaxA: 16, Allow: allow, Now: func() time.Time { return now }})
	mustRead(t, d)
	k.Requests()
	writes := func() (n int) {
		if err := d.Apply(context.Background(), drivers.Command{CurrentA: 8}, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		for _, r := range k.Requests() {
			if r.Values != nil {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 3}, {14 * time.Second, 0}, {time.Second, 3}, {5 * time.Second, 0}} {
		now = now.Add(c.after)
		if got := writes(); got != c.want {
			t.Errorf("%v later: %d writes, want %d", c.after, got, c.want)
		}
	}
}

func TestOtherDeviceIsNotTakenForAKeba(t *testing.T) {
	k := newKeba(t)
	k.Set(unitID, 1000, 0x5375, 0x6E53)
	u, _ := bus(t, k.Slave)
	_, err := profile.New(load(t, "keba-p30"), u, profile.Params{}).Read(context.Background())
	if !errors.Is(err, drivers.ErrWrongDevice) || !strings.Contains(err.Error(), "register 1000") {
		t.Errorf("error %v, want wrong device at register 1000", err)
	}
}

func TestProfileOfAnotherDriverSaysSo(t *testing.T) {
	s := drivertest.NewSlave(t)
	u, _ := bus(t, s)
	_, err := profile.New(load(t, "sunspec-meter"), u, profile.Params{}).Read(context.Background())
	if !errors.Is(err, drivers.ErrWrongDevice) || !strings.Contains(err.Error(), "driver sunspec") {
		t.Errorf("error %v, want it to name the driver", err)
	}
}
