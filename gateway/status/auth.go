package status

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	loginPath = "/api/v1/login"
	// sessionCookie carries a login of the page. Browsers do not let the page
	// put a header on an event stream, so the page logs in once with the token
	// and gets a cookie that no script can read and no other site can send.
	sessionCookie = "nominald_session"
	sessionAge    = 30 * 24 * time.Hour
	// tryEvery is the time between two wrong tokens (reliability.md 4.3 row 18).
	tryEvery = time.Second
	// maxKnown bounds the sources that are remembered as once admitted.
	maxKnown = 64
)

// verdict is what the gate says of a credential.
type verdict int

const (
	missing verdict = iota // none was given, or a login that has run out
	wrong
	tooSoon // not looked at: the last wrong one was less than tryEvery ago
	right
)

// gate compares tokens. Wrong ones are slowed down: one a second from all
// sources together. A source that was admitted before has its own second, so
// that somebody who tries tokens does not lock the operator out.
type gate struct {
	token string

	mu     sync.Mutex
	failed time.Time // last wrong token from a source that is not known
	known  map[netip.Prefix]*source
}

type source struct{ admitted, failed time.Time }

func newGate(token string) *gate {
	return &gate{token: token, known: make(map[netip.Prefix]*source)}
}

// admit answers a request without a right token and reports whether to go on.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) bool {
	if s.gate.token == "" {
		return true
	}
	var v verdict
	if bearer, ok := bearerToken(r); ok {
		v = s.gate.try(r, func() verdict { return s.gate.compare(bearer) })
	} else if c, err := r.Cookie(sessionCookie); err == nil {
		v = s.gate.try(r, func() verdict { return s.gate.session(c.Value, time.Now()) })
	}
	if v != right {
		refuse(w, v)
	}
	return v == right
}

// refuse answers a verdict that is not right.
func refuse(w http.ResponseWriter, v verdict) {
	if v == tooSoon {
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusTooManyRequests, "a wrong token was tried less than a second ago: wait and try again")
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="nominald"`)
	detail := "this needs the token of http.token as \"Authorization: Bearer TOKEN\", or a login on the page"
	if v == wrong {
		detail = "the token is not the one of http.token"
	}
	problem(w, http.StatusUnauthorized, detail)
}

// try looks at a credential when its turn has come. The lock is held while
// comparing: tries that come together are judged one after the other.
func (g *gate) try(r *http.Request, look func() verdict) verdict {
	now, from := time.Now(), sourceOf(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	src, failed := g.known[from], &g.failed
	if src != nil {
		failed = &src.failed
	}
	if !failed.IsZero() && now.Sub(*failed) < tryEvery {
		return tooSoon
	}
	v := look()
	switch {
	case v == wrong:
		*failed = now
	case v == right && src == nil:
		g.remember(from, now)
	case v == right:
		src.admitted = now
	}
	return v
}

// remember adds a source; of too many the one that was longest away goes.
func (g *gate) remember(from netip.Prefix, now time.Time) {
	if len(g.known) >= maxKnown {
		var oldest netip.Prefix
		for p, src := range g.known {
			if !oldest.IsValid() || src.admitted.Before(g.known[oldest].admitted) {
				oldest = p
			}
		}
		delete(g.known, oldest)
	}
	g.known[from] = &source{admitted: now}
}

// compare takes the same time for every token of any length.
func (g *gate) compare(token string) verdict {
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(g.token))
	if subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
		return right
	}
	return wrong
}

// session judges a cookie "UNIXTIME.MAC". It holds its own end and is signed
// with the token: no state is kept, and a new token ends every login.
func (g *gate) session(value string, now time.Time) verdict {
	end, mac, _ := strings.Cut(value, ".")
	if !hmac.Equal([]byte(mac), []byte(g.sign(end))) {
		return wrong
	}
	unix, err := strconv.ParseInt(end, 10, 64)
	if err != nil {
		return wrong
	}
	if now.Unix() >= unix {
		return missing
	}
	return right
}

func (g *gate) sign(end string) string {
	mac := hmac.New(sha256.New, []byte(g.token))
	mac.Write([]byte("nominald page session until " + end))
	return hex.EncodeToString(mac.Sum(nil))
}

// login takes the form field "token" and gives the page its cookie.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuseBody(w, err)
		return
	}
	if s.gate.token == "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	// The body alone counts: a token in an address ends up in logs and histories.
	token := r.PostForm.Get("token")
	if v := s.gate.try(r, func() verdict { return s.gate.compare(token) }); v != right {
		refuse(w, v)
		return
	}
	end := time.Now().Add(sessionAge)
	unix := strconv.FormatInt(end.Unix(), 10)
	http.SetCookie(w, pageCookie(unix+"."+s.gate.sign(unix), end))
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) logout(w http.ResponseWriter, _ *http.Request) {
	http.SetCookie(w, pageCookie("", time.Unix(1, 0)))
	w.WriteHeader(http.StatusNoContent)
}

// pageCookie is not marked Secure: on the site's network the page is plain HTTP.
func pageCookie(value string, end time.Time) *http.Cookie {
	return &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", Expires: end,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

func bearerToken(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// sourceOf is the address a request came from; of IPv6 the network, since one
// machine has as many addresses in it as it likes.
func sourceOf(r *http.Request) netip.Prefix {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // a pipe or Unix socket: all one source
	}
	ip, bits := ap.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
