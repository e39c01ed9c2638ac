package twin_test

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"nominald/drivers/drivertest/twin"
)

// FuzzRequests sends a device whatever comes: it answers or refuses, shows as
// many values as were asked, logs every write, and is told to do nothing but
// what its profile knows.
func FuzzRequests(f *testing.F) {
	f.Add([]byte{16, 0, 53, 0, 0, 0x75, 0x30, 6, 0, 50, 0, 3})
	f.Add([]byte{3, 0, 10, 0, 3, 4, 0xFF, 0xFF, 0, 9})
	f.Add([]byte{6, 0, 3, 1, 0, 5, 0xFF, 0xFF, 0xFF, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, d := range []*twin.Twin{twin.New(hybrid(), 0), twin.New(relayBoard(), 8)} {
			wrote := 0
			for rest := b; len(rest) >= 5; rest = rest[5:] {
				function, addr, v := rest[0]%20, binary.BigEndian.Uint16(rest[1:]), binary.BigEndian.Uint16(rest[3:])
				if function == 0 || function > 4 {
					wrote++
					_ = d.Write(function, addr, []uint16{v, uint16(function)}[:1+v%2])
					d.Step(time.Duration(v) * time.Millisecond)
				} else if got, err := d.Read(function, addr, v); err == nil && len(got) != int(v) {
					t.Fatalf("%d values, asked were %d", len(got), v)
				}
				c, active := d.Commanded()
				if !active && c != (twin.Commanded{}) {
					t.Fatalf("neutral and told %+v", c)
				}
				if math.Abs(c.PowerW) > 5000 {
					t.Fatalf("told %g W, its registers take 5000", c.PowerW)
				}
			}
			if got := len(d.Writes()); got != wrote {
				t.Fatalf("%d writes logged, sent were %d", got, wrote)
			}
		}
	})
}
