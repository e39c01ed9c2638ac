package modbus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nominald/drivers/drivertest/rtuslave"
	"nominald/drivers/modbus"
)

// soak is many lines on which most answers are spoiled, and what came of it.
type soak struct {
	seed    uint64
	count   uint64
	timeout time.Duration

	done, answered, refused, attempts atomic.Uint64
	pulls, sticks                     atomic.Uint64
	wrong, stray                      atomic.Uint64
	planted                           [rtuslave.HangUp + 1]atomic.Uint64

	mu       sync.Mutex
	findings []string
}

const soakLines = 48

// TestSoak runs transactions of which most are spoiled in some way, on many
// lines of all three framings, and holds every value that is accepted against
// what the device held in that transaction, every write that is confirmed
// against what reached it, and every write that reached the line against the
// allow-list. SOAK_COUNT and SOAK_SEED choose another length and another run;
// with a count it prints its figures.
func TestSoak(t *testing.T) {
	s := &soak{seed: 1, count: 20_000, timeout: 20 * time.Millisecond}
	if v := os.Getenv("SOAK_SEED"); v != "" {
		s.seed = number(t, v)
	}
	measured := os.Getenv("SOAK_COUNT")
	if measured != "" {
		s.count = number(t, measured)
	}
	if testing.Short() {
		s.count = min(s.count, 4000)
	}
	start := time.Now()
	var all sync.WaitGroup
	for n := range soakLines {
		l := newSoakLine(t, s, n)
		all.Go(l.run)
	}
	all.Wait()
	took := time.Since(start)
	share := float64(s.answered.Load()) / float64(s.done.Load())
	t.Logf("seed %d: %d transactions in %v, %.2f answered, %d writes outside the allow-list refused",
		s.seed, s.done.Load(), took.Round(time.Millisecond), share, s.refused.Load())
	for _, f := range s.findings {
		t.Errorf("seed %d, %s", s.seed, f)
	}
	if s.done.Load() < s.count || share < 0.2 || s.refused.Load() == 0 {
		t.Errorf("%d transactions of which %.2f were answered: the soak did not get through", s.done.Load(), share)
	}
	for kind := range s.planted {
		if s.planted[kind].Load() == 0 {
			t.Errorf("no fault of kind %d was planted", kind)
		}
	}
	if measured != "" {
		s.print(took, share)
	}
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SOAK_COUNT and SOAK_SEED are whole numbers: %v", err)
	}
	return n
}

// print shows what was planted, and the figures.
func (s *soak) print(took time.Duration, share float64) {
	names := []string{"none", "deaf", "carried out, mute", "late", "exception", "garbage", "noise in front", "wrong check", "short",
		"wrong unit", "wrong function", "wrong count", "glued", "dribble", "reboot", "hang-up"}
	fmt.Printf("\nseed %d, %d lines, timeout %v\n%-20s %10s\n", s.seed, soakLines, s.timeout, "planted", "requests")
	for i, name := range names {
		fmt.Printf("%-20s %10d\n", name, s.planted[i].Load())
	}
	fmt.Printf("%-20s %10d\n", "stuck values", s.sticks.Load())
	fmt.Printf("%-20s %10d\n", "pulled and plugged", s.pulls.Load())
	fmt.Printf("%-20s %10d\n\n", "forbidden writes", s.attempts.Load())
	figure := func(name string, value float64, unit, op string, limit float64) {
		verdict := "short"
		if op == "<=" && value <= limit || op == ">=" && value >= limit {
			verdict = "ok"
		}
		fmt.Printf("figure %s %.10g %s goal %s %g %s\n", name, value, unit, op, limit, verdict)
	}
	figure("soak_transactions", float64(s.done.Load()), "count", ">=", 1e6)
	figure("soak_wrong_values", float64(s.wrong.Load()), "count", "<=", 0)
	figure("soak_stray_writes", float64(s.stray.Load()), "count", "<=", 0)
	figure("soak_answered", float64(int(share*1000))/1000, "share", ">=", 0.3)
	figure("soak_seconds", took.Round(100*time.Millisecond).Seconds(), "s", "<=", 480)
}

// find records what must not be.
func (l *soakLine) find(counter *atomic.Uint64, format string, args ...any) {
	counter.Add(1)
	l.soak.mu.Lock()
	defer l.soak.mu.Unlock()
	if len(l.soak.findings) >= 20 {
		return
	}
	text := fmt.Sprintf("%s, transaction %d: ", l.name, l.epoch.Load()) + fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.lately {
		text += "\n\t" + f
	}
	l.soak.findings = append(l.soak.findings, text)
}

// run makes transactions until all lines together have made enough.
func (l *soakLine) run() {
	for l.soak.done.Load() < l.soak.count && l.soak.wrong.Load() < 20 {
		e := l.epoch.Add(1)
		rnd := rand.New(rand.NewPCG(l.soak.seed^uint64(l.number)<<48, uint64(e)<<32))
		ctx, cancel := context.WithCancel(context.Background())
		if rnd.IntN(30) == 0 { // a caller in a hurry
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.Int64N(int64(l.soak.timeout))))
		}
		var pulled sync.WaitGroup
		if rnd.IntN(1500) == 0 {
			l.soak.pulls.Add(1)
			after, gone := rnd.Int64N(3000), rnd.Int64N(20000)
			pulled.Go(func() { l.replug(after, gone) })
		}
		before := l.master.Stats().Requests
		i := rnd.IntN(len(l.units))
		switch kind := rnd.IntN(100); {
		case kind < 10:
			l.forbidden(ctx, rnd, l.units[i])
		case kind < 25:
			l.write(ctx, rnd, i)
		default:
			l.read(ctx, rnd, i)
		}
		cancel()
		pulled.Wait()
		if l.master.Stats().Requests > before {
			l.soak.done.Add(1)
		} else {
			time.Sleep(time.Millisecond) // the line is not there
		}
		if e%500 == 0 {
			l.audit()
		}
	}
	l.audit()
}

// replug pulls the adapter and plugs it again, µs later each.
func (l *soakLine) replug(after, pulled int64) {
	time.Sleep(time.Duration(after) * time.Microsecond)
	_ = l.slave.Unplug()
	time.Sleep(time.Duration(pulled) * time.Microsecond)
	_ = l.slave.Plug()
}

// read reads somewhere. Now and then the device's values stick first.
func (l *soakLine) read(ctx context.Context, rnd *rand.Rand, i int) {
	d := l.liars[i]
	switch rnd.IntN(200) {
	case 0:
		l.soak.sticks.Add(1)
		d.stuck.Store(l.epoch.Load())
	case 1, 2, 3, 4, 5:
		d.stuck.Store(0)
	}
	function, epoch := byte(1+rnd.IntN(4)), d.epoch()
	counts := []int{1, 2, 2, 3, 10, 20, 20, 60, 125}
	if function < 3 {
		counts = []int{16, 24, 100, 2000}
	}
	dst := make([]uint16, counts[rnd.IntN(len(counts))])
	addr := uint16(rnd.IntN(1<<16 - len(dst)))
	if rnd.IntN(2) == 0 {
		addr = uint16(1000 + rnd.IntN(8)) // often the same ones
	}
	if err := l.units[i].Read(ctx, function, addr, dst); err != nil {
		for k, v := range dst {
			if v != 0 {
				l.find(&l.soak.wrong, "unit %d function %d: %d+%d failed (%v) but set value %d to %d", d.unit, function, addr, len(dst), err, k, v)
				return
			}
		}
		return
	}
	l.soak.answered.Add(1)
	for k, got := range dst {
		if want := truth(d.unit, function, addr+uint16(k), epoch); got != want {
			l.find(&l.soak.wrong, "unit %d function %d: %d+%d: value %d is %d, want %d", d.unit, function, addr, len(dst), k, got, want)
			return
		}
	}
}

// write writes where it may. What is confirmed must be there.
func (l *soakLine) write(ctx context.Context, rnd *rand.Rand, i int) {
	function := []byte{5, 6, 15, 16}[rnd.IntN(4)]
	first, room := uint16(100), 40
	if table(function) == 0 {
		first, room = 8, 16
	}
	n := 1
	if function > 6 {
		n += rnd.IntN(room)
	}
	addr := first + uint16(rnd.IntN(room-n+1))
	values := somewhat(rnd, function, n)
	if err := l.units[i].Write(ctx, function, addr, values); err != nil {
		return
	}
	l.soak.answered.Add(1)
	if !l.liars[i].holds(function, addr, values) {
		l.find(&l.soak.wrong, "unit %d function %d: the write of %d+%d was confirmed, but is not there", l.liars[i].unit, function, addr, n)
	}
}

func somewhat(rnd *rand.Rand, function byte, n int) []uint16 {
	values := make([]uint16, n)
	for k := range values {
		switch function {
		case 5:
			values[k] = 0xFF00 * uint16(rnd.IntN(2))
		case 15:
			values[k] = uint16(rnd.IntN(2))
		default:
			values[k] = uint16(rnd.Uint32())
		}
	}
	return values
}

// forbidden tries to write where it may not: beside a range, over its end, or
// in the other table.
func (l *soakLine) forbidden(ctx context.Context, rnd *rand.Rand, u *modbus.Unit) {
	tries := []struct {
		function byte
		addr     uint16
		n        int
	}{{6, 99, 1}, {6, 140, 1}, {16, 139, 2}, {16, 95, 6}, {16, 100, 41}, {5, 7, 1}, {5, 100, 1}, {15, 23, 2}, {15, 0, 9}, {6, 8, 1}, {16, 59999, 3}, {6, 0, 1}}
	try := tries[rnd.IntN(len(tries))]
	l.soak.attempts.Add(1)
	err := u.Write(ctx, try.function, try.addr, somewhat(rnd, try.function, try.n))
	if !errors.Is(err, modbus.ErrNotAllowed) {
		l.find(&l.soak.stray, "unit %d function %d: the write to %d+%d gave %v, want it refused", u.ID(), try.function, try.addr, try.n, err)
		return
	}
	l.soak.refused.Add(1)
}

// audit holds every write that the line carried against the allow-list.
func (l *soakLine) audit() {
	for _, w := range l.slave.Writes() {
		for k := range w.Count {
			if !isAllowed(w.Function, w.Addr+k) {
				l.find(&l.soak.stray, "unit %d function %d: a write to %d+%d was on the line", w.Unit, w.Function, w.Addr, w.Count)
				break
			}
		}
	}
}
