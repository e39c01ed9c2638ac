package modbus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"nominald/drivers"
)

// The pause before a port that went away or could not be opened is tried
// again; doubling.
const (
	reopenLeast = 500 * time.Millisecond
	reopenMost  = 2 * time.Second
)

// errHeld: nothing was tried, because the last try was not long ago.
var errHeld = errors.New("tried again after")

// serialPort is the serial port as a link. It is read and written with plain
// system calls and ppoll, whose timeout is exact to some 60 µs. The runtime's
// own poller wakes on whole milliseconds, which at 115200 baud is a tenth of a
// transaction.
type serialPort struct {
	Serial
	fd   int // -1 while closed
	dev  uint64
	poll [1]unix.PollFd

	retry time.Time     // not opened before
	pause time.Duration // before the next try after a failure
	lost  bool          // it was open once and went away
	why   error         // it could not be opened
}

func newSerialPort(s Serial) *serialPort { return &serialPort{Serial: s, fd: -1} }

// open implements link.
func (p *serialPort) open(_ context.Context, doubt bool) (bool, error) {
	if p.fd >= 0 && (!doubt || !p.moved()) {
		return false, nil
	}
	if p.fd >= 0 {
		_ = p.close() // it is gone already
		p.lost = true
	}
	if time.Now().Before(p.retry) {
		return false, p.gone()
	}
	if err := p.acquire(); err != nil {
		p.putOff()
		p.why = fmt.Errorf("%w: %w", drivers.ErrNoLine, err)
		return false, p.why
	}
	p.lost, p.why = false, nil
	return true, nil
}

// putOff sets when the port is tried again.
func (p *serialPort) putOff() {
	p.pause = min(max(2*p.pause, reopenLeast), reopenMost)
	p.retry = time.Now().Add(p.pause)
}

// gone says that the port has not come back.
func (p *serialPort) gone() error {
	if p.lost {
		return fmt.Errorf("%w: serial adapter %w; waiting for %s to come back", drivers.ErrNoLine, errGone, p.Path)
	}
	return fmt.Errorf("%w (%w %s)", p.why, errHeld, time.Until(p.retry).Round(time.Millisecond))
}

// acquire opens the port for this process alone and sets it up.
func (p *serialPort) acquire() error {
	if err := p.check(); err != nil {
		return err
	}
	fd, err := retried(func() (int, error) {
		return unix.Open(p.Path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return p.remedy(err)
	}
	if err := p.setUp(fd); err != nil {
		_ = unix.Close(fd)
		return err
	}
	p.fd = fd
	p.poll[0].Fd = int32(fd)
	return nil
}

// remedy says what a person can do about a port that does not open.
func (p *serialPort) remedy(err error) error {
	what := ""
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		what = "no such serial port: is the adapter plugged in, is the name one of those in /dev/serial/by-id?"
		if p.lost {
			return fmt.Errorf("serial adapter gone; waiting for %s to come back: %w", p.Path, err)
		}
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		what = "no permission: the program's user must be in the group that owns the port, most often dialout"
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EWOULDBLOCK):
		what = "another program holds the serial port; stop it, one line has one master"
	default:
		what = "serial port does not open"
	}
	return fmt.Errorf("open %s: %s: %w", p.Path, what, err)
}

// setUp takes the port for this process and sets speed and format. Both locks
// are needed: TIOCEXCL keeps everybody out but root, flock keeps out those who
// ask for it, whoever they are.
func (p *serialPort) setUp(fd int) error {
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return p.remedy(err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		if errors.Is(err, unix.ENOTTY) {
			return fmt.Errorf("open %s: not a serial port: %w", p.Path, err)
		}
		return p.remedy(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return p.remedy(err)
	}
	p.dev = st.Rdev
	if err := p.setTermios(fd); err != nil {
		_ = unix.IoctlSetInt(fd, unix.TIOCNXCL, 0)
		return err
	}
	return nil
}

// setTermios makes the line raw: bytes as they are, no flow control, no echo,
// modem lines ignored and left alone on close.
func (p *serialPort) setTermios(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return p.remedy(err)
	}
	t.Iflag, t.Oflag, t.Lflag = unix.IGNBRK, 0, 0
	t.Cflag = formatFlags(p.Format) | speedFlag(p.Baud)
	t.Ispeed, t.Ospeed = uint32(p.Baud), uint32(p.Baud)
	// With at least one byte to read, no bytes mean that the line hung up.
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS2, t); err != nil {
		return fmt.Errorf("open %s: the port does not take %d baud %s: %w", p.Path, p.Baud, p.Format, err)
	}
	if t, err = unix.IoctlGetTermios(fd, unix.TCGETS2); err != nil {
		return p.remedy(err)
	}
	// Two percent is what a UART still reads.
	if off := int(t.Ospeed) - p.Baud; 50*max(off, -off) > p.Baud {
		return fmt.Errorf("open %s: the port does not do %d baud, the nearest it does is %d", p.Path, p.Baud, t.Ospeed)
	}
	return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH)
}

// formatFlags returns the flags of the format, and those of a line without
// modem control. HUPCL is not among them: closing shall not reset an Arduino
// or cut the supply of an adapter that lives on DTR.
func formatFlags(format string) uint32 {
	flags := uint32(unix.CS8 | unix.CREAD | unix.CLOCAL)
	switch format {
	case "8E1":
		flags |= unix.PARENB
	case "8O1":
		flags |= unix.PARENB | unix.PARODD
	case "8N2":
		flags |= unix.CSTOPB
	}
	return flags
}

// speedFlag returns the speed's own flag, or the one that says that the speed
// stands beside.
func speedFlag(baud int) uint32 {
	flags := map[int]uint32{
		1200: unix.B1200, 1800: unix.B1800, 2400: unix.B2400, 4800: unix.B4800, 9600: unix.B9600,
		19200: unix.B19200, 38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200,
		230400: unix.B230400, 460800: unix.B460800, 500000: unix.B500000, 576000: unix.B576000,
		921600: unix.B921600, 1000000: unix.B1000000, 1152000: unix.B1152000, 1500000: unix.B1500000,
		2000000: unix.B2000000, 2500000: unix.B2500000, 3000000: unix.B3000000, 3500000: unix.B3500000,
		4000000: unix.B4000000,
	}
	if f, ok := flags[baud]; ok {
		return f
	}
	return unix.BOTHER
}

// moved tells whether the path names another device by now, or none.
func (p *serialPort) moved() bool {
	var st unix.Stat_t
	return unix.Stat(p.Path, &st) != nil || st.Rdev != p.dev
}

// read implements link.
func (p *serialPort) read(b []byte, until time.Time) (int, error) {
	for {
		n, err := unix.Read(p.fd, b)
		switch {
		case n > 0:
			p.pause = 0 // it works
			return n, nil
		case err == nil:
			return 0, p.hungUp(nil)
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EAGAIN):
			return 0, p.hungUp(err)
		}
		ready, err := p.await(unix.POLLIN, until)
		if err != nil {
			return 0, err
		}
		if !ready {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// write implements link.
func (p *serialPort) write(b []byte, until time.Time) error {
	for len(b) > 0 {
		n, err := unix.Write(p.fd, b)
		if n > 0 {
			b = b[n:]
		}
		switch {
		case err == nil, errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EAGAIN):
			return p.hungUp(err)
		default:
			ready, err := p.await(unix.POLLOUT, until)
			if err != nil {
				return err
			}
			if !ready {
				return os.ErrDeadlineExceeded
			}
		}
	}
	return nil
}

// await waits until the port may be read or written, and tells whether it may.
func (p *serialPort) await(events int16, until time.Time) (bool, error) {
	p.poll[0].Events = events
	for {
		left := time.Until(until)
		if left <= 0 {
			return false, nil
		}
		timeout := unix.NsecToTimespec(int64(left))
		n, err := unix.Ppoll(p.poll[:], &timeout, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, p.hungUp(err)
		}
		if n > 0 {
			return true, nil
		}
	}
}

// hungUp notes that the adapter is gone. What the system calls say (EIO,
// ENODEV, ENXIO, EBADF, or no bytes at all) depends on the adapter's driver.
func (p *serialPort) hungUp(err error) error {
	p.lost = true
	p.putOff()
	if err == nil {
		return p.gone()
	}
	return fmt.Errorf("%w: %w", p.gone(), err)
}

// close implements link and lets others have the port.
func (p *serialPort) close() error {
	if p.fd < 0 {
		return nil
	}
	_ = unix.IoctlSetInt(p.fd, unix.TIOCNXCL, 0) // fails where the adapter is gone
	// Closing waits for what an adapter that hangs does not send, 30 s by the
	// kernel's closing_wait; nobody waits for an answer to it.
	_ = unix.IoctlSetInt(p.fd, unix.TCFLSH, unix.TCOFLUSH)
	err := unix.Close(p.fd) // ends the flock too
	p.fd = -1
	return err
}

// retried repeats a system call that a signal interrupted.
func retried(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
