package modbus

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"nominald/drivers"
)

// rtuFault is a way in which an RTU device, or the line to it, goes wrong.
type rtuFault struct {
	name   string
	answer rtuAnswer
	ok     bool  // the request succeeds nevertheless
	is     error // else: what the error wraps besides drivers.ErrOffline
	code   byte  // else: the exception that it is
}

// change answers with the reply in order after a change to it.
func change(f func(reply []byte) []byte) rtuAnswer {
	return func(write func([]byte), request []byte) { write(f(rtuReply(request))) }
}

// resealed answers with a frame that is right in itself but for what f does.
func resealed(f func(frame []byte) []byte) rtuAnswer {
	return change(func(r []byte) []byte { return seal(f(r[:len(r)-2])) })
}

// flip answers with one byte damaged on the way.
func flip(at int) rtuAnswer {
	return change(func(r []byte) []byte {
		r[(at+len(r))%len(r)] ^= 0x5A
		return r
	})
}

func refusal(code byte) rtuAnswer {
	return func(write func([]byte), request []byte) { write(seal([]byte{request[0], request[1] | 0x80, code})) }
}

// torn writes what the answer writes in pieces.
func torn(size int, gap time.Duration, f rtuAnswer) rtuAnswer {
	return func(write func([]byte), request []byte) {
		f(func(b []byte) {
			for piece := range slices.Chunk(b, size) {
				write(piece)
				time.Sleep(gap)
			}
		}, request)
	}
}

func rtuFaults() []rtuFault {
	doubt, late := errDoubt, os.ErrDeadlineExceeded
	junk := func(n int) []byte { return slices.Repeat([]byte{0x55, 0xAA, 0xFF}, n)[:n] }
	return []rtuFault{
		{name: "deaf", is: late, answer: rtuDeaf},
		{name: "half a frame", is: late, answer: change(func(r []byte) []byte { return r[:6] })},
		{name: "all but the last byte", is: late, answer: change(func(r []byte) []byte { return r[:len(r)-1] })},
		{name: "four bytes of noise only", is: late, answer: change(func([]byte) []byte { return junk(4) })},
		{name: "drip slower than the timeout", is: late, answer: torn(1, rtuTimeout/8, rtuGood)},
		{name: "babble", is: late, answer: func(write func([]byte), _ []byte) {
			for end := time.Now().Add(2 * rtuTimeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
				write(junk(3))
			}
		}},

		{name: "unit damaged", is: doubt, answer: flip(0)},
		{name: "function damaged", is: doubt, answer: flip(1)},
		{name: "count damaged", is: doubt, answer: flip(2)},
		{name: "value damaged", is: doubt, answer: flip(3)},
		{name: "CRC damaged", is: doubt, answer: flip(-1)},
		{name: "garbage", is: doubt, answer: change(func([]byte) []byte { return junk(40) })},
		{name: "another unit", is: doubt, answer: resealed(func(r []byte) []byte { r[0]++; return r })},
		{name: "another table", is: doubt, answer: resealed(func(r []byte) []byte { r[1] = 4; return r })},
		{name: "a write's reply", is: doubt, answer: change(func(r []byte) []byte { return seal([]byte{r[0], 6, 0, 1, 0, 2}) })},
		{name: "exception to another function", is: doubt, answer: change(func(r []byte) []byte { return seal([]byte{r[0], 0x84, 2}) })},
		{name: "a register less", is: doubt, answer: resealed(func(r []byte) []byte { r[2] -= 2; return r[:len(r)-2] })},
		{name: "a register more", is: doubt, answer: resealed(func(r []byte) []byte { r[2] += 2; return append(r, 1, 2) })},
		{name: "glued twice", is: doubt, answer: change(func(r []byte) []byte { return append(r, r...) })},
		{name: "a byte more", is: doubt, answer: change(func(r []byte) []byte { return append(r, 7) })},
		{name: "damaged behind noise", is: doubt, answer: change(func(r []byte) []byte { r[4]++; return append([]byte{0}, r...) })},

		{name: "byte by byte", ok: true, answer: torn(1, 2*time.Millisecond, rtuGood)},
		{name: "torn by a USB adapter", ok: true, answer: torn(5, 25*time.Millisecond, rtuGood)},
		{name: "a zero in front", ok: true, answer: change(func(r []byte) []byte { return append([]byte{0}, r...) })},
		{name: "noise in front", ok: true, answer: change(func(r []byte) []byte { return append(junk(17), r...) })},
		{name: "noise like a frame in front", ok: true, answer: change(func(r []byte) []byte { return append([]byte{r[0], 3, 8, 1}, r...) })},
		{name: "noise, then torn", ok: true, answer: torn(3, 3*time.Millisecond, change(func(r []byte) []byte { return append([]byte{0xFF}, r...) }))},
		{name: "exception", code: 2, answer: refusal(2)},
		{name: "exception in two reads", code: 4, answer: torn(4, 5*time.Millisecond, refusal(4))},
		{name: "exception byte by byte", code: 11, answer: torn(1, 5*time.Millisecond, refusal(11))},
		{name: "vendor exception", code: 0x80, answer: refusal(0x80)},
	}
}

// rtuTimeout is short enough for many faults, long enough for a busy machine.
const rtuTimeout = 250 * time.Millisecond

func TestNoRTUFaultIsTakenForAValue(t *testing.T) {
	for _, f := range rtuFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := newSlave(t)
			f.run(t, s, s.line(rtuTimeout))
		})
		t.Run(f.name+" over TCP", func(t *testing.T) {
			t.Parallel()
			s := newSocketSlave(t)
			f.run(t, s, s.socketLine(rtuTimeout))
		})
	}
}

// run has the fault between requests in order, and checks that those after it
// are answered rightly as soon as the line is well again.
func (f rtuFault) run(t *testing.T, s *slave, l *Line) {
	one, two := l.Unit(1), l.Unit(2)
	must(t, checkHolding(t, one, 100, 4))
	s.set(f.answer)
	err := checkHolding(t, one, 200, 4)
	e := (*Exception)(nil)
	switch {
	case f.ok && err != nil, f.is != nil && !(errors.Is(err, f.is) && errors.Is(err, drivers.ErrOffline)):
		t.Fatalf("got %v, want ok %t or %v", err, f.ok, f.is)
	case errors.As(err, &e) != (f.code != 0) || e != nil && e.Code != f.code:
		t.Fatalf("got %v, want exception %d", err, f.code)
	}
	s.set(rtuGood)
	failed := 0
	for i := range uint16(12) {
		for _, u := range []*Unit{two, one} {
			if checkHolding(t, u, 300+i, 4) != nil {
				failed++
			}
		}
		if failed > 4 {
			t.Fatalf("%d requests failed after the fault: %+v", failed, l.Stats())
		}
	}
}

// Thousands of transactions, each with a fault of any quick kind, on three
// units and with several functions: never a value under a wrong name.
func TestRandomRTUFaultsNeverMisattribute(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2026, 2))
	var quickOnes []rtuFault
	for _, f := range rtuFaults() {
		if f.is == errDoubt || f.is == nil && f.name != "torn by a USB adapter" {
			quickOnes = append(quickOnes, f)
		}
	}
	s := newSlave(t)
	l := s.line(60 * time.Millisecond)
	units := []*Unit{l.Unit(1), l.Unit(2), l.Unit(247)}
	failed, good := 0, 0
	for range 400 {
		s.set(rtuGood)
		if rnd.IntN(3) == 0 {
			s.set(quickOnes[rnd.IntN(len(quickOnes))].answer)
		}
		u := units[rnd.IntN(3)]
		if err := checkHolding(t, u, uint16(rnd.IntN(60000)), 2+2*rnd.IntN(2)); err != nil {
			failed++
			continue
		}
		good++
	}
	t.Logf("%d good, %d failed: %+v", good, failed, l.Stats())
	if failed < 40 || good < 170 {
		t.Errorf("%d good, %d failed: the faults did not bite, or too hard", good, failed)
	}
}
