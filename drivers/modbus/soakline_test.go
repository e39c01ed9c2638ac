package modbus_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nominald/drivers/drivertest/rtuslave"
	"nominald/drivers/modbus"
)

// truth is what an address holds in one transaction: another value for every
// unit, function, address and transaction, so that a value under a wrong name
// or of another time is seen, but for one of 65,536 chances.
func truth(unit, function byte, addr uint16, epoch uint32) uint16 {
	x := uint64(unit)<<56 ^ uint64(function)<<48 ^ uint64(addr)<<32 ^ uint64(epoch)
	x += 0x9E3779B97F4A7C15 // splitmix64
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	x ^= x >> 31
	if function < 3 {
		return uint16(x & 1)
	}
	return uint16(x)
}

// The addresses that the soak's units may be written at, and nowhere else.
func allowed() []modbus.Range {
	return []modbus.Range{
		{Table: modbus.Holding, First: 100, Last: 139},
		{Table: modbus.Holding, First: 60000, Last: 60000},
		{Table: modbus.Coil, First: 8, Last: 23},
	}
}

// isAllowed is the list once more, in the slave's own words.
func isAllowed(function byte, addr uint16) bool {
	if function == 5 || function == 15 {
		return addr >= 8 && addr <= 23
	}
	return addr >= 100 && addr <= 139 || addr == 60000
}

// liar is a device of the soak.
type liar struct {
	line *soakLine
	unit byte
	// stuck is the transaction whose values it shows until it is 0 again.
	stuck atomic.Uint32

	mu      sync.Mutex
	written map[[2]uint16]uint16 // by table (0 coil, 1 holding) and address
}

func (d *liar) Read(function byte, addr, count uint16) ([]uint16, error) {
	values, epoch := make([]uint16, count), d.epoch()
	for i := range values {
		values[i] = truth(d.unit, function, addr+uint16(i), epoch)
	}
	return values, nil
}

// epoch is the transaction whose values it shows.
func (d *liar) epoch() uint32 {
	if e := d.stuck.Load(); e != 0 {
		return e
	}
	return d.line.epoch.Load()
}

func (d *liar) Write(function byte, addr uint16, values []uint16) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, v := range values {
		if function == 5 {
			v >>= 15 // 0xFF00 is on
		}
		d.written[[2]uint16{uint16(table(function)), addr + uint16(i)}] = v
	}
	return nil
}

func table(function byte) byte {
	if function == 5 || function == 15 {
		return 0
	}
	return 1
}

// holds tells whether all of it was written.
func (d *liar) holds(function byte, addr uint16, values []uint16) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, v := range values {
		if function == 5 {
			v >>= 15
		}
		if d.written[[2]uint16{uint16(table(function)), addr + uint16(i)}] != v {
			return false
		}
	}
	return true
}

// soakLine is one line of the soak: a simulated one with devices, and the
// driver's end of it.
type soakLine struct {
	soak   *soak
	number int
	name   string
	tcp    bool // over a socket, so that connections can be reset
	slave  *rtuslave.Line
	master *modbus.Line
	units  []*modbus.Unit
	liars  []*liar
	epoch  atomic.Uint32 // the transaction that runs

	nth, of uint32 // requests of that transaction; the slave's alone

	mu     sync.Mutex
	lately []string // what was planted, for a finding
}

// newSoakLine makes line number n: a third each of Modbus TCP, RTU on a pty and
// RTU over TCP. Half of the lines queue requests for a busy unit. Some of the
// ptys echo; half of those say so, the others leave it to be found out.
func newSoakLine(t *testing.T, s *soak, n int) *soakLine {
	t.Helper()
	l := &soakLine{soak: s, number: n}
	o, err := rtuslave.Options{Queue: n/3%2 == 0}, error(nil)
	mo := modbus.Options{Timeout: s.timeout}
	switch n % 3 {
	case 0:
		o.Framing, l.tcp = rtuslave.TCP, true
		if l.slave, err = rtuslave.Listen("127.0.0.1:0", o); err == nil {
			l.master = modbus.NewTCP(l.slave.Path(), mo)
		}
	case 1:
		o.Echo = n/6%2 == 0
		told := o.Echo && n/12%2 == 0
		if o.Echo && !told {
			// Silence for a timeout is taken for the absence of an echo. An adapter
			// echoes at once; a simulated one when it gets the processor.
			mo.Timeout *= 10
		}
		if l.slave, err = rtuslave.Open(filepath.Join(t.TempDir(), "line"), o); err == nil {
			l.master = modbus.NewSerial(modbus.Serial{Path: l.slave.Path(), Baud: 921600, Echo: told}, mo)
		}
	case 2:
		l.tcp = true
		if l.slave, err = rtuslave.Listen("127.0.0.1:0", o); err == nil {
			l.master = modbus.NewRTUOverTCP(l.slave.Path(), mo)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	l.name = fmt.Sprintf("line %d (%s, queue %t, echo %t)", n, []string{"tcp", "rtu", "rtu over tcp"}[n%3], o.Queue, o.Echo)
	for unit := byte(1); unit <= 4; unit++ {
		d := &liar{line: l, unit: unit, written: map[[2]uint16]uint16{}}
		l.slave.Attach(unit, d)
		u := l.master.Unit(unit)
		u.Allow(allowed()...)
		l.liars, l.units = append(l.liars, d), append(l.units, u)
	}
	l.slave.Break(l.fault)
	t.Cleanup(func() { _ = l.master.Close(); _ = l.slave.Close() })
	return l
}

// fault plants what the seed has for this transaction's next request.
func (l *soakLine) fault(r rtuslave.Request) rtuslave.Fault {
	e := l.epoch.Load()
	if e != l.of {
		l.of, l.nth = e, 0
	}
	l.nth++
	rnd := rand.New(rand.NewPCG(l.soak.seed^uint64(l.number)<<48, uint64(e)<<16|uint64(l.nth)))
	f := l.roll(rnd)
	l.soak.planted[f.Kind].Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lately = append(l.lately, fmt.Sprintf("transaction %d, request %d: unit %d function %d %d+%d: fault %d, delay %v",
		e, l.nth, r.Unit, r.Function, r.Addr, r.Count, f.Kind, f.Delay))
	if len(l.lately) > 12 {
		l.lately = slices.Delete(l.lately, 0, len(l.lately)-12)
	}
	return f
}

// roll draws a fault. About four of ten requests get none.
func (l *soakLine) roll(rnd *rand.Rand) rtuslave.Fault {
	timeouts := func(low, high float64) time.Duration {
		return time.Duration((low + (high-low)*rnd.Float64()) * float64(l.soak.timeout))
	}
	noise := func(most int) []byte {
		b := make([]byte, 1+rnd.IntN(most))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	switch n := rnd.IntN(100); {
	case n < 8:
		return rtuslave.Fault{Kind: rtuslave.Late, Delay: timeouts(0.5, 6)}
	case n < 18:
		return rtuslave.Fault{Kind: rtuslave.Exception, Code: byte(1 + rnd.IntN(11))}
	case n < 22:
		return rtuslave.Fault{Kind: rtuslave.Garbage, Bytes: noise(40)}
	case n < 26:
		return rtuslave.Fault{Kind: rtuslave.Noise, Bytes: noise(3)}
	case n < 30:
		return rtuslave.Fault{Kind: rtuslave.Dribble, Delay: timeouts(0.001, 0.05)}
	case n < 32:
		return rtuslave.Fault{Kind: rtuslave.Reboot, Delay: timeouts(0, 3)}
	case n < 34 && l.tcp:
		return rtuslave.Fault{Kind: rtuslave.HangUp}
	case n < 60:
		kinds := []rtuslave.Kind{rtuslave.Deaf, rtuslave.Mute, rtuslave.BadCheck, rtuslave.Short,
			rtuslave.WrongUnit, rtuslave.WrongFunction, rtuslave.WrongCount, rtuslave.Glued}
		kind := kinds[rnd.IntN(len(kinds))]
		return rtuslave.Fault{Kind: kind, Prompt: kind == rtuslave.WrongUnit}
	}
	return rtuslave.Fault{}
}
