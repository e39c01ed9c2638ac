// Package intervals sends the measured load of Leap meters to Leap, a quarter of
// an hour a row (domain.md 1.6): which intervals, in which files, what became of
// each, and what has to be sent again. Device programmes are settled by what
// the partner uploads (domain.md 1.4, "who supplies intervals").
package intervals

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Quarter is the length of an interval; it begins at :00, :15, :30 or :45 UTC.
const Quarter = 15 * time.Minute

const (
	quartersADay = int(24 * time.Hour / Quarter)
	hashBytes    = 8
)

// The log's words for rows that are good enough to be settled by.
const (
	measured  = "measured"
	recovered = "recovered"
)

// Row is an interval as the load log has it.
type Row struct {
	Start   time.Time
	NetWh   float64 // import positive; of a battery that discharges, negative
	Quality string  // the log's word for it
}

// header of the "load" schema: the net energy alone. What went in and what came
// out within one interval the log does not know, and "give net, or generated and
// consumed" are the choices.
const header = "meter_id,interval_start_time_utc,interval_end_time_utc,energy_net_kwh\n"

// line is the row of an interval; kWh are written to a tenth of a Wh.
func line(meter string, r Row) string {
	kwh := math.Round(r.NetWh*10) / 10_000
	if kwh == 0 {
		kwh = 0 // no "-0"
	}
	start := r.Start.UTC()
	return fmt.Sprintf("%s,%s,%s,%s\n", strings.ToLower(meter), start.Format(time.RFC3339), start.Add(Quarter).Format(time.RFC3339),
		strconv.FormatFloat(kwh, 'f', -1, 64))
}

// hash tells one row from another.
func hash(line string) string {
	sum := sha256.Sum256([]byte(line))
	return hex.EncodeToString(sum[:hashBytes])
}

// sendable keeps the rows that can be sent: whole intervals that are over, by
// Leap's clock too and with their last sample booked, and were measured, or counted by the meter itself. What was only estimated, or
// measured at a doubtful time, is left to Leap's own rules for gaps.
func sendable(rows []Row, now time.Time) []Row {
	good := slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
		return r.Quality != measured && r.Quality != recovered || !r.Start.Truncate(Quarter).Equal(r.Start) ||
			r.Start.Add(Quarter+clockSlack).After(now) || math.IsNaN(r.NetWh) || math.IsInf(r.NetWh, 0)
	})
	slices.SortFunc(good, func(a, b Row) int { return a.Start.Compare(b.Start) })
	return slices.CompactFunc(good, func(a, b Row) bool { return a.Start.Equal(b.Start) })
}

// CSV is a file of the rows of a meter that can be sent.
func CSV(meter string, rows []Row, now time.Time) string {
	var b strings.Builder
	b.WriteString(header)
	for _, r := range sendable(rows, now) {
		b.WriteString(line(meter, r))
	}
	return b.String()
}
