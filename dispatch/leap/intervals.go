package leap

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Interval data is an API of its own on the same host, with its version in the
// path (domain.md 1.6; interval-data-upload.openapi.json).
const (
	intervalsPath = "/v1.1/interval-data?schema=load"
	uploadsPath   = "/v1.1/jobs/interval-data-uploads"
	missingPath   = "/v1.1/missing-interval-data/search"
	// uploadsPage is the largest page of a list of uploads.
	uploadsPage = 500
	// maxProblems bounds what is read of a job's error rows.
	maxProblems = 1000
	// maxListed bounds a list of uploads or missing stretches, maxJobID a job's id,
	// of which the ledger keeps one an interval.
	maxListed = 20_000
	maxJobID  = 64
)

// JobStatus is where an upload stands. Words that are not known are kept.
type JobStatus string

// The states of an upload.
const (
	JobQueued     JobStatus = "QUEUED"
	JobProcessing JobStatus = "PROCESSING"
	JobCompleted  JobStatus = "COMPLETED"
	JobFailed     JobStatus = "FAILED"
)

// Upload is one file of the account, whoever sent it.
type Upload struct {
	JobID  string
	At     time.Time
	Status JobStatus
}

// JobProblem is an error row of a job.
type JobProblem struct {
	Line    int    `json:"line"`
	Column  string `json:"column"`
	Code    string `json:"code"` // "MTR_0003"
	Message string `json:"message"`
}

// Missing is a stretch of time whose intervals Leap lacks.
type Missing struct {
	MeterID    string
	Start, End time.Time
}

// root is the address of the APIs that carry their version in the path.
func (c *Client) root() string {
	base := strings.TrimRight(c.opt.BaseURL, "/")
	if at := strings.LastIndex(base, "/v"); at > len("https://") {
		base = base[:at]
	}
	return base
}

// ask sends a request to the interval-data API and decodes the answer.
func (c *Client) ask(ctx context.Context, method, path, contentType string, body []byte, into any) error {
	if c.broken != nil {
		return c.broken
	}
	r := call{method, c.root() + path, contentType, body}
	a, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("%s %s: the answer is no JSON of the kind expected: %w", method, r.url, err)
	}
	return nil
}

// UploadIntervals sends a file of the "load" schema and returns the job that
// ingests it. An error says nothing of whether the file was taken: the API has
// no way to send the same thing twice and have it once.
func (c *Client) UploadIntervals(ctx context.Context, csv []byte) (jobID string, err error) {
	var got struct {
		JobID string `json:"job_id"`
	}
	if err := c.ask(ctx, http.MethodPost, intervalsPath, "text/csv", csv, &got); err != nil {
		return "", fmt.Errorf("upload intervals: %w", err)
	}
	if got.JobID == "" || len(got.JobID) > maxJobID {
		return "", fmt.Errorf("upload intervals: the answer has a job_id of %d bytes", len(got.JobID))
	}
	return got.JobID, nil
}

// Uploads lists the account's uploads in [from, to), all pages of it.
func (c *Client) Uploads(ctx context.Context, from, to time.Time) ([]Upload, error) {
	var out []Upload
	token := ""
	for page := 0; ; page++ {
		q := url.Values{"from": {from.UTC().Format(time.RFC3339)}, "to": {to.UTC().Format(time.RFC3339)}, "page_size": {fmt.Sprint(uploadsPage)}}
		if token != "" {
			q.Set("page_token", token)
		}
		var got struct {
			Uploads []struct {
				ID     string `json:"last_job_id"`
				At     string `json:"uploaded_at_date_time"`
				Status string `json:"status"`
			} `json:"uploads"`
			Next string `json:"next_page_token"`
		}
		if err := c.ask(ctx, http.MethodGet, uploadsPath+"?"+q.Encode(), "", nil, &got); err != nil {
			return nil, fmt.Errorf("list uploads of intervals: %w", err)
		}
		for _, u := range got.Uploads {
			at, err := time.Parse(time.RFC3339, u.At)
			if err != nil {
				at = time.Time{} // its status still counts
			}
			out = append(out, Upload{u.ID, at.UTC(), JobStatus(strings.ToUpper(u.Status))})
		}
		switch {
		case len(out) > maxListed:
			return nil, fmt.Errorf("list uploads of intervals: more than %d of them", maxListed)
		case got.Next == "" || len(got.Uploads) == 0:
			return out, nil
		case got.Next == token || page >= c.opt.MaxPages:
			return nil, fmt.Errorf("list uploads of intervals: page %d names a next page that leads nowhere", page+1)
		}
		token = got.Next
	}
}

// JobProblems are the error rows of a job that failed, at most 1000.
func (c *Client) JobProblems(ctx context.Context, jobID string) ([]JobProblem, error) {
	var got struct {
		Errors []JobProblem `json:"errors"`
	}
	if err := c.ask(ctx, http.MethodGet, uploadsPath+"/"+url.PathEscape(jobID), "", nil, &got); err != nil {
		return nil, fmt.Errorf("errors of upload %s: %w", jobID, err)
	}
	for i := range got.Errors {
		p := &got.Errors[i]
		p.Column, p.Code, p.Message = plain(p.Column, 64), plain(p.Code, 32), plain(p.Message, 200)
	}
	return got.Errors[:min(len(got.Errors), maxProblems)], nil
}

// Preview are the first lines of an uploaded file, and whether there are more.
func (c *Client) Preview(ctx context.Context, jobID string) (lines []string, more bool, err error) {
	var got struct {
		Lines []string `json:"file_data"`
		More  bool     `json:"is_limited"`
	}
	if err := c.ask(ctx, http.MethodGet, uploadsPath+"/file-preview/"+url.PathEscape(jobID), "", nil, &got); err != nil {
		return nil, false, fmt.Errorf("preview of upload %s: %w", jobID, err)
	}
	return got.Lines, got.More, nil
}

// MissingIntervals are the stretches in [from, to) that Leap lacks of meters.
func (c *Client) MissingIntervals(ctx context.Context, meters []string, from, to time.Time) ([]Missing, error) {
	req := map[string]any{"meter_ids": uniqueIDs(meters), "state": "OPEN", "page_size": uploadsPage,
		"missing_interval_window_start_date_time_utc": from.UTC().Format(time.RFC3339),
		"missing_interval_window_end_date_time_utc":   to.UTC().Format(time.RFC3339)}
	var out []Missing
	for page := 0; ; page++ {
		body, err := json.Marshal(req)
		if err != nil {
			return nil, err
		}
		var got struct {
			Missing []struct {
				Meter string    `json:"meter_id"`
				Kind  string    `json:"data_type"`
				Start time.Time `json:"start_date_time_utc"`
				End   time.Time `json:"end_date_time_utc"`
			} `json:"missing_intervals"`
			Next string `json:"next_page_token"`
		}
		if err := c.ask(ctx, http.MethodPost, missingPath, "application/json", body, &got); err != nil {
			return nil, fmt.Errorf("search missing intervals: %w", err)
		}
		for _, m := range got.Missing {
			// Neither time is required: what has none is no stretch.
			start, end := m.Start.UTC(), m.End.UTC()
			if start.Before(from) {
				start = from.UTC()
			}
			if end.After(to) {
				end = to.UTC()
			}
			if m.Kind == "LOAD_DATA" && !m.Start.IsZero() && start.Before(end) {
				out = append(out, Missing{strings.ToLower(m.Meter), start, end})
			}
		}
		switch {
		case len(out) > maxListed:
			return nil, fmt.Errorf("search missing intervals: more than %d of them", maxListed)
		case got.Next == "" || len(got.Missing) == 0:
			return out, nil
		case got.Next == req["page_token"] || page >= c.opt.MaxPages:
			return nil, fmt.Errorf("search missing intervals: page %d names a next page that leads nowhere", page+1)
		}
		req["page_token"] = got.Next
	}
}
