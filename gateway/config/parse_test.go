package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	example, err := os.ReadFile("../../packaging/nominald.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{"", "a", "[", "- ", "site: *a", "site: &a {name: *a}", "? {a: b}\n: c", "site:\n  name: !!binary aGk=",
		"meters: [{devices: [[a]]}]", "policy: {voluntary: follow-above-soc:}", "--- \n...\n--- ", "leap: {poll: 1e9d}", "%YAML 9.9\n---\na: b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(bytes.NewReader(data), "f.yaml", testEnv())
		if err == nil {
			checkSound(t, c)
			return
		}
		bad, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("err = %v (%T), want an *Error", err, err)
		}
		msg := bad.Error()
		if !strings.HasPrefix(msg, "f.yaml") || strings.ContainsAny(msg, "\n\r\x1b") {
			t.Errorf("message %q does not begin with the file, or is more than a line", msg)
		}
		if lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + strings.Count(string(data), "\u0085") + strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029"); bad.Line < 0 || bad.Line > lines+2 {
			t.Errorf("line %d of a file of %d lines", bad.Line, lines)
		}
	})
}

// checkSound states what every accepted config has.
func checkSound(t *testing.T, c *Config) {
	t.Helper()
	switch {
	case c.Site.Name == "" || c.Site.Timezone == nil:
		t.Errorf("site %+v", c.Site)
	case c.Leap.APIKey.Value() == "" || c.Leap.URL == "" || c.Leap.Poll < 5*time.Second:
		t.Errorf("leap %+v", c.Leap)
	case len(c.Meters) == 0 || len(c.Devices) == 0:
		t.Error("a config without meters or devices")
	case c.Site.MaxImportW < 0 || c.Site.MaxExportW < 0 || c.Policy.Release < 0:
		t.Errorf("negative limits: %+v %+v", c.Site, c.Policy)
	}
	for _, d := range c.Devices {
		if (d.Bus == "") == (d.GPIO == "") || d.Profile == "" {
			t.Errorf("device %+v", d)
		}
	}
	for _, m := range c.Meters {
		if m.MeasuredBy == "" || m.Reference == "" {
			t.Errorf("meter %+v", m)
		}
	}
}

func TestFileOverOneMegabyteIsRefused(t *testing.T) {
	_, err := parse(t, minimal+strings.Repeat("#\n", maxBytes/2))
	if got, want := fmt.Sprint(err), "n.yaml: is larger than 1 MiB; is it the right file?"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReaderThatFailsIsReported(t *testing.T) {
	_, err := Parse(iotest.ErrReader(fs.ErrClosed), "n.yaml", testEnv())
	if got, want := fmt.Sprint(err), "n.yaml: can not be read: file already closed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A secret written where it does not belong must not come back in a message.
func TestMessagesNeverRepeatASecret(t *testing.T) {
	const leaked = "hunter2secret"
	for _, c := range []faultCase{
		{what: "inline key", from: "file:/etc/nominald/leap.key", to: leaked},
		{what: "inline key with a colon", from: "file:/etc/nominald/leap.key", to: `"x:` + leaked + `"`},
		{what: "key behind env:", from: "file:/etc/nominald/leap.key", to: "env:" + leaked + "."},
		{what: "key behind credential:", from: "file:/etc/nominald/leap.key", to: `"credential:` + leaked + `/"`},
		{what: "password in the URL", from: "https://api", to: "https://me:" + leaked + "@api"},
		{what: "password in a URL that does not parse", from: "https://api", to: "https://me:" + leaked + "%zz@api"},
		{what: "key in the query", from: "/v2", to: "/v2?key=" + leaked},
		{what: "key in the path", from: "/v2", to: "/" + leaked},
		{what: "token", from: "buses:", to: "http: {token: " + leaked + "}\nbuses:"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := parse(t, edit(t, c))
			if err == nil || strings.Contains(err.Error(), leaked) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestMachineWithoutTimeZonesIsToldSo(t *testing.T) {
	env := testEnv()
	env.LoadLocation = func(string) (*time.Location, error) { return nil, errors.New("unknown time zone") }
	_, err := Parse(strings.NewReader(strings.Replace(minimal, "  name: Oak", "  timezone: Europe/Berlin\n  name: Oak", 1)), "n.yaml", env)
	if got, want := fmt.Sprint(err), "n.yaml:2: site.timezone: this machine has no time zones; install the package tzdata"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNoCredentialsWithoutSystemd(t *testing.T) {
	env := testEnv()
	env.CredentialDir = ""
	_, err := Parse(strings.NewReader(strings.Replace(minimal, "file:/etc/nominald/leap.key", "credential:leap", 1)), "n.yaml", env)
	want := "n.yaml:5: leap.api_key: there are no systemd credentials here (CREDENTIALS_DIRECTORY is not set); add LoadCredential=leap:PATH to the unit, or use file:PATH"
	if got := fmt.Sprint(err); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFirstFaultByLineIsReported(t *testing.T) {
	_, err := parse(t, `site: {name: a}
leap: {url: nowhere, api_key: env:LEAP_KEY}
meters: []
devices: []
policy: {basis: luck}
`)
	if got := fmt.Sprint(err); !strings.HasPrefix(got, "n.yaml:2: leap.url:") {
		t.Errorf("got %s, want the fault of line 2", got)
	}
}

func TestDurationsSurviveWritingAndReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(36500*24*time.Hour)).Draw(t, "d"))
		switch rapid.IntRange(0, 3).Draw(t, "unit") {
		case 1:
			d = d.Truncate(time.Second)
		case 2:
			d = d.Truncate(time.Minute)
		case 3:
			d = d.Truncate(24 * time.Hour)
		}
		text := FormatDuration(d)
		got, err := ParseDuration(text)
		if err != nil || got != d {
			t.Fatalf("ParseDuration(%q) = %v, %v, want %v", text, got, err, d)
		}
	})
}

func TestDurationsThatAreNone(t *testing.T) {
	for _, s := range []string{"", "d", "5", "-1d", "-1s", "1dd", "1d-1s", "1w", "40000d", "1e3d", "9999999h", "1 d", "d1h"} {
		if d, err := ParseDuration(s); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", s, d)
		}
	}
}

// Every default of the table has to pass its own key's check.
func TestDefaultsAreAccepted(t *testing.T) {
	for _, s := range schema() {
		for _, k := range s.keys {
			if k.def == "" {
				continue
			}
			line := fmt.Sprintf("%s: %s", k.name, k.def)
			root, err := readNode(strings.NewReader(line), "n.yaml")
			if err != nil {
				t.Fatal(err)
			}
			f := &faults{path: "n.yaml"}
			(&walker{faults: f}).value(&k, s.name+"."+k.name, root.Content[1])
			if err := f.first(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	for _, s := range schema() {
		for _, k := range s.keys {
			if k.doc == "" || !strings.HasSuffix(k.doc, ".") || (k.refused == "" && k.accepted() == "") {
				t.Errorf("%s.%s: doc %q, accepted %q", s.name, k.name, k.doc, k.accepted())
			}
			if k.shape == asDuration && k.span == nil {
				t.Errorf("%s.%s: a duration without a range", s.name, k.name)
			}
		}
	}
}

// The installed page is what the program prints. Run
// `go run ./cmd/nominald check --reference > packaging/docs/config.md` after a
// change of the table.
func TestReferencePageIsUpToDate(t *testing.T) {
	got, err := os.ReadFile(filepath.FromSlash("../../packaging/docs/config.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != ReferencePage() {
		t.Error("packaging/docs/config.md differs from ReferencePage()")
	}
}

func TestNearestKeyIsWhatWasMeant(t *testing.T) {
	keys := deviceKeys()
	for word, want := range map[string]string{
		"max_dischage_kw": "max_discharge_kw", "max_discharge_w": "max_discharge_kw", "MAX_CHARGE_KW": "max_charge_kw",
		"kidn": "kind", "buss": "bus", "ratedkw": "rated_kw", "xyzzy": "", "reserve": "", "": "",
	} {
		if got := Nearest(word, keys.keyNames()); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
