package config

import (
	"errors"
	"strings"
	"testing"
)

// faultCase is one edit of the smallest config; what it makes of the file has the
// fault that want tells.
type faultCase struct {
	what     string
	from, to string
	want     string
}

func edit(t *testing.T, c faultCase) string {
	t.Helper()
	if c.from == "" {
		return c.to
	}
	if !strings.Contains(minimal, c.from) {
		t.Fatalf("%s: %q is not in the smallest config", c.what, c.from)
	}
	return strings.Replace(minimal, c.from, c.to, 1)
}

func checkFaults(t *testing.T, cases []faultCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			_, err := parse(t, edit(t, c))
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("err = %v, want an *Error", err)
			}
			if got := err.Error(); got != c.want {
				t.Errorf("\ngot  %s\nwant %s", got, c.want)
			}
		})
	}
}
