package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// FaultKind is a way in which the simulated Leap misbehaves.
type FaultKind string

// The faults.
const (
	NoFault     FaultKind = ""
	Down        FaultKind = "down"         // the connection is closed without an answer
	BadStatus   FaultKind = "status"       // Status with an error envelope
	HTML        FaultKind = "html"         // 200 with a page, as a captive portal gives
	HugeBody    FaultKind = "huge"         // 200 with 5 MB of valid JSON
	SlowBody    FaultKind = "slow"         // the answer dribbles over Delay
	Truncated   FaultKind = "truncated"    // the connection ends within the JSON
	OneBadSlot  FaultKind = "bad-slot"     // a slot with nonsense among the good ones
	WrongSchema FaultKind = "wrong-schema" // valid JSON of another shape
)

// Envelope is the shape of an error body; Leap has several (domain.md 1.0).
type Envelope string

// The envelopes.
const (
	DispatchEnvelope Envelope = ""        // {code, message, error_code}
	MetersEnvelope   Envelope = "meters"  // {title, status, details}
	WebhookEnvelope  Envelope = "webhook" // {error, message}
	StringEnvelope   Envelope = "string"  // a bare JSON string
	NoEnvelope       Envelope = "none"    // an empty body
)

// Fault is what is wrong with the simulated Leap.
type Fault struct {
	Kind       FaultKind
	Status     int
	Envelope   Envelope
	RetryAfter string        // header, as it shall be sent; empty: none
	Delay      time.Duration // of SlowBody
	Times      int           // requests that it lasts; 0: until it is cleared
}

const hugeBody = 5 << 20

// codeOf returns the code and the error_code of a status, out of the enums of
// ErrorResponse in dispatch.openapi.yml.
func codeOf(status int) (code, errorCode string) {
	switch status {
	case http.StatusBadRequest:
		return "BAD_REQUEST", "DISPATCH_INVALID_INPUT"
	case http.StatusUnauthorized:
		return "UNAUTHORIZED", "DISPATCH_UNAUTHORIZED"
	case http.StatusForbidden:
		return "FORBIDDEN", "DISPATCH_NO_ACCESS_TO_RESOURCE"
	case http.StatusNotFound:
		return "NOT_FOUND", "DISPATCH_INVALID_INPUT"
	case http.StatusMethodNotAllowed:
		return "METHOD_NOT_ALLOWED", "DISPATCH_INVALID_INPUT"
	case http.StatusUnsupportedMediaType:
		return "UNSUPPORTED_MEDIA_TYPE", "DISPATCH_INVALID_INPUT"
	case http.StatusServiceUnavailable:
		return "SERVICE_UNAVAILABLE", "DISPATCH_UNEXPECTED_ERROR"
	}
	return "INTERNAL_SERVER_ERROR", "LEAP_DISPATCH_INTERNAL_ERROR_001"
}

// errorBody returns an error body in one of Leap's envelopes.
func errorBody(e Envelope, status int, message string) []byte {
	code, errorCode := codeOf(status)
	var v any
	switch e {
	case MetersEnvelope:
		v = map[string]any{"title": code, "status": status, "details": map[string]string{"message": message}}
	case WebhookEnvelope:
		v = map[string]string{"error": code, "message": message}
	case StringEnvelope:
		v = message
	case NoEnvelope:
		return nil
	default:
		v = struct {
			Code      string `json:"code"`
			Message   string `json:"message"`
			ErrorCode string `json:"error_code"`
		}{code, message, errorCode}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(`{"code":"INTERNAL_SERVER_ERROR","message":"error body"}`)
	}
	return b
}

// write sends the answer body the way the fault has it, and returns the status
// that was sent, 0 where there was none.
func (f Fault) write(w http.ResponseWriter, r *http.Request, body []byte) int {
	h := w.Header()
	switch f.Kind {
	case Down:
		panic(http.ErrAbortHandler) // net/http closes the connection silently
	case BadStatus:
		if f.RetryAfter != "" {
			h.Set("Retry-After", f.RetryAfter)
		}
		return send(w, f.Status, errorBody(f.Envelope, f.Status, "simulated fault"))
	case HTML:
		h.Set("Content-Type", "text/html; charset=utf-8")
		return send(w, http.StatusOK, []byte("<!DOCTYPE html><html><body><h1>Welcome to the hotel</h1></body></html>"))
	case HugeBody:
		return send(w, http.StatusOK, huge(body))
	case SlowBody:
		return dribble(w, r, body, f.Delay)
	case Truncated:
		h.Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush() // what was written shall arrive before the end
		panic(http.ErrAbortHandler)
	case OneBadSlot:
		return send(w, http.StatusOK, spoil(body))
	case WrongSchema:
		return send(w, http.StatusOK, []byte(`{"results":{"meter_id":17,"timeslots":"none"},"next_page_token":42}`))
	}
	return send(w, http.StatusOK, body)
}

// send writes a whole answer. A client that is gone is none of its business.
func send(w http.ResponseWriter, status int, body []byte) int {
	if w.Header().Get("Content-Type") == "" && len(body) > 0 {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
	return status
}

// huge puts an unknown field of 5 MB in front of a JSON object.
func huge(body []byte) []byte {
	return append([]byte(`{"padding":"`+strings.Repeat("x", hugeBody)+`",`), body[1:]...)
}

// dribble writes the body in small pieces over a time.
func dribble(w http.ResponseWriter, r *http.Request, body []byte, over time.Duration) int {
	const pieces = 20
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	for i := range pieces {
		from, to := i*len(body)/pieces, (i+1)*len(body)/pieces
		if _, err := w.Write(body[from:to]); err != nil {
			return http.StatusOK
		}
		if err := rc.Flush(); err != nil {
			return http.StatusOK
		}
		select {
		case <-r.Context().Done():
			return http.StatusOK
		case <-time.After(over / pieces):
		}
	}
	return http.StatusOK
}

// spoil adds a slot with nonsense to the first result; to an empty page it
// adds a result that has only that.
func spoil(body []byte) []byte {
	const bad = `{"meter_event_id":"not-a-uuid","start_time":"yesterday","end_time":7,"cancelled":"no",` +
		`"programs":null,"priority":99,"is_voluntary":false,"performance_compensation_cap":"","dispatch_event_types":[]}`
	s := string(body)
	if strings.Contains(s, `"timeslots":[`) {
		return []byte(strings.Replace(s, `"timeslots":[`, `"timeslots":[`+bad+`,`, 1))
	}
	event := `{"meter_id":"00000000-0000-4000-8000-000000000000","timeslots":[` + bad + `]}`
	return []byte(strings.Replace(s, `"results":[]`, `"results":[`+event+`]`, 1))
}
