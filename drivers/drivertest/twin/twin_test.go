package twin_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest/twin"
	"nominald/drivers/profile"
)

func ptr(v float64) *float64 { return &v }

// hybrid is a battery with most that a profile can say: word orders, a split
// direction, a lease, a shared status word, values beside holes.
func hybrid() *profile.Profile {
	return &profile.Profile{
		Name: "hybrid", Kind: drivers.Battery, MaxRegisters: 4, MaxGap: 1, Holes: [][2]uint16{{21, 21}},
		Points: []profile.Point{
			{Name: "w1", Address: 10, Type: "s32sw", Scale: -0.1, Meaning: "power_w"},
			{Name: "w2", Address: 12, Type: "s16", Scale: -10, Meaning: "power_w", Unset: []uint64{0x8000}},
			{Name: "soc", Address: 14, Type: "u16", Scale: 0.1, Meaning: "soc", Unset: []uint64{0xFFFF}},
			{Name: "state", Address: 20, Type: "u16", Meaning: "state", Mask: 0x0F00, Shift: 8},
			{Name: "energy", Table: "input", Address: 22, Type: "u64", Meaning: "import_wh"},
		},
		Identity: []profile.Check{
			{Address: 30, Type: "text", Length: 3, Text: "ACME"},
			{Address: 40, Type: "u16", OneOf: []uint64{7, 9}},
			{Address: 41, Type: "f32", Min: 45, Max: 65},
		},
		Writable: []profile.Register{
			{Name: "mode", Address: 50, Type: "u16", Function: 6},
			{Name: "charge_w", Address: 51, Type: "u16", Function: 16, Scale: 10, Unit: "W", Min: ptr(0), Max: ptr(5000)},
			{Name: "discharge_w", Address: 52, Type: "u16", Function: 16, Scale: 10, Unit: "W", Min: ptr(0), Max: ptr(5000)},
			{Name: "lease", Address: 53, Type: "u32", Function: 16, Scale: 0.001, Unit: "s"},
		},
		Never: []uint16{60},
		Command: profile.Command{
			Charge:    []profile.Step{{Write: "lease", Value: "timer"}, {Write: "charge_w", Value: "charge", Also: []profile.Step{{Write: "discharge_w", Value: "0"}}}, {Write: "mode", Value: "0x2"}},
			Discharge: []profile.Step{{Write: "lease", Value: "timer"}, {Write: "charge_w", Value: "0", Also: []profile.Step{{Write: "discharge_w", Value: "discharge"}}}, {Write: "mode", Value: "3"}},
			Hold:      []profile.Step{{Write: "lease", Value: "timer"}, {Write: "mode", Value: "4"}},
			Release:   []profile.Step{{Write: "mode", Value: "1"}, {Write: "lease", Value: "0"}},
		},
		Fallback: profile.Fallback{Register: "lease", Min: 10 * time.Second, Max: time.Minute},
	}
}

func read(t *testing.T, d *twin.Twin, function byte, addr, n uint16) []uint16 {
	t.Helper()
	regs, err := d.Read(function, addr, n)
	if err != nil {
		t.Fatalf("function %d of %d+%d: %v", function, addr, n, err)
	}
	return regs
}

func TestMeasuredQuantitiesLieInTheirRegisters(t *testing.T) {
	d := twin.New(hybrid(), 0)
	d.Measure("power_w", 3001)
	d.Measure("soc", 61.5)
	d.Measure("import_wh", float64(1<<40+5))
	d.Measure("state", 5)
	regs := read(t, d, 3, 10, 3)
	w1 := float64(int32(uint32(regs[1])<<16|uint32(regs[0]))) * -0.1
	w2 := float64(int16(regs[2])) * -10
	if got := w1 + w2; math.Abs(got-3001) > 0.06 || w1 <= 0 || w2 <= 0 {
		t.Errorf("power is %g + %g W, want 3001 W in two parts", w1, w2)
	}
	for _, c := range []struct {
		function byte
		addr, n  uint16
		want     []uint16
	}{
		{3, 14, 1, []uint16{615}}, {3, 20, 1, []uint16{0x0500}}, {4, 22, 4, []uint16{0, 0x100, 0, 5}},
		{3, 30, 3, []uint16{'A'<<8 | 'C', 'M'<<8 | 'E', 0}}, {3, 40, 1, []uint16{7}}, {3, 41, 2, []uint16{0x425C, 0}}, // 55
	} {
		if got := read(t, d, c.function, c.addr, c.n); !slices.Equal(got, c.want) {
			t.Errorf("function %d of %d+%d: % x, want % x", c.function, c.addr, c.n, got, c.want)
		}
	}
	if !d.Unset("soc") || read(t, d, 3, 14, 1)[0] != 0xFFFF {
		t.Error("soc can not be unset")
	}
	if d.Unset("import_wh") {
		t.Error("the energy has no value that says unknown")
	}
}

func TestReadsAreRefusedAsTheProfileSays(t *testing.T) {
	d := twin.New(hybrid(), 0)
	for _, c := range []struct {
		name     string
		function byte
		addr, n  uint16
		want     error
	}{
		{"neighbours", 3, 10, 3, nil},
		{"over one unlisted register", 3, 12, 3, nil},
		{"half a value", 3, 10, 1, twin.IllegalAddress},
		{"from the middle of a value", 3, 11, 2, twin.IllegalAddress},
		{"nothing there", 3, 100, 1, twin.IllegalAddress},
		{"over a hole", 3, 20, 3, twin.IllegalAddress},
		{"more than max_registers", 3, 10, 5, twin.IllegalValue},
		{"none", 3, 10, 0, twin.IllegalValue},
		{"the other table", 4, 10, 2, twin.IllegalAddress},
		{"a table it does not have", 1, 10, 2, twin.IllegalFunction},
		{"a writing function", 6, 10, 1, twin.IllegalFunction},
	} {
		if _, err := d.Read(c.function, c.addr, c.n); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	alone := hybrid()
	alone.OnePerRequest = true
	if _, err := twin.New(alone, 0).Read(3, 10, 3); !errors.Is(err, twin.IllegalAddress) {
		t.Errorf("two values of a device that takes one: %v", err)
	}
}

func write(t *testing.T, d *twin.Twin, function byte, addr uint16, values ...uint16) {
	t.Helper()
	if err := d.Write(function, addr, values); err != nil {
		t.Fatalf("function %d to %d: %v", function, addr, err)
	}
}

func TestWritesAreRefusedAsTheProfileSays(t *testing.T) {
	d := twin.New(hybrid(), 0)
	for _, c := range []struct {
		name     string
		function byte
		addr     uint16
		values   []uint16
		want     error
	}{
		{"one register", 6, 50, []uint16{1}, nil},
		{"two at once", 16, 51, []uint16{1, 2}, nil},
		{"by the other function", 16, 50, []uint16{1}, twin.IllegalFunction},
		{"by the other function", 6, 51, []uint16{1}, twin.IllegalFunction},
		{"half a value", 16, 53, []uint16{1}, twin.IllegalAddress},
		{"from the middle of a value", 16, 54, []uint16{1}, twin.IllegalAddress},
		{"a register that is only read", 6, 14, []uint16{1}, twin.IllegalAddress},
		{"a register that is never written", 6, 60, []uint16{1}, twin.IllegalAddress},
		{"a coil", 5, 50, []uint16{0xFF00}, twin.IllegalAddress},
		{"above the limit", 16, 51, []uint16{501}, twin.IllegalValue},
		{"a timer below its limit", 16, 53, []uint16{0, 9000}, twin.IllegalValue},
		{"a timer above its limit", 16, 53, []uint16{1, 0}, twin.IllegalValue},
		{"two values by function 6", 6, 50, []uint16{1, 2}, twin.IllegalValue},
	} {
		if err := d.Write(c.function, c.addr, c.values); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	log := d.Writes()
	if len(log) != 13 || log[12].Refused != twin.IllegalValue || log[0].Refused != 0 {
		t.Errorf("%d writes logged, want all 13 with what became of them", len(log))
	}
	stray := 0
	for _, w := range log {
		if d.Stray(w) {
			stray++
		}
	}
	if stray != 3 { // the two registers and the coil
		t.Errorf("%d writes count as stray, want 3", stray)
	}
}

func TestCommandsAreUnderstoodWhole(t *testing.T) {
	d := twin.New(hybrid(), 0)
	want := func(when string, w float64, active bool) {
		t.Helper()
		c, now := d.Commanded()
		if now != active || (math.IsNaN(w) != math.IsNaN(c.PowerW)) || math.Abs(c.PowerW-w) > 1e-9 {
			t.Errorf("%s: %g W, active %v, want %g W, %v", when, c.PowerW, now, w, active)
		}
	}
	want("after power-on", 0, false)
	write(t, d, 16, 53, 0, 30_000)
	write(t, d, 16, 51, 200, 0)
	want("half of a charge", math.NaN(), true)
	write(t, d, 6, 50, 2)
	want("a charge", -2000, true)
	write(t, d, 16, 51, 0, 150)
	want("powers of a discharge in the mode of a charge", math.NaN(), true)
	write(t, d, 6, 50, 3)
	want("a discharge", 1500, true)
	d.Step(20 * time.Second)
	write(t, d, 16, 53, 0, 30_000)
	d.Step(29 * time.Second)
	want("renewed", 1500, true)
	d.Step(2 * time.Second)
	want("not renewed", 0, false)
	write(t, d, 16, 53, 0, 30_000)
	write(t, d, 6, 50, 4)
	want("hold", 0, true)
	d.Reboot()
	want("rebooted", 0, false)
	d.Deafen(true)
	write(t, d, 6, 50, 4)
	want("deaf", 0, false)
}

func TestPowerFollowsTheCommandWithALag(t *testing.T) {
	d := twin.New(hybrid(), 0)
	d.Follow(10 * time.Second)
	write(t, d, 16, 53, 0, 60_000)
	write(t, d, 16, 51, 0, 200)
	write(t, d, 6, 50, 3)
	power := func() float64 {
		regs := read(t, d, 3, 10, 3)
		return float64(int32(uint32(regs[1])<<16|uint32(regs[0])))*-0.1 + float64(int16(regs[2]))*-10
	}
	d.Step(10 * time.Second)
	if got := power(); got < 1200 || got > 1330 { // 1 - 1/e of 2000
		t.Errorf("after one lag: %g W, want about 1264", got)
	}
	for range 40 {
		d.Step(time.Second)
	}
	if got := power(); got < 1950 || got > 2000 {
		t.Errorf("after five lags: %g W, want nearly 2000", got)
	}
	d.Step(10 * time.Second) // 60 s: it falls back
	d.Step(time.Minute)
	if got := power(); math.Abs(got) > 10 {
		t.Errorf("fallen back: %g W, want about 0", got)
	}
}

// relayBoard has eight relays behind maker's words and reads 1 or 0 (modbus.md 5.5).
func relayBoard() *profile.Profile {
	return &profile.Profile{
		Name: "board", Kind: drivers.Relay, Channels: 8,
		Points:   []profile.Point{{Name: "contact", Address: 1, Stride: 1, Type: "u16", Meaning: "on"}},
		Writable: []profile.Register{{Name: "relay", Address: 1, Stride: 1, Type: "u16", Function: 6}},
		Command: profile.Command{
			Inhibit: []profile.Step{{Write: "relay", Value: "0x0100"}},
			Release: []profile.Step{{Write: "relay", Value: "0x0200"}},
		},
	}
}

func TestARelayReadsAsItsContact(t *testing.T) {
	d := twin.New(relayBoard(), 3)
	write(t, d, 6, 3, 0x0100)
	if c, active := d.Commanded(); !c.Inhibit || !active || read(t, d, 3, 3, 1)[0] != 1 {
		t.Errorf("on: %+v, active %v, register %#x", c, active, read(t, d, 3, 3, 1)[0])
	}
	write(t, d, 6, 3, 0x0200)
	if c, active := d.Commanded(); c.Inhibit || active || read(t, d, 3, 3, 1)[0] != 0 {
		t.Errorf("off: %+v, active %v, register %#x", c, active, read(t, d, 3, 3, 1)[0])
	}
	write(t, d, 6, 4, 0x0100)
	if _, active := d.Commanded(); active {
		t.Error("another channel's relay commands this one")
	}
	if log := d.Writes(); d.Stray(log[0]) || !d.Stray(log[2]) {
		t.Error("a write to another channel is stray, one to its own is not")
	}
}

func TestAPulseHoldsUntilItEndsOrIsTakenBack(t *testing.T) {
	p := relayBoard()
	p.Points[0] = profile.Point{Name: "contact", Table: "coil", Address: 0, Stride: 1, Type: "bit", Meaning: "on"}
	p.Writable = []profile.Register{
		{Name: "relay", Table: "coil", Address: 0, Stride: 1, Type: "bit", Function: 5},
		{Name: "pulse", Table: "coil", Address: 0x200, Stride: 1, Type: "u16", Function: 5, Raw: true, Scale: 0.1, Unit: "s"},
	}
	p.Command = profile.Command{
		Inhibit: []profile.Step{{Write: "pulse", Value: "timer"}},
		Release: []profile.Step{{Write: "relay", Value: "0"}},
	}
	p.Fallback = profile.Fallback{Register: "pulse", Min: 100 * time.Millisecond, Max: 50 * time.Minute}
	d := twin.New(p, 1)
	state := func() (on uint16, active bool) {
		_, active = d.Commanded()
		return read(t, d, 1, 0, 1)[0], active
	}
	for range 2 {
		write(t, d, 5, 0x200, 300)
		if on, active := state(); on != 1 || !active {
			t.Fatalf("a pulse of 30 s: coil %d, active %v", on, active)
		}
		d.Step(29 * time.Second)
		write(t, d, 5, 0x200, 300)
		d.Step(29 * time.Second)
		if on, active := state(); on != 1 || !active {
			t.Fatalf("renewed: coil %d, active %v", on, active)
		}
		d.Step(2 * time.Second)
		if on, active := state(); on != 0 || active {
			t.Fatalf("ended: coil %d, active %v", on, active)
		}
	}
	write(t, d, 5, 0x200, 300)
	write(t, d, 5, 0, 0)
	if on, active := state(); on != 0 || active {
		t.Errorf("taken back: coil %d, active %v", on, active)
	}
	if err := d.Write(5, 0, []uint16{0x5500}); !errors.Is(err, twin.IllegalValue) {
		t.Errorf("a toggle of a plain coil: %v", err)
	}
}
