package sunspec

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"nominald/drivers"

	"pgregory.net/rapid"
)

// arbitrary is a register map of arbitrary contents: the bytes repeat over the
// address space, every request inside it is answered, and requests that leave
// it or ask for too much fail the test. It can refuse or drop requests too.
type arbitrary struct {
	t     *testing.T
	data  []byte
	limit int // requests that may be made
	made  int
}

func (a *arbitrary) ReadHolding(_ context.Context, addr uint16, dst []uint16) error {
	a.made++
	if a.made > a.limit {
		a.t.Fatalf("request %d: the walk does not end", a.made)
	}
	if len(dst) < 1 || len(dst) > 125 || int(addr)+len(dst) > 1<<16 {
		a.t.Fatalf("request %d+%d", addr, len(dst))
	}
	if len(a.data) == 0 {
		return drivers.ErrOffline
	}
	if n := a.data[a.made%len(a.data)]; n == 0xEE {
		return drivers.ErrRefused
	} else if n == 0xED {
		return drivers.ErrOffline
	}
	for i := range dst {
		dst[i] = a.register(int(addr) + i)
	}
	return nil
}

// register starts the bytes at 40000, so that a seed can be a real map.
func (a *arbitrary) register(addr int) uint16 {
	at := 2 * ((addr - 40000 + 1<<16) % (1 << 16))
	hi, lo := a.data[at%len(a.data)], a.data[(at+1)%len(a.data)]
	return uint16(hi)<<8 | uint16(lo)
}

func (a *arbitrary) ReadInput(context.Context, uint16, []uint16) error { return drivers.ErrRefused }

func (a *arbitrary) WriteRegister(context.Context, uint16, uint16) error { return nil }

func (a *arbitrary) WriteRegisters(_ context.Context, addr uint16, vs []uint16) error {
	if len(vs) == 0 || int(addr)+len(vs) > 1<<16 {
		a.t.Fatalf("write %d+%d", addr, len(vs))
	}
	return nil
}

// layoutSeed is a map of models filled with one byte.
func layoutSeed(fill byte, models ...[2]uint16) []byte {
	b := []byte("SunS")
	for _, m := range models {
		b = binary.BigEndian.AppendUint16(b, m[0])
		b = binary.BigEndian.AppendUint16(b, m[1])
		for range 2 * int(m[1]) {
			b = append(b, fill)
		}
	}
	return append(b, 0xFF, 0xFF, 0, 0)
}

func FuzzDiscover(f *testing.F) {
	f.Add([]byte("SunS"))
	f.Add([]byte{})
	f.Add(layoutSeed(0, [2]uint16{1, 66}, [2]uint16{203, 105}))
	f.Add(layoutSeed(1, [2]uint16{1, 65}, [2]uint16{103, 50}, [2]uint16{120, 26}, [2]uint16{124, 24}, [2]uint16{802, 62}))
	f.Add(layoutSeed(0, [2]uint16{701, 153}, [2]uint16{702, 50}, [2]uint16{704, 65}, [2]uint16{713, 7}))
	f.Add(layoutSeed(1, [2]uint16{124, 3}, [2]uint16{704, 20}, [2]uint16{213, 1}))
	f.Add(layoutSeed(0, [2]uint16{9, 0xFFFE}))
	f.Add(layoutSeed(1, [2]uint16{1, 66}, [2]uint16{111, 60}, [2]uint16{121, 30}, [2]uint16{122, 44}, [2]uint16{123, 24}, [2]uint16{703, 17}))
	f.Fuzz(func(t *testing.T, data []byte) {
		ctx := context.Background()
		// A walk reads at most the bases, 100 headers with their checks, and
		// each of the models a few times; 20 calls may each begin anew.
		a := &arbitrary{t: t, data: data, limit: 40 * (20 + 8*maxModels)}
		for _, d := range []drivers.Device{NewMeter(a, MeterOptions{}), NewStorage(a, StorageOptions{AllowNoFallback: true}),
			NewInverter(a, InverterOptions{AllowNoFallback: true})} {
			for range 4 {
				r, err := d.Read(ctx)
				if err != nil && (r.PowerW.OK || r.SoC.OK) {
					t.Errorf("a value beside an error: %+v, %v", r, err)
				}
				if r.SoC.OK && (r.SoC.V < 0 || r.SoC.V > 100) {
					t.Errorf("state of charge %g", r.SoC.V)
				}
			}
			_ = d.Apply(ctx, drivers.Command{PowerW: 1000}, 1e9)
			_ = d.Release(ctx)
			_ = d.Describe()
		}
		_, _ = Identify(ctx, a)
	})
}

func FuzzPointDecode(f *testing.F) {
	f.Add(uint8(Int16), []byte{0x80, 0}, int16(0))
	f.Add(uint8(Float32), []byte{0x7F, 0xC0, 0, 0}, int16(-10))
	f.Add(uint8(Uint64), []byte{1}, int16(11))
	f.Fuzz(func(t *testing.T, kind uint8, data []byte, sf int16) {
		regs := make([]uint16, len(data)/2)
		for i := range regs {
			regs[i] = binary.BigEndian.Uint16(data[2*i:])
		}
		b := block{Model: Model{points: []Point{{"v", 0, Type(kind), 4}}}}
		b.regs = append(append(regs, make([]uint16, 5)...)[:4], uint16(sf))
		v, ok := b.value("v")
		if ok && (math.IsNaN(v) || math.IsInf(v, 0)) {
			t.Errorf("type %v %v sf %d: %g is no value", Type(kind), b.regs, sf, v)
		}
		if ok && (sf < -10 || sf > 10) {
			t.Errorf("scale factor %d was taken", sf)
		}
		_ = fmt.Sprint(Type(kind), text(regs))
	})
}

func TestPropertyEncodeIsUndoneByDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom([]Type{Int16, Uint16, Enum16, Bits16, Int32, Uint32, Enum32, Bits32, Float32}).Draw(t, "type")
		exp := rapid.IntRange(-10, 10).Draw(t, "sf")
		v := rapid.Float64Range(-1e12, 1e12).Draw(t, "value")
		regs, err := Encode(typ, scale(v, -exp))
		if err != nil {
			t.Fatal(err)
		}
		raw, ok := Decode(typ, regs)
		if !ok {
			t.Fatalf("%v as %v x 10^%d: registers %x are \"unimplemented\"", v, typ, exp, regs)
		}
		low, high := typ.limits()
		want := math.Min(math.Max(v, scale(low, exp)), scale(high, exp))
		tolerance := scale(0.5, exp) + 1e-9*math.Abs(want)
		if typ == Float32 {
			tolerance = 1e-6*math.Abs(want) + scale(1e-30, exp) // subnormals have fewer digits
		}
		if got := scale(raw, exp); math.Abs(got-want) > tolerance {
			t.Fatalf("%v as %v x 10^%d: got %v back, want %v within %v", v, typ, exp, got, want, tolerance)
		}
	})
}

func TestPropertyNotImplementedIsNeverAValue(t *testing.T) {
	for typ, regs := range map[Type][]uint16{
		Int16: {0x8000}, Uint16: {0xFFFF}, Enum16: {0xFFFF}, Bits16: {0xFFFF}, Acc16: {0}, ScaleFactor: {0x8000},
		Int32: {0x8000, 0}, Uint32: {0xFFFF, 0xFFFF}, Enum32: {0xFFFF, 0xFFFF}, Bits32: {0xFFFF, 0xFFFF}, Acc32: {0, 0},
		Int64: {0x8000, 0, 0, 0}, Uint64: {0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF}, Acc64: {0, 0, 0, 0},
		Float32: {0x7FC0, 0},
	} {
		if v, ok := Decode(typ, regs); ok {
			t.Errorf("%v %x: decoded as %g, want unimplemented", typ, regs, v)
		}
		if v, ok := Decode(typ, regs[:len(regs)-1]); ok {
			t.Errorf("%v cut short: decoded as %g", typ, v)
		}
	}
	if _, ok := Decode(Float32, []uint16{0xFFC1, 7}); ok {
		t.Error("another NaN was decoded as a value")
	}
	if _, err := Encode(Int16, math.NaN()); err == nil {
		t.Error("NaN was encoded")
	}
	if _, err := Encode(Acc32, 1); err == nil {
		t.Error("an accumulator was encoded")
	}
}

// modelRegs answers from one image, for properties of commands.
type modelRegs struct{ regs map[uint16]uint16 }

func (m modelRegs) ReadHolding(_ context.Context, addr uint16, dst []uint16) error {
	for i := range dst {
		v, ok := m.regs[addr+uint16(i)]
		if !ok {
			return drivers.ErrRefused
		}
		dst[i] = v
	}
	return nil
}

func (m modelRegs) ReadInput(context.Context, uint16, []uint16) error { return drivers.ErrRefused }

func (m modelRegs) WriteRegister(ctx context.Context, addr, v uint16) error {
	return m.WriteRegisters(ctx, addr, []uint16{v})
}

func (m modelRegs) WriteRegisters(_ context.Context, addr uint16, vs []uint16) error {
	for i, v := range vs {
		m.regs[addr+uint16(i)] = v
	}
	return nil
}

func TestPropertyCommandedPowerComesBackFromTheRegisters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rateSF := rapid.IntRange(-2, 1).Draw(t, "rate sf") // finer than -2 overflows 100 % in an int16
		maxSF := rapid.IntRange(-1, 2).Draw(t, "max sf")
		raw := rapid.Uint16Range(1, 60000).Draw(t, "WChaMax")
		w := rapid.Float64Range(-2e6, 2e6).Draw(t, "W")
		m := modelRegs{map[uint16]uint16{0: 0x5375, 1: 0x6E53, 2: 124, 3: 24, 28: 0xFFFF, 29: 0}}
		for at := uint16(4); at < 28; at++ {
			m.regs[at] = 0
		}
		m.regs[2+2], m.regs[2+18], m.regs[2+25] = raw, uint16(int16(maxSF)), uint16(int16(rateSF))
		d := NewStorage(m, StorageOptions{})
		if err := d.Apply(context.Background(), drivers.Command{PowerW: w}, 1e9); err != nil {
			t.Fatal(err)
		}
		full := float64(raw) * math.Pow10(maxSF)
		want := math.Min(math.Max(w, -full), full)
		got := float64(int16(m.regs[2+12])) * math.Pow10(rateSF) / 100 * full
		step := math.Pow10(rateSF) / 100 * full
		if math.Abs(got-want) > step || got*want < 0 {
			t.Fatalf("asked %g W, the registers say %g W, want %g W within %g", w, got, want, step)
		}
		if int16(m.regs[2+13]) != -int16(m.regs[2+12]) || m.regs[2+5] != 3 || m.regs[2+15] == 0 {
			t.Fatalf("rates %d and %d, mode %d, timer %d", m.regs[2+12], m.regs[2+13], m.regs[2+5], m.regs[2+15])
		}
	})
}
