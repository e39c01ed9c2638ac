package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"nominald/gateway/loadlog"
	"nominald/gateway/store"
)

// queries are what people ask for; the number is the part's.
func queries() []struct {
	name     string
	length   time.Duration
	step     time.Duration
	channels []string
	rows     int
	limitMS  float64
} {
	type q = struct {
		name     string
		length   time.Duration
		step     time.Duration
		channels []string
		rows     int
		limitMS  float64
	}
	return []q{
		{"day_15m_all", day, 15 * time.Minute, nil, 96 * storeChannels, 50},
		{"day_1m_one", day, time.Minute, []string{loadlog.Site}, 1440, 50},
		{"day_1s_one", day, time.Second, []string{loadlog.Site}, 86400, 500},
		{"year_15m_one", yearDays * day, 15 * time.Minute, []string{loadlog.Site}, 365 * 96, 50},
	}
}

type queryCost struct {
	MS, ExtraMB float64
	Rows        int
}

// query asks once for how far the memory rises, the store's mapped pages
// included, and then for the time in the middle of seven.
func (c *card) query(number int) error {
	q := queries()[number]
	to := storeStart().AddDate(0, 0, yearDays+1)
	var out queryCost
	ask := func() error {
		out.Rows = 0
		return c.log.Query(to.Add(-q.length), to, q.step, func(loadlog.Row) error { out.Rows++; return nil }, q.channels...)
	}
	runtime.GC()
	before, err := statusMB("VmRSS:")
	if err == nil {
		err = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak begins anew
	}
	if err == nil {
		err = ask()
	}
	if err != nil {
		return err
	}
	peak, err := statusMB("VmHWM:")
	if err != nil {
		return err
	}
	var times []float64
	for range 7 {
		began := time.Now()
		if err := ask(); err != nil {
			return err
		}
		times = append(times, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(times)
	out.MS, out.ExtraMB = times[len(times)/2], peak-before
	return json.NewEncoder(os.Stdout).Encode(out)
}

func measureQueries(ctx context.Context, d *disk) error {
	for i, q := range queries() {
		var cost queryCost
		if err := part(ctx, d, fmt.Sprintf("query-%d", i), &cost); err != nil {
			return err
		}
		// The days before the first hour of the year's last day are whole.
		if cost.Rows < q.rows*98/100 {
			return fmt.Errorf("query %s gave %d rows, want %d", q.name, cost.Rows, q.rows)
		}
		figure("store_query_"+q.name, cost.MS, "ms", "<=", q.limitMS)
		figure("store_query_"+q.name+"_memory", cost.ExtraMB, "MB", "<=", 8)
	}
	return nil
}

// measureLoss copies the files at the worst moment, just before the next turn,
// and looks what a gateway that starts from the copy has got.
func measureLoss(d *disk) error {
	from, into := filepath.Join(d.dir, "nominald"), filepath.Join(d.dir, "cut")
	c, err := openCard(d.dir)
	if err != nil {
		return err
	}
	defer c.close()
	start := storeStart().AddDate(0, 0, yearDays+1)
	last := start.Add(10*loadlog.TurnEvery - time.Second)
	if err := c.live(start, 10*loadlog.TurnEvery, time.Second, loadlog.TurnEvery); err != nil {
		return err
	}
	if err := copyTree(filepath.Join(into, "nominald"), from); err != nil {
		return err
	}
	after, err := openCard(into)
	if err != nil {
		return err
	}
	var newest time.Time
	err = after.log.Query(start, last.Add(time.Minute), time.Second, func(r loadlog.Row) error { newest = r.T; return nil }, loadlog.Site)
	if err := errors.Join(err, after.close(), os.RemoveAll(into)); err != nil {
		return err
	}
	figure("store_loss_window", last.Sub(newest).Seconds(), "s", "<=", 60)
	return nil
}

func copyTree(to, from string) error {
	return filepath.Walk(from, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if info.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(target)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
}

// measureOthers writes the same samples in ways that are often taken, each
// second in a commit of its own.
func measureOthers(ctx context.Context, d *disk, ours float64) error {
	const seconds = 300
	rows := float64(seconds * storeChannels)
	st, _, err := store.Open(filepath.Join(d.dir, "rows"), store.Options{})
	if err != nil {
		return err
	}
	l := newLoads()
	written, err := d.during(func() error {
		for s := range seconds {
			batch := map[string][]byte{}
			for ch := range storeChannels {
				batch[fmt.Sprintf("%010d/%s", s, channelName(ch))] = fmt.Appendf(nil, "%.0f", l.next(ch))
			}
			if err := st.AppendRows("rows", batch); err != nil {
				return err
			}
		}
		return st.Close()
	})
	if err != nil {
		return fmt.Errorf("bbolt, a row a second: %w", err)
	}
	figure("store_bbolt_rows_per_sample", written/rows, "B", ">=", ours)
	if err := measureSQLite(ctx, d, seconds, ours); err != nil {
		return err
	}
	return measurePrometheus(ctx, d, ours)
}

// sqliteScript keeps a row a sample in SQLite's write-ahead mode, a commit a
// second.
const sqliteScript = `
import random, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("pragma journal_mode=wal"); db.execute("pragma synchronous=full")
db.execute("create table load (t integer, channel integer, w integer, primary key (channel, t)) without rowid")
for s in range(int(sys.argv[2])):
    db.executemany("insert into load values (?, ?, ?)", [(s, c, random.randint(0, 4000)) for c in range(int(sys.argv[3]))])
    db.commit()
db.close()
`

func measureSQLite(ctx context.Context, d *disk, seconds int, ours float64) error {
	if err := exec.CommandContext(ctx, "python3", "-c", "import sqlite3").Run(); err != nil {
		fmt.Println("SQLite: skipped, python3 with sqlite3 is not here")
		return nil
	}
	written, err := d.during(func() error {
		out, err := exec.CommandContext(ctx, "python3", "-c", sqliteScript, filepath.Join(d.dir, "load.sqlite"),
			fmt.Sprint(seconds), fmt.Sprint(storeChannels)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("SQLite: %w", err)
	}
	figure("store_sqlite_rows_per_sample", written/float64(seconds*storeChannels), "B", ">=", ours)
	return nil
}
