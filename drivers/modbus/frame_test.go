package modbus

import (
	"encoding/binary"
	"errors"
	"testing"

	gb "github.com/goburrow/modbus"
)

// requestFor builds a well-formed request from fuzzed numbers.
func requestFor(fc byte, addr, quantity uint16) []byte {
	fcs := []byte{1, 2, 3, 4, 5, 6, 16}
	fc = fcs[int(fc)%len(fcs)]
	req := []byte{0x12, 0x34, 0, 0, 0, 6, 7, fc}
	switch fc {
	case 1, 2:
		quantity = quantity%MaxBits + 1
	case 3, 4:
		quantity = quantity%MaxRead + 1
	case 16:
		quantity = quantity%MaxWrite + 1
	}
	req = binary.BigEndian.AppendUint16(req, addr)
	req = binary.BigEndian.AppendUint16(req, quantity)
	if fc == 16 {
		req = append(append(req, byte(2*quantity)), make([]byte, 2*quantity)...)
		binary.BigEndian.PutUint16(req[4:], uint16(len(req)-6))
	}
	return req
}

// FuzzResponse feeds any bytes as the reply to any request. What is accepted
// must carry the request's ids, function, and exactly the asked number of
// bytes, and goburrow's own checks must agree.
func FuzzResponse(f *testing.F) {
	for fc := range byte(7) {
		req := requestFor(fc, 100, 4)
		f.Add(fc, uint16(100), uint16(4), goodReply(req))
		f.Add(fc, uint16(100), uint16(4), adu(req, req[7]|0x80, 2))
		f.Add(fc, uint16(100), uint16(4), past(goodReply(req), 1))
		f.Add(fc, uint16(100), uint16(4), goodReply(req)[:9])
	}
	f.Fuzz(func(t *testing.T, fc byte, addr, quantity uint16, got []byte) {
		req := requestFor(fc, addr, quantity)
		size, earlier, err := frame(req, got, 10)
		if err != nil {
			if size != 0 || !errors.Is(err, errDoubt) {
				t.Fatalf("size %d with error %v, want 0 and doubt", size, err)
			}
			return
		}
		if size == 0 {
			if len(got) >= maxFrame {
				t.Fatalf("%d bytes are not enough", len(got))
			}
			return
		}
		if size < headerSize+1 || size > maxFrame || size > len(got) {
			t.Fatalf("a frame of %d in %d bytes", size, len(got))
		}
		if earlier {
			behind := binary.BigEndian.Uint16(req) - binary.BigEndian.Uint16(got)
			if behind == 0 || behind >= 10 {
				t.Fatalf("a reply %d requests back counts as ours", behind)
			}
			return
		}
		reply := got[:size]
		if checkReply(req[headerSize:], reply[headerSize:]) == nil {
			checkAccepted(t, req, reply)
		}
	})
}

// checkAccepted checks an accepted reply by other means than the product does.
func checkAccepted(t *testing.T, req, reply []byte) {
	t.Helper()
	h := gb.NewTCPClientHandler("")
	if err := h.Verify(req, reply); err != nil {
		t.Fatalf("goburrow: %v", err)
	}
	pdu, err := h.Decode(reply)
	if err != nil {
		t.Fatalf("goburrow: %v", err)
	}
	if pdu.FunctionCode&0x80 != 0 {
		if pdu.FunctionCode != req[7]|0x80 || len(pdu.Data) != 1 {
			t.Fatalf("accepted exception %+v to % x", pdu, req)
		}
		return
	}
	if want := goodReply(req); len(want) != len(reply) || pdu.FunctionCode != req[7] {
		t.Fatalf("accepted % x, want %d bytes of function %d", reply, len(want), req[7])
	}
}
