package modbus

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	gb "github.com/goburrow/modbus"

	"nominald/drivers"
)

func TestDueKeepsThePausesOfBothUnits(t *testing.T) {
	now := time.Now()
	slow := Timing{PauseBetween: 100 * time.Millisecond}
	lonely := Timing{UnitChange: 50 * time.Millisecond}
	plain := Timing{}
	waking := Timing{PauseAfterConnect: 2 * time.Second}
	for name, c := range map[string]struct {
		before     Timing
		unit, next byte
		then       Timing
		want       time.Duration
	}{
		"the same again":          {plain, 1, 1, plain, 0},
		"slow":                    {slow, 1, 1, slow, 100 * time.Millisecond},
		"slow after another":      {plain, 2, 1, slow, 100 * time.Millisecond},
		"change to lonely":        {plain, 2, 1, lonely, 50 * time.Millisecond},
		"change from lonely":      {lonely, 1, 2, plain, 50 * time.Millisecond},
		"lonely again":            {lonely, 1, 1, lonely, 0},
		"waking, opened long ago": {plain, 2, 1, waking, 0},
	} {
		p := pace{opened: now.Add(-time.Minute)}
		p.done(now, c.unit, c.before)
		if got := max(p.due(c.next, c.then).Sub(now), 0); got != c.want {
			t.Errorf("%s: due after %v, want %v", name, got, c.want)
		}
	}
	p := pace{opened: now}
	if got := p.due(1, waking).Sub(now); got != 2*time.Second {
		t.Errorf("due %v after opening, want 2s", got)
	}
	p.hold = now.Add(3 * time.Second)
	if got := p.due(1, waking).Sub(now); got != 3*time.Second {
		t.Errorf("due after %v, want the 3s that a broadcast holds the line", got)
	}
}

func TestTimingOfAUnitOverridesTheLine(t *testing.T) {
	for name, l := range map[string]*Line{
		"TCP":          newLine(t, newDevice(t).addr, time.Second),
		"serial":       newSlave(t).line(time.Second),
		"RTU over TCP": newSocketSlave(t).socketLine(time.Second),
	} {
		slow, quickOne := l.Unit(1), l.Unit(2)
		slow.SetTiming(Timing{PauseBetween: 80 * time.Millisecond, UnitChange: 140 * time.Millisecond})
		must(t, checkHolding(t, quickOne, 0, 1))
		for i, c := range []struct {
			u    *Unit
			want time.Duration
		}{{quickOne, 0}, {slow, 140}, {slow, 80}, {quickOne, 140}} {
			start := time.Now()
			must(t, checkHolding(t, c.u, 0, 1))
			if took := time.Since(start); took < c.want*time.Millisecond || c.want == 0 && took > 75*time.Millisecond {
				t.Errorf("%s, request %d took %v, want %dms", name, i, took, c.want)
			}
		}
	}
}

func TestTimeoutOfAUnit(t *testing.T) {
	d, s := newDevice(t), newSlave(t)
	d.set(deafTCP)
	s.set(rtuDeaf)
	for _, l := range []*Line{newLine(t, d.addr, 5*time.Second), s.line(5 * time.Second)} {
		u := l.Unit(1)
		u.SetTiming(Timing{Timeout: 50 * time.Millisecond})
		start := time.Now()
		if err := checkHolding(t, u, 0, 1); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("got %v, want offline", err)
		}
		if took := time.Since(start); took < 50*time.Millisecond || took > time.Second {
			t.Errorf("took %v, want the unit's 50ms", took)
		}
	}
}

// A broadcast goes out, is answered by nobody, and holds the line while the
// units carry it out.
func TestBroadcast(t *testing.T) {
	t.Parallel()
	s := newSlave(t)
	s.set(func(write func([]byte), request []byte) {
		if request[0] != 0 {
			rtuGood(write, request)
		}
	})
	l := s.line(time.Second)
	all, one := l.Unit(0), l.Unit(1)
	all.Allow(Range{Holding, 0, 9}, Range{Coil, 0, 9})
	ctx := t.Context()
	for function, values := range map[byte][]uint16{5: {0xFF00}, 6: {7}, 15: {1, 0, 1}, 16: {1, 2, 3}} {
		must(t, all.Write(ctx, function, 2, values))
	}
	start := time.Now()
	must(t, all.WriteRegister(ctx, 2, 9))
	sent := time.Now()
	must(t, checkHolding(t, one, 1, 2))
	if held := time.Since(sent); held < broadcastHold-20*time.Millisecond {
		t.Errorf("the next request went out after %v, want %v", held, broadcastHold)
	}
	if took := sent.Sub(start); took > broadcastHold+100*time.Millisecond {
		t.Errorf("a broadcast took %v, want no waiting for a reply", took)
	}
	if got := s.seen()[4]; !bytes.Equal(got, seal([]byte{0, 6, 0, 2, 0, 9})) {
		t.Errorf("sent % x", got)
	}
	if err := all.ReadHolding(ctx, 1, make([]uint16, 1)); err == nil {
		t.Error("read from all units at once")
	}
}

func TestUnitIDsOfEachFraming(t *testing.T) {
	for _, c := range []struct {
		rule        unitRule
		unit        byte
		read, write bool
	}{
		{anyUnit, 0, true, true}, {anyUnit, 255, true, true},
		{serialUnit, 0, false, true}, {serialUnit, 1, true, true}, {serialUnit, 247, true, true}, {serialUnit, 248, false, false},
		{broadcastUnit, 0, false, true}, {broadcastUnit, 255, true, true},
	} {
		if r, w := c.rule.check(c.unit, false) == nil, c.rule.check(c.unit, true) == nil; r != c.read || w != c.write {
			t.Errorf("rule %d unit %d: read %t write %t, want %t %t", c.rule, c.unit, r, w, c.read, c.write)
		}
	}
	s := newSlave(t)
	u := s.line(time.Second).Unit(248)
	if err := checkHolding(t, u, 0, 1); err == nil || len(s.seen()) != 0 {
		t.Errorf("got %v and %d requests, want an error and none", err, len(s.seen()))
	}
}

func TestUnitsAreCountedApart(t *testing.T) {
	s := newSlave(t)
	s.set(func(write func([]byte), request []byte) {
		switch request[0] {
		case 1:
			after(5*time.Millisecond, rtuGood)(write, request)
		case 2:
			refusal(2)(write, request)
		case 3:
			flip(4)(write, request)
		}
	})
	l := s.line(40 * time.Millisecond)
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { // status pages read while the owner writes
		for {
			select {
			case <-done:
				return
			default:
				_, _ = l.Units(), l.Stats()
			}
		}
	})
	var took []time.Duration // by unit 1, as seen from here
	for _, id := range []byte{3, 2, 1, 4} {
		u := l.Unit(id)
		for range 3 {
			began := time.Now()
			_ = checkHolding(t, u, 0, 2)
			if id == 1 {
				took = append(took, time.Since(began))
			}
		}
		if id == 1 && u.Stats().Requests != 3 {
			t.Errorf("unit 1 says %+v", u.Stats())
		}
	}
	close(done)
	reader.Wait()
	slices.Sort(took)
	most := took[1] * 108 / 100 // the step of the percentiles is 7 %
	got := l.Units()
	for i := range got {
		if got[i].Unit == 1 && (got[i].P50 < 5*time.Millisecond || got[i].P50 > most || got[i].Max < got[i].P99 || got[i].Max > took[2]) {
			t.Errorf("latency %+v, want 5ms at least and what it took: %v", got[i], took)
		}
		got[i].P50, got[i].P90, got[i].P99, got[i].Max = 0, 0, 0, 0
	}
	want := []UnitStats{
		{Unit: 1, Requests: 3}, {Unit: 2, Requests: 3, Exceptions: 3}, {Unit: 3, Requests: 3, Doubts: 3}, {Unit: 4, Requests: 3, Timeouts: 3},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if busy := l.Stats().Busy; busy < 3*40*time.Millisecond {
		t.Errorf("busy %v, want three timeouts at least", busy)
	}
}

func TestPercentiles(t *testing.T) {
	var c tally
	for ms := range 1000 {
		c.count(nil, time.Duration(ms+1)*time.Millisecond)
	}
	c.count(&gb.ModbusError{FunctionCode: 0x83, ExceptionCode: 2}, 5*time.Second)
	got := c.snapshot(7)
	for name, p := range map[string][2]time.Duration{
		"P50": {got.P50, 500 * time.Millisecond}, "P90": {got.P90, 900 * time.Millisecond}, "P99": {got.P99, 990 * time.Millisecond},
	} {
		if off := float64(p[0]-p[1]) / float64(p[1]); off < -0.07 || off > 0.07 {
			t.Errorf("%s: got %v, want %v within 7 %%", name, p[0], p[1])
		}
	}
	if got.Max != 5*time.Second || got.Exceptions != 1 || got.Requests != 1001 {
		t.Errorf("got %+v", got)
	}
	for d := time.Microsecond; d < 2*time.Hour; d = d*11/10 + 1 {
		k := class(d)
		if m := middle(k); k < classes-1 && d > 16*time.Microsecond && (m < d*93/100 || m > d*107/100) {
			t.Fatalf("%v is in class %d about %v", d, k, m)
		}
	}
	if s := new(tally).snapshot(1); s != (UnitStats{Unit: 1}) {
		t.Errorf("got %+v of nothing", s)
	}
}

func TestAllowListIsReplaced(t *testing.T) {
	d := newDevice(t)
	u := newLine(t, d.addr, time.Second).Unit(1)
	u.Allow(Range{Holding, 1, 2})
	u.SetAllowed(Range{Holding, 5, 5}, Range{Coil, 7, 8})
	ctx := t.Context()
	if err := u.Write(ctx, 6, 1, []uint16{1}); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("got %v, want not allowed any more", err)
	}
	must(t, u.Write(ctx, 6, 5, []uint16{1}))
	must(t, u.Write(ctx, 15, 7, []uint16{1, 0}))
	u.SetAllowed()
	if err := u.Write(ctx, 6, 5, []uint16{1}); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("got %v, want nothing allowed", err)
	}
}

func TestReadByFunction(t *testing.T) {
	u := newLine(t, newDevice(t).addr, time.Second).Unit(1)
	for function, table := range map[byte]Table{1: Coil, 2: Discrete, 3: Holding, 4: Input} {
		got := []uint16{9, 9, 9, 9, 9}
		must(t, u.Read(t.Context(), function, 30, got))
		for i, v := range got {
			want := truth(table, 1, 30+uint16(i))
			if function < 3 {
				want = map[bool]uint16{true: 1}[truthBit(table, 1, 30+uint16(i))]
			}
			if v != want {
				t.Errorf("function %d address %d: got %d, want %d", function, 30+i, v, want)
			}
		}
	}
}
