package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nominald/drivers"
)

// echoing gives the request back first, as a half-duplex adapter does whatever
// the units on the line do.
func echoing(f rtuAnswer) rtuAnswer {
	return func(write func([]byte), request []byte) {
		write(request)
		f(write, request)
	}
}

func echoLine(t *testing.T, s *slave, told bool) (*Line, *Unit) {
	t.Helper()
	l := NewSerial(Serial{Path: s.path, Baud: 115200, Echo: told}, Options{Timeout: 100 * time.Millisecond})
	t.Cleanup(func() { _ = l.Close() })
	u := l.Unit(1)
	u.Allow(Range{Holding, 0, 9}, Range{Coil, 0, 9})
	return l, u
}

func TestEchoIsRemoved(t *testing.T) {
	for name, told := range map[string]bool{"told": true, "found out": false} {
		for how, f := range map[string]rtuAnswer{
			"at once":      rtuGood,
			"after a turn": after(10*time.Millisecond, rtuGood),
			"torn":         torn(3, 2*time.Millisecond, rtuGood),
			"exception":    refusal(2),
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				s := newSlave(t)
				l, u := echoLine(t, s, told)
				s.set(echoing(f))
				for i := range uint16(4) {
					err := checkHolding(t, u, i, 2+int(i))
					if e := (*Exception)(nil); err != nil && !(how == "exception" && errors.As(err, &e)) {
						t.Fatal(err)
					}
				}
				werr := u.WriteRegister(t.Context(), 3, 7)
				if (werr == nil) != (how != "exception") {
					t.Error(werr)
				}
				if st := l.Stats(); !st.Echo || st.Doubts+st.Timeouts+st.Resyncs != 0 {
					t.Errorf("got %+v, want the echo and no trouble", st)
				}
				if !strings.Contains(l.String(), "echoes") {
					t.Errorf("the line calls itself %q, want it to tell of the echo", l)
				}
			})
		}
	}
}

// The echo of function 6 is also its acknowledgement. A dead unit on a line
// with an echo has not taken the write, even if that is the first thing sent.
func TestEchoOfAWriteIsNoAcknowledgement(t *testing.T) {
	for name, write := range map[string]func(*testing.T, *Unit) error{
		"register":  func(t *testing.T, u *Unit) error { return u.WriteRegister(t.Context(), 3, 7) },
		"registers": func(t *testing.T, u *Unit) error { return u.WriteRegisters(t.Context(), 3, []uint16{7}) },
		"coil":      func(t *testing.T, u *Unit) error { return u.WriteCoil(t.Context(), 3, true) },
		"coils":     func(t *testing.T, u *Unit) error { return u.WriteCoils(t.Context(), 3, []bool{true, false}) },
	} {
		for known, told := range map[string]bool{"told": true, "unknown": false} {
			t.Run(name+" "+known, func(t *testing.T) {
				t.Parallel()
				s := newSlave(t)
				_, u := echoLine(t, s, told)
				s.set(echoing(rtuDeaf))
				for range 3 {
					if err := write(t, u); !errors.Is(err, drivers.ErrOffline) {
						t.Fatalf("got %v from a dead unit, want offline", err)
					}
				}
				s.set(echoing(rtuGood))
				must(t, write(t, u))
			})
		}
	}
}

// Noise in front may hide the echo, but not make a write succeed that did not.
func TestEchoBehindNoise(t *testing.T) {
	s := newSlave(t)
	_, u := echoLine(t, s, false)
	noisy := func(f rtuAnswer) rtuAnswer {
		return func(write func([]byte), request []byte) {
			write(append([]byte{0}, request...))
			f(write, request)
		}
	}
	s.set(noisy(rtuGood))
	_ = checkHolding(t, u, 1, 2)
	s.set(echoing(rtuDeaf))
	if err := u.WriteRegister(t.Context(), 3, 7); !errors.Is(err, drivers.ErrOffline) {
		t.Fatalf("got %v from a dead unit, want offline", err)
	}
}

// Silence tells that there is no echo only once an echo had the time to come:
// not when the caller was in a hurry.
func TestHurryTellsNothingAboutTheEcho(t *testing.T) {
	s := newSlave(t)
	_, u := echoLine(t, s, false)
	must(t, u.line.wire.(*rtuWire).ready(t.Context(), 1, u.timing))
	s.set(func(write func([]byte), request []byte) {
		time.Sleep(15 * time.Millisecond) // a USB adapter's
		write(request)
	})
	short, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := u.ReadHolding(short, 1, make([]uint16, 2)); !errors.Is(err, drivers.ErrOffline) {
		t.Fatalf("got %v, want offline", err)
	}
	for range 3 {
		if err := u.WriteRegister(t.Context(), 3, 7); !errors.Is(err, drivers.ErrOffline) {
			t.Fatalf("got %v from a dead unit, want offline", err)
		}
	}
}

// Without an echo the first write costs one read more, and none later.
func TestFirstWriteFindsOutWhetherThereIsAnEcho(t *testing.T) {
	s := newSlave(t)
	l, u := echoLine(t, s, false)
	for range 3 {
		must(t, u.WriteRegister(t.Context(), 3, 7))
	}
	if st := l.Stats(); st.Resyncs != 1 || st.Requests != 4 || st.Echo {
		t.Errorf("got %+v, want one read and three writes", st)
	}
}

// A unit that takes writes only can be written to on a line without an echo.
func TestWriteToAUnitThatIsSilentToReads(t *testing.T) {
	s := newSlave(t)
	s.set(func(write func([]byte), request []byte) {
		if request[1] > 4 {
			rtuGood(write, request)
		}
	})
	_, u := echoLine(t, s, false)
	for range 3 {
		must(t, u.WriteCoil(t.Context(), 3, true))
	}
}

func TestConfiguredEchoThatDoesNotComeIsNamed(t *testing.T) {
	s := newSlave(t)
	_, u := echoLine(t, s, true)
	if err := checkHolding(t, u, 1, 2); !errors.Is(err, errDoubt) || !strings.Contains(err.Error(), "echo") {
		t.Errorf("got %v, want one about the echo", err)
	}
	s.set(rtuDeaf)
	if err := checkHolding(t, u, 1, 2); err == nil || !strings.Contains(err.Error(), "not even the line's own echo") {
		t.Errorf("got %v, want one about the echo", err)
	}
}

// No legal reply to a read equals its request, except where looksAnswered says
// so: checked by trying to build one.
func TestRequestEqualsALegalReplyOnlyWhereSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		function := rapid.ByteRange(1, 4).Draw(t, "function")
		most := uint16(MaxRead)
		if function < 3 {
			most = MaxBits
		}
		addr := rapid.OneOf(rapid.Uint16(), rapid.Uint16Range(0x300, 0x3FF)).Draw(t, "addr")
		n := rapid.OneOf(rapid.Uint16Range(1, most), rapid.Uint16Range(15, 26)).Draw(t, "count")
		request := probeFrame(nil, 1, function, addr, n)
		size := replySize(request)
		legal := size == len(request) && size == answerSize(request)
		if legal != looksAnswered(request) {
			t.Fatalf("% x: is a legal reply to itself %t, looksAnswered says %t", request, legal, looksAnswered(request))
		}
		if legal && (!sealed(request) || checkReply(request[1:6], request[1:6]) != nil) {
			t.Fatalf("% x: counted as a legal reply, but is none", request)
		}
	})
}

// The one read whose echo is a legal reply: 24 coils from 0x300.
func TestAmbiguousReadIsNotAnsweredByItsEcho(t *testing.T) {
	s := newSlave(t)
	_, u := echoLine(t, s, false)
	s.set(echoing(rtuDeaf))
	bits := make([]bool, 20)
	if err := u.ReadCoils(t.Context(), 0x345, bits); !errors.Is(err, drivers.ErrOffline) {
		t.Fatalf("got %v from a dead unit, want offline", err)
	}
	s.set(echoing(rtuGood))
	must(t, u.ReadCoils(t.Context(), 0x345, bits))
	for i, on := range bits {
		if want := truthBit(Coil, 1, 0x345+uint16(i)); on != want {
			t.Fatalf("coil %d: got %t, want %t", 0x345+i, on, want)
		}
	}
}

// A maker's own values of function 5 pass, which goburrow refuses; what is not
// allowed, or no request, does not go out.
func TestWritesAreFramedOverRTU(t *testing.T) {
	s := newSlave(t)
	_, u := echoLine(t, s, false)
	ctx := t.Context()
	must(t, checkHolding(t, u, 0, 1))
	for _, c := range []struct {
		function byte
		values   []uint16
		want     []byte
	}{
		{5, []uint16{0xFF00}, []byte{1, 5, 0, 4, 0xFF, 0}},
		{5, []uint16{0x5500}, []byte{1, 5, 0, 4, 0x55, 0}}, // a relay board's own: toggle
		{6, []uint16{0xABCD}, []byte{1, 6, 0, 4, 0xAB, 0xCD}},
		{15, []uint16{1, 0, 7, 0, 0}, []byte{1, 15, 0, 4, 0, 5, 1, 0b101}},
		{16, []uint16{1, 0x203}, []byte{1, 16, 0, 4, 0, 2, 4, 0, 1, 2, 3}},
	} {
		must(t, u.Write(ctx, c.function, 4, c.values))
		got := s.seen()[len(s.seen())-1]
		if !bytes.Equal(got, seal(c.want)) || crc16(c.want) != binary.LittleEndian.Uint16(got[len(got)-2:]) {
			t.Errorf("sent % x, want % x", got, seal(c.want))
		}
	}
	before := len(s.seen())
	for _, err := range []error{
		u.Write(ctx, 5, 10, []uint16{0}), u.Write(ctx, 5, 3, []uint16{0, 0}), u.Write(ctx, 6, 9, []uint16{1, 2}),
		u.Write(ctx, 15, 9, []uint16{1, 2}), u.Write(ctx, 16, 9, []uint16{1, 2}), u.Write(ctx, 23, 1, []uint16{1}),
		u.Write(ctx, 6, 3, nil), u.Read(ctx, 5, 1, make([]uint16, 1)), u.Read(ctx, 3, 1, nil),
	} {
		if err == nil {
			t.Error("no error from a request that must not go out")
		}
	}
	if n := len(s.seen()); n != before {
		t.Errorf("%d requests went out that must not", n-before)
	}
}

// A unit that passed over every probe leaves none to choose; an ambiguous read
// on a line that was opened anew is then preceded by one all the same.
func TestAmbiguousReadOfAUnitThatIsSilentToAllProbes(t *testing.T) {
	w := newRTUWire(silence{}, rtuTimes{}, &counters{})
	w.ledger.units = map[byte]*debts{1: {strikes: [5]int{2: strikeLimit, 3: strikeLimit, 4: strikeLimit}}}
	read := probeFrame(nil, 1, 1, 0x0300, 20)
	if _, err := w.exchange(t.Context(), read, Timing{Timeout: time.Millisecond}); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("error %v, want that nothing answers", err)
	}
	if got := w.stats.resyncs.Load(); got != 1 {
		t.Errorf("%d probes, want one", got)
	}
}

// silence is an open link on which nobody answers.
type silence struct{}

func (silence) open(context.Context, bool) (bool, error) { return false, nil }
func (silence) read([]byte, time.Time) (int, error)      { return 0, os.ErrDeadlineExceeded }
func (silence) write([]byte, time.Time) error            { return nil }
func (silence) close() error                             { return nil }
