package leap

import (
	"testing"
	"time"

	"nominald/dispatch"
)

// BenchmarkDecodeMerge is what a poll costs once its bytes are here: a full
// page of 500 timeslots, decoded and merged into a schedule that knows them.
func BenchmarkDecodeMerge(b *testing.B) {
	const n = 500
	body := bigPage(1, n, false)
	now := time.Date(2026, 7, 21, 12, 0, 0, 0, time.UTC)
	batch := dispatch.Batch{
		Source: dispatch.FromPoll, Observed: now, From: now.Add(-nearBack), To: now.Add(nearAhead),
		Complete: true, Meters: []string{meterA},
	}
	var s *dispatch.Schedule
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		p, err := decodePage(body)
		if err != nil {
			b.Fatal(err)
		}
		now = now.Add(time.Minute)
		batch.Observed, batch.Slots = now, p.slots
		s, _ = dispatch.Merge(s, batch, now)
	}
	if s.Len() != n {
		b.Fatalf("%d records", s.Len())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/slot")
}
