package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// contentPolicy lets the page load nothing that does not come from here, and
// nobody frame it.
const contentPolicy = "default-src 'self'; object-src 'none'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'"

// route is one path: a handler for reading it, or one for changing something.
type route struct {
	get  http.HandlerFunc
	post http.HandlerFunc
	// open paths ask for no token.
	open bool
	// foreign paths may be posted to from anywhere: they check a secret of
	// their own.
	foreign bool
	// ownBody paths read the body themselves.
	ownBody bool
}

// table lists every path with a fixed name. Paths are matched as they came,
// without cleaning: "//api/v1/status" does not exist.
func (s *Server) table() map[string]route {
	t := map[string]route{
		"/healthz":          {get: s.healthz, open: true},
		"/readyz":           {get: s.readyz, open: true},
		"/metrics":          {get: s.metrics},
		"/api/v1/status":    {get: s.status},
		"/api/v1/timeslots": {get: s.timeslots},
		"/api/v1/load":      {get: s.load},
		"/api/v1/explain":   {get: s.explain},
		"/api/v1/stream":    {get: s.stream},
		"/api/v1/intervals": {get: s.intervals},
		"/api/v1/stop":      {post: s.stop},
		"/api/v1/resume":    {post: s.resume},
		loginPath:           {post: s.login, open: true, ownBody: true},
		"/api/v1/logout":    {post: s.logout, open: true},
	}
	for path, h := range s.opt.Page {
		t[path] = route{get: h.ServeHTTP, open: true}
	}
	if s.opt.Webhook != nil {
		t[notificationsPath] = route{post: s.opt.Webhook.ServeHTTP, open: true, foreign: true, ownBody: true}
	}
	return t
}

const notificationsPath = "/api/v1/leap/notifications"

// find returns the route of a request. A report's path holds the event's id.
func (s *Server) find(r *http.Request) (route, bool) {
	path := r.URL.EscapedPath()
	if rt, ok := s.routes[path]; ok {
		return rt, true
	}
	id, isSlot := strings.CutPrefix(path, "/api/v1/timeslots/")
	id, isReport := strings.CutSuffix(id, "/report")
	if !isSlot || !isReport || id == "" || strings.Contains(id, "/") {
		return route{}, false
	}
	id, err := url.PathUnescape(id)
	if err != nil {
		return route{}, false
	}
	return route{get: func(w http.ResponseWriter, r *http.Request) { s.report(w, r, id) }}, true
}

// serveHTTP is the order in which a request is judged: does the path exist,
// does it take the method, may the caller change anything from where it is,
// is it known, is the body small enough.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	rt, ok := s.find(r)
	if !ok {
		problem(w, http.StatusNotFound, fmt.Sprintf("no such path: %q", r.URL.Path))
		return
	}
	handle := rt.method(r.Method)
	if handle == nil {
		h.Set("Allow", rt.allow())
		problem(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s, not %q", r.URL.Path, rt.allow(), r.Method))
		return
	}
	if r.Method == http.MethodPost && !rt.foreign {
		if err := s.own.check(r); err != nil {
			problem(w, http.StatusForbidden, err.Error())
			return
		}
	}
	if !rt.open && !s.admit(w, r) {
		return
	}
	if !limitBody(w, r, rt.ownBody) {
		return
	}
	handle(w, r)
}

func (rt route) method(m string) http.HandlerFunc {
	switch m {
	case http.MethodGet, http.MethodHead:
		return rt.get
	case http.MethodPost:
		return rt.post
	}
	return nil
}

func (rt route) allow() string {
	if rt.post != nil {
		return "POST"
	}
	return "GET, HEAD"
}

// limitBody refuses bodies over the limit and, where the handler does not
// want the body, reads it to its end. It reports whether to go on.
func limitBody(w http.ResponseWriter, r *http.Request, keep bool) bool {
	if r.ContentLength > maxBodyBytes {
		if r.Header.Get("Expect") == "" { // else the client waits to be asked for it
			drain(r.Body)
		}
		tooLarge(w)
		return false
	}
	r.Body = &limitedBody{ReadCloser: http.MaxBytesReader(nil, r.Body, maxBodyBytes), all: r.Body}
	if keep {
		return true
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		refuseBody(w, err)
		return false
	}
	return true
}

// limitedBody reads on past its limit once, without keeping anything, before
// it tells that the limit was passed.
type limitedBody struct {
	io.ReadCloser
	all io.Reader
}

// Read gives an *http.MaxBytesError once the limit was passed.
func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var over *http.MaxBytesError
	if errors.As(err, &over) && b.all != nil {
		drain(b.all)
		b.all = nil
	}
	return n, err
}

// drain throws away what a client still sends. Most clients look at an answer
// only after they have sent all, and one that is cut off before never does.
func drain(body io.Reader) {
	// An error here changes nothing: the answer is "too large" already.
	_, _ = io.CopyN(io.Discard, body, maxDrainBytes)
}

// refuseBody answers an error that reading a body gave.
func refuseBody(w http.ResponseWriter, err error) {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		tooLarge(w)
		return
	}
	problem(w, http.StatusBadRequest, "read the request's body: "+err.Error())
}

func tooLarge(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is over %d bytes", maxBodyBytes))
}

// problemBody is an error as RFC 9457 has it. Reasons is our own member, on
// /healthz and /readyz.
type problemBody struct {
	Type    string   `json:"type"`
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail"`
	OK      *bool    `json:"ok,omitempty"`
	Reasons []string `json:"reasons,omitempty"`
}

func problem(w http.ResponseWriter, code int, detail string) {
	writeProblem(w, problemBody{Status: code, Detail: detail})
}

func writeProblem(w http.ResponseWriter, p problemBody) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	w.Write(append(body, '\n')) // a client that has gone can not be told
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil { // NaN in a number: a bug here, not the client's
		problem(w, http.StatusInternalServerError, "encode the answer: "+err.Error())
		return
	}
	writeRaw(w, body)
}

func writeRaw(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(body) // a client that has gone can not be told
	w.Write([]byte{'\n'})
}
