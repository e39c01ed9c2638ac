// Package profile holds what is known of devices as data: one YAML file a
// device, with its registers, its command sequences and where all that was read.
// A profile is interpreted by this package, unless it names another driver; then
// it documents that one. A new device of a known kind needs a file, no code.
//
// The format is schema.go; parse.go and the check files refuse what can not be
// right in it; blocks.go, device.go and take.go read; order.go, write.go and
// budget.go write; what a command means to a kind is in the file of the kind.
package profile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"nominald/drivers"
)

// Registers is the unit of a Modbus bus as this package uses it. Addresses are
// those on the wire. Errors wrap the sentinels of package drivers.
type Registers interface {
	// Read reads len(dst) registers or bits with function 1 to 4; bits are 0 or 1.
	Read(ctx context.Context, function byte, addr uint16, dst []uint16) error
	// Write writes with function 5 (one raw value, 0xFF00 is on), 6 (one
	// register) or 16 (several).
	Write(ctx context.Context, function byte, addr uint16, values []uint16) error
}

// Inhibits tells whether the profile is a thermostat that is commanded by an
// inhibit rather than by its set-point.
func (p *Profile) Inhibits() bool {
	return p.Kind == drivers.Thermostat && len(p.Command.Inhibit) > 0
}

// Identify reads what tells the device from others. An error wraps
// drivers.ErrWrongDevice where the values can not be those of this device.
func (p *Profile) Identify(ctx context.Context, r Registers) error {
	for _, c := range p.Identity {
		regs := make([]uint16, c.width())
		err := r.Read(ctx, readFunction(c.Table), c.Address, regs)
		if errors.Is(err, drivers.ErrRefused) {
			return fmt.Errorf("%s: register %d is refused: %w: %w", p.Name, c.Address, drivers.ErrWrongDevice, err)
		}
		if err != nil {
			return err
		}
		if found, accepted := c.compare(regs); accepted != "" {
			return fmt.Errorf("%s: register %d holds %s, a device of this profile has %s there: %w",
				p.Name, c.Address, found, accepted, drivers.ErrWrongDevice)
		}
	}
	return nil
}

// compare returns what was found and what is accepted; the latter is empty where
// the two agree.
func (c Check) compare(regs []uint16) (found, accepted string) {
	if c.Type == typeText {
		var text []byte
		for _, r := range regs {
			text = append(text, byte(r>>8), byte(r))
		}
		found = strings.TrimRight(string(text), "\x00 ")
		if !strings.HasPrefix(found, c.Text) {
			return fmt.Sprintf("%q", found), fmt.Sprintf("%q", c.Text)
		}
		return found, ""
	}
	raw := bits(c.Type, regs)
	if slices.Contains(c.Unset, raw) {
		return "no value", ""
	}
	if len(c.OneOf) > 0 {
		if !slices.Contains(c.OneOf, raw) {
			return fmt.Sprint(raw), "one of " + strings.Trim(fmt.Sprint(c.OneOf), "[]")
		}
		return fmt.Sprint(raw), ""
	}
	v, ok := number(c.Type, raw)
	if v = scaled(v, c.Scale); !ok || v < c.Min || v > c.Max {
		return fmt.Sprintf("%g", v), fmt.Sprintf("%g to %g", c.Min, c.Max)
	}
	return fmt.Sprint(v), ""
}
