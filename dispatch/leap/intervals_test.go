package leap

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answering is a client whose API always answers the same.
func answering(status int, body []byte) *Client {
	return New(Options{BaseURL: "http://127.0.0.1:1/v2", Key: func() string { return "secret-key" }, MaxPages: 3,
		HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
		})}})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func FuzzIntervalAnswers(f *testing.F) {
	f.Add([]byte(`{"uploads":[{"last_job_id":"a","uploaded_at_date_time":"2026-01-01T00:00:00Z","status":"COMPLETED"}],"next_page_token":"t"}`))
	f.Add([]byte(`{"errors":[{"line":2,"column":"meter_id","code":"MTR_0001","message":"x"}]}`))
	f.Add([]byte(`{"missing_intervals":[{"meter_id":"A","data_type":"LOAD_DATA","start_date_time_utc":"2026-01-01T00:00:00Z","end_date_time_utc":"2026-01-01T01:00:00Z"}]}`))
	f.Add([]byte(`{"file_data":["a","b"],"is_limited":true}`))
	f.Add([]byte(`"gone"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, ctx := answering(http.StatusOK, body), t.Context()
		problems, _ := c.JobProblems(ctx, "job")
		for _, p := range problems {
			if len(p.Message) > 400 || len(p.Code) > 64 || strings.ContainsAny(p.Message, "\x00\x1b\n") {
				t.Errorf("%+v", p)
			}
		}
		missing, _ := c.MissingIntervals(ctx, nil, time.Time{}, time.Now())
		for _, m := range missing {
			if !m.Start.Before(m.End) {
				t.Errorf("%+v", m)
			}
		}
		if job, err := c.UploadIntervals(ctx, nil); err == nil && job == "" {
			t.Error("no job and no error")
		}
		_, _ = c.Uploads(ctx, time.Time{}, time.Now())
		_, _, _ = c.Preview(ctx, "job")
	})
}

// The requests are what Leap's file of the API describes, on the host of the
// dispatch API, and no key shows in an error.
func TestIntervalRequests(t *testing.T) {
	raw, err := os.ReadFile(filepath.FromSlash("../../../shared/leap/interval-data-upload.openapi.json"))
	if err != nil {
		t.Skip("Leap's OpenAPI file is not here")
	}
	var api struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(raw, &api); err != nil {
		t.Fatal(err)
	}
	seen := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if !strings.HasPrefix(path, "/v1.1/") || r.Header.Get("Authorization") != "Bearer secret-key" {
			t.Errorf("%s, %q", path, r.Header.Get("Authorization"))
		}
		path = strings.Replace(path, "/job-1", "/{job_id}", 1)
		op, ok := api.Paths[path][strings.ToLower(r.Method)]
		if !ok {
			t.Errorf("%s %s is not of the API", r.Method, path)
		}
		for name := range r.URL.Query() {
			known := false
			for _, p := range op.Parameters {
				known = known || p.In == "query" && p.Name == name
			}
			if !known {
				t.Errorf("%s %s takes no %s", r.Method, path, name)
			}
		}
		seen++
		http.Error(w, `{"title":"no, secret-key"}`, http.StatusForbidden)
	}))
	defer srv.Close()
	c, ctx := New(Options{BaseURL: srv.URL + "/v2", Key: func() string { return "secret-key" }}), t.Context()
	_, e1 := c.UploadIntervals(ctx, []byte("x"))
	_, e2 := c.Uploads(ctx, time.Now(), time.Now())
	_, e3 := c.JobProblems(ctx, "job-1")
	_, _, e4 := c.Preview(ctx, "job-1")
	_, e5 := c.MissingIntervals(ctx, []string{"A"}, time.Now(), time.Now())
	if seen != 5 {
		t.Errorf("%d requests", seen)
	}
	for _, err := range []error{e1, e2, e3, e4, e5} {
		var api *APIError
		if !errors.As(err, &api) || api.Class != Config || strings.Contains(err.Error(), "secret-key") {
			t.Errorf("%v", err)
		}
	}
}
