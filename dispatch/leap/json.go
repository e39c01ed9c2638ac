package leap

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// The walkers below take JSON apart without allocating. They rely on having
// been checked by json.Valid as a whole first, which also bounds the depth;
// on anything else they may give nonsense but never read out of bounds.

// eachMember calls f for every member of a JSON object, in order, with the
// key as it is written between its quotes. It stops at the first error.
func eachMember(object []byte, f func(key, value []byte) error) error {
	i := skipSpace(object, 1)
	for i < len(object) && object[i] == '"' {
		keyEnd := skipString(object, i)
		key := object[i+1 : max(i+1, keyEnd-1)]
		start := skipSpace(object, skipSpace(object, keyEnd)+1) // past the colon
		end := skipValue(object, start)
		if start >= len(object) || end <= start {
			return nil
		}
		if err := f(key, object[start:end]); err != nil {
			return err
		}
		i = nextItem(object, end)
	}
	return nil
}

// eachElement calls f for every element of a JSON array, in order. It stops at
// the first error.
func eachElement(array []byte, f func(value []byte) error) error {
	i := skipSpace(array, 1)
	for i < len(array) && array[i] != ']' {
		end := skipValue(array, i)
		if end <= i {
			return nil
		}
		if err := f(array[i:end]); err != nil {
			return err
		}
		i = nextItem(array, end)
	}
	return nil
}

// nextItem returns where the item after a comma starts, or where the
// container closes.
func nextItem(b []byte, i int) int {
	i = skipSpace(b, i)
	if i < len(b) && b[i] == ',' {
		return skipSpace(b, i+1)
	}
	return i
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the index after the string that opens at b[i].
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// skipValue returns the index after the value that starts at b[i].
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\n', '\t', '\r':
			i++
			continue
		default:
			i = skipScalar(b, i)
		}
		if depth <= 0 {
			return i
		}
	}
	return i
}

// skipScalar returns the index after a number, true, false or null.
func skipScalar(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ',', ':', '}', ']', ' ', '\n', '\t', '\r':
			return i
		}
		i++
	}
	return i
}

func isObject(v []byte) bool { return len(v) > 0 && v[0] == '{' }
func isArray(v []byte) bool  { return len(v) > 0 && v[0] == '[' }
func isNull(v []byte) bool   { return string(v) == "null" }

// text returns the bytes of a JSON string. Without an escape they lie in v.
func text(v []byte) ([]byte, bool) {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return nil, false
	}
	inner := v[1 : len(v)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return inner, true
	}
	var s string // the standard library knows surrogates and bad UTF-8
	if err := json.Unmarshal(v, &s); err != nil {
		return nil, false
	}
	return []byte(s), true
}

// excerpt is a short piece of foreign bytes for a message.
func excerpt(b []byte, limit int) string {
	if len(b) <= limit {
		return string(bytes.ToValidUTF8(b, []byte("?")))
	}
	return string(bytes.ToValidUTF8(b[:limit], []byte("?"))) + "..."
}
