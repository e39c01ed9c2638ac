package leap

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testKey = "eyJhbGciOi.secret.key"

var noon = time.Date(2026, 7, 21, 12, 0, 0, 0, time.UTC)

// serve starts a real server and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := New(Options{BaseURL: s.URL + "/v2", Key: func() string { return testKey }})
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

func window() Query { return Query{From: noon, To: noon.Add(time.Hour), MeterIDs: []string{meterA}} }

func TestSearchSendsWhatTheAPIWants(t *testing.T) {
	var got []map[string]any
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		head := []string{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Type"),
			r.Header.Get("Accept"), r.Header.Get("User-Agent")}
		want := []string{"POST", "/v2/dispatch/meter/search", "Bearer " + testKey, "application/json",
			"application/json", "nominald"}
		if diff := cmp.Diff(want, head); diff != "" {
			t.Errorf("request head (-want +got):\n%s", diff)
		}
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		got = append(got, body)
		token := "null"
		if len(got) == 1 {
			token = `"242c3e24-43e6-4ad7-88b3-666cda21582b"`
		}
		fmt.Fprintf(w, `{"results":[],"next_page_token":%s}`, token)
	})
	from := time.Date(2026, 7, 21, 5, 0, 0, 999, time.FixedZone("PDT", -7*3600))
	q := Query{From: from, To: from.Add(time.Hour), MeterIDs: []string{meterA, strings.ToUpper(meterA)}}
	if _, err := c.Search(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	first := map[string]any{
		"start_date": "2026-07-21T12:00:00Z", "end_date": "2026-07-21T13:00:01Z",
		"meter_ids": []any{meterA}, "exclude_real_time_events": false,
	}
	second := map[string]any{"page_token": "242c3e24-43e6-4ad7-88b3-666cda21582b"}
	for k, v := range first {
		second[k] = v
	}
	if diff := cmp.Diff([]map[string]any{first, second}, got); diff != "" {
		t.Errorf("request bodies (-want +got):\n%s", diff)
	}
	q.MeterIDs = nil
	if _, err := c.Search(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, sent := got[2]["meter_ids"]; sent {
		t.Error("an empty list of meters was sent, which the API refuses")
	}
}

func TestSearchSplitsWindowsOverThirtyOneDays(t *testing.T) {
	var spans []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var body request
		_ = json.NewDecoder(r.Body).Decode(&body)
		spans = append(spans, body.StartDate+" "+body.EndDate)
		io.WriteString(w, `{"results":[]}`)
	})
	if _, err := c.Search(t.Context(), Query{From: noon, To: noon.Add(40 * 24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	want := []string{"2026-07-21T12:00:00Z 2026-08-21T12:00:00Z", "2026-08-21T12:00:00Z 2026-08-30T12:00:00Z"}
	if diff := cmp.Diff(want, spans); diff != "" {
		t.Error(diff)
	}
	if _, err := c.Search(t.Context(), Query{From: noon, To: noon}); err == nil {
		t.Error("an empty window was searched")
	}
}

func TestSearchC26ReadsAllPages(t *testing.T) {
	const pages, perPage = 3, 500
	n := 0
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", noon.Add(time.Duration(n)*time.Second).Format(http.TimeFormat))
		n++
		w.Write(bigPage(n, perPage, n < pages))
	})
	r, err := c.Search(t.Context(), window())
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, s := range r.Slots {
		ids[s.EventID] = s.Problem == ""
	}
	if len(ids) != pages*perPage || r.Pages != pages {
		t.Errorf("%d different timeslots on %d pages", len(ids), r.Pages)
	}
	if off := r.ServerDate.Sub(noon); off < 0 || off > 2*time.Second || r.RoundTrip <= 0 || r.ReceivedAt.IsZero() {
		t.Errorf("server date %s, round trip %s, received %s", r.ServerDate, r.RoundTrip, r.ReceivedAt)
	}
	if r.Observed.IsZero() || r.Observed.After(r.ReceivedAt) {
		t.Errorf("observed %s, received %s", r.Observed, r.ReceivedAt)
	}
}

// bigPage is a page of n timeslots with ids of their own.
func bigPage(page, n int, more bool) []byte {
	slots := make([]string, n)
	for i := range slots {
		slots[i] = strings.Replace(goodSlot, eventA, fmt.Sprintf("%08x-0000-4000-8000-%012x", page, i), 1)
	}
	body := onePage(slots...)
	if more {
		body = fmt.Appendf(body[:len(body)-1], `,"next_page_token":"page-%d"}`, page+1)
	}
	return body
}

// The timeslots are as short as they can be, which makes them unusable ones:
// it is their number that counts here.
func TestSearchOfAHundredThousandTimeslots(t *testing.T) {
	const pages, perPage = 5, 20_000
	n := 0
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		slots := make([]string, perPage)
		for i := range slots {
			slots[i] = fmt.Sprintf(`{"meter_event_id":"%08x-0000-4000-8000-%012x"}`, n, i)
		}
		page := onePage(slots...)
		if n++; n < pages {
			page = fmt.Appendf(page[:len(page)-1], `,"next_page_token":"%d"}`, n)
		}
		w.Write(page)
	})
	r, err := c.Search(t.Context(), window())
	ids := map[string]bool{}
	for _, s := range r.Slots {
		ids[s.EventID] = s.Problem != ""
	}
	if err != nil || len(ids) != pages*perPage {
		t.Errorf("%d different timeslots, error %v", len(ids), err)
	}
}

func TestSearchEndsOnPagesThatDoNotEnd(t *testing.T) {
	const few = "{}"
	many := strings.Repeat("{},", 29_999) + few
	for _, c := range []struct {
		name, slots string
		token       func(n int) string
		requests    int
		want        string
	}{
		{"the same token again", few, func(int) string { return "a" }, 2, "was read already"},
		{"a loop of three", few, func(n int) string { return string(rune('a' + n%3)) }, 4, "was read already"},
		{"too many pages", few, func(n int) string { return fmt.Sprint(n) }, 10, "more than 10 pages"},
		{"too many timeslots", many, func(n int) string { return fmt.Sprint(n) }, 5, "more than 120000 timeslots"},
		{"too many bytes", strings.Repeat(" ", 300_000), func(n int) string { return fmt.Sprint(n) }, 4, "more than 1000000 bytes"},
	} {
		n := 0
		client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			n++
			page := onePage(c.slots)
			fmt.Fprintf(w, `%s,"next_page_token":%q}`, page[:len(page)-1], c.token(n))
		})
		client.opt.MaxPages, client.total = 10, 1_000_000
		r, err := client.Search(t.Context(), window())
		if err == nil || !strings.Contains(err.Error(), c.want) || ClassOf(err) != Transient || r.Pages != 0 || n != c.requests {
			t.Errorf("%s: %d requests, error %v", c.name, n, err)
		}
	}
}

func TestSearchNothingIsLearnedFromAHalfReadSearch(t *testing.T) {
	n := 0
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		if n == 1 {
			w.Write(bigPage(1, 10, true))
			return
		}
		io.WriteString(w, `{"results":[{"timeslots":[]}]}`)
	})
	r, err := c.Search(t.Context(), window())
	if err == nil || !strings.Contains(err.Error(), "page 2") || len(r.Slots) != 0 {
		t.Errorf("%d timeslots, error %v", len(r.Slots), err)
	}
}

func TestSearchStatuses(t *testing.T) {
	date := noon.Format(http.TimeFormat)
	for _, c := range []struct {
		status int
		after  string
		body   string
		class  Class
		retry  time.Duration
		want   string // in the message
	}{
		{204, "", "", Transient, 0, "204"},
		{301, "", "", Transient, 0, "redirects to"},
		{400, "", `{"code":"BAD_REQUEST","message":"end_date missing","error_code":"DISPATCH_INVALID_INPUT"}`, Config, 0, "(DISPATCH_INVALID_INPUT) end_date missing"},
		{401, "", `{"title":"who are you","status":401,"details":{}}`, Config, 0, "who are you; check that leap.api_key"},
		{403, "", `{"error":"no","message":"wrong environment"}`, Config, 0, "wrong environment; check"},
		{404, "", "", Config, 0, "check leap.url"},
		{405, "", `{"code":"METHOD_NOT_ALLOWED"}`, Config, 0, "METHOD_NOT_ALLOWED"},
		{415, "", "", Config, 0, "415"},
		{408, "", "", Transient, 0, "408"},
		{425, "", "", Transient, 0, "425"},
		{429, "", "", Transient, 0, "429"},
		{429, "120", `[1]`, Transient, 2 * time.Minute, "429"},
		{429, noon.Add(30 * time.Second).Format(http.TimeFormat), "", Transient, 30 * time.Second, "429"},
		{429, "86400", "", Transient, time.Hour, "429"},
		{500, "", `"it broke"`, Transient, 0, "it broke"},
		{500, "", "it \x1b[31mbroke", Transient, 0, "it  [31mbroke"},
		{502, "", "<html>bad gateway</html>", Transient, 0, "a web page"},
		{503, "7", `{"title":"down","details":[{"message":"m"}]}`, Transient, 7 * time.Second, "down"},
	} {
		client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", date)
			w.Header().Set("Retry-After", c.after)
			w.Header().Set("Location", "/v2/dispatch/meter/search")
			w.WriteHeader(c.status)
			if c.status != 204 {
				io.WriteString(w, c.body)
			}
		})
		_, err := client.Search(t.Context(), window())
		var api *APIError
		if !errors.As(err, &api) {
			t.Errorf("%d: not an APIError: %v", c.status, err)
			continue
		}
		if api.Status != c.status || api.Class != c.class || api.RetryAfter != c.retry || ClassOf(err) != c.class {
			t.Errorf("%d: got status %d, class %s, retry after %s", c.status, api.Status, api.Class, api.RetryAfter)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d: %q does not contain %q", c.status, err, c.want)
		}
	}
}

func TestSearchNeverShowsTheKey(t *testing.T) {
	echo := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"message":"bad header %s"}`+strings.Repeat(" ", 4096), r.Header.Get("Authorization"))
	})
	_, err := echo.Search(t.Context(), window())
	var api *APIError
	if !errors.As(err, &api) {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v", err, *api); strings.Contains(text, testKey) || !strings.Contains(text, "[key]") {
		t.Errorf("the error reads %s", text)
	}
	if len(api.Body) > 515 {
		t.Errorf("the body has %d bytes", len(api.Body))
	}
}

func TestSearchDoesNotCarryTheKeyElsewhere(t *testing.T) {
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer other.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if _, err := c.Search(t.Context(), window()); ClassOf(err) != Transient || asked != 0 {
		t.Errorf("error %v, the other host was asked %d times", err, asked)
	}
}

func TestSearchRefusesWhatCannotWork(t *testing.T) {
	for _, c := range []struct{ url, key, want string }{
		{"https://127.0.0.1:1/v2", "", "leap.api_key is empty"},
		{"https://127.0.0.1:1/v2", "a\nb", "line break"},
		{"http://api.leap.energy/v2", "k", "must be https"},
		{"ftp://api.leap.energy/v2", "k", "must be https"},
		{"api.leap.energy/v2", "k", "not an address"},
		{"https://user:pw@api.leap.energy/v2", "k", "not an address"},
	} {
		_, err := New(Options{BaseURL: c.url, Key: func() string { return c.key }}).Search(t.Context(), window())
		if ClassOf(err) != Config || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.url, err)
		}
	}
}

func TestSearchBadBodies(t *testing.T) {
	const mega = 1 << 20
	for name, h := range map[string]http.HandlerFunc{
		"empty":   func(http.ResponseWriter, *http.Request) {},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte{0, 1, 2, 255}) },
		"web page": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "<html>please log in</html>")
		},
		"cut off by length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			w.Write(onePage(goodSlot))
		},
		"5 MB": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"results":[],"x":"`+strings.Repeat("x", 5*mega)+`"}`)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, `{"results":[],"x":"`)
			for range 64 {
				if _, err := z.Write(make([]byte, mega)); err != nil {
					return
				}
			}
			z.Close()
		},
	} {
		r, err := serve(t, h).Search(t.Context(), window())
		if err == nil || ClassOf(err) != Transient || len(r.Slots) != 0 {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestSearchReadsCompressedPages(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Error("compression was not offered")
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(bigPage(1, 500, false))
		z.Close()
	})
	if r, err := c.Search(t.Context(), window()); err != nil || len(r.Slots) != 500 {
		t.Errorf("%d timeslots, error %v", len(r.Slots), err)
	}
}

func TestSearchTransportFailuresAreTransient(t *testing.T) {
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	defer old.Close()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	for name, url := range map[string]string{
		"refused": "http://" + dead.Addr().String(), "TLS 1.1, unknown CA": old.URL,
	} {
		c := New(Options{BaseURL: url, Key: func() string { return testKey }})
		if _, err := c.Search(t.Context(), window()); err == nil || ClassOf(err) != Transient {
			t.Errorf("%s: error %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := serve(t, func(http.ResponseWriter, *http.Request) {})
	if _, err := c.Search(ctx, window()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}
