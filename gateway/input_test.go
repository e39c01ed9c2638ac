package gateway

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nominald/drivers/gpio"
	"nominald/gateway/config"
	"nominald/gateway/status"
)

// wire is the line of a normally closed button: low at rest, high when pressed
// or broken.
type wire struct {
	mu   sync.Mutex
	high bool
	err  error
}

func (w *wire) set(high bool, err error) { w.mu.Lock(); w.high, w.err = high, err; w.mu.Unlock() }

func (w *wire) High() (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.high, w.err
}

func (w *wire) Wait(time.Duration) { time.Sleep(20 * time.Millisecond) }
func (w *wire) Close() error       { return nil }

// withButton gives a world a STOP button.
func withButton(t *testing.T) (*world, *wire) {
	t.Helper()
	w, line := newWorld(t, true), &wire{}
	w.cfg.Inputs = []config.Input{{Name: "red", Role: config.RoleStop, GPIO: "GPIO27", Active: "high", Pull: "up", Debounce: 20 * time.Millisecond}}
	w.contact = func(string, gpio.Pull) (gpio.Contact, error) { _, err := line.High(); return line, err }
	return w, line
}

func (w *world) ask(path string) (int, string) {
	w.t.Helper()
	resp, err := http.Post("http://"+w.httpAddr+path, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// happened lists the kinds of events, the oldest first.
func happened(st status.Status) []string {
	var kinds []string
	for _, e := range slices.Backward(st.Events) {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// TestButtonLatchesTheStop: pressing it is `nominald stop`, letting go of it is
// nothing, and while it is held nobody resumes.
func TestButtonLatchesTheStop(t *testing.T) {
	t.Parallel()
	w, line := withButton(t)
	w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	w.run()
	w.await("the battery delivers", 20*time.Second, func() bool { return w.site.Truth().Devices["battery"].PowerW > 1000 })
	line.set(true, nil)
	w.await("the site is stopped", 5*time.Second, func() bool { st := w.status(); return st.Stopped && st.Inputs[0].Pressed })
	if by := w.status().StopBy; by != "stop button red" {
		t.Errorf("stopped by %q", by)
	}
	w.await("the battery is neutral", 10*time.Second, func() bool { return !w.site.Truth().Devices["battery"].Commanded })
	if code, body := w.ask("/api/v1/resume"); code != http.StatusConflict || !strings.Contains(body, "stays stopped by the stop button red") {
		t.Errorf("resume while the button is held: %d %s", code, body)
	}
	line.set(false, nil)
	w.await("the button is seen to be let go", 5*time.Second, func() bool { return !w.status().Inputs[0].Pressed })
	if !w.status().Stopped {
		t.Fatal("letting go of the button released the STOP")
	}
	if code, body := w.ask("/api/v1/resume"); code >= 300 {
		t.Errorf("resume: %d %s", code, body)
	}
	w.await("the battery delivers again", 20*time.Second, func() bool {
		return w.device("battery").SetpointW != nil && w.site.Truth().Devices["battery"].PowerW > 1000
	})
	w.await("both are told", 5*time.Second, func() bool {
		return strings.Join(happened(w.status()), " ") == "started owner-stop owner-resume"
	})
}

// TestButtonThatCanNotBeReadStops: when we do not know, we do not push. The
// STOP and what led to it outlive a restart.
func TestButtonThatCanNotBeReadStops(t *testing.T) {
	t.Parallel()
	w, line := withButton(t)
	stop := w.run()
	line.set(false, errors.New("input/output error"))
	w.await("the site is stopped", 15*time.Second, func() bool { return w.status().Stopped })
	st := w.status()
	if st.StopBy != "stop button red, which can not be read" || !strings.Contains(st.Inputs[0].Error, "input/output error") {
		t.Errorf("stopped by %q, input %+v", st.StopBy, st.Inputs[0])
	}
	if !slices.ContainsFunc(st.Alarms, func(a status.Alarm) bool { return a.Code == "input-lost" && a.Level == status.Error }) {
		t.Errorf("alarms %+v, want one of the input", st.Alarms)
	}
	stop()
	line.set(false, nil)
	w.run()
	w.await("the button is read", 5*time.Second, func() bool { return w.status().Inputs[0].Error == "" })
	if !w.status().Stopped {
		t.Error("the restart released the STOP")
	}
	w.await("what happened outlives the restart", 5*time.Second, func() bool {
		return strings.Join(happened(w.status()), " ") == "started input-lost owner-stop started"
	})
}

// TestButtonLostWhilePressedIsStillHeld: nobody saw it let go, so nobody resumes
// in the seconds before an unreadable line counts as pressed by itself.
func TestButtonLostWhilePressedIsStillHeld(t *testing.T) {
	b := &button{cfg: config.Input{Name: "red"}}
	if by := b.demand(gpio.InputState{Pressed: true, Lost: time.Now(), Error: "input/output error"}); by == "" {
		t.Error("a button whose line was lost while it was pressed counts as let go")
	}
	if by := b.demand(gpio.InputState{Lost: time.Now(), Error: "input/output error"}); by != "" {
		t.Errorf("a button at rest whose line was lost just now holds the site stopped: %s", by)
	}
}
