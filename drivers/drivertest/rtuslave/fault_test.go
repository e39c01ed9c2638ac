package rtuslave

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

func TestEachFaultDoesWhatItSays(t *testing.T) {
	ask, right := sealed([]byte{1, 3, 0, 5, 0, 2}), sealed([]byte{1, 3, 4, 0, 5, 0, 6})
	wrongCheck := slices.Clone(right)
	wrongCheck[8] ^= 0x5A
	for _, c := range []struct {
		name  string
		fault Fault
		want  []byte
	}{
		{"none", Fault{}, right},
		{"deaf", Fault{Kind: Deaf}, nil},
		{"mute", Fault{Kind: Mute}, nil},
		{"late", Fault{Kind: Late, Delay: 30 * time.Millisecond}, right},
		{"exception", Fault{Kind: Exception, Code: 11}, sealed([]byte{1, 0x83, 11})},
		{"garbage", Fault{Kind: Garbage, Bytes: []byte{9, 8, 7}}, []byte{9, 8, 7}},
		{"noise", Fault{Kind: Noise}, append([]byte{0}, right...)},
		{"wrong CRC", Fault{Kind: BadCheck}, wrongCheck},
		{"short", Fault{Kind: Short}, right[:4]},
		{"wrong unit", Fault{Kind: WrongUnit}, sealed([]byte{0, 3, 4, 0, 5, 0, 6})},
		{"wrong function", Fault{Kind: WrongFunction}, sealed([]byte{1, 4, 4, 0, 5, 0, 6})},
		{"wrong count", Fault{Kind: WrongCount}, sealed([]byte{1, 3, 2, 0, 5})},
		{"glued", Fault{Kind: Glued}, append(slices.Clone(right), right...)},
		{"dribble", Fault{Kind: Dribble, Delay: 3 * time.Millisecond}, right},
		{"reboot", Fault{Kind: Reboot, Delay: 20 * time.Millisecond}, right[:3]},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, b := open(t, Options{})
			m := dialPty(t, l, 9600)
			l.FaultNext(c.fault)
			start := time.Now()
			m.send(ask...)
			m.want("spoiled", c.want...)
			least := c.fault.Delay
			if c.fault.Kind == Dribble {
				least *= time.Duration(len(right))
			}
			if took := time.Since(start) - 60*time.Millisecond; c.fault.Kind != Reboot && took < least {
				t.Errorf("took %v, want %v at least", took, least)
			}
			if c.fault.Kind == Reboot && b.reboots.Load() != 1 {
				t.Error("the device was not told that it restarted")
			}
			m.send(ask...)
			m.want("the next", right...)
		})
	}
}

func TestFaultsOfWrites(t *testing.T) {
	l, b := open(t, Options{})
	m := dialPty(t, l, 9600)
	l.FaultNext(Fault{Kind: Deaf}, Fault{Kind: Mute}, Fault{Kind: Exception, Code: 3}, Fault{Kind: WrongCount})
	for i, want := range [][]byte{nil, nil, {1, 0x86, 3}, {1, 6, 0, 10, 0, 4}} {
		if want != nil {
			want = sealed(want)
		}
		m.send(sealed([]byte{1, 6, 0, 9, 0, byte(i + 1)})...)
		m.want("write", want...)
	}
	if !slices.Equal(b.wrote(), []uint16{2, 4}) {
		t.Errorf("carried out %v, want the muted and the wrongly echoed write", b.wrote())
	}
	if n := len(l.Writes()); n != 4 {
		t.Errorf("logged %d writes, want all 4", n)
	}
}

// A unit works on one request at a time; the others are not held up by it.
func TestBusyUnitLosesOrQueues(t *testing.T) {
	first, second := sealed([]byte{1, 3, 0, 5, 0, 1}), sealed([]byte{1, 3, 0, 6, 0, 1})
	other := sealed([]byte{2, 3, 0, 7, 0, 1})
	five, six, seven := sealed([]byte{1, 3, 2, 0, 5}), sealed([]byte{1, 3, 2, 0, 6}), sealed([]byte{2, 3, 2, 0, 7})
	for _, queue := range []bool{false, true} {
		l, _ := open(t, Options{Queue: queue})
		l.Attach(2, &bank{})
		m := dialPty(t, l, 9600)
		l.FaultNext(Fault{Kind: Late, Delay: 100 * time.Millisecond})
		m.send(first...)
		time.Sleep(10 * time.Millisecond)
		m.send(second...)
		time.Sleep(10 * time.Millisecond)
		m.send(other...)
		want := slices.Concat(seven, five)
		if queue {
			want = slices.Concat(seven, five, six)
		}
		if got, _ := m.receive(150 * time.Millisecond); !bytes.Equal(got, want) {
			t.Errorf("queue %t: got % x, want % x", queue, got, want)
		}
		if st := l.Stats(); st.Overlaps != 2 || (st.Lost == 0) != queue {
			t.Errorf("queue %t: counted %+v", queue, st)
		}
	}
}

func TestServedOverTCP(t *testing.T) {
	l, err := Listen("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Attach(1, &bank{})
	ask, right := sealed([]byte{1, 3, 0, 5, 0, 1}), sealed([]byte{1, 3, 2, 0, 5})
	m := dialTCP(t, l)
	m.send(ask...)
	m.want("RTU over TCP", right...)

	late := dialTCP(t, l) // takes the place of the first
	late.send(ask...)
	late.want("the second caller", right...)
	if _, ended := m.receive(time.Second); !ended {
		t.Error("the first caller was not hung up on")
	}
	l.FaultNext(Fault{Kind: HangUp})
	late.send(ask...)
	if got, ended := late.receive(time.Second); !ended || len(got) > 3 {
		t.Errorf("hang-up: got % x, ended %t; want half an answer at most and the end", got, ended)
	}
	again := dialTCP(t, l)
	again.send(ask...)
	again.want("after the hang-up", right...)
	if err := l.Unplug(); err != nil {
		t.Fatal(err)
	}
	if _, ended := again.receive(time.Second); !ended {
		t.Error("unplugged, but still connected")
	}
	waits := dialTCP(t, l)
	waits.send(ask...)
	waits.want("unplugged")
	if err := l.Plug(); err != nil {
		t.Fatal(err)
	}
	waits.want("plugged again", right...)
}

func TestModbusTCPFraming(t *testing.T) {
	l, err := Listen("127.0.0.1:0", Options{Framing: TCP})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Attach(7, &bank{})
	m := dialTCP(t, l)
	ask := []byte{0x12, 0x34, 0, 0, 0, 6, 7, 3, 0, 5, 0, 1}
	right := []byte{0x12, 0x34, 0, 0, 0, 5, 7, 3, 2, 0, 5}
	m.send(append(slices.Clone(ask), ask...)...)
	m.want("two at once", append(slices.Clone(right), right...)...)
	l.FaultNext(Fault{Kind: BadCheck})
	m.send(ask...)
	spoiled := slices.Clone(right)
	spoiled[1] ^= 0x5A
	m.want("another transaction", spoiled...)
}

// Over Modbus TCP no frame stands within another, and nothing follows half a
// frame before the next connection.
func TestModbusTCPFramesAreNotMixed(t *testing.T) {
	l, err := Listen("127.0.0.1:0", Options{Framing: TCP})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ask := func(unit byte) []byte { return []byte{0, unit, 0, 0, 0, 6, unit, 3, 0, unit, 0, 1} }
	right := func(unit byte) []byte { return []byte{0, unit, 0, 0, 0, 5, unit, 3, 2, 0, unit} }
	for unit := byte(1); unit < 4; unit++ {
		l.Attach(unit, &bank{})
	}
	m := dialTCP(t, l)
	l.FaultNext(Fault{Kind: Late, Delay: 15 * time.Millisecond}, Fault{Kind: Dribble, Delay: 5 * time.Millisecond})
	m.send(slices.Concat(ask(1), ask(2), ask(3))...)
	m.want("late, dribbled, at once", slices.Concat(right(3), right(2), right(1))...)
	l.FaultNext(Fault{Kind: Late, Delay: 20 * time.Millisecond}, Fault{Kind: Short})
	m.send(slices.Concat(ask(1), ask(2), ask(3))...)
	m.want("late, short, at once", right(2)[:5]...)
	again := dialTCP(t, l)
	again.send(ask(3)...)
	again.want("the next connection", right(3)...)
}
