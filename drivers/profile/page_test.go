package profile_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"nominald/drivers/profile"
)

const formatPage = "../../packaging/docs/profile-format.md"

// section returns the text below a heading of the page.
func section(t *testing.T, page, title string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n## "+title+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", formatPage, title)
	}
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// keysOf lists the yaml keys of a type.
func keysOf(typ reflect.Type) []string {
	var keys []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous:
			keys = append(keys, keysOf(f.Type)...)
		case key != "":
			keys = append(keys, key)
		default:
			keys = append(keys, strings.ToLower(f.Name))
		}
	}
	return keys
}

// TestFormatPageNamesEveryKey holds packaging/docs/profile-format.md to the
// types of schema.go: each key has its row in its section, and no row is left of
// a key that went away.
func TestFormatPageNamesEveryKey(t *testing.T) {
	data, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|")
	for _, s := range []struct {
		title string
		types []any
	}{
		{"The file", []any{profile.Profile{}}}, {"link", []any{profile.Link{}}}, {"timing", []any{profile.Timing{}}},
		{"points", []any{profile.Point{}}}, {"identity", []any{profile.Check{}}}, {"writable", []any{profile.Register{}}},
		{"modes", []any{profile.Mode{}}}, {"command", []any{profile.Command{}, profile.Step{}}},
		{"read_back", []any{profile.ReadBack{}}}, {"fallback", []any{profile.Fallback{}}},
	} {
		text, want := section(t, string(data), s.title), map[string]bool{}
		for _, typ := range s.types {
			for _, key := range keysOf(reflect.TypeOf(typ)) {
				want[key] = true
			}
		}
		for _, m := range rows.FindAllStringSubmatch(text, -1) {
			if !want[m[1]] {
				t.Errorf("section %s: there is no key %s", s.title, m[1])
			}
			delete(want, m[1])
		}
		for key := range want {
			t.Errorf("section %s: key %s has no row", s.title, key)
		}
	}
}

func TestExamplesOfTheFormatPageAreProfiles(t *testing.T) {
	data, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(data), -1)
	if len(examples) < 2 {
		t.Fatalf("%d examples, want a charger and a battery", len(examples))
	}
	for _, e := range examples {
		p, err := profile.Parse("example.yaml", []byte(e[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, v := range p.Previews(profile.Params{}) {
			if v.Problem != "" || len(v.Writes) == 0 {
				t.Errorf("%s, %s: %d writes, %s", p.Name, v.Title, len(v.Writes), v.Problem)
			}
		}
	}
}
