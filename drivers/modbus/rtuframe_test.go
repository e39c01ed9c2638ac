package modbus

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	gb "github.com/goburrow/modbus"
	"pgregory.net/rapid"

	"nominald/drivers"
)

// Frames printed in public documents, so that the CRC is not checked against
// itself: Modbus over Serial Line 1.02 and makers' manuals.
func TestCRCOfPublishedFrames(t *testing.T) {
	for _, frame := range [][]byte{
		{0x02, 0x07, 0x41, 0x12},                         // Modbus over Serial Line 1.02, appendix B
		{0x01, 0x04, 0x00, 0x00, 0x00, 0x02, 0x71, 0xCB}, // Eastron SDM series, read of voltage
		{0x01, 0x03, 0x00, 0x00, 0x00, 0x01, 0x84, 0x0A},
	} {
		if !sealed(frame) {
			t.Errorf("% x is not sealed", frame)
		}
		if again := seal(frame[:len(frame)-2]); !bytes.Equal(again, frame) {
			t.Errorf("the tests seal % x as % x", frame, again)
		}
	}
}

// scripted is a link whose bytes are there beforehand, in pieces between which
// the line is silent.
type scripted struct {
	pieces [][]byte
	silent bool // between two pieces, not yet told
}

func (s *scripted) read(p []byte, _ time.Time) (int, error) {
	if s.silent || len(s.pieces) == 0 {
		s.silent = false
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces, s.silent = s.pieces[1:], true
	}
	return n, nil
}

// receive feeds pieces to the intake of one request, as roundTrip does.
func receive(request []byte, echo echoState, pieces ...[]byte) ([]byte, error) {
	w := newRTUWire(nil, rtuTimes{}, &counters{})
	w.echo = echo
	link := &scripted{pieces: pieces}
	in := intake{wire: w, request: request, echo: echo == echoes}
	for {
		n, err := link.read(w.buf[in.have:], time.Time{})
		in.have += n
		in.silent = n == 0
		if reply, err := in.take(); reply != nil || err != nil {
			return reply, err
		}
		if err != nil && len(link.pieces) == 0 {
			return nil, in.ended(err)
		}
	}
}

// rtuRequest builds a well-formed request from fuzzed numbers.
func rtuRequest(function byte, addr, quantity uint16) []byte {
	tcp := requestFor(function, addr, quantity)
	return seal(tcp[6:])
}

// FuzzRTU feeds any bytes, cut anywhere, as the reply to any request. What is
// accepted is a whole frame with the request's unit and function, the asked
// number of bytes and a right CRC, and goburrow's own checks agree.
func FuzzRTU(f *testing.F) {
	for function := range byte(7) {
		request := rtuRequest(function, 100, 4)
		good := rtuReply(request)
		f.Add(function, uint16(100), uint16(4), byte(0), good, byte(3))
		f.Add(function, uint16(100), uint16(4), byte(1), append([]byte{0}, good...), byte(200))
		f.Add(function, uint16(100), uint16(4), byte(2), append(slices.Clone(request), good...), byte(8))
		f.Add(function, uint16(100), uint16(4), byte(1), seal([]byte{7, request[1] | 0x80, 2}), byte(4))
		f.Add(function, uint16(100), uint16(4), byte(1), append(slices.Clone(good), good...), byte(90))
		f.Add(function, uint16(100), uint16(4), byte(1), good[:5], byte(2))
	}
	f.Fuzz(func(t *testing.T, function byte, addr, quantity uint16, echo byte, got []byte, cut byte) {
		request := rtuRequest(function, addr, quantity)
		at := min(int(cut), len(got))
		reply, err := receive(request, echoState(echo%3), slices.Clone(got[:at]), slices.Clone(got[at:]))
		if err != nil {
			if reply != nil || !errors.Is(err, errDoubt) && !errors.Is(err, os.ErrDeadlineExceeded) && !refusedByValue(request, err) {
				t.Fatalf("got % x with %v", reply, err)
			}
			return
		}
		if !bytes.Contains(got, reply) || !bytes.Equal(seal(reply[:len(reply)-2]), reply) {
			t.Fatalf("accepted % x, which did not come or is not sealed", reply)
		}
		h := gb.NewRTUClientHandler("")
		if err := h.Verify(request, reply); err != nil {
			t.Fatalf("goburrow: %v", err)
		}
		pdu, err := h.Decode(reply)
		if err != nil {
			t.Fatalf("goburrow: %v", err)
		}
		if pdu.FunctionCode == request[1]|0x80 && len(pdu.Data) == 1 {
			return
		}
		if pdu.FunctionCode != request[1] || len(reply) != len(rtuReply(request)) {
			t.Fatalf("accepted % x to % x", reply, request)
		}
	})
}

// refusedByValue: a write that the device acknowledged with another value.
func refusedByValue(request []byte, err error) bool {
	return (request[1] == 5 || request[1] == 6) && errors.Is(err, drivers.ErrRefused)
}

// The framer against a model of the line: noise, replies that are owed to other
// units, then perhaps the reply, cut into reads anywhere. The reply is accepted
// where it is there whole and last, whatever came before.
func TestFramerAgreesWithItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		request := rtuRequest(rapid.ByteRange(0, 3).Draw(t, "function"), rapid.Uint16().Draw(t, "addr"), rapid.Uint16().Draw(t, "count"))
		if looksAnswered(request) {
			t.Skip("only told apart once the echo is known")
		}
		noise := rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "noise")
		for i := range noise { // no byte that may begin the reply
			if noise[i] == request[0] {
				noise[i]++
			}
		}
		reply := rtuReply(request)
		damage := rapid.IntRange(-1, len(reply)-1).Draw(t, "damaged byte")
		if damage >= 0 {
			reply[damage] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		all := append(slices.Clone(noise), reply...)
		var pieces [][]byte
		for len(all) > 0 {
			n := rapid.IntRange(1, len(all)).Draw(t, "piece")
			pieces, all = append(pieces, slices.Clone(all[:n])), all[n:]
		}
		echo := noEcho
		if len(noise) == 0 && rapid.Bool().Draw(t, "echo") {
			echo = echoes
			pieces = append([][]byte{slices.Clone(request)}, pieces...)
		}
		got, err := receive(request, echo, pieces...)
		noisy := len(noise) >= rtuLeast && len(pieces) > 1 // silence behind much noise is an end
		switch {
		case damage >= 0 && err == nil:
			t.Fatalf("accepted % x with byte %d damaged", got, damage)
		case damage < 0 && err == nil && !bytes.Equal(got, reply):
			t.Fatalf("got % x, want % x", got, reply)
		case damage < 0 && err != nil && !noisy:
			t.Fatalf("% x behind % x: %v", reply, noise, err)
		}
	})
}

// A foreign reply is passed over only while it is owed.
func TestStrayFrames(t *testing.T) {
	request, foreign := rtuRequest(2, 100, 2), seal([]byte{9, 3, 2, 0, 1})
	if _, err := receive(request, noEcho, foreign, rtuReply(request)); !errors.Is(err, errDoubt) {
		t.Errorf("got %v, want doubt", err)
	}
	w := newRTUWire(nil, rtuTimes{}, &counters{})
	w.heard = time.Now()
	w.ledger.owe([]byte{9, 3, 0, 0, 0, 1}, false, w.heard, time.Second)
	in := intake{wire: w, request: request, have: copy(w.buf[:], append(foreign, rtuReply(request)...))}
	if reply, err := in.take(); err != nil || !bytes.Equal(reply, rtuReply(request)) {
		t.Errorf("got % x %v, want the reply behind the one that is owed", reply, err)
	}
	if n := w.stats.discarded.Load(); n != 1 {
		t.Errorf("discarded %d, want 1", n)
	}
}
