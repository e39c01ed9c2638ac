package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestWhatTheExampleShowsInCommentsIsRead: a line that somebody takes the hash
// from must not be a mistake.
func TestWhatTheExampleShowsInCommentsIsRead(t *testing.T) {
	raw, err := os.ReadFile("../../packaging/nominald.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^( *)# (- \{|  - \{|inputs:)`).ReplaceAllString(string(raw), "$1$2")
	env := testEnv()
	env.Library = openLibrary
	c, err := Parse(strings.NewReader(text), "example.yaml", env)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Buses) != 4 || len(c.Devices) != 6 || len(c.Inputs) != 1 {
		t.Errorf("%d buses, %d devices, %d inputs: the comments are not what this test looks for", len(c.Buses), len(c.Devices), len(c.Inputs))
	}
	if b := c.Buses[2]; b.Serial == "" || b.Baud != 19200 || b.Format != "8E1" {
		t.Errorf("serial bus %+v", b)
	}
	if d := c.Devices[5]; d.Profile != SGReady || !d.ByInhibit {
		t.Errorf("heat pump %+v", d)
	}
}
