package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// fileKB is how much of files this process has mapped in memory.
func fileKB(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	m := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(raw)
	if m == nil {
		t.Skip("this kernel does not tell RssFile")
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// What was given back is less, and the program goes on: what it needs comes back.
func TestForgetStart(t *testing.T) {
	before := fileKB(t)
	for range 3 {
		if err := forgetStart(); err != nil {
			t.Fatal(err)
		}
	}
	if after := fileKB(t); after > before*3/4 {
		t.Errorf("%d kB of files are mapped, before it were %d kB", after, before)
	}
}
