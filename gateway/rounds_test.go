package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
	"nominald/drivers"
	"nominald/drivers/bus"
	"nominald/gateway/config"
	"nominald/gateway/journal"
	"nominald/gateway/status"
)

// bench is a site without clockwork whose devices do at once what they are told.
type bench struct {
	t       testing.TB
	now     time.Time
	stepped *Stepped
	random  *rand.Rand
	devices map[string]*benchDevice
	soc     float64
}

type benchDevice struct {
	reading drivers.Reading
	lease   *drivers.Lease
}

func (d *benchDevice) Snapshot() bus.Snapshot {
	s := bus.Snapshot{Reading: d.reading, Tried: true, Online: true, LastSeen: d.reading.At, Lease: d.lease, Neutral: d.lease == nil}
	if d.lease != nil {
		s.Applied, s.AppliedAt = d.lease.Command, d.reading.At
	}
	return s
}
func (d *benchDevice) Lease(l drivers.Lease) { d.lease = &l }
func (d *benchDevice) Neutral()              { d.lease = nil }

// newBench is a home with a battery, a vehicle, a room and a PV roof.
func newBench(t testing.TB, start time.Time, armed bool) *bench {
	t.Helper()
	b := &bench{t: t, now: start, random: rand.New(rand.NewPCG(1, 2)), devices: map[string]*benchDevice{}, soc: 90}
	cfg := &config.Config{
		Site:   config.Site{Name: "Test Site", Timezone: time.UTC, Armed: armed, MaxImportW: 40_000},
		Meters: []config.Meter{{ID: testMeter, Type: config.UtilityMeter, MeasuredBy: "main", Reference: config.ByDevice, Devices: []string{"battery", "wallbox", "hvac"}}},
		Devices: []config.Device{
			{Name: "main", Kind: drivers.Meter},
			{Name: "battery", Kind: drivers.Battery, ReserveSoC: 20, MaxDischargeW: drivers.Some(5000), CapacityWh: drivers.Some(13_500)},
			{Name: "wallbox", Kind: drivers.Charger, Phases: 1, VoltageV: 230, MinA: 6, MaxA: 16},
			{Name: "hvac", Kind: drivers.Thermostat, RatedW: 3500, MinOff: 5 * time.Minute, MaxOff: 30 * time.Minute, MaxOffsetK: 2},
		},
		Policy: config.Policy{Basis: plan.BasisEnergy, Voluntary: plan.VoluntaryFollow, CommunicationTest: "dry-run", OnMissing: "execute", Release: 2 * time.Minute},
	}
	ports := map[string]Port{}
	for _, d := range cfg.Devices {
		b.devices[d.Name] = &benchDevice{}
		ports[d.Name] = b.devices[d.Name]
	}
	var err error
	if b.stepped, err = NewStepped(SteppedOptions{Config: cfg, Ports: ports, Now: func() time.Time { return b.now }}); err != nil {
		t.Fatal(err)
	}
	b.measure(time.Second)
	return b
}

// noise is as a meter has it: in tenths of a watt.
func (b *bench) noise(w float64) float64 { return math.Round(b.random.NormFloat64()*w*10) / 10 }

func (b *bench) measure(dt time.Duration) {
	day := float64(b.now.Hour()) + float64(b.now.Minute())/60
	load := 900 + 700*math.Sin(day/24*2*math.Pi) + b.noise(60) - math.Max(0, 3000*math.Sin((day-6)/12*math.Pi))
	set := func(name string, w float64, sign float64) {
		load += sign * w
		b.devices[name].reading = drivers.Reading{At: b.now, Connected: true, PowerW: drivers.Some(w)}
	}
	var battery, vehicle float64 = 0, 3600
	if l := b.devices["battery"].lease; l != nil {
		battery = math.Round(l.Command.PowerW + b.noise(8))
	}
	if l := b.devices["wallbox"].lease; l != nil {
		vehicle = 230 * l.Command.CurrentA
	}
	b.soc -= battery * dt.Hours() / 135
	set("battery", battery, -1)
	set("wallbox", vehicle+math.Round(b.noise(5)), 1)
	set("hvac", 1800+b.noise(20), 1)
	b.devices["battery"].reading.SoC = drivers.Some(math.Round(b.soc*10) / 10)
	b.devices["hvac"].reading.TemperatureC = drivers.Some(21 + math.Round(b.noise(1))/10)
	set("main", math.Round(load*10)/10, 0)
}

// step goes on by a time, which is never quite a whole second, and makes a round.
func (b *bench) step(dt time.Duration) Round {
	b.now = b.now.Add(dt + time.Duration(b.random.IntN(900_000)))
	b.measure(dt)
	in, d := b.stepped.Round()
	return Round{Version: "test", DryRun: !b.stepped.opts.Config.Site.Armed, Input: in, Decision: d}
}

// award gives the site timeslots of an hour, as Leap sends them.
func (b *bench) award(starts ...time.Time) {
	var records []dispatch.Record
	for i, start := range starts {
		four := 4.0
		records = append(records, dispatch.Record{Timeslot: dispatch.Timeslot{MeterID: testMeter, EventID: fmt.Sprintf("3acfced0-16f4-4fb7-b72e-5ff939ae54%02d", i),
			Start: start, End: start.Add(time.Hour), EnergyKW: &four, NominationKW: &four, Cap: dispatch.UpToSiteLoad, Priority: 2,
			EventTypes: []string{"day-ahead"}, Programs: []string{"CCA"}, Raw: json.RawMessage(`{"as":"it came"}`)},
			Revision: 1, Source: dispatch.FromPoll, FirstSeen: start.Add(-12 * time.Hour)})
	}
	b.stepped.SetSchedule(records)
}

var midnight = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

// TestRoundsOfADayReplay makes the rounds of a day with one timeslot, keeps
// all of them, and decides each once more from what was kept: the planner is a
// pure function, and what it was given and gave is kept whole.
func TestRoundsOfADayReplay(t *testing.T) {
	t.Parallel()
	for _, armed := range []bool{true, false} {
		dir := t.TempDir()
		b := newBench(t, midnight, armed)
		b.award(midnight.Add(17 * time.Hour))
		w := journal.NewWriter(journal.Options{Dir: dir})
		every := 4 * time.Second
		if !armed {
			every = 12 * time.Second
		}
		n := keepDay(b, w, every)
		var replayed, active int
		err := journal.Read(dir, time.Time{}, time.Time{}, func(at time.Time, line []byte) error {
			r, err := Replay(line)
			if err != nil {
				return err
			}
			if !r.Identical() || !r.Now.Equal(at) {
				diffs, err := r.Differences()
				return fmt.Errorf("round of %v: %v, %w", at, diffs, err)
			}
			replayed++
			if bytes.Contains(r.Kept, []byte(`"state":"active"`)) {
				active++
			}
			return nil
		}, func(d journal.Damage) { t.Error(d) })
		if err != nil || replayed != n {
			t.Errorf("%d of %d rounds replayed, %v", replayed, n, err)
		}
		if active < n/25 {
			t.Errorf("%d of %d rounds in the timeslot: the test does not test", active, n)
		}
	}
}

// keepDay writes a day of rounds, closer together around its timeslot. Each is
// encoded when it is made and once more much later: nothing that is shared
// between rounds may have changed it.
func keepDay(b *bench, w *journal.Writer, every time.Duration) (n int) {
	type kept struct {
		round Round
		line  []byte
	}
	var held []kept
	for ; b.now.Before(midnight.Add(24*time.Hour - time.Minute)); n++ {
		dt := every
		if h := b.now.Sub(midnight).Hours(); h < 16.8 || h > 18.2 {
			dt = 15 * every
		}
		round := b.step(dt)
		if round.Input.Now != round.Input.Now.Round(0) || round.Decision.Now != round.Input.Now {
			b.t.Fatalf("the round's time %v holds a monotonic reading, or is not the decision's", round.Input.Now)
		}
		line, err := round.encode()
		if err != nil {
			b.t.Fatal(err)
		}
		if err := w.Append(round.Input.Now, line); err != nil {
			b.t.Fatal(err)
		}
		if held = append(held, kept{round, line}); len(held) > 30 {
			again, err := held[0].round.encode()
			if err != nil || !bytes.Equal(again, held[0].line) {
				b.t.Fatalf("the round changed after it was made (%v):\n%s\n%s", err, held[0].line, again)
			}
			held = held[1:]
		}
	}
	if err := w.Flush(); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// TestRoundsThatGoToDisk: all while something is asked, one a minute else, and
// each change at once.
func TestRoundsThatGoToDisk(t *testing.T) {
	t.Parallel()
	r := newRounds(t.TempDir(), "test", false, slog.New(slog.DiscardHandler))
	w := newRoundWriter(r)
	b := newBench(t, midnight, true)
	start := midnight.Add(40 * time.Minute)
	b.award(start)
	count := func(from, to time.Duration) (n int) {
		for b.now.Before(midnight.Add(to)) {
			w.take(b.step(time.Second))
		}
		w.flush()
		err := journal.Read(r.dir, midnight.Add(from), midnight.Add(to), func(time.Time, []byte) error { n++; return nil }, func(d journal.Damage) { t.Error(d) })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(0, 30*time.Minute); n < 30 || n > 40 {
		t.Errorf("%d rounds of 30 idle minutes", n)
	}
	if n := count(45*time.Minute, 55*time.Minute); n < 599 {
		t.Errorf("%d rounds of 600 s of a timeslot", n)
	}
	b.now = start.Add(50 * time.Minute)
	if n := count(start.Add(50*time.Minute).Sub(midnight), start.Add(62*time.Minute).Sub(midnight)); n < 718 {
		t.Errorf("%d rounds of the last 600 s and the release of 120 s", n)
	}
	b.now = start.Add(90 * time.Minute)
	if n := count(start.Add(91*time.Minute).Sub(midnight), start.Add(101*time.Minute).Sub(midnight)); n < 10 || n > 12 {
		t.Errorf("%d rounds of ten idle minutes after", n)
	}
	stop := b.step(time.Second)
	stop.Decision.Devices = append([]plan.DeviceDecision(nil), stop.Decision.Devices...)
	stop.Decision.Devices[1].Reason = plan.OwnerStop
	w.take(stop)
	w.flush()
	line, when, err := journal.Find(r.dir, b.now, 0, func(d journal.Damage) { t.Error(d) })
	if err != nil || line == nil || !when.Equal(stop.Input.Now) {
		t.Errorf("a changed reason was not kept: %s, %v", line, err)
	}
}

// TestExplainReachesBack: seconds from memory, minutes from disk, and beyond
// that it says what there is.
func TestExplainReachesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRounds(dir, "test", false, slog.New(slog.DiscardHandler))
	if _, err := r.Explain(midnight); !errors.Is(err, status.ErrNotKept) || !strings.Contains(err.Error(), "there is none yet") {
		t.Errorf("before the first round: %v", err)
	}
	w := newRoundWriter(r)
	b := newBench(t, midnight, true)
	for range 3600 {
		round := b.step(time.Second)
		r.keep(round.Input, round.Decision)
		w.take(<-r.toDisk)
	}
	w.flush()
	for _, c := range []struct {
		back, atMost time.Duration
	}{{0, 0}, {10 * time.Second, 1100 * time.Millisecond}, {119 * time.Second, 1100 * time.Millisecond},
		{10 * time.Minute, 62 * time.Second}, {55 * time.Minute, 62 * time.Second}} {
		at := b.now.Add(-c.back)
		raw, err := r.Explain(at)
		if err != nil {
			t.Errorf("%v back: %v", c.back, err)
			continue
		}
		got, err := Replay(raw)
		if err != nil || !got.Identical() || got.Now.After(at) || at.Sub(got.Now) > c.atMost {
			t.Errorf("%v back: round of %v for %v, %v", c.back, got.Now, at, err)
		}
	}
	for _, at := range []time.Time{midnight.Add(-time.Minute), b.now.Add(time.Hour)} {
		_, err := r.Explain(at)
		if !errors.Is(err, status.ErrNotKept) || !strings.Contains(err.Error(), "they are kept from 2026-11-26T00:00:01Z to 2026-11-26T01:00:0") {
			t.Errorf("at %v: %v", at, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "20261126T00.nj"), []byte("spoiled"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Explain(midnight.Add(10 * time.Minute)); !errors.Is(err, status.ErrNotKept) || !strings.Contains(err.Error(), "; 1 damaged places of that hour can not be read") {
		t.Errorf("of a damaged hour: %v", err)
	}
}

// TestADiskThatRefusesCostsRoundsOnly: it is said once, the round never waits,
// and it goes on when the disk is good again.
func TestADiskThatRefusesCostsRoundsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged synced
		dir := filepath.Join(t.TempDir(), JournalDir)
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be
			t.Fatal(err)
		}
		r := newRounds(dir, "test", false, slog.New(slog.NewTextHandler(&logged, nil)))
		b := newBench(t, time.Now(), true)
		for range 2 * keptRounds { // nobody takes them
			round := b.step(time.Second)
			r.keep(round.Input, round.Decision)
		}
		done := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- r.run(ctx) }()
		rounds := func(n int) {
			for range n {
				time.Sleep(time.Second)
				round := b.step(time.Second)
				r.keep(round.Input, round.Decision)
			}
		}
		rounds(180)
		text := logged.String()
		if strings.Count(text, "not a directory") != 1 || strings.Count(text, "the disk is too slow, 120 rounds are not kept") != 1 {
			t.Errorf("logged:\n%s", text)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		rounds(180)
		if text := logged.String(); strings.Count(text, "rounds are kept again") != 2 || strings.Count(text, "level=ERROR") != 2 {
			t.Errorf("logged:\n%s", text)
		}
		if first, last, err := journal.Kept(dir); err != nil || last.Sub(first) < 2*time.Minute {
			t.Errorf("kept %v to %v, %v", first, last, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestRunningGatewayKeepsItsRounds over sockets, and what it showed and what it
// left on disk replay.
func TestRunningGatewayKeepsItsRounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	w.award(time.Now().UTC().Add(-time.Second), time.Hour)
	stop := w.run()
	w.await("the battery gives", 20*time.Second, func() bool {
		p := w.device("battery").PowerW
		return p != nil && *p > 500
	})
	if r, err := Replay([]byte(w.text("/api/v1/explain"))); err != nil || !r.Identical() || r.Version != "test" {
		diffs, derr := r.Differences()
		t.Errorf("round from memory: %v, %v, %v", err, diffs, derr)
	}
	stop()
	n := 0
	err := journal.Read(filepath.Join(w.cfg.Store.Dir, JournalDir), time.Time{}, time.Time{}, func(_ time.Time, line []byte) error {
		n++
		r, err := Replay(line)
		if err == nil && !r.Identical() {
			diffs, derr := r.Differences()
			err = fmt.Errorf("%v, %w", diffs, derr)
		}
		return err
	}, func(d journal.Damage) { t.Error(d) })
	if err != nil || n < 3 {
		t.Errorf("%d rounds on disk, %v", n, err)
	}
}

// BenchmarkJournal measures what a round costs on disk: in an hour of a
// timeslot, and in a day in which nothing happens.
func BenchmarkJournal(b *testing.B) {
	for _, c := range []struct {
		name  string
		slots int
		every time.Duration
		n     int
	}{{"event", 1, time.Second, 3600}, {"event_24_timeslots", 24, time.Second, 3600}, {"idle", 0, time.Minute, 1440}, {"idle_4_timeslots", 4, time.Minute, 1440}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				measureJournal(b, c.slots, c.every, c.n)
			}
		})
	}
}

func measureJournal(b *testing.B, slots int, every time.Duration, n int) {
	dir := b.TempDir()
	w := journal.NewWriter(journal.Options{Dir: dir})
	site := newBench(b, midnight.Add(17*time.Hour), true)
	first := site.now
	if every > time.Second { // idle: they lie ahead
		first = first.Add(25 * time.Hour)
	}
	var starts []time.Time
	for i := range slots {
		starts = append(starts, first.Add(time.Duration(i)*time.Hour))
	}
	site.award(starts...)
	var raw int
	for i := range n {
		line, err := site.step(every).encode()
		if err != nil {
			b.Fatal(err)
		}
		raw += len(line)
		if err := w.Append(site.now, line); err != nil {
			b.Fatal(err)
		}
		if i%55 == 54 || every > writeEvery {
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	var disk int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			b.Fatal(err)
		}
		disk += info.Size()
	}
	b.ReportMetric(float64(raw)/float64(n), "jsonB/round")
	b.ReportMetric(float64(disk)/float64(n), "diskB/round")
}
