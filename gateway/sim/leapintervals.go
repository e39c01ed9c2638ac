package sim

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"nominald/gateway/sim/intake15"
)

// The paths of interval data (interval-data-upload.openapi.json). They stand
// beside the dispatch API's base, each with a version of its own.
const (
	uploadPath  = "/v1.1/interval-data"
	uploadsPath = "/v1.1/jobs/interval-data-uploads"
	previewPath = uploadsPath + "/file-preview/"
	missingPath = "/v1.1/missing-interval-data/search"
	previewRows = 20
)

// IntervalFault is a way in which the intake of interval data misbehaves.
type IntervalFault struct {
	FailJobs  int           // so many jobs end FAILED, whatever is in them
	LoseReply int           // so many uploads are taken and answered with 500
	Slow      time.Duration // how long a job is QUEUED, and then PROCESSING
}

// job is an upload.
type job struct {
	id       string
	at       time.Time
	file     []byte
	good     []intake15.Interval
	problems []intake15.Problem
	slow     time.Duration
	taken    bool // its intervals were ingested
}

// intervalAccount is what the account knows of interval data.
type intervalAccount struct {
	fault   IntervalFault
	jobs    []*job
	taken   map[intervalKey][]float64 // every value that was ingested, oldest first
	missing []Missing
}

type intervalKey struct {
	meter string
	start int64
}

// Missing is a stretch of intervals that Leap lacks.
type Missing struct {
	Meter      string
	Start, End time.Time
}

// SetIntervalFault makes the intake misbehave; the zero value ends it.
func (l *Leap) SetIntervalFault(f IntervalFault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intervals.fault = f
}

// SetMissing says what the account lacks.
func (l *Leap) SetMissing(m []Missing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intervals.missing = m
}

// Taken returns the values, kWh net, that were ingested of an interval, oldest
// first: more than one where it was sent again.
func (l *Leap) Taken(meter string, start time.Time) []float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ingest()
	return slices.Clone(l.intervals.taken[intervalKey{meter, start.Unix()}])
}

// Jobs is how many uploads were taken.
func (l *Leap) Jobs() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.intervals.jobs)
}

func (l *Leap) isIntervals(r *http.Request) bool {
	return r.URL.Path == uploadPath || r.URL.Path == missingPath || strings.HasPrefix(r.URL.Path, uploadsPath)
}

// serveIntervals answers a request about interval data and returns the status.
func (l *Leap) serveIntervals(w http.ResponseWriter, r *http.Request, body []byte, readErr error) int {
	if status, msg := l.refuseKey(r); status != 0 {
		return send(w, status, errorBody(MetersEnvelope, status, msg))
	}
	if readErr != nil {
		return send(w, http.StatusBadRequest, errorBody(MetersEnvelope, http.StatusBadRequest, "request body could not be read"))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ingest()
	post := r.Method == http.MethodPost
	var status int
	var answer any
	switch {
	case post && r.URL.Path == uploadPath:
		status, answer = l.upload(r, body)
	case post && r.URL.Path == missingPath:
		status, answer = l.searchMissing(body)
	case r.Method == http.MethodGet && r.URL.Path == uploadsPath:
		status, answer = l.uploads(r)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, previewPath):
		status, answer = l.preview(strings.TrimPrefix(r.URL.Path, previewPath))
	case r.Method == http.MethodGet:
		status, answer = l.jobErrors(strings.TrimPrefix(r.URL.Path, uploadsPath+"/"))
	default:
		status, answer = http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed"
	}
	if text, failed := answer.(string); failed {
		return send(w, status, errorBody(MetersEnvelope, status, text))
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return send(w, http.StatusInternalServerError, errorBody(StringEnvelope, http.StatusInternalServerError, err.Error()))
	}
	return send(w, status, raw)
}

// upload takes a file.
func (l *Leap) upload(r *http.Request, body []byte) (int, any) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "text/csv" {
		return http.StatusBadRequest, "content type must be text/csv"
	}
	if schema := r.URL.Query().Get("schema"); schema != "load" {
		return http.StatusBadRequest, fmt.Sprintf("schema %q is not taken here", schema)
	}
	a := &l.intervals
	known := func(id string) bool { return len(l.opts.Meters) == 0 || slices.Contains(l.opts.Meters, id) }
	j := &job{id: uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "nominald simulated job %d", len(a.jobs))).String(),
		at: l.opts.Now().UTC(), file: body, slow: a.fault.Slow}
	j.good, j.problems = intake15.Check(body, known, j.at)
	if a.fault.FailJobs > 0 {
		a.fault.FailJobs--
		j.good, j.problems = nil, []intake15.Problem{{Line: 2, Code: intake15.Uncategorised, Message: "something went wrong"}}
	}
	a.jobs = append(a.jobs, j)
	l.ingest()
	if a.fault.LoseReply > 0 {
		a.fault.LoseReply--
		return http.StatusInternalServerError, "something went wrong"
	}
	return http.StatusOK, map[string]string{"job_id": j.id}
}

func (l *Leap) statusOf(j *job) string {
	age := l.opts.Now().Sub(j.at)
	switch {
	case age < j.slow:
		return "QUEUED"
	case age < 2*j.slow:
		return "PROCESSING"
	case len(j.problems) > 0:
		return "FAILED"
	}
	return "COMPLETED"
}

// ingest takes the intervals of the jobs that are done.
func (l *Leap) ingest() {
	a := &l.intervals
	if a.taken == nil {
		a.taken = map[intervalKey][]float64{}
	}
	for _, j := range a.jobs {
		if j.taken || l.statusOf(j) != "COMPLETED" {
			continue
		}
		j.taken = true
		for _, iv := range j.good {
			k := intervalKey{iv.Meter, iv.Start.Unix()}
			a.taken[k] = append(a.taken[k], iv.NetKWh)
		}
	}
}

// uploads lists jobs, newest first.
func (l *Leap) uploads(r *http.Request) (int, any) {
	q := r.URL.Query()
	size, first := 50, 0
	from, to := time.Time{}, l.opts.Now().Add(time.Hour)
	for name, into := range map[string]*int{"page_size": &size, "page_token": &first} {
		if text := q.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || name == "page_size" && n > 500 {
				return http.StatusBadRequest, name + " is not valid"
			}
			*into = n
		}
	}
	for name, into := range map[string]*time.Time{"from": &from, "to": &to} {
		if text := q.Get(name); text != "" {
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return http.StatusBadRequest, name + " is not valid"
			}
			*into = t
		}
	}
	list := []map[string]string{}
	for _, j := range slices.Backward(l.intervals.jobs) {
		if !j.at.Before(from) && j.at.Before(to) {
			path := "/interval-data/" + j.id + ".csv"
			list = append(list, map[string]string{"last_job_id": j.id, "uploaded_file_path": path, "current_file_path": path,
				"uploaded_at_date_time": j.at.Format(time.RFC3339), "status": l.statusOf(j)})
		}
	}
	answer := map[string]any{}
	list = list[min(first, len(list)):]
	if len(list) > size {
		list = list[:size]
		answer["next_page_token"] = strconv.Itoa(first + size)
	}
	answer["uploads"] = list
	return http.StatusOK, answer
}

func (l *Leap) job(id string) *job {
	for _, j := range l.intervals.jobs {
		if j.id == id {
			return j
		}
	}
	return nil
}

func (l *Leap) jobErrors(id string) (int, any) {
	j := l.job(id)
	if j == nil {
		return http.StatusNotFound, "no job " + id
	}
	problems := []intake15.Problem{}
	if l.statusOf(j) == "FAILED" {
		problems = j.problems
	}
	counts := map[string]int{}
	for _, p := range problems {
		counts[p.Code]++
	}
	summary := []map[string]any{}
	for code, n := range counts {
		summary = append(summary, map[string]any{"code": code, "count": n})
	}
	return http.StatusOK, map[string]any{"job_id": id, "error_summary": summary, "errors": problems}
}

func (l *Leap) preview(id string) (int, any) {
	j := l.job(id)
	if j == nil {
		return http.StatusNotFound, "no job " + id
	}
	lines := strings.Split(strings.TrimSuffix(string(j.file), "\n"), "\n")
	shown := lines[:min(len(lines), previewRows)]
	return http.StatusOK, map[string]any{"job_id": id, "status": l.statusOf(j), "file_data": shown, "is_limited": len(shown) < len(lines)}
}

// searchMissing says what the account still lacks, in whole.
func (l *Leap) searchMissing(body []byte) (int, any) {
	var q struct {
		MeterIDs []string `json:"meter_ids"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return http.StatusBadRequest, "request body is not valid"
	}
	found := []map[string]string{}
	for _, m := range l.intervals.missing {
		if len(q.MeterIDs) > 0 && !slices.Contains(q.MeterIDs, m.Meter) {
			continue
		}
		found = append(found, map[string]string{"meter_id": m.Meter, "data_type": "LOAD_DATA", "status": "OPEN",
			"start_date_time_utc": m.Start.Format(time.RFC3339), "end_date_time_utc": m.End.Format(time.RFC3339)})
	}
	return http.StatusOK, map[string]any{"missing_intervals": found}
}
