package modbus

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nominald/drivers"
)

// The adapter is pulled out and comes back as another device behind the same
// name, in the middle of everything. Nobody restarts anything.
func TestAdapterGoneAndBack(t *testing.T) {
	s := newSlave(t)
	l := s.line(300 * time.Millisecond)
	u := l.Unit(1)
	must(t, checkHolding(t, u, 1, 4))
	s.unplug()
	start := time.Now()
	for range 50 {
		err := checkHolding(t, u, 2, 4)
		if !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "serial adapter gone; waiting for "+s.path+" to come back") {
			t.Fatalf("got %v, want offline and which path is waited for", err)
		}
	}
	if took := time.Since(start); took > 250*time.Millisecond {
		t.Errorf("50 requests without an adapter took %v, want no waiting", took)
	}
	if st := l.Stats(); st.Resets != 1 || st.DialErrors > 1 {
		t.Errorf("got %+v, want one hang-up and no try to open in so short a time", st)
	}
	s.plug()
	waitForBack(t, u, reopenLeast+300*time.Millisecond)
	if st := l.Stats(); st.Dials != 2 {
		t.Errorf("opened %d times, want twice", st.Dials)
	}
}

func waitForBack(t *testing.T, u *Unit, most time.Duration) {
	t.Helper()
	start := time.Now()
	for checkHolding(t, u, 3, 4) != nil {
		if time.Since(start) > most {
			t.Fatalf("not back after %v", most)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// It is pulled out while a request waits for its reply: that ends at once.
func TestAdapterGoneUnderARequest(t *testing.T) {
	s := newSlave(t)
	l := s.line(5 * time.Second)
	u := l.Unit(1)
	must(t, checkHolding(t, u, 1, 4))
	s.set(func(write func([]byte), request []byte) {
		write(rtuReply(request)[:5])
		s.unplug()
	})
	start := time.Now()
	err := checkHolding(t, u, 2, 4)
	if took := time.Since(start); !errors.Is(err, drivers.ErrOffline) || took > time.Second || !strings.Contains(err.Error(), "adapter gone") {
		t.Errorf("after %v: %v, want offline at once", took, err)
	}
}

// The name points to another device though the old one has not hung up, as
// after two adapters were exchanged.
func TestNameThatPointsElsewhereIsFollowed(t *testing.T) {
	s := newSlave(t)
	l := s.line(100 * time.Millisecond)
	u := l.Unit(1)
	must(t, checkHolding(t, u, 1, 4))
	old := s.port
	defer old.Close()
	s.plug()
	s.set(rtuDeaf) // the old one, which still hears us
	if err := checkHolding(t, u, 2, 4); !errors.Is(err, drivers.ErrOffline) {
		t.Fatalf("got %v, want a timeout", err)
	}
	s.set(rtuGood)
	must(t, checkHolding(t, u, 3, 4))
	if st := l.Stats(); st.Dials != 2 {
		t.Errorf("opened %d times, want twice", st.Dials)
	}
}

func TestReopeningBacksOff(t *testing.T) {
	p := newSerialPort(Serial{Path: filepath.Join(t.TempDir(), "none")}.withDefaults())
	for _, want := range []time.Duration{500, 1000, 2000, 2000} {
		p.retry = time.Time{}
		before := time.Now()
		if _, err := p.open(t.Context(), false); !errors.Is(err, unix.ENOENT) {
			t.Fatalf("got %v, want that it does not exist", err)
		}
		if d := p.retry.Sub(before).Round(50 * time.Millisecond); d != want*time.Millisecond {
			t.Errorf("tried again after %v, want %v", d, want*time.Millisecond)
		}
		if _, err := p.open(t.Context(), false); !errors.Is(err, errHeld) || !errors.Is(err, unix.ENOENT) {
			t.Errorf("got %v, want why, and that it is not tried yet", err)
		}
	}
}

func TestPortIsOursAlone(t *testing.T) {
	s := newSlave(t)
	l, other := s.line(time.Second), s.line(time.Second)
	must(t, checkHolding(t, l.Unit(1), 1, 2))
	err := checkHolding(t, other.Unit(1), 1, 2)
	if !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "another program holds the serial port") {
		t.Fatalf("got %v, want that the port is held", err)
	}
	must(t, checkHolding(t, l.Unit(1), 2, 2))
	must(t, l.Close())
	other.wire.(*rtuWire).link.(*serialPort).retry = time.Time{} // as if the pause were over
	must(t, checkHolding(t, other.Unit(1), 1, 2))
}

// Two settings of the kernel: users other than root can not open the port even
// without asking for the lock, and can again once it is closed.
func TestExclusiveFlagIsGivenBack(t *testing.T) {
	s := newSlave(t)
	l := s.line(time.Second)
	must(t, checkHolding(t, l.Unit(1), 1, 2))
	keep, err := unix.Open(s.path, unix.O_RDWR|unix.O_NOCTTY, 0) // root may; else the flag works
	if err != nil {
		if !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
		return
	}
	defer unix.Close(keep)
	exclusive := func() bool {
		v, err := unix.IoctlGetInt(keep, unix.TIOCGEXCL)
		must(t, err)
		return v != 0
	}
	if !exclusive() {
		t.Error("an open port is not exclusive")
	}
	must(t, l.Close())
	if exclusive() {
		t.Error("a closed port is still exclusive")
	}
}

func TestSettingsReachThePort(t *testing.T) {
	for _, c := range []struct {
		baud   int
		format string
		speed  uint32
		stop   bool
	}{
		{1200, "8N1", unix.B1200, false}, {9600, "8E1", unix.B9600, false}, {19200, "8O1", unix.B19200, false},
		{115200, "8N2", unix.B115200, true}, {14400, "8N1", unix.BOTHER, false}, {250000, "8N1", unix.BOTHER, false},
	} {
		s := newSlave(t)
		l := NewSerial(Serial{Path: s.path, Baud: c.baud, Format: c.format}, Options{})
		must(t, checkHolding(t, l.Unit(1), 1, 2))
		tio, err := unix.IoctlGetTermios(l.wire.(*rtuWire).link.(*serialPort).fd, unix.TCGETS2)
		must(t, err)
		if tio.Cflag&unix.CBAUD != c.speed || tio.Ospeed != uint32(c.baud) || (tio.Cflag&unix.CSTOPB != 0) != c.stop {
			t.Errorf("%d %s: got flags %o and speed %d", c.baud, c.format, tio.Cflag, tio.Ospeed)
		}
		if tio.Cflag&(unix.HUPCL|unix.CRTSCTS) != 0 || tio.Cflag&(unix.CLOCAL|unix.CREAD|unix.CS8) != unix.CLOCAL|unix.CREAD|unix.CS8 || tio.Lflag != 0 || tio.Oflag != 0 {
			t.Errorf("%d %s: got %+v, want a raw line without modem control", c.baud, c.format, tio)
		}
		must(t, l.Close())
	}
}

func TestOpenErrorsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct {
		s    Serial
		said string
	}{
		"not there":     {Serial{Path: filepath.Join(dir, "ttyUSB0")}, "is the adapter plugged in, is the name one of those in /dev/serial/by-id?"},
		"a file":        {Serial{Path: file}, "not a serial port"},
		"a directory":   {Serial{Path: dir}, "serial port does not open"},
		"odd format":    {Serial{Path: file, Format: "7E1"}, "accepted are 8N1, 8E1, 8O1 and 8N2"},
		"slow":          {Serial{Path: file, Baud: 300}, "accepted are 1200 to"},
		"negative baud": {Serial{Path: file, Baud: -1}, "accepted are 1200 to"},
	} {
		l := NewSerial(c.s, Options{})
		err := l.Unit(1).ReadHolding(t.Context(), 0, make([]uint16, 1))
		if !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), c.said) || !strings.Contains(err.Error(), c.s.Path) {
			t.Errorf("%s: got %v, want %q", name, err, c.said)
		}
	}
	p := newSerialPort(Serial{Path: "/dev/ttyUSB0"})
	for errno, said := range map[error]string{
		unix.EACCES: "group that owns the port, most often dialout", unix.EBUSY: "another program holds",
		unix.EAGAIN: "another program holds", unix.ENODEV: "plugged in", unix.EIO: "does not open",
	} {
		if err := p.remedy(errno); !errors.Is(err, errno) || !strings.Contains(err.Error(), said) {
			t.Errorf("%v: got %v, want %q", errno, err, said)
		}
	}
}

func TestCharacterTimes(t *testing.T) {
	for _, c := range []struct {
		s         Serial
		char, gap time.Duration // modbus.md 2
	}{
		{Serial{Baud: 9600, Format: "8E1"}, 1146 * time.Microsecond, 4010 * time.Microsecond},
		{Serial{Baud: 19200, Format: "8N2"}, 573 * time.Microsecond, 2005 * time.Microsecond},
		{Serial{Baud: 115200, Format: "8O1"}, 95 * time.Microsecond, 1750 * time.Microsecond},
		{Serial{Baud: 9600, Format: "8N1"}, 1042 * time.Microsecond, 3646 * time.Microsecond},
	} {
		got := c.s.times()
		if got.char.Round(time.Microsecond) != c.char || (got.gap-c.gap).Abs() > 2*time.Microsecond {
			t.Errorf("%+v: got %v and %v, want %v and %v", c.s, got.char, got.gap, c.char, c.gap)
		}
	}
}

// A request that stands in a full buffer ends by the deadline too.
func TestStuckPortEndsByTheDeadline(t *testing.T) {
	s := newSlave(t)
	s.set(func(func([]byte), []byte) { time.Sleep(300 * time.Millisecond) })
	l := s.line(20 * time.Millisecond)
	u := l.Unit(1)
	_ = u.ReadHolding(t.Context(), 0, make([]uint16, 1)) // opens the port
	p := l.wire.(*rtuWire).link.(*serialPort)
	start := time.Now()
	err := p.write(make([]byte, 1<<20), start.Add(50*time.Millisecond))
	if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took > 250*time.Millisecond {
		t.Errorf("after %v: %v, want the deadline after 50ms", took, err)
	}
}

// A pty takes no parity over, so its flags are looked at where they are made.
func TestParityFlags(t *testing.T) {
	for format, want := range map[string]uint32{
		"8N1": 0, "8E1": unix.PARENB, "8O1": unix.PARENB | unix.PARODD, "8N2": unix.CSTOPB,
	} {
		if got := formatFlags(format) & (unix.PARENB | unix.PARODD | unix.CSTOPB); got != want {
			t.Errorf("%s: got %o, want %o", format, got, want)
		}
	}
}
