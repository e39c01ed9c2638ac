package registers

import (
	"errors"
	"math"
	"testing"
	"time"

	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
)

// storage is what both storage maps have.
type storage interface {
	modbustcp.Unit
	Step(time.Duration)
	SetAutonomous(float64)
	Commanded() bool
}

// rig is a battery with its map, addressed by model and offset as found by
// walking the map.
type rig struct {
	t     *testing.T
	unit  storage
	plant *plant.Battery
	at    map[uint16]uint16
}

func newRig(t *testing.T, opt SunSpec) *rig {
	t.Helper()
	p := plant.NewBattery(plant.NewBatteryParams(5000, 13_500, 60))
	var unit storage
	var err error
	if opt.Flavour == Storage704 {
		unit, err = NewModern(p, opt, "battery", 1)
	} else {
		unit, err = NewBasic(p, opt, "battery", 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, unit: unit, plant: p, at: walk(t, unit, opt.Base)}
}

// walk follows the chain of models and returns the address of each ID.
func walk(t *testing.T, u modbustcp.Unit, base uint16) map[uint16]uint16 {
	t.Helper()
	marker, err := u.Read(3, base, 2)
	if err != nil || marker[0] != 0x5375 || marker[1] != 0x6E53 {
		t.Fatalf("marker at %d: %x, %v", base, marker, err)
	}
	at := map[uint16]uint16{}
	for addr := base + 2; ; {
		head, err := u.Read(3, addr, 2)
		if err != nil {
			t.Fatalf("model at %d: %v", addr, err)
		}
		if head[0] == 0xFFFF {
			if head[1] != 0 {
				t.Fatalf("end marker has length %d", head[1])
			}
			return at
		}
		at[head[0]] = addr
		addr += 2 + head[1]
	}
}

func (r *rig) write(model uint16, off int, values ...uint16) error {
	return r.unit.Write(16, r.at[model]+uint16(off), values)
}

func (r *rig) mustWrite(model uint16, off int, values ...uint16) {
	r.t.Helper()
	if err := r.write(model, off, values...); err != nil {
		r.t.Fatalf("write %d to model %d offset %d: %v", values, model, off, err)
	}
}

func (r *rig) read(model uint16, off int) uint16 {
	r.t.Helper()
	v, err := r.unit.Read(3, r.at[model]+uint16(off), 1)
	if err != nil {
		r.t.Fatal(err)
	}
	return v[0]
}

func (r *rig) run(d time.Duration) {
	for ; d > 0; d -= 100 * time.Millisecond {
		r.unit.Step(100 * time.Millisecond)
		r.plant.Step(100 * time.Millisecond)
	}
}

func (r *rig) wantPower(what string, w float64) {
	r.t.Helper()
	if got := r.plant.PowerW(); math.Abs(got-w) > 20 {
		r.t.Errorf("%s: %.0f W, want %.0f W", what, got, w)
	}
}

func neg(v int) uint16 { return uint16(int16(-v)) }

// pin writes timer, rates and mode as one block each.
func (r *rig) pin(percent int, seconds uint16) {
	r.t.Helper()
	r.mustWrite(124, 12, uint16(int16(percent*100)), uint16(int16(-percent*100)), 0, seconds)
	r.mustWrite(124, 5, 3)
}

func TestStorage124LapsesWhenItIsNotRefreshed(t *testing.T) {
	r := newRig(t, NewSunSpec())
	r.pin(40, 20)
	r.run(15 * time.Second)
	r.wantPower("40 % of 5 kW", 2000)
	if got := int16(r.read(103, 14)); got < 1980 || got > 2020 {
		t.Errorf("model 103 W reads %d", got)
	}
	r.mustWrite(124, 12, 4000, neg(4000)) // the same rates again: renewed
	r.run(15 * time.Second)
	r.wantPower("renewed after 15 of 20 s", 2000)
	if !r.unit.Commanded() {
		t.Error("not commanded while the limits are on")
	}
	r.run(20 * time.Second)
	r.wantPower("not renewed for 35 s", 0)
	if r.read(124, 5) != 0 || r.read(124, 12) != 10_000 || r.read(124, 13) != 10_000 || r.unit.Commanded() {
		t.Error("limits are still in the registers after the timer lapsed")
	}
}

func TestStorage124TimerOfZeroNeverLapses(t *testing.T) {
	r := newRig(t, NewSunSpec())
	r.pin(-20, 0)
	r.run(10 * time.Minute)
	r.wantPower("charging with 20 %", -1000)
	r.mustWrite(124, 5, 0)
	r.run(20 * time.Second)
	r.wantPower("released", 0)
}

func TestStorage124StrictMakerRestartsByModeOnly(t *testing.T) {
	opt := NewSunSpec()
	opt.StrictRefresh = true
	r := newRig(t, opt)
	r.pin(40, 20)
	r.run(15 * time.Second)
	r.mustWrite(124, 12, 4000)
	r.run(15 * time.Second)
	r.wantPower("rates alone do not renew", 0)
	r.pin(40, 20)
	r.run(15 * time.Second)
	r.mustWrite(124, 5, 3)
	r.run(15 * time.Second)
	r.wantPower("mode renews", 2000)
}

func TestStorage124LimitsWhatTheBatteryWouldDo(t *testing.T) {
	r := newRig(t, NewSunSpec())
	r.unit.SetAutonomous(3000)
	r.run(15 * time.Second)
	r.wantPower("by itself", 3000)
	r.mustWrite(124, 12, 0)
	r.mustWrite(124, 5, 2) // hold: no discharge
	r.run(15 * time.Second)
	r.wantPower("hold", 0)
	r.mustWrite(124, 17, 0) // no charging from the grid
	r.mustWrite(124, 12, neg(5000))
	r.run(15 * time.Second)
	r.wantPower("forced charge without leave", 0)
	r.mustWrite(124, 17, 1)
	r.run(15 * time.Second)
	r.wantPower("forced charge", -2500)
}

func TestStorage124RefusesWhatItsMakerWould(t *testing.T) {
	r := newRig(t, NewSunSpec())
	for _, tt := range []struct {
		name   string
		off    int
		values []uint16
		want   modbustcp.Exception
	}{
		{"rate above 100 %", 12, []uint16{10_001}, modbustcp.IllegalValue},
		{"rate below -100 %", 13, []uint16{neg(10_001)}, modbustcp.IllegalValue},
		{"third mode bit", 5, []uint16{4}, modbustcp.IllegalValue},
		{"measured value", 8, []uint16{50}, modbustcp.IllegalAddress},
		{"block over a read-only register", 16, []uint16{0, 1, 0}, modbustcp.IllegalAddress},
		{"behind the model", 25, []uint16{0, 1}, modbustcp.IllegalAddress},
	} {
		before := r.unit.Commanded()
		if err := r.write(124, tt.off, tt.values...); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if r.unit.Commanded() != before || r.read(124, 12) != 10_000 {
			t.Errorf("%s: refused, and stored all the same", tt.name)
		}
	}
}

func modern() SunSpec {
	opt := NewSunSpec()
	opt.Flavour = Storage704
	return opt
}

func TestStorage704LapsesToItsReversion(t *testing.T) {
	r := newRig(t, modern())
	r.mustWrite(704, 26, 0, 500) // WSetRvrt
	r.mustWrite(704, 30, 1)      // WSetEnaRvrt
	r.mustWrite(704, 31, 0, 30)
	r.mustWrite(704, 23, 1, 0, 2000)
	if r.read(704, 34) != 0 {
		t.Error("the timer runs before the function is enabled")
	}
	r.mustWrite(704, 22, 1)
	r.run(10 * time.Second)
	if got := r.read(704, 34); got != 20 {
		t.Errorf("WSetRvrtRem is %d after 10 of 30 s", got)
	}
	r.wantPower("WSet", 2000)
	r.mustWrite(704, 22, 1) // renewed
	r.run(25 * time.Second)
	r.wantPower("renewed after 10 s, 25 s later", 2000)
	r.run(20 * time.Second)
	r.wantPower("reverted to WSetRvrt", 500)
	if r.read(704, 34) != 0 || r.read(704, 25) != 500 {
		t.Errorf("WSet %d, remaining %d s", r.read(704, 25), r.read(704, 34))
	}
	r.mustWrite(704, 30, 0)
	r.mustWrite(704, 24, 0xFFFF, neg(1500)) // -1500 W: charge
	r.mustWrite(704, 31, 0, 15)
	r.run(14 * time.Second)
	r.wantPower("charging", -1500)
	r.run(15 * time.Second)
	r.wantPower("reverted to disabled", 0)
	if r.unit.Commanded() {
		t.Error("still commanded")
	}
}

func TestStorage704PercentAndLimit(t *testing.T) {
	r := newRig(t, modern())
	r.mustWrite(704, 28, 5000)
	r.mustWrite(704, 22, 1, 0)
	r.run(15 * time.Second)
	r.wantPower("WSetPct 50 %", 2500)
	r.mustWrite(704, 15, 3000) // WMaxLimPct
	r.mustWrite(704, 18, 0, 20)
	r.mustWrite(704, 14, 1)
	r.run(15 * time.Second)
	r.wantPower("limited to 30 %", 1500)
	r.run(15 * time.Second)
	r.wantPower("limit lapsed", 2500)
	for name, err := range map[string]error{
		"half of a 32-bit number": r.write(704, 25, 7),
		"remaining time":          r.write(704, 33, 0, 7),
	} {
		if !errors.Is(err, modbustcp.IllegalAddress) {
			t.Errorf("%s: %v, want exception 2", name, err)
		}
	}
	if err := r.write(704, 22, 2); !errors.Is(err, modbustcp.IllegalValue) {
		t.Errorf("WSetEna 2: %v, want exception 3", err)
	}
}

func TestMapsVaryAsTheyAreTold(t *testing.T) {
	opt := SunSpec{
		Base: 0, Flavour: Storage124, PowerSF: 1, PercentSF: 0, Order: []uint16{802, 124},
		Without: []Point{{Model: 802, Offset: 11}, {Model: 120, Offset: 19}},
	}
	r := newRig(t, opt)
	if len(r.at) != 5 || r.at[1] != 2 || r.at[802] > r.at[124] || r.at[124] > r.at[103] {
		t.Errorf("models at %v", r.at)
	}
	if r.read(802, 11) != 0xFFFF || r.read(120, 19) != 0xFFFF {
		t.Error("points that are left out have values")
	}
	if got := r.read(124, 8); got != 60 {
		t.Errorf("SoC with scale factor 0 reads %d, want 60", got)
	}
	if got := r.read(124, 2); got != 500 {
		t.Errorf("WChaMax with scale factor 1 reads %d, want 500", got)
	}
	r.mustWrite(124, 12, 40, neg(40))
	r.mustWrite(124, 5, 3)
	r.run(15 * time.Second)
	r.wantPower("40 % with scale factor 0", 2000)
	if got := int16(r.read(103, 14)); got != 200 {
		t.Errorf("W with scale factor 1 reads %d, want 200", got)
	}
	opt.Order = []uint16{704}
	if _, err := NewBasic(r.plant, opt, "battery", 1); err == nil {
		t.Error("an order with a foreign model is accepted")
	}
}

func TestMapEndsWhereItEnds(t *testing.T) {
	r := newRig(t, modern())
	last := r.at[713] + 9 + 2
	if _, err := r.unit.Read(3, last-2, 2); err != nil {
		t.Errorf("end marker: %v", err)
	}
	for _, addr := range []uint16{last - 1, 39_999, 0} {
		if _, err := r.unit.Read(3, addr, 2); !errors.Is(err, modbustcp.IllegalAddress) {
			t.Errorf("read at %d: %v, want exception 2", addr, err)
		}
	}
	if _, err := r.unit.Read(4, 40_000, 2); !errors.Is(err, modbustcp.IllegalFunction) {
		t.Errorf("input registers: %v, want exception 1", err)
	}
}
