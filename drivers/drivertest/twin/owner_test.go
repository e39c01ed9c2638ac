package twin_test

import (
	"errors"
	"testing"
	"time"

	"nominald/drivers/drivertest/twin"
	"nominald/drivers/profile"
)

// TestReadsRenewWhereSilenceCounts reads for two minutes, then falls silent.
func TestReadsRenewWhereSilenceCounts(t *testing.T) {
	for _, counts := range []bool{false, true} {
		p := hybrid()
		p.Fallback.AnyRequest = counts
		d := twin.New(p, 1)
		for _, w := range []struct {
			function byte
			addr     uint16
			values   []uint16
		}{{16, 53, []uint16{0, 30_000}}, {6, 50, []uint16{4}}} {
			if err := d.Write(w.function, w.addr, w.values); err != nil {
				t.Fatal(err)
			}
		}
		for range 12 {
			d.Step(10 * time.Second)
			read(t, d, 3, 14, 1)
		}
		if _, active := d.Commanded(); active != counts {
			t.Errorf("silence counts %v, read for two minutes: it follows its command %v", counts, active)
		}
		d.Step(31 * time.Second)
		if _, active := d.Commanded(); active {
			t.Errorf("silence counts %v: it follows its command after 31 s of silence", counts)
		}
	}
}

// TestWhatAReleaseSpares: the owner's own mode is no command, and no state that
// nobody knows.
func TestWhatAReleaseSpares(t *testing.T) {
	p := hybrid()
	p.Command.Release[0].Only = profile.Numbers{2, 3, 4}
	d := twin.New(p, 1)
	for mode, active := range map[float64]bool{1: false, 2: true, 4: true, 7: false} {
		if !d.Choose("mode", mode) || d.Holds("mode") != mode {
			t.Fatalf("mode %g can not be chosen, it holds %g", mode, d.Holds("mode"))
		}
		d.Choose("lease", 0)
		if _, got := d.Commanded(); got != active {
			t.Errorf("mode %g: commanded %v, want %v", mode, got, active)
		}
	}
	if d.Choose("mode", 70_000) || d.Choose("nothing", 1) {
		t.Error("a register holds what it can not, or is there and is not")
	}
}

// TestAVariantLacksAPoint refuses every read that touches it.
func TestAVariantLacksAPoint(t *testing.T) {
	d := twin.New(hybrid(), 1)
	d.Lack("w2", true)
	for _, at := range [][2]uint16{{12, 1}, {10, 3}, {12, 3}} {
		if _, err := d.Read(3, at[0], at[1]); !errors.Is(err, twin.IllegalAddress) {
			t.Errorf("read %d+%d of what it lacks: %v", at[0], at[1], err)
		}
	}
	read(t, d, 3, 10, 2)
	read(t, d, 3, 14, 1)
	d.Lack("w2", false)
	read(t, d, 3, 10, 3)
}
