package registers

import (
	"errors"
	"math"
	"testing"
	"time"

	"nominald/gateway/sim/modbustcp"
	"nominald/gateway/sim/plant"
)

func TestMeterShowsImportPositive(t *testing.T) {
	p := plant.NewMeter(1, 0)
	for range 3600 {
		p.Step(time.Second, 6000)
	}
	for _, invert := range []bool{false, true} {
		m, err := NewMeter(p, SunSpec{Base: 50_000, PowerSF: 1}, "main", 200, invert)
		if err != nil {
			t.Fatal(err)
		}
		at := walk(t, m, 50_000)[203]
		v, err := m.Read(3, at, 107)
		if err != nil {
			t.Fatal(err)
		}
		w := float64(int16(v[18])) * 10
		imported, exported := uint32(v[46])<<16|uint32(v[47]), uint32(v[38])<<16|uint32(v[39])
		if invert {
			w, imported, exported = -w, exported, imported
		}
		if math.Abs(w-6000) > 150 || imported != 6000 || exported != 0 {
			t.Errorf("invert %v: %.0f W, %d Wh in, %d Wh out; want about 6000 W, 6000 Wh, 0 Wh", invert, w, imported, exported)
		}
		if sf := int16(v[22]); sf != 1 || v[23] != 0x8000 {
			t.Errorf("W_SF %d, VA %#x; want 1 and not implemented", sf, v[23])
		}
	}
}

// wallbox is a KEBA with a vehicle that charges with 16 A.
type wallbox struct {
	t *testing.T
	k *Keba
	p *plant.EV
}

func newWallbox(t *testing.T) *wallbox {
	p := plant.NewEV(plant.NewEVParams(3, 230, 16, 40_000))
	return &wallbox{t: t, k: NewKeba(p), p: p}
}

func (w *wallbox) run(d time.Duration) {
	for ; d > 0; d -= 100 * time.Millisecond {
		w.k.Step(100 * time.Millisecond)
		w.p.Step(100 * time.Millisecond)
	}
}

func (w *wallbox) read(addr uint16) uint32 {
	w.t.Helper()
	v, err := w.k.Read(3, addr, 2)
	if err != nil {
		w.t.Fatalf("read %d: %v", addr, err)
	}
	return uint32(v[0])<<16 | uint32(v[1])
}

func (w *wallbox) write(addr, v uint16) {
	w.t.Helper()
	if err := w.k.Write(6, addr, []uint16{v}); err != nil {
		w.t.Fatalf("write %d to %d: %v", v, addr, err)
	}
}

func (w *wallbox) wantAmps(what string, a float64) {
	w.t.Helper()
	if got := w.p.CurrentA(); math.Abs(got-a) > 0.05 {
		w.t.Errorf("%s: %.2f A, want %.2f A", what, got, a)
	}
}

func TestKebaIsReadByExactlyTwoRegisters(t *testing.T) {
	w := newWallbox(t)
	w.run(time.Second)
	for addr, want := range map[uint16]uint32{
		1000: 3, 1004: 7, 1008: 16_000, 1012: 16_000, 1020: 11_040_000, 1040: 230, 1100: 16_000, 1600: 16_000, 1602: 0,
	} {
		if got := w.read(addr); got != want {
			t.Errorf("register %d: %d, want %d", addr, got, want)
		}
	}
	for _, tt := range []struct{ addr, count uint16 }{{1000, 1}, {1000, 4}, {1008, 6}, {1001, 2}, {1002, 2}, {5004, 2}} {
		if _, err := w.k.Read(3, tt.addr, tt.count); !errors.Is(err, modbustcp.IllegalAddress) {
			t.Errorf("read %d+%d: %v, want exception 2", tt.addr, tt.count, err)
		}
	}
	if _, err := w.k.Read(4, 1000, 2); !errors.Is(err, modbustcp.IllegalFunction) {
		t.Errorf("input registers: %v, want exception 1", err)
	}
}

func TestKebaFollowsCurrentAndEnable(t *testing.T) {
	w := newWallbox(t)
	w.write(5004, 8000)
	w.run(time.Minute)
	w.wantAmps("8 A", 8)
	if !w.k.Commanded() {
		t.Error("8 of 16 A, and not commanded")
	}
	w.write(5014, 0)
	w.run(time.Minute)
	w.wantAmps("disabled", 0)
	if got := w.read(1000); got != 5 {
		t.Errorf("state %d, want 5 (suspended)", got)
	}
	w.write(5014, 1)
	w.write(5004, 63_000)
	w.run(time.Minute)
	w.wantAmps("more than the cable", 16)
	for _, tt := range []struct {
		function byte
		addr, v  uint16
		want     modbustcp.Exception
	}{
		{6, 5004, 5999, modbustcp.IllegalValue},
		{6, 5004, 0, modbustcp.IllegalValue},
		{6, 5014, 2, modbustcp.IllegalValue},
		{6, 5018, 9, modbustcp.IllegalValue},
		{6, 1602, 30, modbustcp.IllegalAddress},
		{16, 5004, 8000, modbustcp.IllegalFunction},
	} {
		if err := w.k.Write(tt.function, tt.addr, []uint16{tt.v}); !errors.Is(err, tt.want) {
			t.Errorf("function %d, %d to %d: %v, want %v", tt.function, tt.v, tt.addr, err, tt.want)
		}
	}
}

func TestKebaFailsafeBites(t *testing.T) {
	w := newWallbox(t)
	w.write(5018, 30)
	w.write(5004, 10_000)
	w.run(20 * time.Second)
	w.read(1000) // reading does not renew
	w.write(5018, 30)
	w.run(25 * time.Second)
	w.wantAmps("renewed by 5018", 10)
	w.run(30 * time.Second)
	w.wantAmps("lapsed: the full current again", 16)
	if !w.k.FailsafeHolds() || w.read(1602) != 30 {
		t.Errorf("fail-safe holds: %v, timeout %d s", w.k.FailsafeHolds(), w.read(1602))
	}
	w.write(5018, 30)
	w.run(10 * time.Second)
	w.wantAmps("the timeout alone does not end it", 16)
	w.write(5004, 7000)
	w.run(29 * time.Second)
	w.wantAmps("a limit does", 7)

	w.k.SetFailsafe(6, 60*time.Second)
	w.write(5014, 0)
	w.run(55 * time.Second)
	w.wantAmps("paused", 0)
	w.run(60 * time.Second)
	w.wantAmps("installer's fail-safe current", 6)
	w.write(5014, 0)
	w.run(55 * time.Second)
	w.wantAmps("a new pause ends the fail-safe", 0)
}

func TestIntesisKeepsToItsLists(t *testing.T) {
	room := plant.NewRoom(plant.NewRoomParams(3500, 34))
	i := NewIntesis(room)
	v, err := i.Read(3, 0, 12)
	if err != nil {
		t.Fatal(err)
	}
	if v[0] != 1 || v[1] != 4 || v[4] != 240 || v[5] != 244 {
		t.Errorf("on %d, mode %d, set-point %d, room %d; want 1, 4, 240, 244", v[0], v[1], v[4], v[5])
	}
	if v, err := i.Read(3, 22, 2); err != nil || v[0] != 0x8000 || v[1] != 240 {
		t.Errorf("registers 22-23: %x, %v", v, err)
	}
	for _, tt := range []struct{ addr, count uint16 }{{0, 13}, {12, 1}, {21, 2}, {22, 3}, {23, 2}, {65_535, 2}} {
		if _, err := i.Read(3, tt.addr, tt.count); !errors.Is(err, modbustcp.IllegalAddress) {
			t.Errorf("read %d+%d: %v, want exception 2", tt.addr, tt.count, err)
		}
	}
	if err := i.Write(16, 4, []uint16{265}); err != nil || room.SetpointC() != 26.5 || !i.Commanded() {
		t.Errorf("set-point %.1f C, commanded %v, %v; want 26.5 C", room.SetpointC(), i.Commanded(), err)
	}
	for _, tt := range []struct {
		addr, v uint16
		want    modbustcp.Exception
	}{{4, 179, modbustcp.IllegalValue}, {4, 321, modbustcp.IllegalValue}, {1, 5, modbustcp.IllegalValue}, {0, 2, modbustcp.IllegalValue}, {5, 240, modbustcp.IllegalAddress}} {
		if err := i.Write(6, tt.addr, []uint16{tt.v}); !errors.Is(err, tt.want) {
			t.Errorf("write %d to %d: %v, want %v", tt.v, tt.addr, err, tt.want)
		}
	}
	if err := i.Write(6, 0, []uint16{0}); err != nil || room.Enabled() {
		t.Errorf("switched off: enabled %v, %v", room.Enabled(), err)
	}
}
