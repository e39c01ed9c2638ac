package status

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestChangesComeFromTheGatewaysOwnPageOnly(t *testing.T) {
	site, board, host := start(t, func(o *Options) { o.Hosts = []string{"Bakery.Example", "10.99.99.99", "proxy.example:8443", ""} })
	board.Publish(sampleStatus())
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what    string
		code    int
		headers []string
	}{
		{"a program without Origin", 200, nil},
		{"the page by address", 200, []string{"Origin: http://" + host, "Sec-Fetch-Site: same-origin"}},
		{"localhost, any port", 200, []string{"Host: localhost:9999", "Origin: http://localhost:9999"}},
		{"IPv6 loopback", 200, []string{"Host: [::1]:" + port, "Origin: http://[::1]:" + port}},
		{"host name", 200, []string{"Host: " + name, "Origin: http://" + name}},
		{"host name.local in capitals", 200, []string{"Host: " + strings.ToUpper(name) + ".LOCAL."}},
		{"a name of http.hosts", 200, []string{"Host: bakery.example", "Origin: https://bakery.example"}},
		{"an address of http.hosts", 200, []string{"Host: 10.99.99.99:80"}},
		{"a name of http.hosts with port", 200, []string{"Host: proxy.example"}},
		{"a foreign page", 403, []string{"Origin: https://evil.example"}},
		{"a foreign page that looks alike", 403, []string{"Origin: http://localhost.evil.example"}},
		{"a sandboxed page", 403, []string{"Origin: null"}},
		{"a file", 403, []string{"Origin: file://localhost"}},
		{"an empty Origin", 403, []string{"Origin: "}},
		{"two Origins", 403, []string{"Origin: http://localhost", "Origin: http://evil.example"}},
		{"a re-bound name", 403, []string{"Host: evil.example", "Origin: http://evil.example"}},
		{"a re-bound name without Origin", 403, []string{"Host: evil.example:" + port}},
		{"an address of another machine", 403, []string{"Host: 192.0.2.7"}},
		{"the any address", 403, []string{"Host: 0.0.0.0:" + port}},
		{"a form of another site", 403, []string{"Sec-Fetch-Site: cross-site"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			before := len(site.calls)
			a := ask(t, "POST", "http://"+host+"/api/v1/stop", "", c.headers...)
			if c.code == 403 {
				wantProblem(t, a, 403)
			}
			if a.code != c.code || (len(site.calls) > before) != (c.code == 200) {
				t.Errorf("got %d %s, want %d; calls %v", a.code, a.body, c.code, site.calls[before:])
			}
		})
	}
	if a := ask(t, "GET", "http://"+host+"/api/v1/status", "", "Host: router-gave-this-name.lan"); a.code != 200 {
		t.Errorf("reading by another name: %d", a.code)
	}
}

func TestAddressesOfThisMachineAreItsOwn(t *testing.T) {
	o := newOwnHosts(nil)
	o.addresses = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(192, 168, 1, 20), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("fe80::1")}}, nil
	}
	local := &net.TCPAddr{IP: net.ParseIP("::ffff:10.0.0.5"), Port: 8645}
	for host, want := range map[string]bool{
		"192.168.1.20": true, "192.168.1.21": false, "10.0.0.5": true, "::ffff:192.168.1.20": true,
		"fe80::1": true, "fe80::2": false, "127.0.0.9": true, "": false, "192.168.1": false, "3232235796": false,
	} {
		if got := o.owns(host, local); got != want {
			t.Errorf("owns(%q) = %t, want %t", host, got, want)
		}
	}
}

func TestTokenIsAskedForWhereSiteDataIs(t *testing.T) {
	_, board, host := start(t, func(o *Options) { o.Token = "s3cret" })
	board.Publish(sampleStatus())
	for _, path := range []string{"/", "/healthz", "/readyz"} {
		if a := ask(t, "GET", "http://"+host+path, ""); a.code != 200 {
			t.Errorf("%s without token: %d", path, a.code)
		}
	}
	for _, path := range []string{"/metrics", "/api/v1/status", "/api/v1/timeslots", "/api/v1/timeslots/e/report", "/api/v1/load", "/api/v1/explain", "/api/v1/stream"} {
		a := ask(t, "GET", "http://"+host+path, "")
		wantProblem(t, a, 401, "http.token")
		if a.header.Get("WWW-Authenticate") == "" || strings.Contains(a.body, "s3cret") {
			t.Errorf("%s: %v %s", path, a.header, a.body)
		}
	}
	wantProblem(t, ask(t, "POST", "http://"+host+"/api/v1/stop", ""), 401)
	wantProblem(t, ask(t, "GET", "http://"+host+"/api/v1/status?token=s3cret", ""), 401)
	wantProblem(t, ask(t, "GET", "http://"+host+"/api/v1/status", "", "Authorization: Basic OnMzY3JldA=="), 401)
	for _, scheme := range []string{"Bearer", "bearer"} {
		if a := ask(t, "GET", "http://"+host+"/api/v1/status", "", "Authorization: "+scheme+" s3cret"); a.code != 200 {
			t.Errorf("%s with the token: %d %s", scheme, a.code, a.body)
		}
	}
}

func TestWithoutTokenOnlyLoopbackIsServed(t *testing.T) {
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	err = New(options(&fakeSite{}, NewBoard())).Serve(t.Context(), ln)
	if err == nil || !strings.Contains(err.Error(), "http.token") {
		t.Errorf("got %v", err)
	}
	if _, err := ln.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

// client sends requests of one source straight to the handler, so that a
// bubble's clock drives it.
type client struct {
	h    http.Handler
	from string
}

func (c client) get(headers ...string) int {
	req := httptest.NewRequest("GET", "http://localhost/api/v1/status", nil)
	return c.do(req, headers...).Code
}

func (c client) login(token string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest("POST", "http://localhost"+loginPath, strings.NewReader(url.Values{"token": {token}}.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.do(req, headers...)
}

func (c client) do(req *http.Request, headers ...string) *httptest.ResponseRecorder {
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	req.RemoteAddr = c.from
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, req)
	return w
}

func guarded(token string) http.Handler {
	opt := options(&fakeSite{}, NewBoard())
	opt.Token = token
	opt.Board.Publish(sampleStatus())
	return New(opt).Handler()
}

func TestWrongTokensAreSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := guarded("right")
		operator, thief, other := client{h, "192.168.1.9:1"}, client{h, "192.168.1.66:1"}, client{h, "192.168.1.67:1"}
		expect := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("%s: got %d, want %d", what, got, want)
			}
		}
		const right, wrong = "Authorization: Bearer right", "Authorization: Bearer wrong"
		expect("operator", operator.get(right), 200)
		expect("thief's first", thief.get(wrong), 401)
		expect("thief's second at once", thief.get(wrong), 429)
		expect("thief's right guess too soon", thief.get(right), 429)
		expect("another source at once", other.get(wrong), 429)
		expect("operator meanwhile", operator.get(right), 200)
		expect("no credential is no try", thief.get(), 401)
		time.Sleep(tryEvery - time.Millisecond)
		expect("just under a second", thief.get(right), 429)
		time.Sleep(time.Millisecond)
		expect("after a second", thief.get(wrong), 401)
		expect("operator's slip", operator.get(wrong), 401)
		expect("operator right after it", operator.get(right), 429)
		time.Sleep(tryEvery)
		expect("operator a second later", operator.get(right), 200)

		// A thousand tries as fast as they come: one a second is looked at.
		looked := 0
		for range 1000 {
			if thief.get(wrong) == 401 {
				looked++
			}
			time.Sleep(10 * time.Millisecond)
		}
		if looked != 10 {
			t.Errorf("%d of 1000 tries in 10 s were looked at, want 10", looked)
		}
	})
}

func TestLoginGivesACookieForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := guarded("right")
		page := client{h, "192.168.1.9:1"}
		if w := page.login("wrong"); w.Code != 401 || w.Header().Get("Set-Cookie") != "" {
			t.Fatalf("wrong token: %d %v", w.Code, w.Header())
		}
		time.Sleep(tryEvery)
		w := page.login("right", "Origin: http://localhost")
		cookies := w.Result().Cookies()
		if w.Code != 204 || len(cookies) != 1 {
			t.Fatalf("right token: %d %v", w.Code, w.Header())
		}
		c := cookies[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || strings.Contains(c.Value, "right") {
			t.Errorf("the cookie is %v", c)
		}
		cookie := "Cookie: " + sessionCookie + "="
		if got := page.get(cookie + c.Value); got != 200 {
			t.Errorf("with the cookie: %d", got)
		}
		if got := (client{guarded("new token"), "192.168.1.9:1"}).get(cookie + c.Value); got != 401 {
			t.Errorf("after the token was changed: %d", got)
		}
		end, mac, _ := strings.Cut(c.Value, ".")
		for _, forged := range []string{"", ".", end, "9" + end + "." + mac, end + "." + mac[1:], "x." + mac} {
			time.Sleep(tryEvery)
			if got := page.get(cookie + forged); got != 401 {
				t.Errorf("forged %q: %d", forged, got)
			}
		}
		time.Sleep(sessionAge)
		if got := page.get(cookie + c.Value); got != 401 {
			t.Errorf("after its end: %d", got)
		}
		if w := page.login("right", "Origin: http://evil.example"); w.Code != 403 {
			t.Errorf("login from a foreign page: %d", w.Code)
		}
	})
}

func TestSourcesThatAreRememberedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate("right")
		for i := range 10 * maxKnown {
			r := &http.Request{RemoteAddr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1).String()}
			g.try(r, func() verdict { return right })
			time.Sleep(time.Millisecond)
		}
		if len(g.known) != maxKnown {
			t.Errorf("%d sources are remembered, want %d", len(g.known), maxKnown)
		}
		same := sourceOf(&http.Request{RemoteAddr: "[2001:db8::1]:1"}) == sourceOf(&http.Request{RemoteAddr: "[2001:db8::ffff]:9"})
		if !same {
			t.Error("two addresses of one IPv6 network count as two sources")
		}
	})
}
