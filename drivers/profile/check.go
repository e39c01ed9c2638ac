package profile

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"nominald/drivers"
)

// A check returns the first mistake and the path of the key it is at.
type check func() (key []any, err error)

func first(checks ...check) ([]any, error) {
	for _, c := range checks {
		if key, err := c(); err != nil {
			return key, err
		}
	}
	return nil, nil
}

func (p *Profile) check() ([]any, error) {
	if key, err := first(p.checkHead, p.checkLink, p.checkPace); err != nil || p.Driver != "" {
		return key, err // what names another driver is for people from here on
	}
	return first(p.checkHoles, p.checkPoints, p.checkIdentity, p.checkModes, p.checkWritable, p.checkCommand, p.checkFallback, p.checkReadBack, p.checkUsed)
}

// maxChannels bounds the relays or sockets of one unit.
const maxChannels = 64

func kinds() []string {
	return []string{string(drivers.Meter), string(drivers.Battery), string(drivers.Charger), string(drivers.Thermostat),
		string(drivers.Relay), string(drivers.Inverter)}
}

func (p *Profile) checkHead() ([]any, error) {
	for _, f := range []struct{ key, value string }{
		{"name", p.Name}, {"kind", string(p.Kind)}, {"maker", p.Maker}, {"source", p.Source}, {"tested", p.Tested},
	} {
		if f.value == "" {
			return []any{f.key}, fmt.Errorf("%s is missing", f.key)
		}
	}
	for _, f := range []struct {
		key, value string
		accepted   []string
	}{
		{"kind", string(p.Kind), kinds()},
		{"bus", p.Bus, []string{"modbus", "gpio"}},
		{"driver", p.Driver, []string{"", "sunspec", "gpio"}},
	} {
		if !slices.Contains(f.accepted, f.value) {
			return []any{f.key}, fmt.Errorf("%s is %q, accepted are %s", f.key, f.value, strings.Join(f.accepted, ", "))
		}
	}
	if strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return []any{"name"}, fmt.Errorf("name is %q, accepted are small letters, digits, dots and hyphens", p.Name)
	}
	return nil, nil
}

func (p *Profile) checkLink() ([]any, error) {
	l := p.Link
	if l.Baud != 0 && (l.Baud < 1200 || l.Baud > 1_000_000) {
		return []any{"link", "baud"}, fmt.Errorf("baud is %d, accepted are 1200 to 1000000", l.Baud)
	}
	if formats := []string{"", "8N1", "8E1", "8O1", "8N2"}; !slices.Contains(formats, l.Format) {
		return []any{"link", "format"}, fmt.Errorf("format is %q, accepted are %s", l.Format, strings.Join(formats[1:], ", "))
	}
	if l.Port < 0 || l.Port > 65535 {
		return []any{"link", "port"}, fmt.Errorf("port is %d, accepted are 1 to 65535", l.Port)
	}
	for _, u := range l.Units {
		if u < 0 || u > 255 {
			return []any{"link", "units"}, fmt.Errorf("unit is %d, accepted are 0 to 255", u)
		}
	}
	return nil, nil
}

// checkPace checks what says how often and how much at once.
func (p *Profile) checkPace() ([]any, error) {
	for _, f := range []struct {
		key       []any
		v, lo, hi time.Duration
	}{
		{[]any{"timing", "timeout"}, p.Timing.Timeout, 0, time.Minute},
		{[]any{"timing", "pause_between"}, p.Timing.PauseBetween, 0, 10 * time.Second},
		{[]any{"timing", "pause_after_connect"}, p.Timing.PauseAfterConnect, 0, 30 * time.Second},
		{[]any{"timing", "unit_change"}, p.Timing.UnitChange, 0, 10 * time.Second},
		{[]any{"poll"}, p.Poll, 0, time.Hour},
		{[]any{"min_interval"}, p.MinInterval, 0, 24 * time.Hour},
	} {
		if f.v < f.lo || f.v > f.hi {
			return f.key, fmt.Errorf("%s is %v, accepted are %v to %v", f.key[len(f.key)-1], f.v, f.lo, f.hi)
		}
	}
	for _, f := range []struct {
		key       string
		v, lo, hi int
	}{
		{"max_registers", p.MaxRegisters, 1, 125}, {"max_gap", p.MaxGap, 0, 124}, {"channels", p.Channels, 0, maxChannels},
	} {
		if f.v < f.lo || f.v > f.hi {
			return []any{f.key}, fmt.Errorf("%s is %d, accepted are %d to %d", f.key, f.v, f.lo, f.hi)
		}
	}
	return nil, nil
}

func (p *Profile) checkHoles() ([]any, error) {
	for i, h := range p.Holes {
		if h[0] > h[1] {
			return []any{"holes", i}, fmt.Errorf("hole is %d to %d, accepted is the lower address first", h[0], h[1])
		}
	}
	return nil, nil
}

// spot is where a value lies in the first channel, for checks.
type spot struct {
	name, table     string
	address, stride uint16
	width           int
}

// inside checks that the spot lies in the address space in all channels.
func (p *Profile) inside(s spot) error {
	last := int(s.address) + (p.channels()-1)*int(s.stride) + s.width - 1
	if last > math.MaxUint16 {
		return fmt.Errorf("%s reaches address %d in channel %d, accepted are addresses up to 65535", s.name, last, p.channels())
	}
	return nil
}

// inHole checks that no read of the spot touches a hole.
func (p *Profile) inHole(s spot) error {
	if s.table == tableCoil || s.table == tableDiscrete {
		return nil
	}
	for ch := range p.channels() {
		at := int(s.address) + ch*int(s.stride)
		for _, h := range p.Holes {
			if at <= int(h[1]) && at+s.width-1 >= int(h[0]) {
				return fmt.Errorf("%s at %d lies in the hole %d to %d, accepted are addresses outside", s.name, at, h[0], h[1])
			}
		}
	}
	return nil
}

// fits checks a type against the table it lies in.
func fits(what, table, t string) error {
	if !slices.Contains(tables(), table) {
		return fmt.Errorf("table of %s is %q, accepted are %s", what, table, strings.Join(tables(), ", "))
	}
	one := table == tableCoil || table == tableDiscrete
	if one && t != typeBit {
		return fmt.Errorf("type of %s is %q, accepted in table %s is %s", what, t, table, typeBit)
	}
	if !one && (t == typeBit || !slices.Contains(types(), t)) {
		return fmt.Errorf("type of %s is %q, accepted in table %s are %s", what, t, table, strings.Join(types()[:len(types())-1], ", "))
	}
	return nil
}

func (p *Profile) checkPoints() ([]any, error) {
	names, taken := map[string]bool{}, map[string]string{}
	for i, pt := range p.Points {
		at := []any{"points", i}
		if pt.Name == "" || names[pt.Name] {
			return at, fmt.Errorf("name of a point is %q, accepted is a name that no other point has", pt.Name)
		}
		names[pt.Name] = true
		if err := p.checkPoint(pt); err != nil {
			return at, err
		}
		if other := taken[pt.Meaning]; other != "" && !adds(pt.Meaning) {
			return at, fmt.Errorf("meaning of %s is %s, which %s has already", pt.Name, pt.Meaning, other)
		}
		taken[pt.Meaning] = pt.Name
	}
	return nil, nil
}

func (p *Profile) checkPoint(pt Point) error {
	s := spot{pt.Name, pt.Table, pt.Address, pt.Stride, width(pt.Type)}
	for _, err := range []error{fits(pt.Name, pt.Table, pt.Type), p.inside(s), p.inHole(s), sane(pt.Name, pt.Scale, pt.Min, pt.Max)} {
		if err != nil {
			return err
		}
	}
	all := allBits(pt.Type)
	switch {
	case pt.Meaning != "" && !slices.Contains(meanings(), pt.Meaning):
		return fmt.Errorf("meaning of %s is %q, accepted are %s", pt.Name, pt.Meaning, strings.Join(meanings(), ", "))
	case width(pt.Type) > p.MaxRegisters:
		return fmt.Errorf("%s takes %d registers, accepted by max_registers are %d", pt.Name, width(pt.Type), p.MaxRegisters)
	case isFloat(pt.Type) && (pt.Mask != 0 || pt.Shift != 0):
		return fmt.Errorf("type of %s is %s with mask or shift, accepted there are whole numbers", pt.Name, pt.Type)
	case pt.Mask > all:
		return fmt.Errorf("mask of %s is %#x, accepted by type %s is up to %#x", pt.Name, pt.Mask, pt.Type, all)
	case pt.Shift >= uint(16*width(pt.Type)):
		return fmt.Errorf("shift of %s is %d, accepted by type %s is up to %d", pt.Name, pt.Shift, pt.Type, 16*width(pt.Type)-1)
	case pt.Meaning == "link" && len(pt.Words) == 0:
		return fmt.Errorf("%s means link and has no words, accepted is at least one for a value that is wrong", pt.Name)
	}
	for _, u := range pt.Unset {
		if u > all {
			return fmt.Errorf("unset of %s holds %#x, accepted by type %s is up to %#x (the raw registers, without sign)", pt.Name, u, pt.Type, all)
		}
	}
	return nil
}

// allBits is the largest raw value of a type.
func allBits(t string) uint64 {
	if t == typeText {
		return 0
	}
	return uint64(math.MaxUint64) >> (64 - 16*width(t))
}

// sane checks a scale and limits, which are in the unit.
func sane(what string, scale float64, low, high *float64) error {
	if math.IsNaN(scale) || math.IsInf(scale, 0) || math.Abs(scale) < 1e-12 || math.Abs(scale) > 1e12 {
		return fmt.Errorf("scale of %s is %g, accepted is a number that is not 0", what, scale)
	}
	for _, l := range []*float64{low, high} {
		if l != nil && (math.IsNaN(*l) || math.IsInf(*l, 0)) {
			return fmt.Errorf("a limit of %s is %g, accepted are numbers", what, *l)
		}
	}
	if low != nil && high != nil && *low > *high {
		return fmt.Errorf("limits of %s are %g to %g, accepted is the lower one first", what, *low, *high)
	}
	return nil
}

// maxText is the longest text of an identity, in registers.
const maxText = 64

func (p *Profile) checkIdentity() ([]any, error) {
	for i, c := range p.Identity {
		at := []any{"identity", i}
		s := spot{fmt.Sprintf("identity at %d", c.Address), c.Table, c.Address, 0, c.width()}
		if c.Type == typeText {
			if c.Length < 1 || c.Length > maxText || c.Text == "" || len(c.Text) > 2*c.Length {
				return at, fmt.Errorf("text %q of length %d, accepted is a text within 1 to %d registers of two characters", c.Text, c.Length, maxText)
			}
			if !slices.Contains(tables()[:2], c.Table) {
				return at, fmt.Errorf("table of a text is %q, accepted are holding, input", c.Table)
			}
		} else if err := fits(s.name, c.Table, c.Type); err != nil {
			return at, err
		}
		if s.width > p.MaxRegisters {
			return at, fmt.Errorf("%s takes %d registers, accepted by max_registers are %d", s.name, s.width, p.MaxRegisters)
		}
		for _, u := range c.Unset {
			if all := allBits(c.Type); c.Type == typeText || u > all {
				return at, fmt.Errorf("unset of %s holds %#x, accepted by type %s is up to %#x (the raw registers, without sign)", s.name, u, c.Type, all)
			}
		}
		for _, err := range []error{p.inside(s), p.inHole(s), sane(s.name, c.Scale, &c.Min, &c.Max)} {
			if err != nil {
				return at, err
			}
		}
	}
	return nil, nil
}

func (p *Profile) checkModes() ([]any, error) {
	if len(p.Modes) > 0 && p.Kind != drivers.Thermostat {
		return []any{"modes"}, fmt.Errorf("modes of a %s, accepted for kind thermostat only", p.Kind)
	}
	for _, name := range sorted(p.Modes) {
		m := p.Modes[name]
		if !slices.Contains([]float64{-1, 0, 1}, m.Direction) {
			return []any{"modes", name}, fmt.Errorf("direction of %s is %g, accepted are -1 (heating), 1 (cooling), 0 (by room temperature)", name, m.Direction)
		}
		if err := sane(name, 1, &m.Min, &m.Max); err != nil {
			return []any{"modes", name}, err
		}
	}
	if len(p.Command.Apply) > 0 && p.Kind == drivers.Thermostat {
		for _, need := range []string{"setpoint_c", "state"} {
			if !slices.ContainsFunc(p.Points, func(pt Point) bool { return pt.Meaning == need }) {
				return []any{"command", "apply"}, fmt.Errorf("a set-point is shifted and no point means %s, accepted is one that does", need)
			}
		}
		if len(p.Modes) == 0 {
			return []any{"modes"}, errors.New("a set-point is shifted and there are no modes, accepted is at least one")
		}
	}
	return nil, nil
}
