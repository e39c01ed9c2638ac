package config

import (
	"fmt"
	"net"
	"net/netip"
	neturl "net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	yaml "go.yaml.in/yaml/v3"
)

// bad is what one value's check has to say; place and file are added by the
// walker.
type bad struct{ found, accepted, remedy string }

// value reads one value of the shape that its key has.
func (w *walker) value(k *key, at string, n *yaml.Node) (value, bool) {
	if !w.plain(n, at) {
		return value{}, false
	}
	switch k.shape {
	case asNameList, asHostList:
		return w.list(k, at, n)
	case asHours:
		return w.hours(k, at, n)
	}
	v := value{line: n.Line}
	var b *bad
	switch {
	case isNull(n):
		b = &bad{"has no value", k.accepted(), "give one or remove the line"}
	case n.Kind != yaml.ScalarNode:
		b = &bad{"found " + kindOf(n), k.accepted(), ""}
	default:
		b = v.read(k, n)
	}
	if b == nil {
		return v, true
	}
	w.faults.add(Error{Line: n.Line, Key: at, Found: b.found, Accepted: b.accepted, Remedy: b.remedy})
	return value{}, false
}

// list reads a list of names or texts.
func (w *walker) list(k *key, at string, n *yaml.Node) (value, bool) {
	v := value{line: n.Line}
	if n.Kind != yaml.SequenceNode {
		w.faults.add(Error{Line: n.Line, Key: at, Found: "found " + kindOf(n), Accepted: k.accepted(), Remedy: "put it in brackets"})
		return value{}, false
	}
	one := *k
	one.shape = asHost
	if k.shape == asNameList {
		one.shape = asName
	}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", at, i)
		got, ok := w.value(&one, at, item)
		if !ok {
			return value{}, false
		}
		if slices.ContainsFunc(v.items, func(o value) bool { return o.text == got.text }) {
			w.faults.add(Error{Line: item.Line, Key: at, Found: show(got.text) + " is listed twice", Remedy: "remove one of them"})
			return value{}, false
		}
		v.items = append(v.items, got)
	}
	return v, true
}

// hoursOfDay is how many values a day's shape has.
const hoursOfDay = 24

// hours reads a number for each hour of a day.
func (w *walker) hours(k *key, at string, n *yaml.Node) (value, bool) {
	v := value{line: n.Line}
	found := ""
	switch {
	case n.Kind != yaml.SequenceNode:
		found = "found " + kindOf(n)
	case len(n.Content) != hoursOfDay:
		found = fmt.Sprintf("has %d values", len(n.Content))
	}
	if found != "" {
		w.faults.add(Error{Line: n.Line, Key: at, Found: found, Accepted: k.accepted()})
		return value{}, false
	}
	one := *k
	one.shape = asNumber
	for i, item := range n.Content {
		got, ok := w.value(&one, fmt.Sprintf("%s[%d]", at, i), item)
		if !ok {
			return value{}, false
		}
		v.items = append(v.items, got)
	}
	return v, true
}

// read checks a scalar against its shape and fills v. The text counts, not what
// YAML takes it for: 8E1 is the number 80 to YAML.
func (v *value) read(k *key, n *yaml.Node) *bad {
	v.text = n.Value
	switch k.shape {
	case asFlag:
		v.flag = n.Value == "true"
		if n.ShortTag() != "!!bool" || (n.Value != "true" && n.Value != "false") {
			return &bad{show(n.Value) + " is neither true nor false", k.accepted(), ""}
		}
		return nil
	case asNumber, asInteger:
		return v.readNumber(k, n)
	case asDuration:
		return v.readDuration(k)
	case asSecret:
		return checkSecret(v.text)
	}
	if strings.TrimSpace(v.text) == "" {
		return &bad{"is empty", k.accepted(), ""}
	}
	return v.readText(k, n)
}

func (v *value) readText(k *key, n *yaml.Node) *bad {
	if (k.shape == asText || k.shape == asZone) && n.ShortTag() != "!!str" {
		return &bad{show(n.Value) + " is not text to YAML", k.accepted(), "put it in quotes"}
	}
	if utf8.RuneCountInString(v.text) > 1000 || strings.IndexFunc(v.text, func(r rune) bool { return oneLine(r) != r }) >= 0 {
		return &bad{show(v.text) + " is not one short line", k.accepted(), ""}
	}
	switch k.shape {
	case asEnum:
		if !slices.Contains(k.values, v.text) {
			remedy := ""
			if near := Nearest(v.text, k.values); near != "" {
				remedy = "did you mean " + near + "?"
			}
			return &bad{show(v.text) + " is not known", k.accepted(), remedy}
		}
	case asName:
		return checkName(v.text, k)
	case asHost:
		if !hostPattern.MatchString(v.text) {
			return &bad{show(v.text) + " is not a host name", k.accepted(), ""}
		}
	case asMeterID:
		return checkUUID(v, k)
	case asURL:
		return checkURL(v)
	case asEndpoint:
		return checkEndpoint(v, k)
	case asPath:
		if !filepath.IsAbs(v.text) || strings.ContainsRune(v.text, 0) {
			return &bad{show(v.text) + " is not an absolute path", k.accepted(), ""}
		}
	case asGPIO:
		if !gpioPattern.MatchString(v.text) {
			return &bad{show(v.text) + " names no line", k.accepted(), ""}
		}
	case asVoluntary:
		return v.readVoluntary(k)
	case asClock:
		if !clockPattern.MatchString(v.text) {
			return &bad{show(v.text) + " is not a time of day", k.accepted(), ""}
		}
	}
	return nil
}

var (
	decimal      = regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]*)?$`)
	clockPattern = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)
	namePattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	// A line's name, or chip:offset with the chip's name or label. The kernel
	// keeps 31 characters of each.
	gpioPattern = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_./-]{0,30}|[A-Za-z0-9][A-Za-z0-9_.-]{0,30}:[0-9]{1,3})$`)
)

func (v *value) readNumber(k *key, n *yaml.Node) *bad {
	if !decimal.MatchString(n.Value) || (n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle)) != 0 {
		remedy := ""
		if lead := strings.TrimRight(n.Value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ% "); decimal.MatchString(lead) {
			remedy = "write the number alone"
			if k.unit != "" {
				remedy += ", its unit is " + k.unit
			}
		}
		return &bad{show(n.Value) + " is not a number", k.accepted(), remedy}
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	whole := f == float64(int64(f))
	switch {
	case err != nil, k.shape == asInteger && !whole, k.span != nil && !k.span.holds(f):
		return &bad{n.Value + " is out of range", k.accepted(), ""}
	case k.values != nil && !slices.Contains(k.values, n.Value):
		return &bad{n.Value + " is out of range", k.accepted(), ""}
	}
	v.num = f
	return nil
}

func (s *span) holds(f float64) bool {
	return f <= s.high && f >= s.low && !(s.above && f == s.low)
}

func (v *value) readDuration(k *key) *bad {
	d, err := ParseDuration(v.text)
	if err != nil {
		if decimal.MatchString(v.text) {
			return &bad{v.text + " has no unit", k.accepted(), "write " + v.text + "s for seconds"}
		}
		return &bad{show(v.text) + " is not a duration", k.accepted(), "units are s, m, h and d, as in 90s, 5m, 1h30m, 400d"}
	}
	if k.span != nil && !k.span.holds(d.Seconds()) {
		return &bad{v.text + " is out of range", k.accepted(), ""}
	}
	v.num = d.Seconds()
	return nil
}

// ParseDuration reads a duration as Go writes it, with d for days of 24 hours
// beside: "90s", "1h30m", "400d", "1d12h". It is never negative.
func ParseDuration(s string) (time.Duration, error) {
	rest, days := s, 0.0
	if head, tail, ok := strings.Cut(s, "d"); ok {
		if !decimal.MatchString(head) {
			return 0, fmt.Errorf("parse duration %s: %s is no number of days", show(s), show(head))
		}
		days, _ = strconv.ParseFloat(head, 64)
		rest = tail
		if rest == "" {
			rest = "0s"
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("parse duration %s: %w", show(s), err)
	}
	// 36,500 days are a century; time.Duration ends after 292 years.
	if d < 0 || days < 0 || days > 36500 || d > 36500*24*time.Hour {
		return 0, fmt.Errorf("parse duration %s: below 0 or over 36500d", show(s))
	}
	return d + time.Duration(days*24*float64(time.Hour)), nil
}

// siteChannel is the site's net power in the load history, where every other
// channel is a device (design.md 1.3).
const siteChannel = "site"

func checkName(s string, k *key) *bad {
	if k.name == "name" && s == siteChannel {
		return &bad{show(s) + " is taken by the site itself", k.accepted(), "for instance main"}
	}
	if namePattern.MatchString(s) {
		return nil
	}
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9'):
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	remedy := ""
	if near := strings.Trim(b.String(), "-"); namePattern.MatchString(near) {
		remedy = "for instance " + near
	}
	return &bad{show(s) + " is not a name", k.accepted(), remedy}
}

func checkUUID(v *value, k *key) *bad {
	id, err := uuid.Parse(v.text)
	if err != nil || len(v.text) != 36 {
		return &bad{show(v.text) + " is not a UUID", k.accepted(), "copy the meter_id from Leap"}
	}
	v.text = id.String() // Leap writes them in lower case
	return nil
}

// checkURL never repeats the URL: it may hold a password.
func checkURL(v *value) *bad {
	const accepted = "https://HOST/PATH, as https://api.leap.energy/v2"
	u, err := neturl.Parse(v.text)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return &bad{"is not a URL", accepted, ""}
	}
	loopback := isLoopback(u.Hostname())
	switch {
	case u.User != nil:
		return &bad{"has a user name or password in it", accepted, "the key belongs in leap.api_key"}
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return &bad{"has a query (?) or fragment (#)", accepted, ""}
	case u.Scheme == "http" && !loopback:
		return &bad{"plain http would show the API key to the network", accepted, "write https://" + u.Host + u.Path}
	case u.Scheme != "https" && u.Scheme != "http":
		return &bad{fmt.Sprintf("begins with %s", show(u.Scheme+":")), accepted, ""}
	}
	p := strings.TrimRight(u.Path, "/")
	if strings.HasSuffix(u.Hostname(), ".leap.energy") && p != "/v2" {
		return &bad{"is not the base of Leap's dispatch API v2", "https://api.leap.energy/v2 or https://api.staging.leap.energy/v2", "write https://" + u.Host + "/v2"}
	}
	v.text = strings.TrimRight(v.text, "/")
	return nil
}

// isLoopback reports whether a host is this machine itself.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// checkEndpoint accepts HOST:PORT, and for a Modbus device HOST alone.
func checkEndpoint(v *value, k *key) *bad {
	wrong := &bad{show(v.text) + " is not an address", k.accepted(), ""}
	host, port, err := net.SplitHostPort(v.text)
	if err != nil {
		host, port = strings.Trim(v.text, "[]"), "502" // the port of Modbus TCP
		if _, ipErr := netip.ParseAddr(host); k.name != "tcp" || (strings.Contains(host, ":") && ipErr != nil) {
			return wrong
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || (n == 0 && k.name == "tcp") {
		return wrong
	}
	if (host == "" && k.name == "tcp") || (host != "" && !hostPattern.MatchString(host)) {
		return wrong
	}
	v.text = net.JoinHostPort(host, port)
	return nil
}

// hostPattern holds host names and addresses, zone of a link-local address
// included.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9._:%-]{1,253}$`)

func (v *value) readVoluntary(k *key) *bad {
	if v.text == "follow" || v.text == "ignore" {
		return nil
	}
	soc, ok := strings.CutPrefix(v.text, "follow-above-soc:")
	n, err := strconv.ParseFloat(soc, 64)
	if !ok || err != nil || !decimal.MatchString(soc) || n < 0 || n > 100 {
		return &bad{show(v.text) + " is not known", k.accepted(), ""}
	}
	v.text, v.num = "follow-above-soc", n
	return nil
}
