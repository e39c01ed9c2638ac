package leap

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"nominald/dispatch"
)

const (
	// maxID is more than the 36 characters of a UUID, so that an odd id can
	// still be shown.
	maxID = 64
	// maxTimeslot bounds one timeslot. Those of the API have 450 bytes.
	maxTimeslot = 64 << 10
	// maxRaw is how much of a timeslot is kept as received, since it is stored.
	maxRaw = 8 << 10
)

// The required fields of a timeslot (dispatch.openapi.yml,
// BaseDispatchEventTimeslot), as bits.
const (
	hasID = 1 << iota
	hasStart
	hasEnd
	hasCancelled
	hasCap
	hasPriority
	hasVoluntary
	hasTypes
	hasPrograms
	hasAll = 1<<iota - 1
)

// requiredNames are in the order of the bits.
func requiredNames() [9]string {
	return [9]string{"meter_event_id", "start_time", "end_time", "cancelled",
		"performance_compensation_cap", "priority", "is_voluntary",
		"dispatch_event_types", "programs"}
}

// slotReader reads one timeslot; its problem is the first thing that is wrong.
type slotReader struct {
	decoder *decoder
	slot    dispatch.Timeslot
	flags   flags
	seen    int
	problem error
}

// timeslot reads one timeslot on top of what its meter gave. It always returns
// one: as much as could be read, and in Problem what could not.
func (d *decoder) timeslot(slot dispatch.Timeslot, raw []byte, inherited flags) dispatch.Timeslot {
	r := slotReader{decoder: d, slot: slot, flags: inherited}
	switch {
	case len(raw) > maxTimeslot:
		r.fail(fmt.Errorf("a timeslot of %d bytes, at most %d are read", len(raw), maxTimeslot))
	case !isObject(raw):
		r.fail(fmt.Errorf("timeslot is %s, want an object", excerpt(raw, 40)))
	default:
		// member returns no errors, it notes them, so that the rest is read.
		_ = eachMember(raw, r.member)
		r.requireAll()
	}
	if len(raw) <= maxRaw {
		r.slot.Raw = bytes.Clone(raw)
	}
	if r.slot.EventID == "" {
		r.slot.EventID = syntheticID(slot.MeterID, raw)
	}
	r.slot.CommunicationTest, r.slot.IntegrationTest = r.flags.communication, r.flags.integration
	if r.problem != nil {
		r.slot.Problem = r.problem.Error()
	} else {
		r.slot.Problem = dispatch.Validate(r.slot)
	}
	return r.slot
}

func (r *slotReader) fail(err error) {
	if r.problem == nil {
		r.problem = err
	}
}

func (r *slotReader) requireAll() {
	if r.seen == hasAll {
		return
	}
	for i, name := range requiredNames() {
		if r.seen&(1<<i) == 0 {
			r.fail(fmt.Errorf("%s is missing", name))
			return
		}
	}
}

// member reads one field. Unknown ones stay in Raw.
func (r *slotReader) member(key, value []byte) error {
	var err error
	bit := 0
	switch string(key) {
	case "meter_event_id":
		bit, err = hasID, r.readID(value)
	case "start_time":
		bit, err = hasStart, readTime(value, &r.slot.Start)
	case "end_time":
		bit, err = hasEnd, readTime(value, &r.slot.End)
	case "cancelled":
		bit, err = hasCancelled, readBool(value, &r.slot.Cancelled)
	case "is_voluntary":
		bit, err = hasVoluntary, readBool(value, &r.slot.Voluntary)
	case "priority":
		bit, err = hasPriority, readInt(value, &r.slot.Priority)
	case "energy_kw":
		r.slot.EnergyKW, err = readKW(value)
	case "nomination_kw":
		r.slot.NominationKW, err = readKW(value)
	case "performance_compensation_cap":
		bit = hasCap
		var word string
		word, err = r.decoder.word(value)
		r.slot.Cap = dispatch.Cap(word)
	case "dispatch_event_types":
		bit = hasTypes
		r.slot.EventTypes, err = r.decoder.list(value)
	case "programs":
		bit = hasPrograms
		r.slot.Programs, err = r.decoder.list(value)
	default:
		if err := r.flags.read(key, value); err != nil {
			r.fail(err)
		}
		return nil
	}
	r.seen |= bit
	if err != nil {
		r.fail(fmt.Errorf("%s is %s: %w", key, excerpt(value, 40), err))
	}
	return nil
}

var (
	errNotText   = errors.New("want a string")
	errNotTime   = errors.New("want an RFC 3339 time with an offset")
	errNotBool   = errors.New("want true or false")
	errNotNumber = errors.New("want a number or null")
	errNotInt    = errors.New("want a whole number")
	errNotList   = errors.New("want an array of strings")
	errNotID     = fmt.Errorf("want a string of 1 to %d printable characters", maxID)
)

func (r *slotReader) readID(value []byte) error {
	r.slot.EventID = ""
	id, ok := text(value)
	if !ok || len(id) == 0 || len(id) > maxID {
		return errNotID
	}
	for _, c := range id {
		if c <= ' ' || c > '~' {
			return errNotID
		}
	}
	r.slot.EventID = strings.ToLower(string(id))
	return nil
}

// readTime reads any RFC 3339 offset (domain.md 1.0) and keeps it as UTC.
func readTime(value []byte, t *time.Time) error {
	*t = time.Time{}
	s, ok := text(value)
	if !ok {
		return errNotTime
	}
	err := t.UnmarshalText(s)
	if err != nil { // RFC 3339 5.6 allows t and z in lower case
		err = t.UnmarshalText(bytes.ToUpper(s))
	}
	if err != nil {
		*t = time.Time{}
		return errNotTime
	}
	*t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 { // an offset can leave the years that JSON can hold
		*t = time.Time{}
		return errNotTime
	}
	return nil
}

func readBool(value []byte, b *bool) error {
	switch string(value) {
	case "true":
		*b = true
	case "false":
		*b = false
	default:
		return errNotBool
	}
	return nil
}

// readKW takes null as absent: both mean that nothing is said.
func readKW(value []byte) (*float64, error) {
	if isNull(value) {
		return nil, nil
	}
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return nil, errNotNumber
	}
	kw, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		return nil, errNotNumber // out of range: 1e999
	}
	return &kw, nil
}

// readInt takes 1 and 1.0, which are the same number in JSON.
func readInt(value []byte, n *int) error {
	*n = 0
	kw, err := readKW(value)
	if err != nil || kw == nil || *kw != float64(int32(*kw)) {
		return errNotInt
	}
	*n = int(*kw)
	return nil
}

// word returns a string, shared with equal ones of this delivery.
func (d *decoder) word(value []byte) (string, error) {
	s, ok := text(value)
	if !ok {
		return "", errNotText
	}
	if known, ok := d.words[string(s)]; ok {
		return known, nil
	}
	w := string(s)
	d.words[w] = w
	return w, nil
}

// list returns a list of strings, shared with equal ones of this delivery.
func (d *decoder) list(value []byte) ([]string, error) {
	if known, ok := d.lists[string(value)]; ok {
		return known, nil
	}
	if !isArray(value) {
		return nil, errNotList
	}
	list := []string{}
	err := eachElement(value, func(v []byte) error {
		w, err := d.word(v)
		list = append(list, w)
		return err
	})
	if err != nil {
		return nil, errNotList
	}
	d.lists[string(value)] = list
	return list, nil
}
