package intervals

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nominald/dispatch/leap"
	"nominald/gateway/sim"
	"nominald/gateway/sim/intake15"
	"nominald/gateway/store"
)

const meter = "afce893d-ea68-487f-9f8c-778b1881f60a"

func noon() time.Time { return time.Date(2026, 7, 1, 12, 5, 0, 0, time.UTC) }

// rig is a sender, a store in a file and a simulated Leap behind a socket.
type rig struct {
	t       *testing.T
	now     time.Time
	leap    *sim.Leap
	dir     string
	store   *store.Store
	sender  *Sender
	from    time.Time      // the log has load since then
	wh      map[int64]Row  // changed rows
	lost    map[int64]bool // gaps
	down    bool           // the network is dead
	hidden  bool           // previews are answered with 404
	url     string
	reports []error
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: noon(), dir: t.TempDir(), wh: map[int64]Row{}, lost: map[int64]bool{}}
	r.from = r.now.Add(-36 * time.Hour)
	r.leap = sim.NewLeap(sim.LeapOptions{Key: "key", Meters: []string{meter}, Now: func() time.Time { return r.now }})
	srv := httptest.NewServer(r.leap)
	t.Cleanup(srv.Close)
	r.url = srv.URL + "/v2"
	r.open()
	t.Cleanup(func() { _ = r.store.Close() })
	return r
}

// open opens the store and begins anew, as a restart does.
func (r *rig) open() {
	if r.store != nil {
		if err := r.store.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	st, _, err := store.Open(r.dir, store.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = st
	client := leap.New(leap.Options{BaseURL: r.url, Key: func() string { return "key" }, Now: func() time.Time { return r.now }})
	r.sender = New(Options{API: r.api(client), Missing: client, Store: st, Load: r, Meters: []string{meter}, At: 2 * time.Hour,
		Site: "bakery", Now: func() time.Time { return r.now }, Trusted: func() bool { return true }, Report: func(err error) { r.reports = append(r.reports, err) }})
}

// cable is the client behind a network that may be dead.
type cable struct {
	*leap.Client
	r *rig
}

func (r *rig) api(c *leap.Client) API { return cable{c, r} }

func (c cable) UploadIntervals(ctx context.Context, csv []byte) (string, error) {
	if c.r.down {
		return "", errors.New("no route to host")
	}
	return c.Client.UploadIntervals(ctx, csv)
}

func (c cable) Uploads(ctx context.Context, from, to time.Time) ([]leap.Upload, error) {
	if c.r.down {
		return nil, errors.New("no route to host")
	}
	return c.Client.Uploads(ctx, from, to)
}

func (c cable) Preview(ctx context.Context, jobID string) ([]string, bool, error) {
	if c.r.hidden {
		return nil, false, &leap.APIError{Status: 404, Class: leap.Config}
	}
	return c.Client.Preview(ctx, jobID)
}

// truth is the energy of an interval.
func truth(start time.Time) float64 {
	return math.Round(10*1000*math.Sin(float64(start.Unix()/900))) / 10
}

func (r *rig) Intervals(_ string, from, to time.Time) ([]Row, error) {
	var rows []Row
	for at := later(from, r.from).Truncate(Quarter); at.Before(to) && at.Before(r.now); at = at.Add(Quarter) {
		row, changed := r.wh[at.Unix()]
		switch {
		case r.lost[at.Unix()]:
			continue
		case !changed:
			row = Row{at, truth(at), measured}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// run does what Run does, minute by minute, until nothing is left to do.
func (r *rig) run(most int) {
	r.t.Helper()
	for range most {
		more := r.sender.Round(r.t.Context())
		r.now = r.now.Add(time.Minute)
		if !more {
			return
		}
	}
	r.t.Fatalf("still at it after %d minutes: %q", most, r.sender.lastError)
}

// check compares what Leap has with the truth; each interval may be there so
// often.
func (r *rig) check(from, to time.Time, most int) {
	r.t.Helper()
	for at := from.Truncate(Quarter); !at.Add(Quarter).After(to); at = at.Add(Quarter) {
		want := truth(at)
		if row, changed := r.wh[at.Unix()]; changed {
			want = row.NetWh
		}
		got := r.leap.Taken(meter, at)
		if len(got) == 0 || len(got) > most || math.Abs(got[len(got)-1]*1000-want) > 0.06 {
			r.t.Errorf("%s: Leap has %v kWh, want %.4f, at most %d times", at.Format(time.DateTime), got, want/1000, most)
			return
		}
	}
}

// Whatever the log has, Leap's rules are kept.
func TestAnyLogMakesAGoodFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []Row
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			at := noon().Add(time.Duration(rapid.IntRange(-100, 20).Draw(t, "minutes")) * 5 * time.Minute)
			if rapid.Bool().Draw(t, "aligned") {
				at = at.Truncate(Quarter)
			}
			rows = append(rows, Row{at, rapid.Float64().Draw(t, "wh") / 1e200, rapid.SampledFrom([]string{"measured", "recovered", "gap", "partial", "estimated", "clock-doubtful"}).Draw(t, "q")})
		}
		good, problems := intake15.Check([]byte(CSV(meter, rows, noon())), func(id string) bool { return id == meter }, noon())
		if len(problems) > 0 {
			t.Fatalf("%+v", problems)
		}
		for _, iv := range good {
			if !slices.ContainsFunc(rows, func(r Row) bool {
				return r.Start.Equal(iv.Start) && math.Abs(r.NetWh/1000-iv.NetKWh) <= 0.00006*max(1, math.Abs(iv.NetKWh)) && (r.Quality == measured || r.Quality == recovered)
			}) {
				t.Fatalf("%+v is not in the log", iv)
			}
		}
	})
}

func TestDayAndAHalf(t *testing.T) {
	r := newRig(t)
	r.run(20)
	r.check(r.from, noon(), 1)
	before := r.leap.Jobs()
	r.run(5) // only what has ended meanwhile
	if n := r.leap.Jobs() - before; n > 1 {
		t.Errorf("%d more files", n)
	}
	// What changes is sent again, and nothing else.
	at := noon().Truncate(Quarter).Add(-6 * time.Hour)
	r.wh[at.Unix()] = Row{at, 4321, recovered}
	r.run(10)
	r.check(r.from, noon(), 2)
	if n := len(r.leap.Taken(meter, at.Add(Quarter))); n != 1 {
		t.Errorf("the next interval was sent %d times", n)
	}
}

func TestGapsAreNotSent(t *testing.T) {
	r := newRig(t)
	gap := noon().Truncate(Quarter).Add(-5 * time.Hour)
	r.lost[gap.Unix()] = true
	r.wh[gap.Add(Quarter).Unix()] = Row{gap.Add(Quarter), 1, "estimated"}
	r.run(20)
	if got := append(r.leap.Taken(meter, gap), r.leap.Taken(meter, gap.Add(Quarter))...); len(got) != 0 {
		t.Errorf("sent: %v", got)
	}
	// A counter fills it later.
	delete(r.lost, gap.Unix())
	r.wh[gap.Unix()] = Row{gap, 99, recovered}
	r.run(20)
	if got := r.leap.Taken(meter, gap); len(got) != 1 || got[0] != 0.099 {
		t.Errorf("filled: %v", got)
	}
}

// The file arrived, the answer did not: it is found, and not sent twice.
func TestAnswerLost(t *testing.T) {
	r := newRig(t)
	r.leap.SetIntervalFault(sim.IntervalFault{LoseReply: 2})
	r.run(30)
	r.check(r.from, noon(), 1)
}

// Neither does a restart in the middle send anything twice.
func TestRestartInTheMiddle(t *testing.T) {
	r := newRig(t)
	r.leap.SetIntervalFault(sim.IntervalFault{LoseReply: 1, Slow: 3 * time.Minute})
	for range 40 {
		r.sender.Round(t.Context())
		r.now = r.now.Add(time.Minute)
		r.open()
	}
	r.run(20)
	r.check(r.from, noon(), 1)
}

// A job that fails is tried again, and what goes on failing is shown, not sent
// for ever.
func TestJobsThatFail(t *testing.T) {
	r := newRig(t)
	r.from = noon().Add(-6 * time.Hour)
	r.leap.SetIntervalFault(sim.IntervalFault{FailJobs: 2})
	r.run(600)
	r.check(r.from, noon(), 1)
	r = newRig(t)
	r.from = noon().Add(-6 * time.Hour)
	r.leap.SetIntervalFault(sim.IntervalFault{FailJobs: 1000})
	for range 40 * 60 {
		r.sender.Round(t.Context())
		r.now = r.now.Add(time.Minute)
		if r.now.Sub(noon()) > 11*time.Hour {
			r.from = noon().Add(-6 * time.Hour)
		}
	}
	sum, err := r.sender.Summary()
	if err != nil || sum.Refused < 24 || len(sum.Days) == 0 || len(sum.Days[len(sum.Days)-1].Problems) == 0 || sum.Days[0].Problems[0].Code != intake15.Uncategorised {
		t.Errorf("%+v, %v", sum, err)
	}
	// Two days are tried five times in 15 h, and then each third of a day with
	// what is new.
	if n := r.leap.Jobs(); n > 2*mostFailures+8 {
		t.Errorf("%d files", n)
	}
}

// What Leap does not take is not sent again when other rows of the day come, and
// stays away when those are taken.
func TestRefusedRowsStayRefused(t *testing.T) {
	d := &Day{Meter: meter, Sent: map[int]Entry{}}
	row := func(quarter int) Row {
		return Row{noon().Truncate(24 * time.Hour).Add(time.Duration(quarter) * Quarter), 7, measured}
	}
	refuse := func(r Row) {
		d.Pending = &Pending{File: CSV(meter, []Row{r}, noon().AddDate(0, 0, 1))}
		d.fail(nil, noon())
	}
	for range mostFailures {
		refuse(row(1))
	}
	refuse(row(2))
	if got := d.due([]Row{row(1), row(2), row(3)}, nil); len(got) != 1 || !got[0].Start.Equal(row(3).Start) {
		t.Errorf("due: %v", got)
	}
	d.Pending = &Pending{File: CSV(meter, []Row{row(3)}, noon().AddDate(0, 0, 1))}
	d.settle("job")
	changed := row(1)
	changed.NetWh++
	if got := d.due([]Row{changed, row(2), row(3)}, nil); len(got) != 1 || got[0] != changed {
		t.Errorf("due then: %v", got)
	}
}

// A day whose ledger is damaged, and one whose job never ends, keep no other
// back; both are shown.
func TestOneDayKeepsNoOtherBack(t *testing.T) {
	r := newRig(t)
	r.from = noon().Add(-80 * time.Hour)
	first := noon().AddDate(0, 0, -3)
	if err := r.store.Put(Bucket, dayKey(meter, first), []byte(`{"sent": 3}`)); err != nil {
		t.Fatal(err)
	}
	for i := range 12 { // of jobs that nobody ends
		day := Day{Meter: meter, Date: noon().AddDate(0, 0, -4-i).Format(time.DateOnly), Pending: &Pending{At: noon(), Job: "unknown", File: header}}
		if err := r.sender.save(&day); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		r.sender.Round(t.Context())
		r.now = r.now.Add(time.Minute)
	}
	r.check(noon().AddDate(0, 0, -2).Truncate(24*time.Hour), noon().Add(-2*Quarter), 1)
	sum, err := r.sender.Summary()
	if err != nil || sum.Pending != 12 || len(r.reports) == 0 || !slices.ContainsFunc(sum.Days, func(d Day) bool {
		return d.Date == first.Format(time.DateOnly) && len(d.Problems) == 1
	}) {
		t.Errorf("%+v, %v, said %v", sum, err, r.reports)
	}
}

// A job that is under way for a day is booked as failed.
func TestJobThatNeverEnds(t *testing.T) {
	r := newRig(t)
	r.from = noon().Add(-3 * time.Hour)
	r.leap.SetIntervalFault(sim.IntervalFault{Slow: 100 * 24 * time.Hour})
	for range 25 * 60 {
		r.sender.Round(t.Context())
		r.now = r.now.Add(time.Minute)
	}
	if sum, err := r.sender.Summary(); err != nil || len(sum.Days) == 0 || len(sum.Days[len(sum.Days)-1].Problems) != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// A fleet shares the account: the file whose answer was lost is found among many
// others, of which some can not be looked at.
func TestAnswerLostInAFleet(t *testing.T) {
	r := newRig(t)
	r.from = noon().Add(-3 * time.Hour)
	other := strings.Replace(CSV(meter, []Row{{noon().Truncate(Quarter).Add(-Quarter), 1, measured}}, noon()), meter, strings.ToUpper(meter), 1)
	client := leap.New(leap.Options{BaseURL: r.url, Key: func() string { return "key" }})
	r.leap.SetIntervalFault(sim.IntervalFault{LoseReply: 1})
	r.sender.Round(t.Context())
	for range 2*mostAsked + 10 {
		if _, err := client.UploadIntervals(t.Context(), []byte(other)); err != nil {
			t.Fatal(err)
		}
	}
	r.now = r.now.Add(26 * time.Hour) // the network was gone for a day
	r.from = noon().Add(-3 * time.Hour)
	r.hidden = true
	r.sender.Round(t.Context())
	r.hidden = false
	r.run(30)
	at := noon().Truncate(Quarter).Add(-3 * Quarter)
	if got := r.leap.Taken(meter, at); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// Weeks without a network are made good.
func TestWeeksOffline(t *testing.T) {
	r := newRig(t)
	r.down = true
	for range 3 {
		if !r.sender.Round(t.Context()) {
			t.Error("nothing left to do without a network")
		}
		r.now = r.now.Add(14 * 24 * time.Hour)
		r.open()
	}
	r.down = false
	end := r.now
	r.run(300)
	r.check(r.from, end, 1)
	for _, rec := range r.leap.Requests() {
		if rows := strings.Count(string(rec.Body), meter); rec.Path == "/v1.1/interval-data" && rows > quartersADay {
			t.Errorf("a file of %d rows", rows)
		}
	}
}

// A key without the permission is tried seldom, and said once.
func TestKeyRefused(t *testing.T) {
	r := newRig(t)
	r.leap.SetFault(sim.Fault{Kind: sim.BadStatus, Status: 403})
	for range 60 {
		if !r.sender.Round(t.Context()) {
			t.Error("nothing left to do")
		}
		r.now = r.now.Add(time.Minute)
	}
	if n := len(r.leap.Requests()); n < 3 || n > 5 || len(r.reports) != 1 || r.reports[0] == nil {
		t.Errorf("%d requests, said %v", n, r.reports)
	}
	r.leap.SetFault(sim.Fault{})
	r.run(60)
	r.check(r.from, noon(), 1)
	if len(r.reports) != 2 || r.reports[1] != nil {
		t.Errorf("said %v", r.reports)
	}
}

// What Leap took and lost goes again, and only that.
func TestLeapLacksWhatItTook(t *testing.T) {
	r := newRig(t)
	r.run(20)
	gap := noon().Truncate(Quarter).Add(-10 * time.Hour)
	r.leap.SetMissing([]sim.Missing{{Meter: meter, Start: gap, End: gap.Add(2 * Quarter)}})
	r.sender.askMissing(t.Context(), r.now)
	r.run(20)
	r.leap.SetMissing([]sim.Missing{{Meter: meter, End: noon().AddDate(90, 0, 0)}}) // since the year 1
	r.sender.askMissing(t.Context(), r.now)
	if n := len(r.sender.again); n > 367 {
		t.Errorf("%d days are asked again", n)
	}
	for i, want := range []int{1, 2, 2, 1} {
		if got := r.leap.Taken(meter, gap.Add(time.Duration(i-1)*Quarter)); len(got) != want {
			t.Errorf("interval %d: %d times, want %d", i, len(got), want)
		}
	}
}

// Sites of a fleet begin at different times, each always at its own.
func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for i := range 50 {
		s := New(Options{Site: fmt.Sprint("site ", i), At: 2 * time.Hour})
		if s.due(noon()) && s.jitter(afterStart, "start") > 0 || !s.due(noon().Add(afterStart)) || s.due(noon().Add(afterStart+time.Minute)) {
			t.Fatal("the start looks once")
		}
		at := s.next.Sub(noon().Truncate(24 * time.Hour).Add(24 * time.Hour))
		if at < 2*time.Hour || at >= 3*time.Hour || New(Options{Site: s.opt.Site}).jitter(spread, "daily") != s.jitter(spread, "daily") {
			t.Errorf("at %v", at)
		}
		seen[at] = true
		s.Ended("event", noon())
		if s.due(noon().Add(11*time.Minute-time.Second)) || !s.due(noon().Add(15*time.Minute+afterEvent+look)) {
			t.Error("after an event")
		}
	}
	if len(seen) < 45 {
		t.Errorf("%d different times of 50", len(seen))
	}
}
