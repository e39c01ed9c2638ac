package leap

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Class tells what can be done about a failure (domain.md 1.0, retry classes).
type Class string

// The classes of failure.
const (
	// Config: asking again as is can not help; a person must act.
	Config Class = "config"
	// Transient: asking again later may help.
	Transient Class = "transient"
)

// maxRetryAfter bounds how long a server can make us wait.
const maxRetryAfter = time.Hour

// APIError is an answer of the API other than 200, or a configuration with
// which it can not be asked at all (Status 0). It never contains the key.
type APIError struct {
	Status     int
	Code       string        // "FORBIDDEN"
	ErrorCode  string        // "DISPATCH_NO_ACCESS_TO_RESOURCE"
	Message    string        // for people
	Body       string        // as received, at most 512 bytes
	RetryAfter time.Duration // 0: not given; at most 1 h
	Class      Class
	Method     string // empty: POST
	URL        string
}

// Error names the address, the answer and, where a person must act, what to do.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s:", cmp.Or(e.Method, http.MethodPost), e.URL)
	if e.Status != 0 {
		fmt.Fprintf(&b, " %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.ErrorCode != "" {
		fmt.Fprintf(&b, " (%s)", e.ErrorCode)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, " %s", e.Message)
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		b.WriteString("; check that leap.api_key is a key of this environment with permission for dispatches")
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		b.WriteString("; check leap.url, which ends in /v2")
	}
	return b.String()
}

// ClassOf returns the class of an error that Search returned. What is not an
// answer of the API (timeouts, TLS, DNS, a body that can not be read) is
// transient.
func ClassOf(err error) Class {
	var api *APIError
	if errors.As(err, &api) && api.Class != "" {
		return api.Class
	}
	return Transient
}

// retryAfter returns how long the server asked to wait.
func retryAfter(err error) time.Duration {
	var api *APIError
	if errors.As(err, &api) {
		return api.RetryAfter
	}
	return 0
}

// classOfStatus: a client error stays until somebody changes something, but
// for those that are about time or load. A redirect is mostly a captive
// portal's, and goes as it came.
func classOfStatus(status int) Class {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return Transient
	}
	if status >= 400 && status < 500 {
		return Config
	}
	return Transient
}

// newAPIError reads an error answer leniently: there are three envelopes, bare
// strings and web pages (domain.md 1.0). key is taken out of all texts.
func newAPIError(resp *http.Response, body []byte, key string, now time.Time) *APIError {
	text := string(body)
	if key != "" {
		text = strings.ReplaceAll(text, key, "[key]")
	}
	e := &APIError{
		Status:     resp.StatusCode,
		Body:       excerpt([]byte(text), 512),
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), resp.Header.Get("Date"), now),
		Class:      classOfStatus(resp.StatusCode),
	}
	e.readEnvelope([]byte(strings.TrimSpace(text)))
	if to := resp.Header.Get("Location"); to != "" && e.Status >= 300 && e.Status < 400 {
		e.Message = "redirects to " + plain(strings.ReplaceAll(to, key, ""), 200) +
			", which is not followed because it would carry the key"
	}
	return e
}

// readEnvelope fills Code, ErrorCode and Message as far as they are there.
func (e *APIError) readEnvelope(body []byte) {
	if len(body) == 0 {
		return
	}
	if body[0] == '<' {
		e.Message = "a web page"
		return
	}
	var envelope map[string]json.RawMessage
	if json.Unmarshal(body, &envelope) != nil {
		var bare string
		if json.Unmarshal(body, &bare) != nil {
			bare = string(body)
		}
		e.Message = plain(bare, 200)
		return
	}
	get := func(names ...string) string {
		for _, name := range names {
			if s, ok := text(envelope[name]); ok && len(s) > 0 {
				return plain(string(s), 200)
			}
		}
		return ""
	}
	e.Code = get("code", "error")
	e.ErrorCode = get("error_code")
	e.Message = get("message", "title", "error_description", "detail", "code")
}

// plain cuts foreign text and takes out what could upset a terminal or a log.
func plain(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, excerpt([]byte(s), limit))
	return strings.TrimSpace(s)
}

// parseRetryAfter reads the header in either form (RFC 9110 10.2.3). A date is
// compared with the server's own Date where there is one, since our clock may
// be wrong. What can not be read counts as not given.
func parseRetryAfter(value, date string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // out of range: the largest number
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if server, err := http.ParseTime(date); err == nil {
		now = server
	}
	return max(0, min(at.Sub(now), maxRetryAfter))
}

// errTimeout is the cause of a request that we gave up. It is a deadline for
// errors.Is, with words that say which one.
type errTimeout string

func (e errTimeout) Error() string        { return string(e) }
func (e errTimeout) Is(target error) bool { return target == context.DeadlineExceeded }
