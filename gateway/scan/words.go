package scan

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// split takes a port off an address; 0 where there is none. A network keeps its
// length: 192.168.1.0/24:1502.
func split(t string) (host string, port int, err error) {
	host = t
	if strings.Count(t, ":") == 1 || strings.HasPrefix(t, "[") && strings.Contains(t, "]:") {
		var text string
		if host, text, err = net.SplitHostPort(t); err != nil {
			return "", 0, fmt.Errorf("%q is no address; accepted are HOST, HOST:PORT or a network such as 192.168.1.0/24", t)
		}
		if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
			return "", 0, fmt.Errorf("%q has no port between 1 and 65535", t)
		}
	}
	host = strings.Trim(host, "[]")
	if host == "" || strings.ContainsAny(host, " \t\"'{}#,") {
		return "", 0, fmt.Errorf("%q is no address; accepted are HOST, HOST:PORT or a network such as 192.168.1.0/24", t)
	}
	return host, port, nil
}

func joinHostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// ParseUnits reads "1-20,200".
func ParseUnits(text string) ([]int, error) {
	var units []int
	for part := range strings.SplitSeq(text, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(part), "-")
		from, err := strconv.Atoi(low)
		to := from
		if err == nil && ranged {
			to, err = strconv.Atoi(high)
		}
		if err != nil || from < 0 || to > 255 || from > to {
			return nil, fmt.Errorf("units %q are not understood; accepted are numbers from 0 to 255 and ranges, as 1-20,200", text)
		}
		for u := from; u <= to; u++ {
			units = append(units, u)
		}
	}
	return distinct(units, 0, 255), nil
}

// distinct leaves the first of equal values, within bounds.
func distinct(values []int, low, high int) []int {
	var out []int
	for _, v := range values {
		if v >= low && v <= high && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func sortedInts(values []int) []int { return slices.Sorted(slices.Values(values)) }

func words[T any](values []T) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(values), "[]"), " ", ", ")
}

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// round writes a duration for people: "40 s", "23 min", "2.4 h".
func round(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", max(1, d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.1f h", d.Hours())
}
