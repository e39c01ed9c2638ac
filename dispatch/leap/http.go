package leap

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// answer is a 200 of the API.
type answer struct {
	body      []byte
	date      time.Time // the server's clock; zero when it sent none
	at        time.Time // when the head arrived, by our clock
	roundTrip time.Duration
}

// withoutRedirects returns a client that never follows a redirect: it would
// turn the POST into a GET and might carry the key to another host.
func withoutRedirects(given *http.Client) *http.Client {
	if given == nil {
		given = &http.Client{Transport: newTransport()}
	}
	c := *given
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// newTransport has a deadline for each step, so that a line that died is
// noticed, and a header limit; bodies are limited where they are read.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  20 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           2,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// call is one request.
type call struct {
	method, url, contentType string
	body                     []byte
}

// post asks for a page of a search.
func (c *Client) post(ctx context.Context, body []byte) (answer, error) {
	return c.do(ctx, call{http.MethodPost, c.url, "application/json", body})
}

// do sends one request and reads the whole answer. It ends pageDeadline after
// its start, or as soon as the body stood still for stallAfter.
func (c *Client) do(ctx context.Context, r call) (answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	total := time.AfterFunc(pageDeadline, func() {
		cancel(errTimeout(fmt.Sprintf("no complete answer after %s", pageDeadline)))
	})
	defer total.Stop()
	a, err := c.exchange(ctx, cancel, r)
	if err == nil {
		return a, nil
	}
	var api *APIError
	if errors.As(err, &api) {
		return answer{}, api
	}
	// A broken line must not be taken for the next try.
	c.http.CloseIdleConnections()
	var late errTimeout
	if cause := context.Cause(ctx); errors.As(cause, &late) {
		return answer{}, fmt.Errorf("%s %s: %w", r.method, r.url, late)
	}
	return answer{}, err
}

func (c *Client) exchange(ctx context.Context, cancel context.CancelCauseFunc, r call) (answer, error) {
	req, key, err := c.newRequest(ctx, r)
	if err != nil {
		return answer{}, err
	}
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err // a *url.Error: it names the method and the address
	}
	defer resp.Body.Close()
	a := answer{at: c.opt.Now(), roundTrip: time.Since(start)}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		a.date = date.UTC()
	}
	if resp.StatusCode != http.StatusOK {
		return answer{}, c.refusal(r, resp, key, cancel)
	}
	a.body, err = readBody(resp.Body, c.opt.MaxBytes, cancel)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: read the answer: %w", r.method, r.url, err)
	}
	return a, nil
}

func (c *Client) newRequest(ctx context.Context, r call) (*http.Request, string, error) {
	key := ""
	if c.opt.Key != nil {
		key = strings.TrimSpace(c.opt.Key())
	}
	if problem := checkKey(key); problem != "" {
		return nil, "", &APIError{URL: r.url, Method: r.method, Class: Config, Message: problem}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, "", fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.opt.UserAgent)
	return req, key, nil
}

// checkKey keeps what can not stand in a header out of it.
func checkKey(key string) string {
	if key == "" {
		return "leap.api_key is empty"
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "leap.api_key has a blank, a line break or a character in it that no key has"
	}
	return ""
}

// refusal makes an error of an answer that is not 200. Half of its body is as
// good as all of it.
func (c *Client) refusal(r call, resp *http.Response, key string, cancel context.CancelCauseFunc) error {
	body, err := readBody(io.LimitReader(resp.Body, 16<<10), 16<<10, cancel)
	if err != nil {
		body = nil
	}
	e := newAPIError(resp, body, key, c.opt.Now())
	e.URL, e.Method = r.url, r.method
	return e
}

// readBody reads at most limit bytes, after decompression, and gives the
// request up when none came for stallAfter.
func readBody(r io.Reader, limit int64, cancel context.CancelCauseFunc) ([]byte, error) {
	stall := time.AfterFunc(stallAfter, func() {
		cancel(errTimeout(fmt.Sprintf("the answer stood still for %s", stallAfter)))
	})
	defer stall.Stop()
	var buf bytes.Buffer
	watched := readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if n > 0 {
			stall.Reset(stallAfter)
		}
		return n, err
	})
	n, err := buf.ReadFrom(io.LimitReader(watched, limit+1))
	switch {
	case n > limit:
		return nil, fmt.Errorf("the answer is longer than %d bytes", limit)
	case err != nil:
		return nil, err
	}
	return buf.Bytes(), nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
