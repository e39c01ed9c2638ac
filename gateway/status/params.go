package status

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of GET /api/v1/load: a day at 1 s, two months at 1 min and ten years
// at 1 h all pass.
const (
	defaultWindow = time.Hour
	defaultStep   = time.Minute
	maxStep       = 24 * time.Hour
	maxSteps      = 100_000
)

const acceptedTimes = `RFC 3339 ("2026-07-14T17:00:00Z"), "now", or relative to now ("-90s", "-15m", "-1h", "-7d", "+2h")`

// ParseTime reads a time parameter as the interface takes it: RFC 3339, "now",
// or relative to now as -15m or -7d. An empty text is not a time.
func ParseTime(name, text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now.UTC(), nil
	}
	if d, ok := relative(text); ok {
		return now.Add(d).UTC(), nil
	}
	// In a query an unescaped + stands for a space, and offsets are often
	// written unescaped.
	t, err := time.Parse(time.RFC3339, strings.Replace(text, " ", "+", 1))
	if err != nil || t.Year() < 1970 {
		return time.Time{}, fmt.Errorf("parameter %s: found %q, accepted are %s", name, text, acceptedTimes)
	}
	return t.UTC(), nil
}

// relative reads "-1h" and the like; days are 24 h. Ten years are the limit,
// so that no sum runs over.
func relative(text string) (time.Duration, bool) {
	if text == "" || !strings.ContainsAny(text[:1], "+- ") {
		return 0, false
	}
	sign, digits := time.Duration(1), text[1:]
	if text[0] == '-' {
		sign = -1
	}
	var d time.Duration
	if days, ok := strings.CutSuffix(digits, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 12)
		if err != nil {
			return 0, false
		}
		d = time.Duration(n) * 24 * time.Hour
	} else {
		var err error
		if d, err = time.ParseDuration(digits); err != nil || d < 0 {
			return 0, false
		}
	}
	if d > 3660*24*time.Hour || strings.ContainsAny(digits[:1], "+-") {
		return 0, false
	}
	return sign * d, true
}

// parseStep reads a step in whole seconds: "60", "60s", "15m", "1d".
func parseStep(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.ParseUint(text, 10, 31); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	} else if text == "1d" { // maxStep: a time relative to now takes days too
		d, err = maxStep, nil
	}
	if err != nil || d < time.Second || d > maxStep || d%time.Second != 0 {
		return 0, fmt.Errorf(`parameter step: found %q, accepted are whole seconds from 1 to %d ("60") or a duration ("15m", "1d")`,
			text, maxStep/time.Second)
	}
	return d, nil
}

// query reads the parameters of a request; what can not be decoded is an error.
func query(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("read the query %q: %w", r.URL.RawQuery, err)
	}
	return q, nil
}

// timeParam reads one time of a query, or takes def where it is absent.
func timeParam(q url.Values, name string, now, def time.Time) (time.Time, error) {
	if !q.Has(name) {
		return def, nil
	}
	return ParseTime(name, q.Get(name), now)
}

// window reads from and to, with their defaults.
func window(q url.Values, now, from, to time.Time) (time.Time, time.Time, error) {
	from, err := timeParam(q, "from", now, from)
	if err != nil {
		return from, to, err
	}
	to, err = timeParam(q, "to", now, to)
	if err != nil {
		return from, to, err
	}
	if !from.IsZero() && !to.IsZero() && !from.Before(to) {
		return from, to, fmt.Errorf("parameters from and to: found from=%s to=%s, accepted is a from before to",
			from.Format(time.RFC3339), to.Format(time.RFC3339))
	}
	return from, to, nil
}

// loadQuery is what GET /api/v1/load was asked for.
type loadQuery struct {
	from, to time.Time
	step     time.Duration
	channels []string // none: all
	csv      bool
}

func parseLoad(r *http.Request, now time.Time) (loadQuery, error) {
	lq := loadQuery{step: defaultStep}
	q, err := query(r)
	if err != nil {
		return lq, err
	}
	if lq.to, err = timeParam(q, "to", now, now.UTC()); err != nil {
		return lq, err
	}
	if lq.from, lq.to, err = window(q, now, lq.to.Add(-defaultWindow), lq.to); err != nil {
		return lq, err
	}
	if q.Has("step") {
		if lq.step, err = parseStep(q.Get("step")); err != nil {
			return lq, err
		}
	}
	lq.channels = q["channel"]
	if steps := lq.to.Sub(lq.from) / lq.step; steps > maxSteps {
		return lq, fmt.Errorf("parameter step: found %v, which makes %d steps between from and to; accepted are at most %d: ask for a longer step or less time",
			lq.step, steps, maxSteps)
	}
	switch format := q.Get("format"); format {
	case "":
		lq.csv = prefersCSV(r.Header.Values("Accept"))
	case "csv", "json":
		lq.csv = format == "csv"
	default:
		return lq, fmt.Errorf(`parameter format: found %q, accepted are "json" and "csv"`, format)
	}
	return lq, nil
}

// prefersCSV reports whether an Accept header names text/csv at least as
// strongly as JSON.
func prefersCSV(accept []string) bool {
	var csv, json float64
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, params, _ := strings.Cut(part, ";")
		weight := quality(params)
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "text/csv":
			csv = weight
		case "application/json":
			json = weight
		}
	}
	return csv > 0 && csv >= json
}

// quality reads the q of an Accept parameter list; 1 where there is none.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
