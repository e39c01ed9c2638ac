package status

import (
	"errors"
	"net"
	"net/http"
	"time"
)

// ErrHeld: a change is refused because something at the site holds it, as a
// STOP button that is still pressed.
var ErrHeld = errors.New("the site stays stopped")

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	snap := s.opt.Board.latest.Load()
	if snap == nil {
		notYet(w)
		return
	}
	body, err := snap.encode()
	if err != nil {
		problem(w, http.StatusInternalServerError, "encode the status: "+err.Error())
		return
	}
	writeRaw(w, body)
}

func notYet(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	problem(w, http.StatusServiceUnavailable, "the first control round is not over yet")
}

func (s *Server) timeslots(w http.ResponseWriter, r *http.Request) {
	q, err := query(r)
	if err == nil {
		var from, to time.Time
		if from, to, err = window(q, s.opt.Now(), from, to); err == nil {
			slots := s.opt.Site.Timeslots(from, to)
			if slots == nil {
				slots = []Timeslot{}
			}
			writeJSON(w, slots)
			return
		}
	}
	problem(w, http.StatusBadRequest, err.Error())
}

// intervals says what became of the intervals that were sent to Leap.
func (s *Server) intervals(w http.ResponseWriter, _ *http.Request) {
	var summary any
	var err error
	if s.opt.Intervals != nil {
		summary, err = s.opt.Intervals()
	}
	switch {
	case err != nil:
		problem(w, http.StatusInternalServerError, "intervals: "+err.Error())
	case summary == nil:
		problem(w, http.StatusNotFound, "no intervals are sent to Leap: no meter of the config has upload: true")
	default:
		writeJSON(w, summary)
	}
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	now := s.opt.Now()
	q, err := query(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	at, err := timeParam(q, "at", now, now.UTC())
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	round, err := s.opt.Explain.Explain(at)
	switch {
	case errors.Is(err, ErrNotKept):
		problem(w, http.StatusNotFound, err.Error())
		return
	case err != nil:
		problem(w, http.StatusInternalServerError, "explain: "+err.Error())
		return
	}
	writeRaw(w, round)
}

// healthBody is the answer of /healthz and /readyz when all is well.
type healthBody struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons"`
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	ok, reasons := s.opt.Health.Healthy()
	writeHealth(w, ok, reasons, "the gateway is not healthy")
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	ok, reasons := s.opt.Health.Ready()
	writeHealth(w, ok, reasons, "the gateway is not ready")
}

func writeHealth(w http.ResponseWriter, ok bool, reasons []string, detail string) {
	if !ok {
		writeProblem(w, problemBody{Status: http.StatusServiceUnavailable, Detail: detail, OK: &ok, Reasons: reasons})
		return
	}
	writeJSON(w, healthBody{OK: true, Reasons: append([]string{}, reasons...)})
}

// stopBody is the answer of stop and resume.
type stopBody struct {
	Stopped bool `json:"stopped"`
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	s.latch(w, r, "stop", s.opt.Site.Stop, true)
}

func (s *Server) resume(w http.ResponseWriter, r *http.Request) {
	s.latch(w, r, "resume", s.opt.Site.Resume, false)
}

func (s *Server) latch(w http.ResponseWriter, r *http.Request, what string, change func(actor string) error, stopped bool) {
	if err := change(actor(r)); err != nil {
		s.opt.Log.Error("http", "change", what, "actor", actor(r), "err", err)
		code := http.StatusInternalServerError
		if errors.Is(err, ErrHeld) {
			code = http.StatusConflict
		}
		problem(w, code, what+": "+err.Error())
		return
	}
	writeJSON(w, stopBody{Stopped: stopped})
}

// actor names who asked, for the journal: there are no accounts, so it is the
// address.
func actor(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "http " + host
}
