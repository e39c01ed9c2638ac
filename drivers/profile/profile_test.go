package profile_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
)

func TestEveryFileIsAProfile(t *testing.T) {
	lib, err := profile.Open("")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range lib.List() {
		if p.Source == "" || p.Tested == "" || p.Kind == "" {
			t.Errorf("%s: source %q, tested %q, kind %q: all are needed", p.Name, p.Source, p.Tested, p.Kind)
		}
	}
	if len(lib.List()) < 5 {
		t.Errorf("%d profiles only", len(lib.List()))
	}
}

func TestUnknownProfileNamesTheNearest(t *testing.T) {
	_, err := profile.Load("keba-p3")
	if err == nil || !strings.Contains(err.Error(), `did you mean "keba-p30"`) {
		t.Errorf("Load: error %v, want it to name keba-p30", err)
	}
	p, err := profile.Load("keba-p30")
	if err != nil || p.Kind != drivers.Charger {
		t.Errorf("Load: %+v, %v", p, err)
	}
}

const head = `name: x
kind: charger
maker: M
bus: modbus
source: S
tested: no
`

func TestMistakesNameFileAndLine(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"colour: red\n", `x.yaml:7: key "colour" is not known`},
		{"points:\n  - {name: a, address: 1, type: u16, meaning: power_w}\n  - {name: b, address: 2, type: u24, meaning: power_w}\n", "x.yaml:9: type of b"},
		{"points:\n  - {name: a, address: 1, type: u16, meaning: watts}\n", "x.yaml:8: meaning of a"},
		{"never: [7]\nwritable:\n  - {name: w, address: 6, type: u32, function: 16}\n", "x.yaml:9: w writes register 7"},
		{"writable:\n  - {name: w, address: 6, type: u32, function: 6}\n", "x.yaml:8: w takes 2 registers"},
		{"command:\n  apply:\n    - {write: w, value: 1}\n", `x.yaml:9: "w" is not among`},
		{"max_registers: 200\n", "x.yaml:7: max_registers is 200"},
		{"points:\n  - {name: a, address: 70000, type: u16, meaning: power_w}\n", "x.yaml:8: address is 70000, accepted is a whole number from 0 to 65535"},
	} {
		_, err := profile.Parse("x.yaml", []byte(head+c.body))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.yaml") {
			t.Errorf("Parse of %q: error %v, want %q", c.body, err, c.want)
		}
	}
}

// A register that wears out must stay out of reach whatever the file says.
func TestNeverWrittenRegistersAreNotOnTheAllowList(t *testing.T) {
	for _, p := range profile.List() {
		for _, w := range p.Writable {
			for _, n := range p.Never {
				if p.Driver == "" && (w.Address == n) {
					t.Errorf("%s: %s is register %d, which must never be written", p.Name, w.Name, n)
				}
			}
		}
	}
	p, err := profile.Load("intesis-inmbs")
	if err != nil || len(p.Never) != 3 {
		t.Errorf("intesis-inmbs: never %v, %v; want 7, 8, 97", p.Never, err)
	}
}

// noise is a device that answers with whatever there is.
type noise []byte

func (n noise) Read(_ context.Context, function byte, addr uint16, dst []uint16) error {
	for i := range dst {
		if len(n) > 0 {
			dst[i] = uint16(n[(int(addr)+i)%len(n)]) * uint16(addr+1)
		}
		if function < 3 {
			dst[i] &= 1
		}
	}
	return nil
}

func (noise) Write(_ context.Context, _ byte, _ uint16, values []uint16) error {
	if len(values) == 0 {
		return errors.New("a write of nothing")
	}
	return nil
}

func FuzzParse(f *testing.F) {
	for _, p := range []string{head, head + "points:\n  - {name: a, address: 1, type: u16, meaning: power_w}\n",
		head + "command: {apply: [{write: a, value: .nan}]}\n", "- 1\n", "a: &a [*a]\n", head + "fallback: {min: 1x}\n"} {
		f.Add([]byte(p))
	}
	for _, p := range []string{sound, limiter, keeper, shower, relays, modes} {
		f.Add([]byte(strings.Replace(p, "u16sw", "u16", 1)))
		f.Add([]byte(strings.Replace(head, "kind: charger\n", "", 1) + p))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := profile.Parse("f.yaml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yaml") {
				t.Errorf("error %q does not begin with the file", err)
			}
			return
		}
		for ch := range max(p.Channels, 1) {
			d := profile.New(p, noise(data), profile.Params{Channel: ch + 1, AllowNoFallback: true})
			for range 2 {
				_, _ = d.Read(t.Context())
				_ = d.Apply(t.Context(), drivers.Command{PowerW: -3000, CurrentA: 10, OffsetK: 1, Inhibit: true}, time.Minute)
			}
			_ = d.Release(t.Context())
		}
		p.Previews(profile.Params{})
	})
}
