package modbus

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gb "github.com/goburrow/modbus"
	"golang.org/x/sys/unix"

	"nominald/drivers/drivertest/rtuslave"
)

// counting is a device whose registers hold their addresses.
type counting struct{}

func (counting) Read(_ byte, addr, count uint16) ([]uint16, error) {
	values := make([]uint16, count)
	for i := range values {
		values[i] = addr + uint16(i)
	}
	return values, nil
}

func (counting) Write(byte, uint16, []uint16) error { return nil }

// wireTime is what a read of n holding registers takes on the wire at least,
// with characters of 11 bits: request, t3.5, reply, t3.5 (modbus.md 2).
func wireTime(baud, n int) time.Duration {
	char := 11 * time.Second / time.Duration(baud)
	gap := 7 * char / 2
	if baud > 19200 {
		gap = 1750 * time.Microsecond
	}
	return time.Duration(8+5+2*n)*char + 2*gap
}

// BenchmarkSerial reads registers over a pty whose other end paces its bytes
// at the baud rate and answers at once, with our line and with goburrow's own
// RTU client in turns, so that both meet the same machine. ours and stock are
// the parts of the wire's time that they use: the time that the wire needs
// over the median time from one request to the next.
func BenchmarkSerial(b *testing.B) {
	for _, baud := range []int{9600, 19200, 115200} {
		for _, n := range []int{2, 20, 125} {
			b.Run(fmt.Sprintf("%d/%d", baud, n), func(b *testing.B) { benchSerial(b, baud, n) })
		}
	}
}

func benchSerial(b *testing.B, baud, n int) {
	slave, err := rtuslave.Open(filepath.Join(b.TempDir(), "line"), rtuslave.Options{Baud: baud, Exact: true})
	if err != nil {
		b.Fatal(err)
	}
	defer slave.Close()
	slave.Attach(1, counting{})
	least := wireTime(baud, n)
	turns := int(min(max(600*time.Millisecond/least, 5), 60))
	var ours, stock []time.Duration
	failed := 0
	for range 3 {
		ours = append(ours, timeOurs(b, slave.Path(), baud, n, turns)...)
		if st := slave.Stats(); st.TooSoon > 0 {
			b.Fatalf("%d requests began within t3.5 of an answer", st.TooSoon)
		}
		times, errs := timeStock(b, slave.Path(), baud, n, max(turns/2, 4))
		stock, failed = append(stock, times...), failed+errs
		slave.Close()
		if slave, err = rtuslave.Open(slave.Path(), rtuslave.Options{Baud: baud, Exact: true}); err != nil {
			b.Fatal(err)
		}
		slave.Attach(1, counting{})
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(least.Seconds()*1000, "wire-ms")
	b.ReportMetric(middle50(ours).Seconds()*1000, "ours-ms")
	b.ReportMetric(middle50(stock).Seconds()*1000, "stock-ms")
	b.ReportMetric(least.Seconds()/middle50(ours).Seconds(), "ours")
	b.ReportMetric(least.Seconds()/middle50(stock).Seconds(), "stock")
	b.ReportMetric(float64(failed), "stock-errors")
}

// middle50 is the median.
func middle50(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

// timeOurs returns the times from one request to the next.
func timeOurs(b *testing.B, path string, baud, n, turns int) []time.Duration {
	b.Helper()
	l := NewSerial(Serial{Path: path, Baud: baud, Format: "8E1"}, Options{})
	defer l.Close()
	u := l.Unit(1)
	dst := make([]uint16, n)
	times, _ := spaced(turns, func() error {
		if err := u.ReadHolding(b.Context(), 0x0100, dst); err != nil {
			b.Fatal(err)
		}
		if dst[n-1] != 0x0100+uint16(n-1) {
			b.Fatalf("the last register reads %d", dst[n-1])
		}
		return nil
	})
	return times
}

// timeStock is timeOurs with the library as it is. Requests that fail do not
// count towards its times.
func timeStock(b *testing.B, path string, baud, n, turns int) (times []time.Duration, failed int) {
	b.Helper()
	h := gb.NewRTUClientHandler(path)
	h.BaudRate, h.DataBits, h.Parity, h.StopBits, h.SlaveId, h.Timeout = baud, 8, "E", 1, 1, 2*time.Second
	if err := h.Connect(); err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	c := gb.NewClient(h)
	return spaced(turns, func() error {
		raw, err := c.ReadHoldingRegisters(0x0100, uint16(n))
		if err == nil && len(raw) != 2*n {
			return fmt.Errorf("%d bytes of %d", len(raw), 2*n)
		}
		return err
	})
}

// spaced calls read so many times, after one to warm up, and returns the time
// from each call to the next.
func spaced(turns int, read func() error) (times []time.Duration, failed int) {
	_ = read()
	last := time.Now()
	for range turns {
		err := read()
		now := time.Now()
		if err == nil {
			times = append(times, now.Sub(last))
		} else {
			failed++
		}
		last = now
	}
	return times, failed
}

// BenchmarkAllocs counts the allocations of one poll of 20 registers: in the
// wire, which is ours, and with goburrow's client above it. The other ends
// allocate nothing.
func BenchmarkAllocs(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	tcp := NewTCP(answerAlways(b, goodReply(read20())), Options{})
	defer tcp.Close()
	reportAllocs(b, "tcp", tcp, read20())
	request := []byte{1, 3, 0, 100, 0, 20, 0, 0}
	rtu := NewSerial(Serial{Path: answerOnPty(b, goodReply(read20())[6:]), Baud: 115200}, Options{})
	defer rtu.Close()
	reportAllocs(b, "rtu", rtu, withCRC(request[:6]))
}

func reportAllocs(b *testing.B, name string, l *Line, request []byte) {
	b.Helper()
	u, dst := l.Unit(1), make([]uint16, 20)
	ctx := b.Context()
	b.ReportMetric(testing.AllocsPerRun(300, func() {
		if _, err := l.wire.exchange(ctx, request, u.timing); err != nil {
			b.Fatal(err)
		}
	}), name+"-wire-allocs")
	b.ReportMetric(testing.AllocsPerRun(300, func() {
		if err := u.ReadHolding(ctx, 100, dst); err != nil {
			b.Fatal(err)
		}
	}), name+"-poll-allocs")
}

// withCRC appends the CRC.
func withCRC(frame []byte) []byte {
	crc := uint16(0xFFFF)
	for _, v := range frame {
		crc ^= uint16(v)
		for range 8 {
			odd := crc&1 == 1
			crc >>= 1
			if odd {
				crc ^= 0xA001
			}
		}
	}
	return append(frame[:len(frame):len(frame)], byte(crc), byte(crc>>8))
}

// answerOnPty answers every request on a pty with the same reply, unit and PDU
// given, and returns the path of its other side. It allocates nothing per
// request.
func answerOnPty(b *testing.B, reply []byte) string {
	b.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		b.Fatal(err)
	}
	frame, done := withCRC(reply), make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(fd)
		buf := make([]byte, 64)
		for have := 0; ; {
			n, err := unix.Read(fd, buf[have:])
			if err != nil { // EIO: the other side was closed
				return
			}
			if have += n; have == 8 {
				have = 0
				if _, err := unix.Write(fd, frame); err != nil {
					return
				}
			}
		}
	}()
	b.Cleanup(func() { <-done })
	return fmt.Sprintf("/dev/pts/%d", n)
}
