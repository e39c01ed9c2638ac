package modbus

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"nominald/drivers"
)

const lateTimeout = 40 * time.Millisecond

// after answers a while after the request. Meanwhile the slave is busy.
func after(d time.Duration, f rtuAnswer) rtuAnswer {
	return func(write func([]byte), request []byte) {
		time.Sleep(d)
		f(write, request)
	}
}

// The late reply to one request has the same unit, function and length as the
// reply to the next one, to other registers, and comes after that has gone out.
func TestLateRTUReplyIsNotAnotherRegister(t *testing.T) {
	const timeout = 100 * time.Millisecond
	for _, lateness := range []float64{1.1, 1.5, 2, 3, 5} {
		for kind, s := range map[string]*slave{"serial": newSlave(t), "socket": newSocketSlave(t)} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				l := s.line(timeout)
				if kind == "socket" {
					l = s.socketLine(timeout)
				}
				one, two := l.Unit(1), l.Unit(2)
				must(t, checkHolding(t, one, 10, 4))
				s.set(after(time.Duration(lateness*float64(timeout)), rtuGood))
				if err := checkHolding(t, one, 20, 4); !errors.Is(err, drivers.ErrOffline) || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("got %v, want a timeout", err)
				}
				s.set(rtuGood)
				wellAgain := 0
				for i := range uint16(60) { // checkHolding ends the test at a wrong value
					if checkHolding(t, one, 30+i, 4) == nil {
						wellAgain++
					}
					_ = checkHolding(t, two, 30+i, 4)
				}
				if wellAgain < 45 {
					t.Errorf("%d of 60 reads succeeded after one late reply: %+v", wellAgain, l.Stats())
				}
			})
		}
	}
}

// Units that are late by anything up to eight timeouts, one that loses what it
// is sent meanwhile and one that keeps it: no value under a wrong name.
func TestRandomLatenessNeverMisattributes(t *testing.T) {
	for name, keeps := range map[string]bool{"keeps requests": true, "loses requests": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSlave(t)
			rnd := rand.New(rand.NewPCG(7, 11))
			s.set(lateAtRandom(rnd, keeps))
			l := s.line(12 * time.Millisecond)
			units := []*Unit{l.Unit(1), l.Unit(2), l.Unit(3)}
			for _, u := range units {
				u.Allow(Range{Holding, 0, 65535})
			}
			good, bad := 0, 0
			pick := rand.New(rand.NewPCG(3, 5))
			for i, end := 0, time.Now().Add(2*time.Second); time.Now().Before(end); i++ {
				u := units[pick.IntN(3)]
				var err error
				switch addr := uint16(pick.IntN(50000)); pick.IntN(4) {
				case 0:
					err = u.WriteRegister(t.Context(), addr, uint16(i))
				default:
					err = checkHolding(t, u, addr, 2)
				}
				if good++; err != nil {
					good, bad = good-1, bad+1
				}
				if errors.Is(err, drivers.ErrRefused) {
					t.Fatalf("%v: an earlier write's echo was taken for this one's", err)
				}
			}
			t.Logf("%d good, %d failed: %+v", good, bad, l.Stats())
			if good < 60 || bad < 15 {
				t.Errorf("%d good, %d failed: the line starves, or nothing was late", good, bad)
			}
		})
	}
}

// lateAtRandom answers one request in eight late. What comes meanwhile is kept
// in the line's buffer; a slave that loses it does not answer it either. It is
// not late again while a queue may stand behind it, or replies would be later
// than any master waits (lateLimit).
func lateAtRandom(rnd *rand.Rand, keeps bool) rtuAnswer {
	var busy, rested time.Time
	return func(write func([]byte), request []byte) {
		if !keeps && time.Now().Before(busy) {
			return
		}
		start := time.Now()
		if rnd.IntN(8) == 0 && start.After(rested) {
			time.Sleep(12 * time.Millisecond * time.Duration([]int{11, 15, 20, 50, 80}[rnd.IntN(5)]) / 10)
			busy = time.Now().Add(time.Since(start) / 1000) // what piled up is lost
			rested = time.Now().Add(100 * time.Millisecond)
		}
		rtuGood(write, request)
	}
}

// A caller that gives up early does not make the next one talk into the reply.
func TestCutShortRequestHoldsTheLine(t *testing.T) {
	s := newSlave(t)
	s.set(after(60*time.Millisecond, rtuGood))
	l := s.line(150 * time.Millisecond)
	start := time.Now()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.Unit(1).ReadHolding(short, 1, make([]uint16, 2)); !errors.Is(err, drivers.ErrOffline) {
		t.Fatalf("got %v, want offline", err)
	}
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("the hurried caller waited %v", took)
	}
	must(t, checkHolding(t, l.Unit(2), 1, 2))
	if took := time.Since(start); took < 150*time.Millisecond+60*time.Millisecond {
		t.Errorf("the next was answered after %v, want it sent after 150ms", took)
	}
	if st := l.Stats(); st.Discarded != 1 || st.Doubts != 0 {
		t.Errorf("got %+v, want the late reply dropped", st)
	}
}

// A dead unit costs one timeout each time that it is asked, and the living
// ones nothing else.
func TestDeadUnitDoesNotStarveTheLiving(t *testing.T) {
	s := newSlave(t)
	s.set(func(write func([]byte), request []byte) {
		if request[0] != 9 {
			rtuGood(write, request)
		}
	})
	l := s.line(lateTimeout)
	dead, living := l.Unit(9), []*Unit{l.Unit(1), l.Unit(2)}
	start := time.Now()
	for i := range uint16(10) {
		if err := checkHolding(t, dead, i, 4); !errors.Is(err, drivers.ErrOffline) {
			t.Fatalf("got %v, want offline", err)
		}
		for _, u := range living {
			must(t, checkHolding(t, u, i, 4))
		}
	}
	if took := time.Since(start); took > 10*lateTimeout+700*time.Millisecond {
		t.Errorf("ten rounds took %v, want about ten timeouts of %v", took, lateTimeout)
	}
	for _, u := range living {
		if st := u.Stats(); st.Requests != 10 || st.Timeouts+st.Doubts+st.Other != 0 {
			t.Errorf("got %+v, want 10 requests and no error", st)
		}
	}
}

// Some devices are silent to functions that they do not know. Then nothing can
// settle a debt but time.
func TestUnitThatKnowsOneFunctionOnly(t *testing.T) {
	t.Parallel()
	s := newSlave(t)
	threeAndSix := func(write func([]byte), request []byte) {
		if request[1] == 3 || request[1] == 6 {
			rtuGood(write, request)
		}
	}
	s.set(threeAndSix)
	l := s.line(lateTimeout)
	u := l.Unit(1)
	u.Allow(Range{Holding, 0, 100})
	must(t, checkHolding(t, u, 1, 4))
	for range 2 {
		s.set(after(lateTimeout*5/2, threeAndSix))
		start := time.Now()
		_ = checkHolding(t, u, 2, 4)
		s.set(threeAndSix)
		var err error
		for err = errDoubt; err != nil && time.Since(start) < 40*lateTimeout; {
			time.Sleep(lateTimeout / 4)
			err = checkHolding(t, u, 3, 4)
		}
		took := time.Since(start)
		if err != nil || took < lateLimit*lateTimeout {
			t.Fatalf("well after %v: %v, want %d timeouts of %v at least", took, err, lateLimit, lateTimeout)
		}
	}
	// A write is not held back, but an acknowledgement that may be another
	// write's is none.
	s.set(after(lateTimeout*3/2, threeAndSix))
	_ = u.WriteRegister(t.Context(), 5, 77)
	s.set(threeAndSix)
	must(t, checkHolding(t, u, 4, 4)) // function 3 settles it
	must(t, u.WriteRegister(t.Context(), 5, 78))
}

// A write goes out even if nothing can tell its reply from an earlier one, but
// then it is not acknowledged.
func TestWriteIsNotHeldBack(t *testing.T) {
	t.Parallel()
	const timeout = 30 * time.Millisecond
	s := newSlave(t)
	l := s.line(timeout)
	u := l.Unit(1)
	u.Allow(Range{Holding, 0, 100})
	must(t, checkHolding(t, u, 0, 1)) // no echo here
	s.set(rtuDeaf)
	for i := range 5 {
		if err := u.WriteRegister(t.Context(), 5, uint16(i)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v, want a timeout", err)
		}
	}
	writes := 0
	for _, r := range s.seen() {
		if r[1] == 6 {
			writes++
		}
	}
	if writes != 4 {
		t.Errorf("%d of 5 writes went out, want all but the one behind the probe", writes)
	}
	s.set(func(write func([]byte), request []byte) {
		if request[1] == 6 {
			rtuGood(write, request)
		}
	})
	if err := u.WriteRegister(t.Context(), 6, 1); !errors.Is(err, errDoubt) {
		t.Errorf("got %v, want doubt whose acknowledgement it is", err)
	}
	open := l.wire.(*rtuWire).ledger.units[1].open
	time.Sleep(time.Until(open[len(open)-1].until)) // whatever was queued in the unit is over
	must(t, u.WriteRegister(t.Context(), 6, 2))
}

// However often a dead unit is asked, what it owes is bounded.
func TestDebtsAreBounded(t *testing.T) {
	s := newSlave(t)
	s.set(change(func([]byte) []byte { return make([]byte, 12) }))
	l := s.line(2 * time.Second)
	u := l.Unit(1)
	for i := range uint16(40) {
		if err := checkHolding(t, u, i, 2); !errors.Is(err, drivers.ErrOffline) {
			t.Fatalf("got %v, want offline", err)
		}
	}
	if n := len(l.wire.(*rtuWire).ledger.units[1].open); n != mostOwed {
		t.Errorf("%d replies are owed, want %d", n, mostOwed)
	}
	if n := len(s.seen()); n != mostOwed {
		t.Errorf("%d requests went out, want %d", n, mostOwed)
	}
}
