package profile

import "strings"

// HasKey tells whether a profile may have the key: "/points/name".
func HasKey(path string) bool {
	s := document()
	for _, key := range strings.Split(path, "/")[1:] {
		for s != nil && s.keys == nil {
			s = s.each
		}
		if s == nil {
			return false
		}
		below, ok := s.keys[key]
		if !ok {
			return false
		}
		s = below
	}
	return true
}

// Compare asks a check about a raw value.
func (c Check) Compare(raw uint64) (found, accepted string) {
	regs := make([]uint16, width(c.Type))
	for i := range regs {
		at := len(regs) - 1 - i
		if strings.HasSuffix(c.Type, "sw") {
			at = i
		}
		regs[at] = uint16(raw >> (16 * i))
	}
	return c.compare(regs)
}
