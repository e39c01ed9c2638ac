package modbus

import (
	"net"
	"slices"
	"testing"
	"time"
)

// answerAlways serves one client at a time with the same reply under the
// request's transaction id: the least that a Modbus TCP server can do. It
// allocates nothing per request.
func answerAlways(tb testing.TB, reply []byte) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				req, out := make([]byte, maxFrame), append([]byte(nil), reply...)
				for {
					if _, err := c.Read(req); err != nil {
						return
					}
					out[0], out[1] = req[0], req[1]
					if _, err := c.Write(out); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// read20 is the request for 20 holding registers of unit 1.
func read20() []byte { return []byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 100, 0, 20} }

func TestPollAllocatesNothingInTheWire(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	opts := Options{}.withDefaults()
	w := newTCPWire(answerAlways(t, goodReply(read20())), opts, &counters{})
	defer w.close()
	req := read20()
	if n := testing.AllocsPerRun(500, func() {
		if _, err := w.exchange(t.Context(), req, Timing{}.over(opts)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per poll, want 0", n)
	}
}

// BenchmarkTCP reads 20 holding registers b.N times, and sends the same bytes
// back and forth over a bare socket b.N times, in turns of 100 so that both
// meet the same machine. ratio is what is left of the bare socket's rate; it
// and the rates are medians over the turns, since other programs disturb some.
func BenchmarkTCP(b *testing.B) {
	addr := answerAlways(b, goodReply(read20()))
	l := NewTCP(addr, Options{})
	defer l.Close()
	u := l.Unit(1)
	dst := make([]uint16, 20)
	bare, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	req, buf := read20(), make([]byte, maxFrame)

	var ours, floor []float64 // seconds a request, by turn
	b.ReportAllocs()
	for done := 0; done < b.N; done += 100 {
		n := min(100, b.N-done)
		start := time.Now()
		for range n {
			if err := u.ReadHolding(b.Context(), 100, dst); err != nil {
				b.Fatal(err)
			}
		}
		middle := time.Now()
		for range n {
			if _, err := bare.Write(req); err != nil {
				b.Fatal(err)
			}
			if got, err := bare.Read(buf); err != nil || got != 49 {
				b.Fatal(got, err)
			}
		}
		ours = append(ours, middle.Sub(start).Seconds()/float64(n))
		floor = append(floor, time.Since(middle).Seconds()/float64(n))
	}
	if want := truth(Holding, 1, 119); dst[19] != want {
		b.Fatalf("register 119: got %d, want %d", dst[19], want)
	}
	slices.Sort(ours)
	slices.Sort(floor)
	mine, bares := ours[len(ours)/2], floor[len(floor)/2]
	b.ReportMetric(1/mine, "req/s")
	b.ReportMetric(1/bares, "floor-req/s")
	b.ReportMetric(bares/mine, "ratio")
}

func TestRTUPollAllocatesNothingInTheWire(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	serial := newSlave(t)
	serial.always = rtuReply(rtuRequest(2, 100, 19)) // AllocsPerRun counts the slave too
	for name, l := range map[string]*Line{"serial": serial.line(time.Second), "RTU over TCP": answerRTUAlways(t)} {
		req := rtuRequest(2, 100, 19)
		timing := Timing{}.over(l.opts)
		if n := testing.AllocsPerRun(300, func() {
			if _, err := l.wire.exchange(t.Context(), req, timing); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations per poll, want 0", name, n)
		}
		must(t, l.Close())
	}
}

// answerRTUAlways is answerAlways for RTU frames and one client.
func answerRTUAlways(t *testing.T) *Line {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	reply := rtuReply(rtuRequest(2, 100, 19))
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, maxFrame)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(reply); err != nil {
				return
			}
		}
	}()
	return NewRTUOverTCP(ln.Addr().String(), Options{})
}
