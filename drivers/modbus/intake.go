package modbus

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// intake is what comes while one request waits for its reply.
type intake struct {
	wire    *rtuWire
	request []byte
	have    int  // bytes in the wire's buffer that are not judged yet
	echo    bool // the request's own bytes must still come first
	silent  bool // nothing came during the last read
	wasted  int  // bytes that belonged to no frame
	unclean bool // other things came before the reply, the echo may have been among them
}

// unclear tells whether silence would end something.
func (in *intake) unclear() bool { return in.have > 0 || in.wasted >= rtuLeast }

// take judges what is in the buffer until more is needed. It returns the reply
// once that is whole.
func (in *intake) take() ([]byte, error) {
	w := in.wire
	if in.have > 0 && (in.echo || w.echo == echoUnknown) {
		if wait, err := in.takeEcho(); wait || err != nil {
			return nil, err
		}
	}
	for in.have > 0 {
		got := w.buf[:in.have]
		what, size := judge(in.request, got, in.silent)
		switch what {
		case incomplete:
			return nil, nil
		case answered:
			return in.accept(size)
		case stray:
			if !w.ledger.of(got[0], w.heard).owesFrame(got[:size]) {
				return nil, fmt.Errorf("%w: %s", errDoubt, name(got[:size]))
			}
			w.stats.discarded.Add(1)
			in.unclean = true
		case junk:
			in.unclean = true
			in.wasted += size
		}
		in.drop(size)
	}
	if in.silent && in.wasted >= rtuLeast {
		return nil, fmt.Errorf("%w: %d bytes that are no frame, or a damaged one", errDoubt, in.wasted)
	}
	return nil, nil
}

// takeEcho removes the request's own bytes from the front. It returns true
// while they may still be coming.
func (in *intake) takeEcho() (wait bool, err error) {
	w, n := in.wire, min(in.have, len(in.request))
	same := bytes.Equal(w.buf[:n], in.request[:n])
	if !in.echo { // not known whether there is one
		if !same || looksAnswered(in.request) {
			return false, nil
		}
		if n < len(in.request) {
			// Six or more bytes alike and then silence: a reply that is cut off
			// ends by the deadline all the same.
			return true, nil
		}
		w.echo = echoes
		w.stats.echo.Store(true)
		in.drop(n)
		return false, nil
	}
	if !same {
		if !w.mustEcho {
			w.echo = echoUnknown
			w.stats.echo.Store(false)
		}
		return false, fmt.Errorf("%w: instead of the line's own echo came % x: a collision, a second master, or an adapter without echo",
			errDoubt, w.buf[:in.have])
	}
	if n < len(in.request) {
		return true, nil
	}
	in.echo = false
	in.drop(n)
	return false, nil
}

// drop removes n bytes from the front of the buffer.
func (in *intake) drop(n int) {
	in.have = copy(in.wire.buf[:], in.wire.buf[n:in.have])
}

// accept checks the reply of size bytes at the front of the buffer.
func (in *intake) accept(size int) ([]byte, error) {
	w := in.wire
	if in.have > size {
		return nil, fmt.Errorf("%w: %d bytes follow the reply", errDoubt, in.have-size)
	}
	reply := w.buf[:size:size]
	if err := checkReply(in.request[1:len(in.request)-2], reply[1:size-2]); err != nil {
		return nil, err
	}
	if w.echo == echoUnknown && !in.unclean && !looksAnswered(in.request) {
		w.echo = noEcho
	}
	if reply[1]&0x80 != 0 {
		w.stats.exceptions.Add(1)
	}
	return reply, nil
}

// ended says what there was when the time was up or the link hung up.
func (in *intake) ended(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	switch {
	case in.echo && in.have == 0:
		return fmt.Errorf("nothing came back, not even the line's own echo: %w", err)
	case in.have > 0:
		return fmt.Errorf("%d bytes of a reply of %d: %w", in.have, answerSize(in.request), err)
	case in.wasted > 0:
		return fmt.Errorf("no reply but %d bytes of noise: %w", in.wasted, err)
	}
	return fmt.Errorf("no reply: %w", err)
}
