package intervals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"nominald/dispatch/leap"
)

const (
	// lookBack is how far back days are compared with what was sent: weeks
	// without a network are made good by themselves.
	lookBack = 60
	// mostFailures is how often a file that Leap does not take is sent.
	mostFailures = 5
	keptProblems = 50
	// lostFor is how long Leap is given to show a file whose answer was lost.
	lostFor = 2 * time.Minute
	// clockSlack is how far Leap's clock and ours may differ.
	clockSlack = 2 * time.Minute
	// configWait is between tries of what a person has to mend.
	configWait = 15 * time.Minute
	// mostAsked is how many uploads of the account are looked at in one round for
	// one whose answer was lost.
	mostAsked = 50
	// answerWithin is how long an upload may take.
	answerWithin = time.Minute
	// uploadedWithin is how long after we sent it an upload is listed.
	uploadedWithin = time.Hour
	// longestJob is how long an upload may be under way.
	longestJob = 24 * time.Hour
)

// API is Leap's side.
type API interface {
	UploadIntervals(ctx context.Context, csv []byte) (jobID string, err error)
	Uploads(ctx context.Context, from, to time.Time) ([]leap.Upload, error)
	JobProblems(ctx context.Context, jobID string) ([]leap.JobProblem, error)
	Preview(ctx context.Context, jobID string) (lines []string, more bool, err error)
}

// Missing asks what Leap lacks.
type Missing interface {
	MissingIntervals(ctx context.Context, meters []string, from, to time.Time) ([]leap.Missing, error)
}

// Load gives the intervals of a Leap meter in [from, to).
type Load interface {
	Intervals(meter string, from, to time.Time) ([]Row, error)
}

// Options of a Sender; all are needed.
type Options struct {
	API     API
	Missing Missing
	Store   Store
	Load    Load
	Meters  []string
	At      time.Duration // of the day, UTC: when a day is sent
	Site    string        // spreads the sites of a fleet over an hour
	Now     func() time.Time
	Trusted func() bool // whether the clock is to be believed
	Report  func(error) // told when another error comes, nil once all is well
}

// Sender sends intervals. Round is called by one goroutine.
type Sender struct {
	opt Options
	// again are the quarters of days that Leap took once and says it lacks.
	again map[string]map[int]bool

	mu        sync.Mutex
	lastError string
	lastOK    time.Time
	notBefore time.Time   // after an error
	events    []time.Time // when to look, after events
	next      time.Time   // when to look, daily
}

// New returns a sender.
func New(o Options) *Sender { return &Sender{opt: o, again: map[string]map[int]bool{}} }

// errWait: the upload is under way.
var errWait = errors.New("the job has not ended")

// progress is how far a day is.
type progress int

const (
	waiting progress = iota // for Leap, or for another try
	moved                   // a file went
	done                    // Leap has all that can be sent, or refused it
)

// sendDay brings a meter's day a step further.
func (s *Sender) sendDay(ctx context.Context, meter string, day time.Time) (progress, error) {
	d, err := s.load(meter, day)
	if err != nil {
		return waiting, err
	}
	if d.Pending != nil {
		err := s.follow(ctx, d)
		if errors.Is(err, errWait) {
			return waiting, nil
		}
		if err != nil {
			return waiting, err
		}
		if err := s.save(d); err != nil {
			return waiting, err
		}
	}
	now := s.opt.Now()
	rows, err := s.opt.Load.Intervals(meter, day, day.Add(24*time.Hour))
	if err != nil {
		return waiting, fmt.Errorf("%w of %s on %s: %w", errDay, meter, d.Date, err)
	}
	again := s.again[dayKey(meter, day)]
	due := d.due(sendable(rows, now), again)
	switch {
	case len(due) == 0:
		delete(s.again, dayKey(meter, day))
		return done, nil
	case d.Failures > 0 && now.Before(d.FailedAt.Add(backOff(d.Failures))):
		return waiting, nil
	}
	delete(s.again, dayKey(meter, day))
	return moved, s.send(ctx, d, due)
}

// backOff is how long a day waits whose file failed: an hour, then twice as long
// each time, a third of a day at most.
func backOff(failures int) time.Duration {
	return time.Hour << (min(failures, mostFailures-1) - 1)
}

// send notes the file, sends it and notes the job.
func (s *Sender) send(ctx context.Context, d *Day, due []Row) error {
	now := s.opt.Now()
	d.Pending = &Pending{At: now, File: CSV(d.Meter, due, now)}
	if err := s.save(d); err != nil {
		return err
	}
	job, err := s.opt.API.UploadIntervals(ctx, []byte(d.Pending.File))
	if err != nil {
		if refused(err) {
			d.Pending = nil // it never got as far as a job
			return errors.Join(err, s.save(d))
		}
		return err
	}
	d.Pending.Job = job
	return s.save(d)
}

// refused tells an answer that says plainly that nothing was taken.
func refused(err error) bool {
	var api *leap.APIError
	return errors.As(err, &api) && (api.Status == 0 || api.Status >= 400 && api.Status < 500)
}

// follow finds out what became of a file.
func (s *Sender) follow(ctx context.Context, d *Day) error {
	uploads, err := s.opt.API.Uploads(ctx, d.Pending.At.Add(-clockSlack), d.Pending.At.Add(uploadedWithin))
	if err != nil {
		return err
	}
	if d.Pending.Job == "" {
		return s.find(ctx, d, uploads)
	}
	for _, u := range uploads {
		if u.JobID != d.Pending.Job {
			continue
		}
		switch u.Status {
		case leap.JobCompleted:
			d.settle(u.JobID)
			s.good()
			return nil
		case leap.JobFailed:
			problems, err := s.opt.API.JobProblems(ctx, u.JobID)
			if err != nil && endsRound(err) {
				return err
			}
			if err != nil { // that it failed counts; why is for people
				problems = []leap.JobProblem{{Message: err.Error()}}
			}
			d.fail(problems, s.opt.Now())
			return nil
		}
		if s.opt.Now().Sub(d.Pending.At) > longestJob {
			d.fail([]leap.JobProblem{{Message: fmt.Sprintf("the job has the status %q since %s", u.Status, d.Pending.At.Format(time.RFC3339))}}, s.opt.Now())
			return nil
		}
		return errWait
	}
	if s.opt.Now().Sub(d.Pending.At) > longestJob {
		d.Pending = nil // Leap knows of no such job any more
		return nil
	}
	return errWait
}

// find looks among the account's uploads for a file whose answer was lost: by
// its first lines, since a file has no name of ours, and by its time, since a
// fleet shares the account. One that is not there after a while never arrived.
func (s *Sender) find(ctx context.Context, d *Day, uploads []leap.Upload) error {
	at, now := d.Pending.At, s.opt.Now()
	uploads = slices.DeleteFunc(uploads, func(u leap.Upload) bool {
		return !u.At.IsZero() && (u.At.Before(at.Add(-clockSlack)) || u.At.After(at.Add(answerWithin+clockSlack)))
	})
	want := strings.SplitAfter(d.Pending.File, "\n")
	// Each look is at others, until all were seen twice.
	looks := max(1, (len(uploads)+mostAsked-1)/mostAsked)
	turn := d.Pending.Looks % looks
	d.Pending.Unread = d.Pending.Unread && turn > 0
	for _, u := range uploads[min(turn*mostAsked, len(uploads)):min((turn+1)*mostAsked, len(uploads))] {
		got, more, err := s.opt.API.Preview(ctx, u.JobID)
		if err != nil && endsRound(err) {
			return err
		}
		if err == nil && sameFile(want, got, more) {
			d.Pending.Job = u.JobID
			return errors.Join(s.save(d), errWait)
		}
		d.Pending.Unread = d.Pending.Unread || err != nil
	}
	d.Pending.Looks++
	// One that can not be read yet may be ours.
	if now.Sub(at) < lostFor || d.Pending.Looks < 2*looks || d.Pending.Unread && now.Sub(at) < uploadedWithin {
		return errors.Join(s.save(d), errWait)
	}
	d.Pending = nil
	return nil
}

// errDay: what is here of one day can not be read.
var errDay = errors.New("a day's intervals")

// endsRound tells an error that the next request would meet as well: the network,
// Leap itself, the key or the store. Others are about one day, file or job.
func endsRound(err error) bool {
	var (
		api    *leap.APIError
		shape  *json.UnmarshalTypeError
		syntax *json.SyntaxError
	)
	switch {
	case errors.Is(err, errDay), errors.As(err, &shape), errors.As(err, &syntax):
		return false
	case !errors.As(err, &api) || api.Status == 0:
		return true
	}
	return api.Status < 400 || api.Status >= 500 || leap.ClassOf(err) == leap.Transient ||
		api.Status == http.StatusUnauthorized || api.Status == http.StatusForbidden
}

// sameFile compares the lines of a file with its preview.
func sameFile(want, got []string, more bool) bool {
	want = want[:len(want)-1] // what follows the last line break
	if len(got) == 0 || len(got) > len(want) || !more && len(got) < len(want) {
		return false
	}
	for i, l := range got {
		if strings.TrimRight(l, "\r\n") != strings.TrimRight(want[i], "\n") {
			return false
		}
	}
	return true
}

func (s *Sender) good() {
	s.mu.Lock()
	failed := s.lastError != ""
	s.lastError, s.lastOK, s.notBefore = "", s.opt.Now().UTC(), time.Time{}
	s.mu.Unlock()
	if failed {
		s.opt.Report(nil)
	}
}

// bad keeps an error and when to try again: what only a person can mend is
// tried seldom (domain.md 1.0).
func (s *Sender) bad(err error) {
	wait := look
	var api *leap.APIError
	if leap.ClassOf(err) == leap.Config {
		wait = configWait
	}
	if errors.As(err, &api) {
		wait = max(wait, api.RetryAfter)
	}
	s.mu.Lock()
	another := s.lastError != err.Error()
	s.lastError, s.notBefore = err.Error(), s.opt.Now().Add(wait)
	s.mu.Unlock()
	if another {
		s.opt.Report(err)
	}
}
