package status

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// heartbeat is how often a quiet stream gets a comment, so that proxies keep
// it and a reader that has gone is found.
const heartbeat = 15 * time.Second

// stream sends the status as server-sent events: the newest at once, then one
// "status" event for each publish. A slow reader misses some.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "15")
		problem(w, http.StatusServiceUnavailable, fmt.Sprintf("%d streams are open, which is all there are: close a page", maxStreams))
		return
	}
	rc := http.NewResponseController(w)
	// The server's read timeout would end the request's context after 10 s.
	if err := rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return
	}
	s.sendEvents(r, func(text string) error {
		if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return rc.Flush()
	})
}

// sendEvents runs until the client leaves, is too slow, or the server ends.
func (s *Server) sendEvents(r *http.Request, send func(string) error) {
	changed, cancel := s.opt.Board.Subscribe()
	defer cancel()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	if send("retry: 3000\n\n") != nil {
		return
	}
	var last *snapshot
	for {
		if snap := s.opt.Board.latest.Load(); snap != last {
			last = snap
			body, err := snap.encode()
			if err != nil {
				s.opt.Log.Error("http", "path", r.URL.Path, "err", err)
				return
			}
			if send("event: status\ndata: "+string(body)+"\n\n") != nil {
				return
			}
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-beat.C:
			if send(": still here\n\n") != nil {
				return
			}
		}
	}
}
