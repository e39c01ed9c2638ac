package sunspec_test

import (
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/drivertest"
	"nominald/drivers/modbus"
	"nominald/drivers/sunspec"
)

const unitID = 7

// timeout is of one transaction on the loopback line.
const timeout = 250 * time.Millisecond

// sim is a SunSpec device on a slave. Offsets are written out here, from the
// Alliance's model files, and not taken from the driver's tables.
type sim struct {
	slave *drivertest.Slave
	unit  *modbus.Unit // of the last registers
	base  uint16
	next  uint16            // where the next model goes
	at    map[uint16]uint16 // model id: address of its last occurrence
}

func newSim(t *testing.T, base uint16) *sim {
	s := &sim{slave: drivertest.NewSlave(t), base: base, next: base + 2, at: map[uint16]uint16{}}
	s.slave.Set(unitID, base, 0x5375, 0x6E53)
	return s
}

// model adds a model of n registers behind ID and L, all "unimplemented" for
// 16-bit unsigned points, and returns its address.
func (s *sim) model(id uint16, n int) uint16 {
	addr := s.next
	s.slave.Set(unitID, addr, append([]uint16{id, uint16(n)}, slices.Repeat([]uint16{0xFFFF}, n)...)...)
	s.next += uint16(2 + n)
	s.at[id] = addr
	return addr
}

// set writes registers of the last model with the id.
func (s *sim) set(id uint16, offset int, vs ...uint16) {
	s.slave.Set(unitID, s.at[id]+uint16(offset), vs...)
}

func (s *sim) get(id uint16, offset int) uint16 {
	return s.slave.Get(unitID, s.at[id]+uint16(offset), 1)[0]
}

func (s *sim) common(serial string) {
	s.model(1, 66)
	for i := range 64 {
		s.set(1, 2+i, 0)
	}
	s.text(1, 2, "Maker")
	s.text(1, 18, "Model X")
	s.text(1, 50, serial)
}

func (s *sim) text(id uint16, offset int, v string) {
	b := append([]byte(v), 0, 0)
	for i := 0; i+1 < len(b); i += 2 {
		s.set(id, offset+i/2, uint16(b[i])<<8|uint16(b[i+1]))
	}
}

func (s *sim) end() { s.slave.Set(unitID, s.next, 0xFFFF, 0) }

// neg is an int16 as its register holds it.
func neg(v int) uint16 { return uint16(int16(v)) }

// registers opens a real Modbus TCP connection to the simulated device.
func (s *sim) registers(t *testing.T) *modbus.Unit {
	t.Helper()
	line := modbus.NewTCP(s.slave.Addr(), modbus.Options{Timeout: timeout})
	t.Cleanup(func() { _ = line.Close() })
	s.unit = line.Unit(unitID)
	return s.unit
}

// allower opens registers for writing on the driver's word alone.
func allower(u *modbus.Unit) func([]sunspec.Range) {
	return func(ranges []sunspec.Range) {
		list := make([]modbus.Range, len(ranges))
		for i, r := range ranges {
			list[i] = modbus.Range{Table: modbus.Holding, First: r.First, Last: r.Last}
		}
		u.SetAllowed(list...)
	}
}

// fault is the suite's way to break the slave.
func (s *sim) fault(f drivertest.FaultKind) {
	patient := modbus.Timing{Timeout: 2 * time.Second}
	if f < drivertest.FaultNone {
		patient.Timeout = timeout
	}
	s.unit.SetTiming(patient)
	s.slave.Break(func(r drivertest.Request) drivertest.Fault { return f.On(r, timeout) })
}

// rebooter is the suite's way to reboot the slave: connections are closed at the
// next requests, and the device holds then what it does after power-on.
func (s *sim) rebooter(powerOn func()) func(hangUps int) {
	return func(hangUps int) {
		var asked atomic.Int64 // each connection has its own goroutine
		s.slave.Break(func(drivertest.Request) drivertest.Fault {
			if asked.Add(1) > int64(hangUps) {
				return drivertest.Fault{}
			}
			powerOn()
			return drivertest.Fault{Drop: true}
		})
	}
}

// stray returns the writes that are not to the given offsets of the model.
func (s *sim) stray(id uint16, offsets ...int) []drivertest.Request {
	var found []drivertest.Request
	for _, r := range s.slave.Requests() {
		for i := range r.Values {
			if !slices.Contains(offsets, int(r.Addr)+i-int(s.at[id])) {
				found = append(found, r)
			}
		}
	}
	return found
}

// storage124 makes a hybrid inverter: 1, 103, 120, 124, 802, end.
func storage124(t *testing.T, base uint16, rateSF int) *sim {
	s := newSim(t, base)
	s.common("SN124")
	s.model(103, 50)
	s.set(103, 14, 0x8000, 0)
	s.model(120, 26)
	s.set(120, 19, 1280, 1)
	s.model(124, 24)
	s.set(124, 2, 500, 100, 100, 0) // WChaMax 500 x 10^1 W, StorCtl_Mod 0
	s.set(124, 8, 612, 0xFFFF, 0xFFFF, 6)
	full := uint16(100 * math.Pow10(-rateSF))
	s.set(124, 12, full, full, 0, 0, 0, 0)
	s.set(124, 18, 1, 0, 0x8000, 0x8000, neg(-1), 0x8000, 0x8000, neg(rateSF))
	s.model(802, 62)
	s.set(802, 3, 1024, 500, 450)
	s.set(802, 11, 555)
	s.set(802, 16, 6)
	s.set(802, 34, 4000)
	s.set(802, 44, 0x8000)
	s.set(802, 47, 0)
	s.set(802, 53, 1, 1)
	s.set(802, 56, neg(-1))
	s.set(802, 59, neg(-1), 0x8000, neg(-2), 0x8000, 1)
	s.end()
	return s
}

// bench124 plays a battery behind model 124.
func bench124(t *testing.T, s *sim, o sunspec.StorageOptions) *drivertest.Bench {
	u := s.registers(t)
	o.Allow = allower(u)
	rate := func(offset int) float64 {
		return float64(int16(s.get(124, offset))) * math.Pow10(int(int16(s.get(124, 25))))
	}
	return &drivertest.Bench{
		Device: sunspec.NewStorage(u, o), Kind: drivers.Battery,
		StepW: 10, Step: 5000 * math.Pow10(int(int16(s.get(124, 25)))) / 100,
		Measure: func(w float64) { s.set(802, 47, neg(int(w/10))) },
		Blank:   func() { s.set(802, 47, 0x8000) },
		Cases: []drivertest.Case{
			{Command: drivers.Command{PowerW: 3000}, Want: 3000},
			{Command: drivers.Command{PowerW: -2000}, Want: -2000},
			{Command: drivers.Command{PowerW: 0}, Want: 0},
			{Command: drivers.Command{PowerW: 99000}, Want: 4500},
			{Command: drivers.Command{PowerW: -99000}, Want: -5000},
		},
		Commanded: func() (float64, bool) {
			if s.get(124, 5) == 0 {
				return 0, rate(12) != 100 || rate(13) != 100
			}
			if s.get(124, 5) != 3 || rate(12) != -rate(13) {
				return math.NaN(), true
			}
			return rate(12) / 100 * 5000, true
		},
		Fallback:      func() time.Duration { return time.Duration(s.get(124, 15)) * time.Second },
		ClearFallback: func() { s.set(124, 15, 0) },
		Break:         s.fault, Faults: drivertest.ModbusFaults(),
		Reboot: s.rebooter(func() {
			full := uint16(100 * math.Pow10(-int(int16(s.get(124, 25)))))
			s.set(124, 5, 0)
			s.set(124, 12, full, full, 0, 0)
		}),
		StrayWrites: func() []drivertest.Request { return s.stray(124, 5, 12, 13, 15, 17) },
	}
}

// storage704 makes a DER: 1, 701, 702, 713, 704, end.
func storage704(t *testing.T, base uint16, sf int) *sim {
	s := newSim(t, base)
	s.common("SN704")
	s.model(701, 153)
	s.set(701, 10, 0)
	s.set(701, 116, 1)
	s.model(702, 50)
	s.set(702, 2, 600)
	s.set(702, 10, 500, 450)
	s.set(702, 26, 550)
	s.set(702, 45, 1)
	s.model(713, 7)
	s.set(713, 2, 1350, 900, 661)
	s.set(713, 7, 1, neg(-1))
	s.model(704, 65)
	s.set(704, 22, 0, 0, 0, 0, 0, 0, 0x8000, 0x8000, 1, 0, 0, 0, 0)
	s.set(704, 55, neg(sf), 0x8000)
	s.end()
	return s
}

// bench704 plays a battery behind model 704.
func bench704(t *testing.T, s *sim, o sunspec.StorageOptions) *drivertest.Bench {
	u := s.registers(t)
	o.Allow = allower(u)
	long := func(offset int) uint32 { return uint32(s.get(704, offset))<<16 | uint32(s.get(704, offset+1)) }
	step := math.Pow10(int(int16(s.get(704, 55))))
	return &drivertest.Bench{
		Device: sunspec.NewStorage(u, o), Kind: drivers.Battery,
		StepW: 10, Step: step,
		Measure: func(w float64) { s.set(701, 10, neg(int(w/10))) },
		Blank:   func() { s.set(701, 10, 0x8000) },
		Cases: []drivertest.Case{
			{Command: drivers.Command{PowerW: 3210}, Want: 3210},
			{Command: drivers.Command{PowerW: -2345}, Want: -2345},
			{Command: drivers.Command{PowerW: 0}, Want: 0},
			{Command: drivers.Command{PowerW: 99000}, Want: 4500},
			{Command: drivers.Command{PowerW: -99000}, Want: -5000},
		},
		Commanded: func() (float64, bool) {
			if s.get(704, 22) != 1 {
				return 0, false
			}
			if s.get(704, 23) != 1 || s.get(704, 30) != 0 {
				return math.NaN(), true
			}
			return float64(int32(long(24))) * step, true
		},
		Fallback:      func() time.Duration { return time.Duration(long(31)) * time.Second },
		ClearFallback: func() { s.set(704, 31, 0, 0) },
		Break:         s.fault, Faults: drivertest.ModbusFaults(),
		Reboot:      s.rebooter(func() { s.set(704, 22, 0, 0, 0, 0, 0, 0, 0x8000, 0x8000, 1, 0, 0) }),
		StrayWrites: func() []drivertest.Request { return s.stray(704, 22, 23, 24, 25, 30, 31, 32) },
	}
}
