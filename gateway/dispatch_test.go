package gateway

import (
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"nominald/gateway/sim"
	"nominald/gateway/status"
)

// TestSurvivesADeadAPIAndKill9 is the promise of the whole: the API dies after
// the first poll, the process is killed in the middle of the timeslot and
// started again, and the site still delivers (domain.md 1.3.1, C29 and C30).
func TestSurvivesADeadAPIAndKill9(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	binary := filepath.Join(w.dir, "nominald")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/nominald").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	start := time.Now().UTC().Truncate(time.Second).Add(14 * time.Second)
	s := w.award(start, 40*time.Second)

	first := startProcess(t, w, binary)
	w.await("the timeslot is stored", 10*time.Second, func() bool {
		var slots []status.Timeslot
		w.get("/api/v1/timeslots", &slots)
		return len(slots) == 1
	})
	w.stopLeap()
	time.Sleep(time.Until(start.Add(15 * time.Second)))
	if err := first.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	first.Wait()
	second := startProcess(t, w, binary)
	time.Sleep(time.Until(s.End.Add(2 * time.Second))) // the account of the truth is kept by seconds

	meanW, err := w.site.MeanReductionW(s.Start, s.End)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(meanW-4000) > 0.03*4000 {
		t.Errorf("the site drew %.0f W less than it would have, want 4000 within 3 %%", meanW)
	}
	var rep status.Report
	w.get("/api/v1/timeslots/"+s.EventID+"/report", &rep)
	if rep.DeliveredKW == nil || math.Abs(*rep.DeliveredKW-4) > 0.2 || rep.Coverage < 0.5 {
		t.Errorf("report after the restart: %+v, want about 4 kW", rep)
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("on SIGTERM: %v, want exit 0", err)
	}
	w.await("everything neutral after SIGTERM", 5*time.Second, func() bool {
		d := w.site.Truth().Devices
		return !d["battery"].Commanded && !d["wallbox"].Commanded
	})
}

func startProcess(t *testing.T, w *world, binary string) *exec.Cmd {
	t.Helper()
	w.httpLn.Close()
	cmd := exec.Command(binary, "run", "--config", w.path)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	w.await("the process is ready", 15*time.Second, func() bool {
		resp, err := http.Get("http://" + w.httpAddr + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return cmd
}

func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	s := w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	stop := w.run()
	w.await("the timeslot is active", 10*time.Second, func() bool {
		m := w.status().Meters
		return len(m) == 1 && m[0].State == "active" && m[0].EventID == s.EventID
	})
	w.await("the whole plan is shown, not the first step of a ramp", 15*time.Second, func() bool {
		d := w.device("battery")
		return d.Reason == "dry-run" && d.SetpointW != nil && *d.SetpointW > 1500
	})
	time.Sleep(2 * time.Second)
	stop()
	for name, d := range w.site.Truth().Devices {
		if d.Commanded {
			t.Errorf("%s is commanded by a gateway that is not armed", name)
		}
	}
}

func TestOwnerStopIsNeutralInTwoRoundsAndLatched(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	stop := w.run()
	w.await("the battery delivers", 15*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 1000 })
	w.post("/api/v1/stop")
	w.await("neutral everywhere", 2500*time.Millisecond, func() bool {
		d := w.site.Truth().Devices
		return !d["battery"].Commanded && !d["wallbox"].Commanded
	})
	stop()
	stopAgain := w.run() // the latch outlives a restart
	time.Sleep(3 * time.Second)
	if st := w.status(); !st.Stopped || w.site.Truth().Devices["battery"].Commanded {
		t.Errorf("after a restart: stopped %t, battery commanded %t; want the STOP latched", st.Stopped, w.site.Truth().Devices["battery"].Commanded)
	}
	w.post("/api/v1/resume")
	w.await("the battery delivers again", 15*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 1000 })
	stopAgain()
}

func (w *world) post(path string) {
	w.t.Helper()
	resp, err := http.Post("http://"+w.httpAddr+path, "application/json", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		w.t.Fatalf("POST %s: %s", path, resp.Status)
	}
}

// TestCancelDuringAndUpdateInFlight goes through the API alone.
func TestCancelDuringAndUpdateInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	s := w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	w.run()
	reduction := func() float64 { tr := w.site.Truth(); return tr.UncontrolledW - tr.SiteLoadW }
	w.await("about 4 kW", 25*time.Second, func() bool { return math.Abs(reduction()-4000) < 200 })
	kw := 2.0
	if err := w.leap.Update(s.EventID, func(s *sim.Slot) { s.EnergyKW, s.NominationKW = &kw, &kw }); err != nil {
		t.Fatal(err)
	}
	w.await("about 2 kW", 45*time.Second, func() bool { return math.Abs(reduction()-2000) < 200 })
	if err := w.leap.Cancel(s.EventID); err != nil {
		t.Fatal(err)
	}
	w.await("neutral after the cancel", 15*time.Second, func() bool {
		d := w.site.Truth().Devices
		return !d["battery"].Commanded && !d["wallbox"].Commanded
	})
}

func TestBinaryAndStoreOfTwoGatewaysDoNotMix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.run()
	err := Run(t.Context(), w.cfg, Options{})
	if err == nil || !errorNames(err, filepath.Join(w.dir, "store")) {
		t.Errorf("a second gateway on the same store: got %v, want an error that names it", err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "store", "nominald.db")); err != nil {
		t.Error(err)
	}
}
