// Package profile holds what is known of devices as data: one YAML file a
// device, with its registers, its command sequence and where all that was read.
// A profile is interpreted by this package, unless it names another driver; then
// it documents that one. A new device of a known kind needs a file, no code.
package profile

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"nominald/drivers"
)

// Registers is the unit of a Modbus bus as this package uses it. Addresses are
// those on the wire. Errors wrap the sentinels of package drivers.
type Registers interface {
	ReadHolding(ctx context.Context, addr uint16, dst []uint16) error
	ReadInput(ctx context.Context, addr uint16, dst []uint16) error
	WriteRegister(ctx context.Context, addr uint16, v uint16) error     // function 6
	WriteRegisters(ctx context.Context, addr uint16, vs []uint16) error // function 16
}

//go:embed profiles/*.yaml
var files embed.FS

// List returns all profiles, sorted by name.
func List() []*Profile {
	entries, err := files.ReadDir("profiles")
	if err != nil {
		return nil
	}
	var all []*Profile
	for _, e := range entries {
		if p, err := open(e.Name()); err == nil { // a test holds that all parse
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *Profile) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Load returns the profile with the name.
func Load(name string) (*Profile, error) {
	var names []string
	for _, p := range List() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("profile %q is not known; did you mean %q? There are %s",
		name, nearest(name, names), strings.Join(names, ", "))
}

func open(file string) (*Profile, error) {
	data, err := files.ReadFile("profiles/" + file)
	if err != nil {
		return nil, err
	}
	return Parse(file, data)
}

// nearest returns the name with the fewest edits.
func nearest(name string, names []string) string {
	best, least := "", 1<<30
	for _, n := range names {
		if d := edits(name, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Identify reads what tells the device from others. An error wraps
// drivers.ErrWrongDevice where the values can not be those of this device.
func (p *Profile) Identify(ctx context.Context, r Registers) error {
	for _, c := range p.Identity {
		raw, err := readRaw(ctx, r, c.Table, c.Address, c.Type)
		if errors.Is(err, drivers.ErrRefused) {
			return fmt.Errorf("%s: register %d is refused: %w: %w", p.Name, c.Address, drivers.ErrWrongDevice, err)
		}
		if err != nil {
			return err
		}
		if v, ok := number(c.Type, bits(c.Type, raw)); !ok || v < c.Min || v > c.Max {
			return fmt.Errorf("%s: register %d holds %g, a device of this profile has %g to %g there: %w",
				p.Name, c.Address, v, c.Min, c.Max, drivers.ErrWrongDevice)
		}
	}
	return nil
}
