// Package leap asks Leap's dispatch API for the timeslots of our meters, and
// reads what it sends. A search is all or nothing: whatever is wrong with one
// of its pages is an error, and nothing of it reaches the schedule. What is
// wrong with one timeslot concerns that timeslot alone.
package leap

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"nominald/dispatch"
)

// Limits of a search.
const (
	// maxWindow is the longest window that the API takes
	// (dispatch.openapi.yml, end_date).
	maxWindow = 31 * 24 * time.Hour
	// maxSearchBytes bounds all pages of one search together, in memory.
	maxSearchBytes = 64 << 20
	// stallAfter is how long a body may stand still.
	stallAfter = 15 * time.Second
	// pageDeadline is how long one page may take, from connecting to the last byte.
	pageDeadline = 60 * time.Second
)

// Options configure a Client.
type Options struct {
	BaseURL string        // ends in /v2, see design.md 1.2; without trailing slash
	Key     func() string // the API key, asked for each request so that it can be replaced
	// HTTP is the client to use; nil means one that verifies TLS 1.2 or later
	// and has a deadline for each step. Redirects are never followed.
	HTTP      *http.Client
	UserAgent string           // default "nominald"
	MaxPages  int              // of a search; default 200 (domain.md 1.1)
	MaxBytes  int64            // of a page after decompression; default 4 MiB
	Now       func() time.Time // default time.Now
}

// Client asks the dispatch API. It may be used by several goroutines.
type Client struct {
	opt    Options
	http   *http.Client
	url    string
	total  int64     // bytes of all pages of a search: maxSearchBytes
	broken *APIError // why the API can not be asked with these options
}

// Query is what to search for.
type Query struct {
	From, To time.Time // [From, To)
	// MeterIDs narrows the search; empty means all meters of the account.
	MeterIDs []string
}

// Result is the answer to a search, all pages of it.
type Result struct {
	Slots    []dispatch.Timeslot
	Pages    int
	Observed time.Time // when the first request was started
	// ServerDate is the server's clock as it was when the answer's head
	// arrived at ReceivedAt, RoundTrip after its request was started; of the
	// page that took the shortest. Zero when the server sent none.
	ServerDate time.Time
	ReceivedAt time.Time
	RoundTrip  time.Duration
}

// New returns a client. A base URL that can not be used shows as an APIError
// of class Config from every Search.
func New(o Options) *Client {
	if o.UserAgent == "" {
		o.UserAgent = "nominald"
	}
	if o.MaxPages <= 0 {
		o.MaxPages = 200
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 4 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Client{opt: o, total: maxSearchBytes, url: strings.TrimRight(o.BaseURL, "/") + "/dispatch/meter/search"}
	if problem := checkURL(o.BaseURL); problem != "" {
		c.broken = &APIError{URL: c.url, Class: Config, Message: problem}
	}
	c.http = withoutRedirects(o.HTTP)
	return c
}

// checkURL refuses what would send the key in the clear over a network.
func checkURL(base string) string {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return "leap.url is not an address such as https://api.leap.energy/v2"
	case u.Scheme == "https":
		return ""
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	}
	return "leap.url must be https; http is accepted for loopback addresses only"
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// Search returns every timeslot that the query matches, CAISO's real-time
// events included. Windows of more than 31 days are split into several
// searches. The result is complete or there is none: an error means that
// nothing was learned. Ids may occur more than once, the last one counts.
func (c *Client) Search(ctx context.Context, q Query) (Result, error) {
	if c.broken != nil {
		return Result{}, c.broken
	}
	from, to := q.From.UTC().Truncate(time.Second), ceilSecond(q.To.UTC())
	if !to.After(from) {
		return Result{}, fmt.Errorf("search dispatches from %s to %s: the window is empty", from, to)
	}
	result := Result{Observed: c.opt.Now().UTC()}
	s := &search{client: c, result: &result, meters: uniqueIDs(q.MeterIDs)}
	for from.Before(to) {
		end := from.Add(maxWindow)
		if end.After(to) {
			end = to
		}
		if err := s.window(ctx, from, end); err != nil {
			return Result{}, err
		}
		from = end
	}
	return result, nil
}

func ceilSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); whole.Equal(t) {
		return whole
	}
	return t.Truncate(time.Second).Add(time.Second)
}

// uniqueIDs: the API wants a set (dispatch.openapi.yml, meter_ids).
func uniqueIDs(ids []string) []string {
	var unique []string
	for _, id := range ids {
		if id = strings.ToLower(id); id != "" && !slices.Contains(unique, id) {
			unique = append(unique, id)
		}
	}
	return unique
}

// search is one Search while it runs.
type search struct {
	client *Client
	result *Result
	meters []string
	bytes  int64
}

// request is the body of a search. exclude_real_time_events is sent because
// its default hides CAISO's 5-minute events; empty lists are not allowed.
type request struct {
	StartDate             string   `json:"start_date"`
	EndDate               string   `json:"end_date"`
	MeterIDs              []string `json:"meter_ids,omitempty"`
	ExcludeRealTimeEvents bool     `json:"exclude_real_time_events"`
	PageToken             string   `json:"page_token,omitempty"`
}

// window reads all pages of one window, with the same filter for each.
func (s *search) window(ctx context.Context, from, to time.Time) error {
	req := request{
		StartDate: from.Format(time.RFC3339),
		EndDate:   to.Format(time.RFC3339),
		MeterIDs:  s.meters,
	}
	tokens := map[string]bool{}
	for n := 1; ; n++ {
		p, err := s.page(ctx, req)
		if err != nil {
			return fmt.Errorf("search dispatches from %s, page %d: %w", req.StartDate, n, err)
		}
		s.result.Slots = append(s.result.Slots, p.slots...)
		switch {
		case len(s.result.Slots) > maxSlots:
			return fmt.Errorf("search dispatches from %s: more than %d timeslots", req.StartDate, maxSlots)
		case p.next == "":
			return nil
		case tokens[p.next]:
			return fmt.Errorf("search dispatches from %s: page %d names a next page that was read already", req.StartDate, n)
		case s.result.Pages >= s.client.opt.MaxPages:
			return fmt.Errorf("search dispatches from %s: more than %d pages", req.StartDate, s.client.opt.MaxPages)
		}
		tokens[p.next] = true
		req.PageToken = p.next
	}
}

// page reads one page and notes the server's clock.
func (s *search) page(ctx context.Context, req request) (page, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return page{}, err
	}
	a, err := s.client.post(ctx, body)
	if err != nil {
		return page{}, err
	}
	s.result.Pages++
	s.bytes += int64(len(a.body))
	if s.bytes > s.client.total {
		return page{}, fmt.Errorf("more than %d bytes in all", s.client.total)
	}
	r := s.result
	if !a.date.IsZero() && (r.ServerDate.IsZero() || a.roundTrip < r.RoundTrip) {
		r.ServerDate, r.ReceivedAt, r.RoundTrip = a.date, a.at, a.roundTrip
	}
	return decodePage(a.body)
}
