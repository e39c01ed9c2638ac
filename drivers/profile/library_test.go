package profile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nominald/drivers/profile"
)

const tiny = "kind: meter\nmaker: M\nbus: modbus\nsource: S\ntested: no\n"

func TestSiteAddsItsOwnProfiles(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"mine.yaml", "name: mine\n" + tiny, ""},
		{"keba.yaml", "name: keba-p30\n" + tiny, "keba.yaml:1: profile keba-p30 has the name of a built-in one"},
		{"keba.yaml", "name: keba-p30\nreplaces: keba-p30\n" + tiny, ""},
		{"keba.yaml", "name: mine\nreplaces: keba-p30\n" + tiny, "keba.yaml:1: profile mine replaces keba-p30"},
		{"keba.yaml", "name: mine\nreplaces: mine\n" + tiny, "does not exist"},
		{"bad.yaml", "name: mine\n" + tiny + "pol: 1s\n", `bad.yaml:7: key "pol" is not known; did you mean "poll"`},
		{"notes.txt", "anything", ""},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		lib, err := profile.Open(dir)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: error %v, want %q", c.file, c.text, err, c.want)
		}
		if err == nil && strings.HasSuffix(c.file, ".yaml") {
			name := strings.Fields(c.text)[1]
			if p, err := lib.Load(name); err != nil || p.Maker != "M" {
				t.Errorf("Load %s: %+v, %v, want the site's own", name, p, err)
			}
		}
	}
}

func TestTwoFilesOfASiteWithOneName(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"a.yaml", "b.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("name: mine\n"+tiny), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := profile.Open(dir); err == nil || !strings.Contains(err.Error(), "b.yaml:1: profile mine is in") {
		t.Errorf("error %v, want it to name both files", err)
	}
}

func TestMissingDirectoryIsEmpty(t *testing.T) {
	lib, err := profile.Open(filepath.Join(t.TempDir(), "none"))
	if err != nil || len(lib.List()) != len(profile.List()) {
		t.Errorf("Open: %v", err)
	}
}

func TestDirectoryIsNoProfile(t *testing.T) {
	dir := t.TempDir()
	if _, err := profile.ReadFile(dir); err == nil || !strings.Contains(err.Error(), dir+":1: is a directory, accepted is the file") {
		t.Errorf("ReadFile of a directory: %v", err)
	}
}
