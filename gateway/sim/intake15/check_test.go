package intake15

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	ours  = "afce893d-ea68-487f-9f8c-778b1881f60a"
	other = "0d3a9a52-9a2f-4f0f-8a35-0b8f0f1c2d3e"
)

func now() time.Time { return time.Date(2026, 7, 1, 12, 5, 0, 0, time.UTC) }

func codes(file string) []string {
	_, problems := Check([]byte(file), func(id string) bool { return id == ours }, now())
	var out []string
	for _, p := range problems {
		out = append(out, p.Code)
	}
	return out
}

// Each code comes of what it names, and of nothing else.
func TestEachCode(t *testing.T) {
	const head = "meter_id,interval_start_time_utc,interval_end_time_utc,energy_generated_kwh,energy_consumed_kwh,energy_net_kwh,region,final\n"
	row := func(change map[int]string) string {
		fields := []string{ours, "2026-07-01T11:00:00Z", "2026-07-01T11:15:00Z", "0", "1.5", "1.5", "CA", "true"}
		for i, v := range change {
			fields[i] = v
		}
		return head + strings.Join(fields, ",") + "\n"
	}
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"good":               {row(nil), nil},
		"no region, final":   {row(map[int]string{6: "", 7: ""}), nil},
		"net alone":          {row(map[int]string{3: "", 4: "", 5: "-2"}), nil},
		"both alone":         {row(map[int]string{5: ""}), nil},
		"empty":              {"", []string{Uncategorised}},
		"broken quotes":      {head + "\"a\"b,c\n", []string{Uncategorised}},
		"short":              {head + ours + ",2026-07-01T11:00:00Z\n", []string{LineTooShort}},
		"no meter column":    {"interval_start_time_utc,interval_end_time_utc,energy_net_kwh\n", []string{MeterMissing}},
		"no start column":    {"meter_id,interval_end_time_utc,energy_net_kwh\n", []string{StartMissing}},
		"no end column":      {"meter_id,interval_start_time_utc,energy_net_kwh\n", []string{EndMissing}},
		"no energy column":   {"meter_id,interval_start_time_utc,interval_end_time_utc,energy_consumed_kwh\n", []string{EnergyMissing}},
		"meter bad":          {row(map[int]string{0: "1234"}), []string{MeterBad}},
		"meter unknown":      {row(map[int]string{0: other}), []string{MeterUnknown}},
		"start bad":          {row(map[int]string{1: "yesterday"}), []string{StartBad}},
		"start off the grid": {row(map[int]string{1: "2026-07-01T11:01:00Z"}), []string{StartWrong, LengthWrong}},
		"future":             {row(map[int]string{1: "2026-07-01T12:15:00Z", 2: "2026-07-01T12:30:00Z"}), []string{StartWrong, EndWrong}},
		"end ahead":          {row(map[int]string{1: "2026-07-01T12:00:00Z", 2: "2026-07-01T12:15:00Z"}), []string{EndWrong}},
		"end bad":            {row(map[int]string{2: "11:15"}), []string{EndBad}},
		"half an hour":       {row(map[int]string{2: "2026-07-01T11:30:00Z"}), []string{LengthWrong}},
		"generated bad":      {row(map[int]string{3: "NaN"}), []string{GeneratedBad}},
		"generated negative": {row(map[int]string{3: "-1", 5: "2.5"}), []string{GeneratedLess}},
		"net bad":            {row(map[int]string{5: "x"}), []string{NetBad}},
		"consumed no number": {row(map[int]string{4: "much"}), []string{ConsumedBad}},
		"consumed negative":  {row(map[int]string{4: "-1.5", 5: "-1.5"}), []string{ConsumedLess}},
		"no energy":          {row(map[int]string{3: "", 4: "", 5: ""}), []string{EnergyMissing}},
		"one of both":        {row(map[int]string{3: ""}), []string{EnergyMissing}},
		"conflict":           {row(map[int]string{5: "2"}), []string{EnergyTwice}},
		"region bad":         {row(map[int]string{6: "California"}), []string{RegionBad}},
		"region wrong":       {row(map[int]string{6: "XX"}), []string{RegionWrong}},
		"final bad":          {row(map[int]string{7: "maybe"}), []string{FinalBad}},
	} {
		if got := codes(c.file); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("meter_id,interval_start_time_utc,interval_end_time_utc,energy_net_kwh\n" + ours + ",2026-07-01T11:00:00Z,2026-07-01T11:15:00Z,1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		good, problems := Check(b, func(string) bool { return true }, now())
		if len(good) > 0 && len(problems) > 0 {
			t.Fatal("half of a file was taken")
		}
		for _, iv := range good {
			if iv.Start.After(now()) || !iv.Start.Truncate(quarter).Equal(iv.Start) {
				t.Fatalf("took %+v", iv)
			}
		}
	})
}
