package scan_test

import (
	"sync"
	"testing"
	"time"

	"nominald/drivers/drivertest/rtuslave"
	"nominald/gateway/scan"
)

// timed notes when requests came to a device.
type timed struct {
	rtuslave.Device
	log *timeLog
}

type timeLog struct {
	mu sync.Mutex
	at []time.Time
}

func (d timed) Read(function byte, addr, count uint16) ([]uint16, error) {
	d.log.mu.Lock()
	d.log.at = append(d.log.at, time.Now())
	d.log.mu.Unlock()
	return d.Device.Read(function, addr, count)
}

// What has answered on a serial line is left in peace for 100 ms: some devices
// lose single requests that come sooner. Silence is not waited for.
func TestRestsAfterAnAnswer(t *testing.T) {
	t.Parallel()
	l, log := open(t, "tty", rtuslave.Options{Baud: 9600, Bits: 10}), &timeLog{}
	l.Attach(1, timed{device(t, "eastron-sdm630", 800), log})
	l.Attach(2, timed{device(t, "eastron-sdm120", 800), log})
	o := scan.Options{Serial: []string{l.Path()}, Bauds: []int{9600}, Formats: []string{"8N1"}, Units: []int{1, 2, 3, 4, 5, 6}, Timeout: 60 * time.Millisecond}
	var told []time.Duration
	o.Progress = func(p scan.Progress) {
		if p.Found == nil {
			told = append(told, p.Left)
		}
	}
	began := time.Now()
	r := run(t, o)
	if len(r.Found) != 2 || len(log.at) < 6 {
		t.Fatalf("found %+v with %d requests", r.Found, len(log.at))
	}
	for i := 1; i < len(log.at); i++ {
		if gap := log.at[i].Sub(log.at[i-1]); gap < 100*time.Millisecond {
			t.Errorf("request %d came %v after the one before", i+1, gap)
		}
	}
	if after := time.Since(began) - log.at[len(log.at)-1].Sub(began); after > 2*time.Second {
		t.Errorf("four units that are not there took %v", after)
	}
	for i := 1; i < len(told); i++ {
		if told[i] > told[i-1] {
			t.Errorf("the time left grew from %v to %v", told[i-1], told[i])
		}
	}
}
