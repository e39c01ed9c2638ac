package status

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTimeParam(t *testing.T) {
	for text, want := range map[string]time.Time{
		"now":                       noon(),
		"-1h":                       noon().Add(-time.Hour),
		"+2h":                       noon().Add(2 * time.Hour),
		" 2h":                       noon().Add(2 * time.Hour), // an unescaped +
		"-90s":                      noon().Add(-90 * time.Second),
		"-1h30m":                    noon().Add(-90 * time.Minute),
		"-7d":                       noon().Add(-7 * 24 * time.Hour),
		"2026-07-14T17:00:00Z":      noon().Add(5 * time.Hour),
		"2026-07-14T17:00:00.5Z":    noon().Add(5*time.Hour + 500*time.Millisecond),
		"2026-07-14T05:00:00-07:00": noon(),
		"2026-07-14T14:00:00+02:00": noon(),
		"2026-07-14T14:00:00 02:00": noon(), // an unescaped +
	} {
		got, err := ParseTime("from", text, noon())
		if err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q: got %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "yesterday", "1h", "-", "+", "-h", "--1h", "-+1h", "-1", "-1e9h", "-99999d", "-999999h", "2026-07-14", "2026-13-01T00:00:00Z",
		"2026-07-14T17:00:00", "1720972800", "0001-01-01T00:00:00Z", "-1.5d", "NaN", "-9223372036854775808ns",
	} {
		got, err := ParseTime("from", text, noon())
		if err == nil {
			t.Errorf("%q was taken as %v", text, got)
			continue
		}
		for _, want := range []string{"parameter from", "RFC 3339", `"-1h"`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: the error does not say %s: %v", text, want, err)
			}
		}
	}
}

func TestLoadParameters(t *testing.T) {
	parse := func(query string) (loadQuery, error) {
		r, err := http.NewRequest("GET", "http://localhost/api/v1/load?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		return parseLoad(r, noon())
	}
	for query, want := range map[string]loadQuery{
		"":                        {from: noon().Add(-time.Hour), to: noon(), step: time.Minute},
		"to=-1h":                  {from: noon().Add(-2 * time.Hour), to: noon().Add(-time.Hour), step: time.Minute},
		"from=-5m&step=1":         {from: noon().Add(-5 * time.Minute), to: noon(), step: time.Second},
		"from=-1d&step=15m":       {from: noon().Add(-24 * time.Hour), to: noon(), step: 15 * time.Minute},
		"from=-1d&step=1":         {from: noon().Add(-24 * time.Hour), to: noon(), step: time.Second},
		"from=-7d&step=1d":        {from: noon().Add(-7 * 24 * time.Hour), to: noon(), step: 24 * time.Hour},
		"from=-400d&step=3600":    {from: noon().Add(-400 * 24 * time.Hour), to: noon(), step: time.Hour},
		"step=86400&format=csv":   {from: noon().Add(-time.Hour), to: noon(), step: 24 * time.Hour, csv: true},
		"from=-1h&to=now&step=5s": {from: noon().Add(-time.Hour), to: noon(), step: 5 * time.Second},
		"channel=site&channel=b":  {from: noon().Add(-time.Hour), to: noon(), step: time.Minute, channels: []string{"site", "b"}},
	} {
		if got, err := parse(query); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v %v, want %+v", query, got, err, want)
		}
	}
	for query, words := range map[string]string{
		"step=": "parameter step", "step=0": "parameter step", "step=-5": "parameter step", "step=1.5s": "parameter step",
		"step=86401": "parameter step", "step=25h": "parameter step", "step=x": `found "x"`,
		"from=-400d&step=1": "100000", "from=now": "before", "from=x": "parameter from", "to=x": "parameter to",
		"format=xml": `accepted are "json" and "csv"`, "from=%": "query",
	} {
		if _, err := parse(query); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: got %v, want an error with %q", query, err, words)
		}
	}
}

func TestAcceptChoosesTheFormat(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/csv": true, "TEXT/CSV": true,
		"text/csv;q=0": false, "text/csv;q=0.9, application/json": false, "application/json;q=0.9,text/csv": true,
		"text/csv; charset=utf-8; q=0.2": true, "text/csv;q=high": false, "text/*": false,
	} {
		if got := prefersCSV([]string{accept}); got != want {
			t.Errorf("%q: CSV %t, want %t", accept, got, want)
		}
	}
}

func FuzzTimeParam(f *testing.F) {
	for _, seed := range []string{"now", "-1h", "+2d", " 5m", "-9999d", "2026-07-14T17:00:00Z", "2026-07-14T14:00:00 02:00", "--1h", "-0x1p9h", "\x00", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseTime("at", text, noon())
		if err != nil {
			if !strings.Contains(err.Error(), "parameter at") {
				t.Errorf("%q: the error names no parameter: %v", text, err)
			}
			return
		}
		if got.Location() != time.UTC || got.Year() < 1970 || got.Year() > 9999 {
			t.Errorf("%q: %v is out of range or not UTC", text, got)
		}
		// What was taken can be written and read again.
		again, err := ParseTime("at", got.Format(time.RFC3339Nano), noon())
		if err != nil || !again.Equal(got) {
			t.Errorf("%q: %v came back as %v %v", text, got, again, err)
		}
		if step, err := parseStep(text); err == nil && (step < time.Second || step > maxStep) {
			t.Errorf("%q: step %v", text, step)
		}
	})
}
