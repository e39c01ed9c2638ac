package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"nominald/gateway/sim/modbustcp"
)

// LeapOptions describes the simulated account.
type LeapOptions struct {
	Key string // API key that is accepted
	// ForeignKeys are keys of the other environment: they get 403, any other
	// wrong key 401 (domain.md 1.0).
	ForeignKeys []string
	Meters      []string // meters of the account; empty: whatever is added
	PageSize    int      // timeslots a page; default 500
	Base        string   // path in front of /dispatch; default /v2, "/" for none
	Now         func() time.Time
	// SearchByStart makes the window select by a slot's start; the default is
	// by overlap. Leap does not say which it is.
	SearchByStart bool
	// OmitNullEnergy leaves energy_kw out instead of sending null for it.
	OmitNullEnergy bool
}

// Leap answers as Leap's dispatch API v2 does. It is an http.Handler; its
// methods may be called from any goroutine.
type Leap struct {
	opts LeapOptions

	mu       sync.Mutex
	slots    map[string]Slot // by event id
	fault    Fault
	requests []Recorded
	pages    map[string]pageState
	issued   int

	intervals intervalAccount
}

// Recorded is a request that reached the server.
type Recorded struct {
	At     time.Time
	Method string
	Path   string
	Header http.Header
	Body   []byte
	Status int // that was answered; 0: the connection was closed
	Slots  int // timeslots in the answer
}

// pageState is what a page token stands for.
type pageState struct {
	query query
	rest  []Slot
	born  int
}

const (
	maxRequests  = 4096
	maxPages     = 1000
	maxBody      = 1 << 20
	searchSuffix = "/dispatch/meter/search"
)

// NewLeap returns an account without timeslots.
func NewLeap(opts LeapOptions) *Leap {
	if opts.PageSize <= 0 {
		opts.PageSize = 500
	}
	if opts.Base == "" {
		opts.Base = "/v2"
	}
	opts.Base = strings.TrimSuffix(opts.Base, "/")
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Leap{opts: opts, slots: map[string]Slot{}, pages: map[string]pageState{}}
}

// Add stores a slot, or replaces the one with its event id.
func (l *Leap) Add(s Slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.MeterID == "" && len(l.opts.Meters) > 0 {
		s.MeterID = l.opts.Meters[0]
	}
	l.slots[s.EventID] = s
}

// Update changes a stored slot in place.
func (l *Leap) Update(eventID string, change func(*Slot)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.slots[eventID]
	if !ok {
		return fmt.Errorf("timeslot %s: not there", eventID)
	}
	change(&s)
	delete(l.slots, eventID)
	l.slots[s.EventID] = s
	return nil
}

// Cancel marks a slot as cancelled; it stays in the answers.
func (l *Leap) Cancel(eventID string) error {
	return l.Update(eventID, func(s *Slot) { s.Cancelled = true })
}

// Remove takes a slot away without a word, which is not a cancellation.
func (l *Leap) Remove(eventID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.slots, eventID)
}

// SetFault makes the server misbehave; the zero Fault ends it.
func (l *Leap) SetFault(f Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

// Requests returns the requests so far, oldest first.
func (l *Leap) Requests() []Recorded {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests)
}

// Serve answers on a loopback listener until ctx ends.
func (l *Leap) Serve(ctx context.Context, ln net.Listener) error {
	if err := modbustcp.CheckLoopback(ln.Addr().String()); err != nil {
		ln.Close()
		return fmt.Errorf("simulated leap: %w", err)
	}
	srv := &http.Server{Handler: l, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("simulated leap on %s: %w", ln.Addr(), err)
	}
	return nil
}

// ServeHTTP answers one request and records it.
func (l *Leap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := Recorded{At: l.opts.Now(), Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone()}
	body, readErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	rec.Body = body
	fault := l.takeFault()
	defer func() { l.record(rec) }() // runs also where a fault aborts the handler
	w.Header().Set("Date", l.opts.Now().UTC().Format(http.TimeFormat))
	if fault.Kind == Down || fault.Kind == BadStatus || fault.Kind == HTML {
		rec.Status = fault.write(w, r, nil)
		return
	}
	if l.isIntervals(r) {
		rec.Status = l.serveIntervals(w, r, body, readErr)
		return
	}
	if status, msg := l.refuse(r, readErr); status != 0 {
		if status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		rec.Status = send(w, status, errorBody(DispatchEnvelope, status, msg))
		return
	}
	answer, n, err := l.search(body)
	if err != nil {
		rec.Status = send(w, http.StatusBadRequest, errorBody(DispatchEnvelope, http.StatusBadRequest, err.Error()))
		return
	}
	rec.Slots, rec.Status = n, http.StatusOK
	fault.write(w, r, answer)
}

// takeFault returns the fault of this request and counts it.
func (l *Leap) takeFault() Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.fault
	if f.Times > 0 {
		if l.fault.Times--; l.fault.Times == 0 {
			l.fault = Fault{}
		}
	}
	return f
}

func (l *Leap) record(rec Recorded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.requests) >= maxRequests {
		l.requests = slices.Delete(l.requests, 0, maxRequests/2)
	}
	l.requests = append(l.requests, rec)
}

// refuse returns the status that a request deserves before its body counts, 0
// for none.
func (l *Leap) refuse(r *http.Request, readErr error) (int, string) {
	if r.URL.Path != l.opts.Base+searchSuffix {
		return http.StatusNotFound, "no resource " + r.URL.Path
	}
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, "method " + r.Method + " is not allowed"
	}
	if status, msg := l.refuseKey(r); status != 0 {
		return status, msg
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return http.StatusUnsupportedMediaType, "content type must be application/json"
	}
	if readErr != nil {
		return http.StatusBadRequest, "request body could not be read"
	}
	return 0, ""
}

// refuseKey returns the status that a request's key deserves, 0 for a good one.
func (l *Leap) refuseKey(r *http.Request) (int, string) {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case ok && slices.Contains(l.opts.ForeignKeys, key):
		return http.StatusForbidden, "this key belongs to another environment"
	case !ok || key == "" || key != l.opts.Key:
		return http.StatusUnauthorized, "a bearer token is required"
	}
	return 0, ""
}

// search answers a valid request with one page and says how many timeslots are
// on it.
func (l *Leap) search(body []byte) ([]byte, int, error) {
	q, err := parseQuery(body)
	if err != nil {
		return nil, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.find(q)
	if q.token != "" {
		state, ok := l.pages[q.token]
		if !ok {
			return nil, 0, fmt.Errorf("page_token: %s is not known", q.token)
		}
		if !q.sameFilters(state.query) {
			return nil, 0, fmt.Errorf("page_token: %s belongs to a search with other filters", q.token)
		}
		found = state.rest
	}
	page := wirePage{}
	if len(found) > l.opts.PageSize {
		page.NextPageToken = l.issue(pageState{query: q, rest: found[l.opts.PageSize:]})
		found = found[:l.opts.PageSize]
	}
	page.Results = events(found, !l.opts.OmitNullEnergy)
	answer, err := json.Marshal(page)
	if err != nil {
		return nil, 0, fmt.Errorf("encode answer: %w", err)
	}
	return answer, len(found), nil
}

// find returns the slots that a query wants, by meter and start.
func (l *Leap) find(q query) []Slot {
	var out []Slot
	for _, s := range l.slots {
		owned := len(l.opts.Meters) == 0 || slices.Contains(l.opts.Meters, s.MeterID)
		if owned && q.wants(s, l.opts.SearchByStart) {
			out = append(out, s)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.MeterID != b.MeterID {
			return a.MeterID < b.MeterID
		}
		if !a.Start.Equal(b.Start) {
			return a.Start.Before(b.Start)
		}
		return a.EventID < b.EventID
	})
	return out
}

// issue keeps the rest of a search under a new token and forgets the oldest
// one where there are too many.
func (l *Leap) issue(state pageState) string {
	l.issued++
	state.born = l.issued
	if len(l.pages) >= maxPages {
		oldest := ""
		for token, p := range l.pages {
			if oldest == "" || p.born < l.pages[oldest].born {
				oldest = token
			}
		}
		delete(l.pages, oldest)
	}
	token := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "nominald simulated page %d", l.issued)).String()
	l.pages[token] = state
	return token
}
