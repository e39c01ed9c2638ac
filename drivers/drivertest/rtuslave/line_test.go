package rtuslave

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The answer is never sooner than the wire allows, and not much later either:
// request, t3.5 and answer take what modbus.md 2 computes.
func TestBytesComeAtTheBaudRate(t *testing.T) {
	for _, c := range []struct {
		baud, bits int
		regs       byte
		wire       time.Duration
	}{
		{9600, 11, 20, 64770 * time.Microsecond},    // (8 + 45 + 3.5) × 1.14583 ms
		{9600, 10, 20, 58854 * time.Microsecond},    // × 1.04167 ms
		{19200, 11, 20, 32385 * time.Microsecond},   // × 0.572917 ms
		{115200, 11, 125, 26863 * time.Microsecond}, // 263 × 0.095486 ms + 1.75 ms
	} {
		l, _ := open(t, Options{Baud: c.baud, Bits: c.bits})
		m := dialPty(t, l, uint32(c.baud))
		start := time.Now()
		m.send(sealed([]byte{1, 3, 0, 0, 0, c.regs})...)
		var took time.Duration
		for n := 0; n < 5+2*int(c.regs); {
			b := make([]byte, 512)
			_ = m.f.SetReadDeadline(time.Now().Add(time.Second))
			k, err := m.f.Read(b)
			if err != nil {
				t.Fatalf("%+v: after %d bytes: %v", c, n, err)
			}
			n, took = n+k, time.Since(start)
		}
		if took < c.wire-50*time.Microsecond || took > c.wire*3/2+20*time.Millisecond {
			t.Errorf("%d baud, %d bits, %d registers took %v, want %v", c.baud, c.bits, c.regs, took, c.wire)
		}
	}
}

func TestBytesComeInBurstsOfAUART(t *testing.T) {
	for baud, want := range map[int]int{9600: 1, 19200: 1, 38400: 2, 115200: 8} {
		l := newLine("", Options{Baud: baud})
		end := l.transmit(time.Unix(0, 0), 0, make([]byte, 100), &answered{})
		if got := len(l.out[0].bytes); got != want {
			t.Errorf("%d baud: bursts of %d, want %d", baud, got, want)
		}
		if want := time.Unix(0, 0).Add(100 * l.char); !end.Equal(want) || !l.out[len(l.out)-1].at.Equal(end) {
			t.Errorf("%d baud: ends %v, want %v", baud, end, want)
		}
	}
}

func TestAnotherRateIsNotHeard(t *testing.T) {
	l, _ := open(t, Options{Baud: 19200})
	m := dialPty(t, l, 9600)
	ask, right := sealed([]byte{1, 3, 0, 5, 0, 1}), sealed([]byte{1, 3, 2, 0, 5})
	m.send(ask...)
	m.want("at 9600")
	m.rate(19200)
	m.send(ask...)
	m.want("at 19200", right...)
	if st := l.Stats(); st.WrongSpeed != 1 || st.Requests != 1 {
		t.Errorf("counted %+v, want one at the wrong speed and one request", st)
	}
}

func TestEcho(t *testing.T) {
	l, _ := open(t, Options{Echo: true})
	m := dialPty(t, l, 9600)
	ask, right := sealed([]byte{1, 3, 0, 5, 0, 1}), sealed([]byte{1, 3, 2, 0, 5})
	m.send(ask...)
	m.want("echo and answer", append(bytes.Clone(ask), right...)...)
	strange := sealed([]byte{9, 3, 0, 5, 0, 1})
	m.send(strange...)
	m.want("echo alone", strange...)
}

func TestRequestWithoutSilenceIsCounted(t *testing.T) {
	l, _ := open(t, Options{Baud: 9600})
	m := dialPty(t, l, 9600)
	ask := func(pause time.Duration) {
		time.Sleep(pause)
		m.send(sealed([]byte{1, 3, 0, 5, 0, 1})...)
		for n := 0; n < 7; {
			_ = m.f.SetReadDeadline(time.Now().Add(time.Second))
			k, err := m.f.Read(make([]byte, 7))
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
	for range 3 {
		ask(10 * time.Millisecond)
	}
	if st := l.Stats(); st.Requests != 3 || st.TooSoon != 0 {
		t.Errorf("after silence: counted %+v, want none too soon", st)
	}
	for range 100 { // a busy machine may come too late to be too soon
		if ask(0); l.Stats().TooSoon > 0 {
			return
		}
	}
	t.Errorf("without silence: counted %+v, want some too soon", l.Stats())
}

func TestUnplugAndPlug(t *testing.T) {
	l, _ := open(t, Options{})
	m := dialPty(t, l, 9600)
	ask, right := sealed([]byte{1, 3, 0, 5, 0, 1}), sealed([]byte{1, 3, 2, 0, 5})
	m.send(ask...)
	m.want("before", right...)
	if err := l.Plug(); err == nil {
		t.Error("plugged twice without an error")
	}
	if err := l.Unplug(); err != nil {
		t.Fatal(err)
	}
	if _, ended := m.receive(time.Second); !ended {
		t.Error("unplugged, but the open line has not ended")
	}
	if _, err := os.Lstat(l.Path()); err == nil {
		t.Error("the path is still there")
	}
	if err := l.Plug(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // closed and opened by the master, too
		m = dialPty(t, l, 9600)
		m.send(ask...)
		m.want("after", right...)
		_ = m.f.Close()
		time.Sleep(5 * time.Millisecond)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error("the second close: ", err)
	}
	if _, err := os.Lstat(l.Path()); err == nil {
		t.Error("closed, but the path is still there")
	}
}

func TestPathThatIsNoLinkIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(path, Options{}); err == nil {
		l.Close()
		t.Fatal("opened a line over a file")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "keep" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}
