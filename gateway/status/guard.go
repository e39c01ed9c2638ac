package status

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// ownHosts tells names and addresses of this gateway from foreign ones. It
// guards requests that change something: a web page elsewhere can make a
// browser on the site's network send them (design.md 1.3). Reads are not
// guarded by Host: a browser does not let a foreign page see the answers, and
// where names are re-bound to local addresses the token protects them.
type ownHosts struct {
	names     map[string]bool
	addresses func() ([]net.Addr, error)
}

func newOwnHosts(extra []string) *ownHosts {
	o := &ownHosts{names: map[string]bool{"localhost": true}, addresses: net.InterfaceAddrs}
	if name, err := os.Hostname(); err == nil && name != "" {
		o.addMachine(name)
	}
	for _, name := range extra {
		if name = hostOnly(name); name != "" {
			o.names[name] = true
		}
	}
	return o
}

// addMachine adds a machine's name in full and as its first label, with and
// without .local (multicast DNS).
func (o *ownHosts) addMachine(name string) {
	name = strings.ToLower(name)
	short, _, _ := strings.Cut(name, ".")
	for _, n := range []string{name, short, strings.TrimSuffix(name, ".local") + ".local", short + ".local"} {
		o.names[n] = true
	}
}

// check returns an error for people where a change does not come from the
// gateway's own page or from a program that names the gateway as its host.
func (o *ownHosts) check(r *http.Request) error {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !o.owns(hostOnly(r.Host), local) {
		return fmt.Errorf("host %q is not this gateway's: use an address of it, localhost, its host name, or add the name to http.hosts", r.Host)
	}
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return fmt.Errorf("the request was sent by a page of another site (Sec-Fetch-Site: cross-site)")
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !o.owns(hostOnly(u.Host), local) {
			return fmt.Errorf("origin %q is not this gateway's: use the gateway's own page, or add the name to http.hosts", origin)
		}
	}
	return nil
}

// owns reports whether a host without port is this gateway; local is the
// address that the client has connected to.
func (o *ownHosts) owns(host string, local net.Addr) bool {
	if o.names[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	if ip.IsLoopback() || sameIP(local, ip) {
		return true
	}
	// Asked each time: addresses come and go with DHCP, and changes are rare.
	all, err := o.addresses()
	if err != nil {
		return false
	}
	for _, a := range all {
		if sameIP(a, ip) {
			return true
		}
	}
	return false
}

func sameIP(a net.Addr, ip netip.Addr) bool {
	var raw net.IP
	switch a := a.(type) {
	case *net.TCPAddr:
		raw = a.IP
	case *net.IPNet:
		raw = a.IP
	}
	got, ok := netip.AddrFromSlice(raw)
	return ok && got.Unmap() == ip.WithZone("")
}

// hostOnly lowers a host and takes off its port, brackets and final dot.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
