package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"nominald/gateway/config"
)

// Limits of an answer. The server is on this machine or near it.
const (
	defaultBase   = "http://127.0.0.1:8645"
	answerTimeout = 15 * time.Second
	exportTimeout = 6 * time.Minute // the server ends a table after 5
	maxAnswer     = 64 << 20
)

// clientFlags are what every command that asks the running gateway has.
type clientFlags struct {
	addr   string
	config string
	json   bool
}

func (f *clientFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.addr, "addr", "", "`URL` of the gateway (default "+defaultBase+")")
	cmd.Flags().StringVar(&f.config, "config", "", "take address and token from this config `FILE`")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the answer as JSON")
}

// client asks a running gateway over its local HTTP interface.
type client struct {
	base  string
	token string
	http  http.Client
}

// newClient finds out where the gateway is: --addr, else http.listen of
// --config, else the default address. The token comes from NOMINALD_TOKEN, else
// from the config; never from a flag, which the process list would show.
func newClient(f clientFlags) (*client, error) {
	c := &client{base: defaultBase, token: os.Getenv("NOMINALD_TOKEN"), http: http.Client{
		Timeout: answerTimeout,
		// No proxy and no redirect: the token is for this gateway alone.
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if f.config != "" {
		cfg, err := config.Load(f.config)
		if err != nil {
			return nil, err
		}
		c.base = baseOf(cfg.HTTP.Listen)
		if c.token == "" {
			c.token = cfg.HTTP.Token.Value()
		}
	}
	if f.addr == "" {
		return c, nil
	}
	addr := f.addr
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, &usageError{found: fmt.Sprintf("--addr: %q is not the address of a gateway", f.addr), remedy: "accepted: http://HOST:PORT"}
	}
	c.base = u.Scheme + "://" + u.Host
	return c, nil
}

// baseOf is the address at which a gateway with this http.listen is reached
// from its own machine.
func baseOf(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "http://" + listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// do sends one request and returns its answer when it is a good one.
func (c *client) do(ctx context.Context, method, path string, query url.Values, accept string) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "nominald/"+versionText())
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, c.refused(resp)
	}
	return resp, nil
}

// get decodes the JSON at path into v and returns it as it came.
func (c *client) get(ctx context.Context, path string, query url.Values, v any) (json.RawMessage, error) {
	return c.call(ctx, http.MethodGet, path, query, v)
}

func (c *client) call(ctx context.Context, method, path string, query url.Values, v any) (json.RawMessage, error) {
	resp, err := c.do(ctx, method, path, query, "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of %s%s: %w", c.base, path, err)
	case len(raw) > maxAnswer:
		return nil, fmt.Errorf("the answer of %s%s is larger than %d MiB; ask for a shorter time or a longer step", c.base, path, maxAnswer>>20)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, fmt.Errorf("%s%s does not answer as a nominald gateway does: %w", c.base, path, err)
	}
	return raw, nil
}

// unreachable says what to do when nobody answers.
func (c *client) unreachable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no gateway runs at %s; start it with `systemctl start nominald`, or name another address with --addr or --config", c.base)
	}
	return fmt.Errorf("the gateway at %s does not answer: %w", c.base, err)
}

// refused turns a problem (RFC 9457) into an error.
func (c *client) refused(resp *http.Response) error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(raw, &p) != nil || p.Title+p.Detail == "" {
		p.Title = resp.Status
	}
	if p.Detail == "" {
		p.Detail = p.Title
	}
	hint := ""
	if resp.StatusCode == http.StatusUnauthorized {
		hint = "; set NOMINALD_TOKEN, or use --config with a file that you may read"
	}
	return fmt.Errorf("the gateway at %s answers %d: %s%s", c.base, resp.StatusCode, printable(p.Detail), hint)
}
