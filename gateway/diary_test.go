package gateway

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"nominald/drivers/bus"
	"nominald/drivers/modbus"
	"nominald/gateway/status"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func TestDiaryShowsTheNewestAndOutlivesARestart(t *testing.T) {
	var d diary
	for i := range 700 {
		// A clock that jumps must not change the order.
		d.note(noon.Add(time.Duration(i%7)*time.Hour), status.DeviceLost, "battery", "event %d", i)
		if i%90 == 0 {
			_, upTo := d.unsaved()
			d.wrote(upTo)
		}
	}
	if got := d.newest(); len(got) != diaryShown || got[0].Text != "event 699" || got[diaryShown-1].Text != "event 650" {
		t.Errorf("newest: %d, from %q to %q", len(got), got[0].Text, got[len(got)-1].Text)
	}
	rows, upTo := d.unsaved()
	if len(rows) != 69 || upTo != 700 { // 631 to 699
		t.Errorf("%d unsaved up to %d", len(rows), upTo)
	}
	d.wrote(upTo)
	if rows, _ := d.unsaved(); len(rows) != 0 {
		t.Errorf("%d unsaved after they were written", len(rows))
	}

	// The store gives rows in the order of their keys, which come round.
	var first, again diary
	for i := range 620 {
		first.note(noon, status.Started, "", "event %d", i)
	}
	kept, _ := first.unsaved()
	for key := range diaryKept {
		if raw, ok := kept[fmt.Sprintf("%03d", key)]; ok {
			if err := again.restore(raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	again.note(noon, status.Started, "", "after the restart")
	got := again.newest()
	if got[0].Text != "after the restart" || got[1].Text != "event 619" || got[49].Text != "event 571" {
		t.Errorf("after a restart: %q, %q, ..., %q", got[0].Text, got[1].Text, got[49].Text)
	}
	if rows, _ := again.unsaved(); len(rows) != 1 {
		t.Errorf("%d rows to write after a restart, want the new one", len(rows))
	}
	if err := again.restore([]byte("{")); err == nil {
		t.Error("half a row was taken")
	}
}

func TestLookoutNotesWhatIsLostAndComesBackOnce(t *testing.T) {
	var d diary
	l := newLookout(&d)
	see := func(after time.Duration, s bus.Snapshot) { l.device(noon.Add(after), "battery", s) }
	see(0, bus.Snapshot{})
	see(time.Second, bus.Snapshot{Tried: true, Online: true})
	if got := d.newest(); len(got) != 0 {
		t.Fatalf("a device that answers is no news: %+v", got)
	}
	for range 3 {
		see(10*time.Second, bus.Snapshot{Tried: true, LastError: "read holding registers 1+2: no answer"})
	}
	see(42*time.Second, bus.Snapshot{Tried: true, Online: true})
	l.input(noon, status.Input{Name: "stop", Error: "held by fan@812"})
	l.input(noon, status.Input{Name: "stop"})
	var got []string
	for _, e := range d.newest() {
		got = append(got, e.Kind+" "+e.Text)
	}
	want := "input-back Input stop can be read again after 0s.|input-lost Input stop can not be read: held by fan@812|" +
		"device-back battery answers again after 32s.|device-lost battery does not answer: read holding registers 1+2: no answer"
	if strings.Join(got, "|") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.ReplaceAll(want, "|", "\n"))
	}
}

// An endpoint that refuses connections is a bus that is lost, and each further
// try does not bring it back.
func TestLookoutNotesATCPBusThatIsLost(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	line := modbus.NewTCP(ln.Addr().String(), modbus.Options{})
	var d diary
	l, w := newLookout(&d), bus.New("lan", line, bus.Options{})
	l.line(noon, w)
	for s := range 3 {
		var dst [1]uint16
		if err := line.Unit(1).ReadHolding(t.Context(), 0, dst[:]); err == nil {
			t.Fatal("something answers")
		}
		l.line(noon.Add(time.Duration(s)*time.Second), w)
	}
	if got := d.newest(); len(got) != 1 || got[0].Kind != status.BusLost {
		t.Errorf("noted %+v, want once that the bus is lost", got)
	}
}
