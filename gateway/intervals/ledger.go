package intervals

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"nominald/dispatch/leap"
)

// Bucket is the store's bucket of the ledger: a document a meter and UTC day.
const Bucket = "intervals"

// Store is what the ledger needs of the store.
type Store interface {
	Put(bucket, key string, value []byte) error
	Get(bucket, key string) (value []byte, found bool, err error)
	Range(bucket, from, to string, fn func(key string, value []byte) error) error
	DropBefore(bucket, key string) (int, error)
}

// Entry is the ledger's row of an interval that Leap has taken.
type Entry struct {
	Hash string `json:"hash"` // of the line as it was sent
	Job  string `json:"job"`
}

// Pending is an upload whose end is not known. It is written down before the
// file is sent: a file whose answer was lost is looked for at Leap's, never sent
// again blindly (domain.md 1.6, "no idempotency").
type Pending struct {
	At   time.Time `json:"at"`
	File string    `json:"file"`
	Job  string    `json:"job,omitempty"` // empty: no answer came
	// Looks counts how often it was looked for; Unread is set where some upload of
	// this round of looks could not be read.
	Looks  int  `json:"looks,omitempty"`
	Unread bool `json:"unread,omitempty"`
}

// Day is the ledger of a meter and a UTC day.
type Day struct {
	Meter   string        `json:"meter"`
	Date    string        `json:"date"`
	Sent    map[int]Entry `json:"sent,omitempty"` // by quarter of the day
	Pending *Pending      `json:"pending,omitempty"`
	// Problems are the error rows of the last job that failed; Failures counts
	// such jobs in a row. After mostFailures the rows of Refused, told by their
	// hash, are not sent again.
	Problems []leap.JobProblem `json:"problems,omitempty"`
	FailedAt time.Time         `json:"failed_at,omitzero"`
	Failures int               `json:"failures,omitempty"`
	Refused  map[int]string    `json:"refused,omitempty"`
}

func dayKey(meter string, day time.Time) string {
	return day.UTC().Format(time.DateOnly) + "/" + strings.ToLower(meter)
}

func quarterOf(t time.Time) int {
	return int(t.UTC().Sub(t.UTC().Truncate(24*time.Hour)) / Quarter)
}

func (s *Sender) load(meter string, day time.Time) (*Day, error) {
	d := &Day{Meter: strings.ToLower(meter), Date: day.UTC().Format(time.DateOnly)}
	raw, found, err := s.opt.Store.Get(Bucket, dayKey(meter, day))
	if err != nil {
		return nil, fmt.Errorf("%w: read the ledger of %s on %s: %w", errDay, meter, d.Date, err)
	}
	if found {
		if err := json.Unmarshal(raw, d); err != nil {
			return nil, fmt.Errorf("%w: ledger of %s on %s: %w", errDay, meter, d.Date, err)
		}
	}
	if d.Sent == nil {
		d.Sent = map[int]Entry{}
	}
	return d, nil
}

func (s *Sender) save(d *Day) error {
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := s.opt.Store.Put(Bucket, d.Date+"/"+d.Meter, raw); err != nil {
		return fmt.Errorf("write the ledger of intervals: %w", err)
	}
	return nil
}

// settle books what became of a file.
func (d *Day) settle(job string) {
	for _, l := range lines(d.Pending.File) {
		if at, ok := quarterOfLine(l); ok {
			d.Sent[at] = Entry{hash(l), job}
		}
	}
	for at := range d.Refused { // other rows of the day were taken, these were not
		if _, taken := d.Sent[at]; taken {
			delete(d.Refused, at)
		}
	}
	d.Pending, d.Failures, d.FailedAt = nil, 0, time.Time{}
	if len(d.Refused) == 0 {
		d.Problems, d.Refused = nil, nil
	}
}

// fail books that a job failed; after the last try its rows are refused.
func (d *Day) fail(problems []leap.JobProblem, now time.Time) {
	d.Failures++
	d.Problems, d.FailedAt = problems[:min(len(problems), keptProblems)], now
	if d.Failures >= mostFailures {
		if d.Refused == nil {
			d.Refused = map[int]string{}
		}
		for _, l := range lines(d.Pending.File) {
			if at, ok := quarterOfLine(l); ok {
				d.Refused[at] = hash(l)
			}
		}
	}
	d.Pending = nil
}

// due are the rows that Leap has not got, or has otherwise, or has lost again.
func (d *Day) due(rows []Row, again map[int]bool) []Row {
	var out []Row
	for _, r := range rows {
		at, h := quarterOf(r.Start), hash(line(d.Meter, r))
		if again[at] || d.Sent[at].Hash != h && d.Refused[at] != h {
			out = append(out, r)
		}
	}
	return out
}

// lines are the rows of a file, without its header.
func lines(file string) []string {
	_, body, _ := strings.Cut(file, "\n")
	return strings.SplitAfter(strings.TrimSuffix(body, "\n")+"\n", "\n")
}

// quarterOfLine is the quarter of the day of a line that line wrote.
func quarterOfLine(l string) (int, bool) {
	fields := strings.Split(l, ",")
	if len(fields) < 2 {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339, fields[1])
	return quarterOf(t), err == nil
}

// Summary is what people see of the ledger.
type Summary struct {
	Intervals int       `json:"intervals"` // that Leap has taken
	Pending   int       `json:"pending"`   // files whose end is not known
	Refused   int       `json:"refused"`   // intervals that are not sent again
	LastError string    `json:"last_error,omitempty"`
	LastOK    time.Time `json:"last_ok,omitzero"`
	Days      []Day     `json:"days"` // those that want attention, newest first, at most 31
}

const shownDays = 31

// Summary reads the whole ledger.
func (s *Sender) Summary() (Summary, error) {
	out := Summary{Days: []Day{}}
	err := s.opt.Store.Range(Bucket, "", "", func(key string, raw []byte) error {
		var d Day
		if err := json.Unmarshal(raw, &d); err != nil {
			date, meter, _ := strings.Cut(key, "/")
			d = Day{Meter: meter, Date: date, Failures: 1, Problems: []leap.JobProblem{{Message: "the ledger of this day can not be read: " + err.Error()}}}
		}
		out.Intervals, out.Refused = out.Intervals+len(d.Sent), out.Refused+len(d.Refused)
		if d.Pending != nil {
			out.Pending++
			d.Pending.File = ""
		}
		if d.Pending != nil || d.Failures > 0 || len(d.Refused) > 0 {
			d.Sent = nil
			out.Days = append([]Day{d}, out.Days...)
			out.Days = out.Days[:min(len(out.Days), shownDays)]
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	out.LastError, out.LastOK = s.lastError, s.lastOK
	return out, err
}
