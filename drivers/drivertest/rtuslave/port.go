package rtuslave

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// port is where the bytes of a line come from and go to: the master side of a
// pseudo terminal, or a listening socket with the one connection that counts.
// It is used by the line's goroutine alone.
type port struct {
	wake   int // eventfd; ends a wait
	conn   int // -1 while nobody is connected, or unplugged
	listen int // -1 for a pty
	pty    bool
	pulled bool // unplugged: callers wait
}

// openPty makes a pseudo terminal in raw mode, with a link to its slave side.
func (p *port) openPty(link string) error {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/ptmx: %w", err)
	}
	name, err := prepare(fd)
	if err == nil {
		err = relink(name, link)
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("pseudo terminal for %s: %w", link, err)
	}
	p.conn = fd
	return nil
}

// prepare unlocks the slave side, makes it raw and returns its name. On Linux
// the terminal settings of the pair can be reached from either side.
func prepare(fd int) (string, error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return "", fmt.Errorf("unlock: %w", err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		return "", fmt.Errorf("number: %w", err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("get settings: %w", err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return "", fmt.Errorf("set settings: %w", err)
	}
	return "/dev/pts/" + strconv.Itoa(int(n)), nil
}

// relink makes link point to name, as udev does under /dev/serial/by-id. A
// file that is no link is left alone.
func relink(name, link string) error {
	if info, err := os.Lstat(link); err == nil && info.Mode()&os.ModeSymlink == 0 {
		return errors.New("the path exists and is no symbolic link")
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(name, link)
}

// openTCP listens on a loopback address and returns it with its port.
func (p *port) openTCP(addr string) (string, error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return "", err
	}
	if !a.IP.IsLoopback() {
		return "", fmt.Errorf("address %q: simulated devices are served on 127.0.0.0/8 only", addr)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("socket: %w", err)
	}
	bound, err := bind(fd, [4]byte(a.IP.To4()), a.Port)
	if err != nil {
		unix.Close(fd)
		return "", fmt.Errorf("listen on %s: %w", addr, err)
	}
	p.listen = fd
	return bound, nil
}

func bind(fd int, ip [4]byte, number int) (string, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return "", err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: ip, Port: number}); err != nil {
		return "", err
	}
	if err := unix.Listen(fd, 16); err != nil {
		return "", err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(net.IP(ip[:]).String(), strconv.Itoa(name.(*unix.SockaddrInet4).Port)), nil
}

// speed is the rate that the other side of a pty has set, in baud.
func (p *port) speed() int {
	t, err := unix.IoctlGetTermios(p.conn, unix.TCGETS2)
	if err != nil {
		return 0
	}
	return int(t.Ospeed)
}

// event is what a wait found.
type event struct{ woken, bytes, caller, hungUp bool }

// nap is how long a pty is left alone that nobody has open: the kernel reports
// that state without end.
const nap = time.Millisecond

// await returns when there is something to do, or at the given time; the zero
// time is never.
func (p *port) await(until time.Time) event {
	fds := []unix.PollFd{{Fd: int32(p.wake), Events: unix.POLLIN}}
	add := func(fd int) (at int) {
		if fd < 0 {
			return 0
		}
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		return len(fds) - 1
	}
	conn, listen := add(p.conn), 0
	if !p.pulled {
		listen = add(p.listen)
	}
	var limit *unix.Timespec
	if !until.IsZero() {
		ts := unix.NsecToTimespec(max(0, time.Until(until)).Nanoseconds())
		limit = &ts
	}
	if _, err := unix.Ppoll(fds, limit, nil); err != nil {
		return event{} // EINTR: looked at again
	}
	e := event{woken: fds[0].Revents != 0}
	if conn > 0 {
		got := fds[conn].Revents
		e.bytes = got&unix.POLLIN != 0 || !p.pty && got != 0
		e.hungUp = p.pty && got&unix.POLLHUP != 0
	}
	e.caller = listen > 0 && fds[listen].Revents != 0
	if e.hungUp && !e.bytes && !e.woken {
		p.rest(until)
	}
	return e
}

// rest waits a nap for the wake alone.
func (p *port) rest(until time.Time) {
	d := nap
	if !until.IsZero() {
		d = min(d, max(0, time.Until(until)))
	}
	ts := unix.NsecToTimespec(d.Nanoseconds())
	fds := []unix.PollFd{{Fd: int32(p.wake), Events: unix.POLLIN}}
	_, _ = unix.Ppoll(fds, &ts, nil)
}

// accept takes a caller; the one before is hung up on, as device servers with
// room for one do.
func (p *port) accept() {
	fd, _, err := unix.Accept4(p.listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return
	}
	p.hangUp(false)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	p.conn = fd
}

// hangUp closes the connection or the pty's master side, with a reset if asked.
func (p *port) hangUp(reset bool) {
	if p.conn < 0 {
		return
	}
	if reset && !p.pty {
		_ = unix.SetsockoptLinger(p.conn, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(p.conn)
	p.conn = -1
}

// read returns what has arrived, at most a buffer full. A connection that the
// other side has ended is closed.
func (p *port) read(b []byte) int {
	n, err := unix.Read(p.conn, b)
	if n > 0 {
		return n
	}
	if !p.pty && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		p.hangUp(false)
	}
	return 0
}

// write sends bytes; what nobody listens to, or has no room for, is lost as on
// a wire.
func (p *port) write(b []byte) {
	if p.conn < 0 {
		return
	}
	if p.pty {
		fds := []unix.PollFd{{Fd: int32(p.conn)}}
		if _, err := unix.Ppoll(fds, &unix.Timespec{}, nil); err == nil && fds[0].Revents&unix.POLLHUP != 0 {
			return
		}
	}
	for len(b) > 0 {
		n, err := unix.Write(p.conn, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		b = b[n:]
	}
}

func (p *port) close() {
	p.hangUp(false)
	if p.listen >= 0 {
		unix.Close(p.listen)
	}
	unix.Close(p.wake)
}
