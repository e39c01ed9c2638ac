package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"nominald/gateway/journal"
	"nominald/gateway/loadlog"
	"nominald/gateway/store"
)

// The load of the benchmark: what the issue of a store is measured with.
const (
	storeChannels = 20
	day           = 24 * time.Hour
	yearDays      = 365
)

var errPart = errors.New("a part of the benchmark failed")

func storeStart() time.Time { return time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC) }

// loads draws what channels measure: half a percent of noise, in whole watts,
// and appliances that come and go.
type loads struct {
	rnd   *rand.Rand
	baseW [storeChannels]float64
}

func newLoads() *loads { return &loads{rnd: rand.New(rand.NewPCG(1, 2))} }

func (l *loads) next(ch int) float64 {
	if l.baseW[ch] == 0 || l.rnd.IntN(600) == 0 {
		l.baseW[ch] = 200 + 4000*l.rnd.Float64()
	}
	return math.Round(l.baseW[ch] * (1 + 0.005*l.rnd.NormFloat64()))
}

func channelName(ch int) string {
	if ch == 0 {
		return loadlog.Site
	}
	return fmt.Sprintf("device-%02d", ch)
}

// card is an open store with its load log.
type card struct {
	store *store.Store
	log   *loadlog.Log
	loads *loads
}

func openCard(dir string) (*card, error) {
	st, _, err := store.Open(filepath.Join(dir, "nominald"), store.Options{})
	if err != nil {
		return nil, err
	}
	log, err := loadlog.Open(loadlog.Options{Store: st, Dir: filepath.Join(dir, "nominald", "load"), Retain: 400 * day, KeepFine: 30 * day})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &card{st, log, newLoads()}, nil
}

func (c *card) close() error { return errors.Join(c.log.Close(), c.store.Close()) }

// live feeds all channels for a time, a sample each step, and writes as the
// running gateway does.
func (c *card) live(from time.Time, length, step, turn time.Duration) error {
	next := from.Add(turn)
	for at := from; at.Before(from.Add(length)); at = at.Add(step) {
		for ch := range storeChannels {
			c.log.Add(at, channelName(ch), c.loads.next(ch), loadlog.Measured)
		}
		if at.Before(next) {
			continue
		}
		next = at.Add(turn)
		if err := c.log.Turn(); err != nil {
			return err
		}
	}
	return nil
}

// measureStore prints what 20 channels at 1 Hz cost a card: on an ext4 of its
// own, by the counters of its device.
func measureStore(ctx context.Context) (err error) {
	work, err := os.MkdirTemp("", "nominald-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	d, err := newDisk(ctx, work)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	first, err := measureDay(ctx, d, 0)
	if err != nil {
		return err
	}
	if err := measurePaced(ctx, d); err != nil {
		return err
	}
	if err := part(ctx, d, "year", nil); err != nil {
		return err
	}
	last, err := measureDay(ctx, d, yearDays)
	if err != nil {
		return err
	}
	figure("store_written_per_sample", first.written, "B", "<=", 9)
	figure("store_written_per_day", first.written*storeChannels*day.Seconds()/1e6, "MB", "<=", 16)
	figure("store_kept_per_sample", first.kept, "B", "<=", 2.5)
	figure("store_written_after_a_year", last.written/first.written, "ratio", "<=", 1.2)
	figure("store_rss_logging", last.rssMB, "MB", "<=", 32)
	if err := measureLoss(d); err != nil {
		return err
	}
	if err := measureQueries(ctx, d); err != nil {
		return err
	}
	return measureOthers(ctx, d, first.written)
}

// dayCost is what a day of logging cost.
type dayCost struct{ written, kept, rssMB float64 }

// measureDay logs a day in a process of its own, from the second hour on: the
// first one makes the files.
func measureDay(ctx context.Context, d *disk, after int) (c dayCost, err error) {
	if err := part(ctx, d, "hour-"+strconv.Itoa(after), nil); err != nil {
		return c, err
	}
	before, err := size(d.dir)
	if err != nil {
		return c, err
	}
	var out struct{ RSSMB float64 }
	const samples = storeChannels * 23 * 3600
	written, err := d.during(func() error { return part(ctx, d, "day-"+strconv.Itoa(after), &out) })
	if err != nil {
		return c, err
	}
	kept, err := size(d.dir)
	fmt.Printf("day %3d: %.1f MB written, files from %.1f to %.1f MB\n", after, written/1e6, before/1e6, kept/1e6)
	return dayCost{written / samples, (kept - before) / samples, out.RSSMB}, err
}

// measurePaced writes a few turns in real time: ext4 commits its own journal each
// 5 s, so that a turn also pays for noting when the file was changed. It pays
// once where the gateway's journal of rounds is written in the same second, as it
// is: what the load log adds to a gateway's writing is the difference.
func measurePaced(ctx context.Context, d *disk) error {
	perSample := map[string]float64{}
	for _, what := range []string{"load", "rounds", "both"} {
		var out struct{ Written float64 }
		if err := part(ctx, d, what+"-"+d.device, &out); err != nil {
			return err
		}
		perSample[what] = out.Written / pacedTurns / storeChannels / loadlog.TurnEvery.Seconds()
	}
	figure("store_written_per_sample_paced_alone", perSample["load"], "B", "<=", 9)
	figure("store_written_per_sample_paced", perSample["both"]-perSample["rounds"], "B", "<=", 9)
	return nil
}

// part runs a part of the benchmark in a process of its own, so that memory and
// caches are that part's alone.
func part(ctx context.Context, d *disk, name string, into any) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "store-part", name, d.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errPart, name, err)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(out, into)
}

// storePart is the process that part starts.
func storePart(name, dir string) error {
	debug.SetGCPercent(50) // as the gateway runs
	c, err := openCard(dir)
	if err != nil {
		return err
	}
	kind, number, _ := strings.Cut(name, "-")
	after, _ := strconv.Atoi(number) // absent: 0
	from := storeStart().AddDate(0, 0, after)
	switch kind {
	case "hour":
		err = c.live(from, time.Hour, time.Second, loadlog.TurnEvery)
	case "day":
		err = c.live(from.Add(time.Hour), 23*time.Hour, time.Second, loadlog.TurnEvery)
	case "load", "rounds", "both":
		err = c.paced(kind, &disk{dir: dir, device: number})
	case "year":
		err = c.year(from.Add(day))
	case "query":
		err = c.query(after)
	default:
		err = fmt.Errorf("no part %q", name)
	}
	if err == nil && slices.Contains([]string{"hour", "day", "year"}, kind) {
		err = c.log.Flush()
	}
	if err == nil && kind == "day" {
		var peak float64
		if peak, err = statusMB("VmHWM:"); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(map[string]float64{"RSSMB": peak})
		}
	}
	return errors.Join(err, c.close())
}

// pacedTurns are the turns that are written in real time.
const pacedTurns = 6

// paced writes the load, the rounds or both as the gateway does.
func (c *card) paced(what string, d *disk) error {
	from := storeStart().Add(day + map[string]time.Duration{"both": time.Hour}[what])
	rounds := journal.NewWriter(journal.Options{Dir: filepath.Join(d.dir, "nominald", "journal"), MaxBytes: 64 << 20, MaxAge: 14 * day})
	turn := func(at time.Time) error {
		if what != "rounds" {
			if err := c.live(at, loadlog.TurnEvery, time.Second, time.Hour); err != nil {
				return err
			}
			if err := c.log.Turn(); err != nil {
				return err
			}
		}
		time.Sleep(time.Second)
		if what != "load" {
			line := fmt.Appendf(nil, `{"input":{"now":%q,"noise":"%x"}}`, at.Format(time.RFC3339), rand.Int64()) // an idle minute's
			if err := rounds.Append(at, append(line, strings.Repeat(` `, 1000)...)); err != nil {
				return err
			}
			return rounds.Flush()
		}
		return nil
	}
	if err := turn(from); err != nil { // makes the files; the hour's first turn writes the hour before
		return err
	}
	written, err := d.during(func() error {
		for i := range pacedTurns {
			if err := turn(from.Add(time.Duration(i+1) * loadlog.TurnEvery)); err != nil {
				return err
			}
			time.Sleep(6 * time.Second)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"Written": written})
}

// year fills the card as a year would: samples that hold for 5 s, written once
// an hour, dropped when they are old.
func (c *card) year(from time.Time) error {
	for d := range yearDays - 1 {
		if err := c.live(from.AddDate(0, 0, d), day, 5*time.Second, time.Hour); err != nil {
			return err
		}
		if d%10 == 0 {
			fmt.Fprintf(os.Stderr, "\rfilling a year: day %d of %d", d, yearDays)
			if err := c.log.Drop(); err != nil {
				return err
			}
		}
	}
	fmt.Fprintln(os.Stderr)
	return c.log.Drop()
}

// statusMB reads one value of this process in MB.
func statusMB(key string) (float64, error) {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(raw), key)
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, fmt.Errorf("/proc/self/status has no %s", key)
	}
	kb, err := strconv.ParseFloat(fields[0], 64)
	return kb / 1024, err
}
