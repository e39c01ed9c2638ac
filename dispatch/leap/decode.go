package leap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"nominald/dispatch"
)

// maxSlots bounds what one delivery may cost in memory. It is far above the
// 96 quarter hours times 30 days that a site with a few meters can have.
const maxSlots = 120_000

// page is one page of a search.
type page struct {
	slots []dispatch.Timeslot
	next  string // token of the page that follows; empty on the last one
}

// flags are the marks of tests. Leap sets them on the envelope of a
// notification and on the timeslots of a search, in two spellings
// (domain.md 1.1, 1.2); whichever is true counts.
type flags struct{ communication, integration bool }

// read takes the flag that key names, if it names one.
func (f *flags) read(key, value []byte) error {
	var at *bool
	switch string(key) {
	case "communication_test", "is_communication_test":
		at = &f.communication
	case "integration_test_notification", "is_integration_test_notification",
		"integration_test", "is_integration_test":
		at = &f.integration
	default:
		return nil
	}
	switch string(value) {
	case "true":
		*at = true
	case "false", "null":
	default:
		return fmt.Errorf("%s is %s, want true or false", key, excerpt(value, 40))
	}
	return nil
}

// decoder shares the few words that timeslots have in common, so that a page
// of 500 costs little. It lives for one delivery.
type decoder struct {
	slots []dispatch.Timeslot
	words map[string]string
	lists map[string][]string
}

func newDecoder() *decoder {
	return &decoder{words: map[string]string{}, lists: map[string][]string{}}
}

// decodePage reads one page of a search (dispatch.openapi.yml,
// SearchMeterDispatchEventResponse). Whatever is wrong with the page as such
// is an error; what is wrong with one timeslot is that timeslot's Problem.
func decodePage(body []byte) (page, error) {
	object, err := checkObject(body)
	if err != nil {
		return page{}, err
	}
	var p page
	var results []byte
	d := newDecoder()
	var envelope flags
	err = eachMember(object, func(key, value []byte) error {
		switch string(key) {
		case "results":
			results = value
		case "next_page_token":
			return readToken(value, &p.next)
		}
		return envelope.read(key, value)
	})
	if err != nil {
		return page{}, err
	}
	if results == nil {
		return page{}, errors.New("the answer has no results")
	}
	if err := d.results("results", results, envelope); err != nil {
		return page{}, err
	}
	p.slots = d.slots
	return p, nil
}

func readToken(value []byte, token *string) error {
	*token = ""
	if isNull(value) {
		return nil
	}
	s, ok := text(value)
	if !ok || len(s) > 1024 {
		return fmt.Errorf("next_page_token is %s, want a string", excerpt(value, 40))
	}
	*token = string(s)
	return nil
}

// DecodeNotification reads the body of a dispatch webhook (domain.md 1.2).
// Flags of the envelope count for every timeslot in it. Group dispatches are
// refused: their power is that of a whole group of sites.
func DecodeNotification(body []byte) ([]dispatch.Timeslot, error) {
	object, err := checkObject(body)
	if err != nil {
		return nil, err
	}
	var meters []byte
	var group bool
	var envelope flags
	err = eachMember(object, func(key, value []byte) error {
		switch string(key) {
		case "meter_dispatches":
			meters = value
		case "group_dispatches":
			group = true
		}
		return envelope.read(key, value)
	})
	if err != nil {
		return nil, err
	}
	if meters == nil && group {
		return nil, errors.New("the notification has group_dispatches only; " +
			"register the webhook at /v2/dispatch/meter/webhook")
	}
	if meters == nil {
		return nil, errors.New("the notification has no meter_dispatches")
	}
	d := newDecoder()
	if err := d.results("meter_dispatches", meters, envelope); err != nil {
		return nil, err
	}
	return d.slots, nil
}

// checkObject returns the one JSON object that body must be.
func checkObject(body []byte) ([]byte, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	switch {
	case len(body) == 0:
		return nil, errors.New("the answer is empty, want a JSON object")
	case body[0] == '<':
		return nil, errors.New("the answer is a web page, want JSON: a captive portal or a proxy answers instead of Leap")
	case !json.Valid(body):
		return nil, fmt.Errorf("the answer is not JSON, or cut off: %q", excerpt(body, 80))
	case !isObject(body):
		return nil, fmt.Errorf("the answer is not a JSON object: %q", excerpt(body, 80))
	}
	return body, nil
}

// results reads a list of meters with their timeslots.
func (d *decoder) results(name string, array []byte, envelope flags) error {
	if !isArray(array) {
		return fmt.Errorf("%s is %s, want an array", name, excerpt(array, 40))
	}
	n := 0
	return eachElement(array, func(value []byte) error {
		if err := d.meter(value, envelope); err != nil {
			return fmt.Errorf("%s[%d]: %w", name, n, err)
		}
		n++
		return nil
	})
}

// meter reads one meter's timeslots.
func (d *decoder) meter(object []byte, envelope flags) error {
	if !isObject(object) {
		return fmt.Errorf("got %s, want an object", excerpt(object, 40))
	}
	var meterID, partner, slots []byte
	own := envelope
	err := eachMember(object, func(key, value []byte) error {
		switch string(key) {
		case "meter_id":
			meterID = value
		case "partner_reference":
			partner = value
		case "timeslots":
			slots = value
		}
		return own.read(key, value)
	})
	if err != nil {
		return err
	}
	id, ok := text(meterID)
	if !ok || len(id) == 0 || len(id) > maxID {
		return fmt.Errorf("meter_id is %s, want a UUID", orMissing(meterID))
	}
	if !isArray(slots) {
		return fmt.Errorf("timeslots of meter %s is %s, want an array", id, orMissing(slots))
	}
	slot := dispatch.Timeslot{MeterID: strings.ToLower(string(id))}
	if ref, ok := text(partner); ok {
		slot.PartnerReference = string(ref)
	}
	return eachElement(slots, func(value []byte) error {
		if len(d.slots) >= maxSlots {
			return fmt.Errorf("more than %d timeslots", maxSlots)
		}
		d.slots = append(d.slots, d.timeslot(slot, value, own))
		return nil
	})
}

func orMissing(value []byte) string {
	if value == nil {
		return "missing"
	}
	return excerpt(value, 40)
}

// syntheticID names a timeslot that has no usable id of its own: the same
// bytes for the same meter always get the same one.
func syntheticID(meterID string, raw []byte) string {
	h := sha256.New()
	h.Write([]byte(meterID))
	h.Write([]byte{0})
	h.Write(raw)
	return "no-id-" + hex.EncodeToString(h.Sum(nil)[:12])
}
