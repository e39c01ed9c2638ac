package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nominald/gateway"
	"nominald/gateway/journal"
	"nominald/gateway/status"
)

// shownRounds is how many rounds that differ, and places that can not be read,
// are shown one by one; all are counted.
const shownRounds = 10

// replayResult is the answer of explain --replay --json for one round.
type replayResult struct {
	Identical   bool                 `json:"identical"`
	Differences []gateway.Difference `json:"differences"`
	Decision    json.RawMessage      `json:"decision"`
	Now         time.Time            `json:"now"`
	DecidedBy   string               `json:"decided_by"`
	ReplayedBy  string               `json:"replayed_by"`
}

func compareRound(raw []byte) (replayResult, error) {
	r, err := gateway.Replay(raw)
	if err != nil {
		return replayResult{}, err
	}
	out := replayResult{Identical: r.Identical(), Differences: []gateway.Difference{}, Decision: r.Kept,
		Now: r.Now, DecidedBy: r.Version, ReplayedBy: versionText()}
	if !out.Identical {
		out.Differences, err = r.Differences()
	}
	return out, err
}

// replayOne decides a round once more and says whether that makes the same.
func replayOne(raw []byte, w io.Writer, asJSON bool) error {
	r, err := compareRound(raw)
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(w, r)
	} else {
		err = r.write(w)
	}
	if err != nil || r.Identical {
		return err
	}
	return fmt.Errorf("the replay of the round of %s differs in %d fields%s", r.Now.Format(time.RFC3339Nano), len(r.Differences), r.otherVersion())
}

func (r *replayResult) write(w io.Writer) error {
	t := newTable(w)
	if r.Identical {
		t.line("replay: identical")
		return t.done()
	}
	t.line("replay: differs")
	t.row("FIELD", "KEPT", "REPLAYED")
	for _, d := range r.Differences {
		t.row(d.Field, orDash(d.Kept), orDash(d.Replayed))
	}
	return t.done()
}

// otherVersion tells why a difference may be no fault.
func (r *replayResult) otherVersion() string {
	if r.DecidedBy == r.ReplayedBy || r.DecidedBy == "" {
		return ""
	}
	return fmt.Sprintf("; it was decided by version %s, this is %s", r.DecidedBy, r.ReplayedBy)
}

// journalFiles is the journal of a gateway, read beside it.
type journalFiles struct {
	dir  string
	zone *time.Location
	now  time.Time
}

// openJournal finds the files: in --dir, else in store.dir of --config.
func openJournal(f explainFlags) (journalFiles, error) {
	cfg, zone, err := siteOf(f)
	if err != nil {
		return journalFiles{}, err
	}
	j := journalFiles{dir: f.dir, zone: zone, now: time.Now()}
	switch {
	case j.dir == "" && cfg == nil:
		return j, &usageError{found: "the rounds of a time are read from the files of the gateway",
			remedy: "name their directory with --dir (store.dir, by default /var/lib/nominald), or the config with --config"}
	case j.dir == "":
		j.dir = cfg.Store.Dir
	}
	if filepath.Base(j.dir) != gateway.JournalDir {
		j.dir = filepath.Join(j.dir, gateway.JournalDir)
	}
	if _, err := os.ReadDir(j.dir); err != nil {
		return j, fmt.Errorf("read the kept rounds: %w", err)
	}
	return j, nil
}

// find returns the round that was in force at a time.
func (j journalFiles) find(at string) (json.RawMessage, error) {
	t := j.now
	if at != "" {
		var err error
		if t, err = timeFlag("--at", at, j.now); err != nil {
			return nil, err
		}
	}
	damages := 0
	line, _, err := journal.Find(j.dir, t, gateway.ExplainWithin, func(journal.Damage) { damages++ })
	if err != nil || line != nil {
		return line, err
	}
	err = j.nothing(fmt.Sprintf("%s or the %v before", t.Format(time.RFC3339), gateway.ExplainWithin))
	if damages > 0 {
		err = fmt.Errorf("%w; %d damaged places of that hour can not be read", err, damages)
	}
	return nil, err
}

// nothing says what is kept instead of what was asked for.
func (j journalFiles) nothing(asked string) error {
	first, last, err := journal.Kept(j.dir)
	switch {
	case err != nil:
		return err
	case first.IsZero():
		return fmt.Errorf("%s holds no round", j.dir)
	}
	return fmt.Errorf("%s holds no round of %s; it holds %s to %s", j.dir, asked, first.Format(time.RFC3339), last.Format(time.RFC3339))
}

func timeFlag(name, text string, now time.Time) (time.Time, error) {
	t, err := status.ParseTime(name, text, now)
	if err != nil {
		return t, &usageError{found: strings.TrimPrefix(err.Error(), "parameter ")}
	}
	return t, nil
}

// bounds are the times between which rounds are replayed; zero is open.
func (j journalFiles) bounds(f explainFlags) (from, to time.Time, err error) {
	if f.day != "" {
		from, err = time.ParseInLocation(time.DateOnly, f.day, j.zone)
		if err != nil {
			return from, to, &usageError{found: fmt.Sprintf("--day: found %q", f.day), remedy: "accepted is a date as 2026-07-14"}
		}
		return from, from.AddDate(0, 0, 1), nil
	}
	if f.from != "" {
		if from, err = timeFlag("--from", f.from, j.now); err != nil {
			return from, to, err
		}
	}
	if f.to != "" {
		if to, err = timeFlag("--to", f.to, j.now); err != nil {
			return from, to, err
		}
	}
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return from, to, &usageError{found: fmt.Sprintf("--from %s is not before --to %s", f.from, f.to)}
	}
	return from, to, nil
}

// replayTotal is the answer of explain --replay for many rounds.
type replayTotal struct {
	Replayed  int              `json:"replayed"`
	Different int              `json:"different"`
	Identical bool             `json:"identical"`
	First     time.Time        `json:"first"`
	Last      time.Time        `json:"last"`
	Rounds    []replayResult   `json:"rounds"` // the first that differ
	LeftOut   int              `json:"left_out"`
	Damaged   []journal.Damage `json:"damaged"` // the first places that can not be read
}

// replaySpan replays every kept round of a time. It holds one at a time.
func replaySpan(ctx context.Context, f explainFlags, w io.Writer) error {
	j, err := openJournal(f)
	if err != nil {
		return err
	}
	from, to, err := j.bounds(f)
	if err != nil {
		return err
	}
	total := replayTotal{Rounds: []replayResult{}, Damaged: []journal.Damage{}}
	take := func(at time.Time, line []byte) error {
		total.take(at, line)
		return ctx.Err()
	}
	if err := journal.Read(j.dir, from, to, take, total.leaveOut); err != nil {
		return err
	}
	if total.Replayed == 0 && total.LeftOut == 0 {
		return j.nothing("this time")
	}
	total.Identical = total.Different == 0
	if f.json {
		err = writeJSON(w, total)
	} else {
		err = total.write(w, clock{zone: j.zone})
	}
	if err != nil || total.Identical {
		return err
	}
	return fmt.Errorf("%d of %d rounds differ%s", total.Different, total.Replayed, total.Rounds[0].otherVersion())
}

// take replays a round. One that this version can not decode counts as
// different: the others go on.
func (t *replayTotal) take(at time.Time, line []byte) {
	r, err := compareRound(line)
	if err != nil {
		r = replayResult{Now: at, DecidedBy: r.DecidedBy, ReplayedBy: versionText(),
			Differences: []gateway.Difference{{Field: "(can not be replayed)", Replayed: err.Error()}}}
	}
	if t.Replayed == 0 || r.Now.Before(t.First) {
		t.First = r.Now
	}
	if r.Now.After(t.Last) {
		t.Last = r.Now
	}
	t.Replayed++
	if r.Identical {
		return
	}
	t.Different++
	if len(t.Rounds) < shownRounds {
		t.Rounds = append(t.Rounds, r)
	}
}

func (t *replayTotal) leaveOut(d journal.Damage) {
	t.LeftOut++
	if len(t.Damaged) < shownRounds {
		t.Damaged = append(t.Damaged, d)
	}
}

func (t *replayTotal) write(w io.Writer, at clock) error {
	out := newTable(w)
	if t.Different > 0 {
		out.row("ROUND", "FIELD", "KEPT", "REPLAYED")
		for _, r := range t.Rounds {
			for _, d := range r.Differences {
				out.row(at.full(r.Now), d.Field, orDash(d.Kept), orDash(d.Replayed))
			}
		}
		out.line("")
	}
	if more := t.Different - len(t.Rounds); more > 0 {
		out.line("and %d rounds more that differ", more)
	}
	for _, d := range t.Damaged {
		out.line("left out: %s", d)
	}
	if more := t.LeftOut - len(t.Damaged); more > 0 {
		out.line("left out: %d places more", more)
	}
	result := "identical"
	if t.Different > 0 {
		result = fmt.Sprintf("%d differ", t.Different)
	}
	out.line("replayed %d rounds from %s to %s: %s", t.Replayed, at.full(t.First), at.full(t.Last), result)
	return out.done()
}
