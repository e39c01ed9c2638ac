package plan

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"nominald/dispatch"
	"nominald/drivers"
)

// crowd is a site of n devices of every kind behind a few Leap meters, with a
// number of timeslots over the day of which some run.
func crowd(n, slots int) Input {
	in := home(t0.Add(10 * time.Minute))
	in.Devices, in.Meters = in.Devices[:1], nil
	point := in.Site.Point
	point.UncontrolledW, point.UncontrolledLowW = drivers.Some(400_000), drivers.Some(400_000)
	for i := range 4 {
		in.Meters = append(in.Meters, Meter{ID: fmt.Sprintf("meter-%d", i), Reference: ByBaseline, Point: point})
	}
	for i := range n {
		d := battery()
		switch i % 4 {
		case 1:
			d = wallbox(3680)
		case 2, 3:
			d = hvac()
			d.PowerW, d.NormalW = drivers.Some(3500), drivers.Some(3500)
		}
		d.Name = fmt.Sprintf("device-%d", i)
		in.Devices = append(in.Devices, d)
		m := &in.Meters[i/4%4]
		m.Devices = append(m.Devices, d.Name)
	}
	for i := range slots {
		r := slot(func(r *dispatch.Record) {
			r.EventID, r.MeterID = fmt.Sprintf("event-%d", i), in.Meters[i%4].ID
			r.Start = t0.Add(time.Duration(i/4) * 10 * time.Minute)
			r.End, r.Priority = r.Start.Add(time.Hour), 1+i%10
		})
		in.Slots = append(in.Slots, r)
		if !r.Start.After(in.Now) {
			in.Events[r.EventID] = Event{Running: true, BaselineW: drivers.Some(395_000), PreStart: r.Start}
		}
	}
	return in
}

// BenchmarkRound is one round at 5, 50 and 500 devices with 500 timeslots.
func BenchmarkRound(b *testing.B) {
	for _, n := range []int{5, 50, 500} {
		b.Run(fmt.Sprintf("devices=%d", n), func(b *testing.B) {
			in := crowd(n, 500)
			b.ReportAllocs()
			for b.Loop() {
				Round(in)
			}
		})
	}
}

// BenchmarkFloor copies what a round looks at, and no more.
func BenchmarkFloor(b *testing.B) {
	for _, n := range []int{5, 50, 500} {
		b.Run(fmt.Sprintf("devices=%d", n), func(b *testing.B) {
			in := crowd(n, 500)
			var slots []dispatch.Record
			var devices []Device
			for b.Loop() {
				slots = append(slots[:0], in.Slots...)
				devices = append(devices[:0], in.Devices...)
			}
			if len(slots) != 500 || len(devices) < n {
				b.Fatal("nothing was copied")
			}
		})
	}
}

// BenchmarkGrowth is by how much the heap grows a round, once it is warm, in
// bytes: what one round leaves behind for ever.
func BenchmarkGrowth(b *testing.B) {
	for _, n := range []int{5, 50, 500} {
		b.Run(fmt.Sprintf("devices=%d", n), func(b *testing.B) {
			in := crowd(n, 500)
			const warm, rounds = 200, 2000
			run := func(times int) {
				for range times {
					in.Now = in.Now.Add(time.Millisecond)
					Round(in)
				}
			}
			run(warm)
			before := liveHeap()
			run(rounds)
			grown := float64(liveHeap()) - float64(before)
			for b.Loop() { // the measurement is above
			}
			b.ReportMetric(max(0, grown)/rounds, "B/round")
		})
	}
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
