package rtuslave

import (
	"errors"
	"testing"
	"time"
)

// The first two frames are the examples of Modicon PI-MBUS-300 and of the
// serial line specification's readers; the CRCs were computed elsewhere.
func TestCRCIsThatOfKnownFrames(t *testing.T) {
	for _, frame := range [][]byte{
		{0x02, 0x07, 0x41, 0x12},
		{0x01, 0x03, 0x00, 0x00, 0x00, 0x0A, 0xC5, 0xCD},
		{0x11, 0x03, 0x00, 0x6B, 0x00, 0x03, 0x76, 0x87},
	} {
		if !intact(frame) {
			t.Errorf("% x is not intact, computed %04x", frame, crc16(frame[:len(frame)-2]))
		}
		frame[0]++
		if intact(frame) {
			t.Errorf("% x is intact", frame)
		}
	}
}

func TestAnswersAreFramedAsTheStandardSays(t *testing.T) {
	l, b := open(t, Options{})
	m := dialPty(t, l, 9600)
	for _, c := range []struct {
		name      string
		ask, want []byte
	}{
		{"holding", []byte{1, 3, 1, 2, 0, 2}, []byte{1, 3, 4, 1, 2, 1, 3}},
		{"input", []byte{1, 4, 0, 7, 0, 1}, []byte{1, 4, 2, 0, 7}},
		{"coils", []byte{1, 1, 0, 1, 0, 10}, []byte{1, 1, 2, 0x55, 1}},
		{"discrete", []byte{1, 2, 0, 0, 0, 3}, []byte{1, 2, 1, 2}},
		{"coil, raw", []byte{1, 5, 0, 3, 0x55, 0}, []byte{1, 5, 0, 3, 0x55, 0}},
		{"register", []byte{1, 6, 0, 3, 0xAB, 0xCD}, []byte{1, 6, 0, 3, 0xAB, 0xCD}},
		{"several coils", []byte{1, 15, 0, 3, 0, 3, 1, 5}, []byte{1, 15, 0, 3, 0, 3}},
		{"registers", []byte{1, 16, 0, 3, 0, 2, 4, 0, 8, 0, 9}, []byte{1, 16, 0, 3, 0, 2}},
		{"no registers", []byte{1, 3, 0, 0, 0, 0}, []byte{1, 0x83, 3}},
		{"126 registers", []byte{1, 3, 0, 0, 0, 126}, []byte{1, 0x83, 3}},
		{"beyond the end", []byte{1, 4, 0xFF, 0xFF, 0, 2}, []byte{1, 0x84, 2}},
		{"byte count that does not fit", []byte{1, 16, 0, 3, 0, 2, 2, 0, 8}, []byte{1, 0x90, 3}},
		{"function 43", []byte{1, 43, 14, 1, 0}, []byte{1, 0xAB, 1}},
	} {
		m.send(sealed(c.ask)...)
		m.want(c.name, sealed(c.want)...)
	}
	want := []uint16{0x5500, 0xABCD, 1, 0, 1, 8, 9}
	if len(b.wrote()) != len(want) {
		t.Fatalf("the device was given % x, want % x", b.wrote(), want)
	}
	for i, v := range b.wrote() {
		if v != want[i] {
			t.Errorf("write %d: got %#x, want %#x", i, v, want[i])
		}
	}
	log := l.Writes()
	if len(log) != 5 || log[1].Addr != 3 || log[1].Function != 6 || log[1].Values[0] != 0xABCD || len(l.Writes()) != 0 {
		t.Errorf("the log of writes is %+v", log)
	}
}

func TestErrorsOfADeviceAreExceptions(t *testing.T) {
	l, b := open(t, Options{})
	m := dialPty(t, l, 9600)
	b.fail(code(6))
	m.send(sealed([]byte{1, 3, 0, 0, 0, 1})...)
	m.want("exception 6", sealed([]byte{1, 0x83, 6})...)
	b.fail(errors.New("no code"))
	m.send(sealed([]byte{1, 6, 0, 0, 0, 1})...)
	m.want("any other error", sealed([]byte{1, 0x86, 4})...)
}

func TestOnlyWellFormedRequestsOfAUnitAreAnswered(t *testing.T) {
	l, b := open(t, Options{})
	m := dialPty(t, l, 9600)
	good := sealed([]byte{1, 3, 0, 5, 0, 1})
	answer := sealed([]byte{1, 3, 2, 0, 5})
	m.send(sealed([]byte{2, 3, 0, 0, 0, 1})...)
	m.want("another unit")
	m.send(sealed([]byte{0, 6, 0, 0, 0, 77})...)
	m.want("broadcast")
	m.send(good[:5]...)
	m.want("half a request")
	m.send(1, 3, 0, 5, 0, 1, 0, 0)
	m.want("wrong CRC")
	m.send(good[:3]...)
	m.send(good[3:]...)
	m.want("a request in two pieces, after all that", answer...)
	st := l.Stats()
	if st.Requests != 3 || st.Answers != 1 || st.Broken != 2 {
		t.Errorf("counted %+v, want 3 requests, 1 answer, 2 broken", st)
	}
	if len(b.wrote()) != 1 || b.wrote()[0] != 77 {
		t.Errorf("the broadcast wrote %v, want 77", b.wrote())
	}
}

// Whatever a master sends, the line survives it and takes nothing for a
// request whose check is wrong.
func FuzzRequest(f *testing.F) {
	f.Add(sealed([]byte{1, 3, 0, 0, 0, 2}), false)
	f.Add(sealed([]byte{1, 16, 0, 3, 0, 2, 4, 0, 8, 0, 9}), false)
	f.Add(sealed([]byte{1, 15, 0, 3, 0, 3, 1, 5}), false)
	f.Add(sealed([]byte{1, 43, 14, 1, 0}), false)
	f.Add([]byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 5, 0, 1}, true)
	f.Add([]byte{0, 1, 0, 0, 0, 2, 1, 3}, true)
	f.Fuzz(func(t *testing.T, b []byte, tcp bool) {
		l := newLine("", Options{})
		if tcp {
			l.opts.Framing = TCP
		}
		for unit := range byte(8) {
			l.Attach(unit, &bank{})
		}
		now := time.Now()
		l.take(b, now)
		l.endFrame(now.Add(time.Second))
		if len(l.rx) > 0 || l.skip {
			t.Errorf("% x left after silence", l.rx)
		}
		for _, w := range l.Writes() {
			if !w.Write() {
				t.Errorf("logged as a write: %+v", w)
			}
		}
		for _, c := range l.out {
			if len(c.bytes) > maxFrame || !tcp && !intact(c.bytes) {
				t.Errorf("% x was answered with % x", b, c.bytes)
			}
		}
	})
}
