package modbus

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nominald/drivers"
)

// The servers here are written by others, so that our reading of the standard
// is not checked against itself.

func TestAgainstPymodbus(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which sees Debian's packages
	if out, err := exec.Command(python, "-c", "import pymodbus.server").CombinedOutput(); err != nil {
		t.Skipf("Debian packages python3-pymodbus and python3-serial-asyncio are not installed: %v %s", err, lastLine(out))
	}
	against(t, func(where string) *exec.Cmd { return exec.Command(python, "testdata/pymodbus/server.py", where) })
}

func TestAgainstLibmodbus(t *testing.T) {
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libmodbus").Output()
	if err != nil {
		t.Skipf("Debian packages libmodbus-dev and pkg-config are not installed: %v", err)
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skipf("Debian package gcc is not installed: %v", err)
	}
	server := filepath.Join(t.TempDir(), "server")
	args := append([]string{"-Wall", "-o", server, "testdata/libmodbus/server.c"}, strings.Fields(string(flags))...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	against(t, func(where string) *exec.Cmd { return exec.Command(server, where) })
}

// against runs the server behind each framing: TCP, a serial line, and RTU
// over TCP, where socat is the device server between a socket and the line.
func against(t *testing.T, server func(where string) *exec.Cmd) {
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		port := freePort(t)
		start(t, server(port))
		interoperate(t, newLine(t, "127.0.0.1:"+port, 2*time.Second))
	})
	socat, err := exec.LookPath("socat")
	if err != nil {
		t.Skipf("Debian package socat is not installed: %v", err)
	}
	pair := func(t *testing.T) (ours, theirs string) {
		ours, theirs = filepath.Join(t.TempDir(), "ours"), filepath.Join(t.TempDir(), "theirs")
		start(t, exec.Command(socat, "pty,raw,echo=0,link="+ours, "pty,raw,echo=0,link="+theirs))
		waitFor(t, func() bool { return exists(ours) && exists(theirs) })
		return ours, theirs
	}
	t.Run("serial", func(t *testing.T) {
		t.Parallel()
		ours, theirs := pair(t)
		start(t, server(theirs))
		l := NewSerial(Serial{Path: ours, Baud: 115200}, Options{Timeout: 500 * time.Millisecond})
		t.Cleanup(func() { _ = l.Close() })
		interoperate(t, l)
	})
	t.Run("rtu over tcp", func(t *testing.T) {
		t.Parallel()
		port := freePort(t)
		ours, theirs := pair(t)
		start(t, server(theirs))
		// A reset connection's socat would take the next one's first reply, so
		// the server must be there before the first request over the socket.
		direct := NewSerial(Serial{Path: ours, Baud: 115200}, Options{Timeout: 500 * time.Millisecond})
		waitUntilServed(t, direct.Unit(1))
		must(t, direct.Close())
		start(t, exec.Command(socat, "tcp-listen:"+port+",bind=127.0.0.1,reuseaddr,fork", "file:"+ours+",raw,echo=0"))
		l := NewRTUOverTCP("127.0.0.1:"+port, Options{Timeout: 500 * time.Millisecond})
		t.Cleanup(func() { _ = l.Close() })
		interoperate(t, l)
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// interoperate reads every table, writes each way there is, and asks for what
// does not exist.
func interoperate(t *testing.T, l *Line) {
	t.Helper()
	u := l.Unit(1)
	u.Allow(Range{Holding, 0, 999}, Range{Coil, 0, 99})
	waitUntilServed(t, u)
	before := l.Stats()
	wantWords(t, "input", u.ReadInput, 0, 100, 7, 2)
	wantWords(t, "holding", u.ReadHolding, 0, MaxRead, 3, 1)
	wantWords(t, "holding, last", u.ReadHolding, 199, 1, 3, 1)
	wantBits(t, "coils", u.ReadCoils)
	wantBits(t, "discrete inputs", u.ReadDiscrete)

	ctx := t.Context()
	must(t, u.WriteRegister(ctx, 20, 0xBEEF))
	must(t, u.WriteRegisters(ctx, 21, []uint16{0x8001, 2, 0xFFFF}))
	got := make([]uint16, 6)
	must(t, u.ReadHolding(ctx, 19, got))
	if want := [6]uint16{58, 0xBEEF, 0x8001, 2, 0xFFFF, 73}; [6]uint16(got) != want {
		t.Errorf("after the writes: got %x, want %x", got, want)
	}
	must(t, u.Write(ctx, 15, 30, []uint16{1, 0, 0, 1, 1, 0, 1, 0, 1, 0}))
	bits := make([]uint16, 10)
	if must(t, u.Read(ctx, 1, 30, bits)); [10]uint16(bits) != [10]uint16{1, 0, 0, 1, 1, 0, 1, 0, 1, 0} {
		t.Errorf("after writing coils: got %d", bits)
	}
	for _, on := range []bool{true, false} {
		must(t, u.WriteCoil(ctx, 4, on))
		bit := make([]bool, 1)
		if must(t, u.ReadCoils(ctx, 4, bit)); bit[0] != on {
			t.Errorf("coil 4: got %t, want %t", bit[0], on)
		}
	}
	for name, err := range map[string]error{
		"read holding":  u.ReadHolding(ctx, 500, make([]uint16, 2)),
		"read input":    u.ReadInput(ctx, 99, make([]uint16, 2)),
		"read coils":    u.ReadCoils(ctx, 60, make([]bool, 1)),
		"write one":     u.WriteRegister(ctx, 500, 1),
		"write several": u.WriteRegisters(ctx, 199, []uint16{1, 2}),
	} {
		e := (*Exception)(nil)
		if !errors.As(err, &e) || e.Code != 2 || !errors.Is(err, drivers.ErrRefused) {
			t.Errorf("%s: got %v, want exception 2", name, err)
		}
	}
	if st := l.Stats(); st.Doubts != before.Doubts || st.Timeouts != before.Timeouts || st.Exceptions-before.Exceptions != 5 {
		t.Errorf("got %+v after %+v, want no doubt, no timeout and 5 exceptions", st, before)
	}
}

type (
	readWords = func(context.Context, uint16, []uint16) error
	readBits  = func(context.Context, uint16, []bool) error
)

// wantWords reads n registers, each of which is factor*address+offset.
func wantWords(t *testing.T, name string, read readWords, addr, n, factor, offset int) {
	t.Helper()
	got := make([]uint16, n)
	must(t, read(t.Context(), uint16(addr), got))
	for i, v := range got {
		if want := uint16(factor*(addr+i) + offset); v != want {
			t.Fatalf("%s register %d: got %d, want %d", name, addr+i, v, want)
		}
	}
}

func wantBits(t *testing.T, name string, read readBits) {
	t.Helper()
	got := make([]bool, 19)
	must(t, read(t.Context(), 2, got))
	for i, on := range got {
		if want := (2+i)%3 == 0; on != want {
			t.Fatalf("%s %d: got %t, want %t", name, 2+i, on, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a server until the test ends.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end its children with it
	cmd.WaitDelay = 2 * time.Second
	cmd.Stdout, cmd.Stderr, cmd.Env = &said, &said, append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the server said: %s", said.String())
		}
	})
}

// waitUntilServed waits until the server answers, 10 s at most.
func waitUntilServed(t *testing.T, u *Unit) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = u.ReadHolding(t.Context(), 0, make([]uint16, 1)); err == nil {
			return
		}
	}
	t.Fatalf("the server does not answer: %v", err)
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}
