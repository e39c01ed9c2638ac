package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"nominald/gateway/sim"
	"nominald/gateway/status"
)

func errorNames(err error, what string) bool { return strings.Contains(err.Error(), what) }

// TestAPIFaultsKeepTheSchedule: whatever the API answers after a good poll,
// the schedule stays, the state is shown and nothing loops.
func TestAPIFaultsKeepTheSchedule(t *testing.T) {
	for name, tc := range apiFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, true)
			w.cfg.Leap.Poll = 500 * time.Millisecond
			s := w.award(time.Now().UTC().Add(time.Hour), time.Hour)
			w.run()
			w.await("the timeslot is stored", 10*time.Second, func() bool { return len(w.slots()) == 1 })
			w.leap.SetFault(tc.fault)
			begun := len(w.leap.Requests())
			w.await("the fault is shown", 20*time.Second, func() bool {
				return strings.Contains(w.status().Leap.LastError, tc.says)
			})
			time.Sleep(2 * time.Second)
			// A poll each half second and a retry after one second and more:
			// far below ten a second.
			if n := len(w.leap.Requests()) - begun; n > 40 {
				t.Errorf("%d requests since the fault: a busy loop", n)
			}
			slots := w.slots()
			if len(slots) != 1 || slots[0].EventID != s.EventID || slots[0].State != "pending" {
				t.Errorf("timeslots: got %+v, want the one that was stored", slots)
			}
		})
	}
}

type apiFault struct {
	fault sim.Fault
	says  string // part of leap.last_error
}

func (w *world) slots() []status.Timeslot {
	w.t.Helper()
	var slots []status.Timeslot
	w.get("/api/v1/timeslots", &slots)
	return slots
}

// TestDeafBatteryHarmsNobodyElse: the battery goes silent in the middle of a
// timeslot. The meter on the same bus is still read, the charger takes what it
// can, the status says what is wrong, and the battery is used again when it
// returns.
func TestDeafBatteryHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	w.run()
	w.await("the battery delivers", 15*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 1000 })
	w.site.Faults("battery").SetOffline(true)
	w.await("the battery is shown offline", 15*time.Second, func() bool {
		d := w.device("battery")
		return !d.Online && d.LastError != "" && d.Reason == "device-stale"
	})
	w.await("the charger pauses instead", 45*time.Second, func() bool { return w.device("wallbox").Setpoint == "pause" })
	for range 10 {
		if d := w.device("main"); !d.Online || d.LastSeen == nil || time.Since(*d.LastSeen) > 4*time.Second {
			t.Fatalf("the meter on the same bus is not read: %+v", d)
		}
		time.Sleep(300 * time.Millisecond)
	}
	w.await("the battery fell back by its own timer", 45*time.Second, func() bool {
		return w.site.Truth().Devices["battery"].PowerW < 100
	})
	w.site.Faults("battery").SetOffline(false)
	// A pause lasts 5 min (domain.md 4.3); the battery fills what it leaves.
	w.await("the battery is used again", 60*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 200 })
}

// TestSilentMeterHoldsTheShare: domain.md 4.5, "meter stale".
func TestSilentMeterHoldsTheShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	w.run()
	w.await("the battery delivers", 15*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 1000 })
	w.site.Faults("main").SetOffline(true)
	w.await("the meter is said to be silent", 15*time.Second, func() bool { return w.status().Meters[0].Reason == "meter-stale" })
	time.Sleep(5 * time.Second)
	tr := w.site.Truth()
	if got := tr.UncontrolledW - tr.SiteLoadW; got < 3500 || tr.SiteLoadW < 0 {
		t.Errorf("reduction %.0f W, site %.0f W; want about 4000 W held and no export", got, tr.SiteLoadW)
	}
}

func apiFaults() map[string]apiFault {
	bad := func(status int, retryAfter string) sim.Fault {
		return sim.Fault{Kind: sim.BadStatus, Status: status, RetryAfter: retryAfter}
	}
	return map[string]apiFault{
		"connection closed":           {sim.Fault{Kind: sim.Down}, "EOF"},
		"401":                         {bad(401, ""), "401"},
		"403":                         {bad(403, ""), "403"},
		"429 with Retry-After":        {bad(429, "3"), "429"},
		"500":                         {bad(500, ""), "500"},
		"500 with a bare string":      {sim.Fault{Kind: sim.BadStatus, Status: 500, Envelope: sim.StringEnvelope}, "500"},
		"garbage with status 200":     {sim.Fault{Kind: sim.HTML}, "JSON"},
		"a body of 5 MB":              {sim.Fault{Kind: sim.HugeBody}, "4"},
		"cut off in the middle":       {sim.Fault{Kind: sim.Truncated}, "EOF"},
		"another schema":              {sim.Fault{Kind: sim.WrongSchema}, "want"},
		"a body slower than patience": {sim.Fault{Kind: sim.SlowBody, Delay: time.Hour}, "stood still"},
	}
}

// TestDeviceThatCanNotBeReleasedIsSaid: a battery that is out of reach at the
// end is tried for 10 s, and the process does not end as if all were well.
func TestDeviceThatCanNotBeReleasedIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, w.cfg, Options{Listener: w.httpLn}) }()
	w.await("the battery delivers", 20*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 1000 })
	w.site.Faults("battery").SetOffline(true)
	cancel()
	select {
	case err := <-ended:
		if err == nil || !errorNames(err, "battery was left with its command") {
			t.Errorf("got %v, want an error that names the battery", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("did not end within 20 s")
	}
	if w.site.Truth().Devices["wallbox"].Commanded {
		t.Error("the wallbox was not released")
	}
}
