package gateway

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"nominald/dispatch/plan"
)

var update = flag.Bool("update", false, "write the generated documents")

const reasonsPage = "../packaging/docs/reasons.md"

// TestReasonsPageIsComplete holds packaging/docs/reasons.md to the codes that
// the program knows; `go test ./gateway -run Reasons -update` writes it.
func TestReasonsPageIsComplete(t *testing.T) {
	texts := plan.Reasons()
	var codes []string
	for c := range texts {
		codes = append(codes, string(c))
	}
	sort.Strings(codes)
	var b strings.Builder
	b.WriteString("# Reason codes\n\nEach timeslot, meter and device shows one code that says why it does what it does. The\n" +
		"codes are stable; programs may rely on them. This page is generated from the program.\n\n| code | meaning |\n|---|---|\n")
	for _, c := range codes {
		fmt.Fprintf(&b, "| `%s` | %s |\n", c, texts[plan.Reason(c)])
	}
	if *update {
		if err := os.WriteFile(reasonsPage, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(reasonsPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the program knows; run with -update", reasonsPage)
	}
}
