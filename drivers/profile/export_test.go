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
