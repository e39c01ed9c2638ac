package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of the server (reliability.md 4.3 row 17). They are constants: a
// local page for a few people needs no tuning.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 15 * time.Second // of a whole answer; of one write for streams and tables
	idleTimeout       = 60 * time.Second
	shutdownTimeout   = 5 * time.Second
	maxHeaderBytes    = 16 << 10
	maxBodyBytes      = 1 << 20
	maxDrainBytes     = 16 << 20 // read past maxBodyBytes before 413 is answered
	maxConnections    = 32
	maxStreams        = 8

	// net/http reads this much more than MaxHeaderBytes before it answers 431.
	headerSlop = 4096
)

// Site is what the gateway knows of its timeslots, and the owner's STOP.
type Site interface {
	// Timeslots returns the stored timeslots that overlap [from, to), soonest
	// first. A zero time leaves that side open.
	Timeslots(from, to time.Time) []Timeslot
	// Report returns the performance of one timeslot, false when it is unknown.
	Report(eventID string) (Report, bool)
	// Stop latches the owner's STOP: neutral everywhere until Resume. The
	// actor goes into the journal.
	Stop(actor string) error
	Resume(actor string) error
}

// LoadSource gives measured load.
type LoadSource interface {
	// Load calls emit for each row of [from, to) in order of time. It stops
	// when emit returns an error and returns that error.
	// Without channels it gives all of them.
	Load(from, to time.Time, step time.Duration, channels []string, emit func(LoadRow) error) error
}

// Explainer gives the decision of one round.
type Explainer interface {
	// Explain returns the round that was in force at a time, ErrNotKept when
	// there is none.
	Explain(at time.Time) (json.RawMessage, error)
}

// ErrNotKept: nothing is kept of the time that was asked for.
var ErrNotKept = errors.New("no round is kept")

// Health says how the gateway is, with the reasons where it is not well.
type Health interface {
	Healthy() (bool, []string)
	Ready() (bool, []string)
}

// Options are the parts that the server shows. All interfaces are called from
// many goroutines at once.
type Options struct {
	Board   *Board
	Site    Site
	Load    LoadSource
	Explain Explainer
	// Intervals says what became of the intervals that were sent to Leap, nil
	// where none are; the function may be nil, too.
	Intervals func() (any, error)
	Health    Health
	// Page maps paths to the files of the operator's page. They hold no site
	// data and are served without a token.
	Page map[string]http.Handler
	// Webhook takes POST /api/v1/leap/notifications and checks its own secret;
	// nil while the webhook is off, the path then does not exist.
	Webhook http.Handler
	// Token is what every path but the page, /healthz, /readyz and the webhook
	// asks for. Empty asks for nothing; Serve then takes loopback only.
	Token string
	// Hosts are names and addresses that count as the gateway's own, beside
	// those of this machine.
	Hosts []string
	// Now is the gateway's clock, for relative times; nil is time.Now.
	Now func() time.Time
	// Log gets what only a person at the machine needs; nil is slog.Default.
	Log *slog.Logger
}

// Server is the local HTTP interface. It answers whatever the state of the
// rest: a value that is not there is a dash or a 503, never a wait.
type Server struct {
	opt     Options
	routes  map[string]route
	own     *ownHosts
	gate    *gate
	streams chan struct{} // one place for each stream
}

// New returns a server for these parts. Board, Site, Load, Explain and Health
// must be there.
func New(opt Options) *Server {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	s := &Server{
		opt:     opt,
		own:     newOwnHosts(opt.Hosts),
		gate:    newGate(opt.Token),
		streams: make(chan struct{}, maxStreams),
	}
	s.routes = s.table()
	return s
}

// Handler returns the handler alone, without the limits that Serve puts on
// connections.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

// Serve answers on the listener until the context ends, then lets running
// answers finish for a few seconds. It closes the listener.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.opt.Token == "" && !isLoopback(ln.Addr()) {
		ln.Close()
		return fmt.Errorf("serve http on %s: this address can be reached from other machines, "+
			"which needs http.token; without one, http.listen must be a loopback address", ln.Addr())
	}
	limited := newLimitListener(ln, maxConnections)
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes - headerSlop,
		ConnState:         limited.connState,
		// Streams and long tables end when the gateway does.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(limited) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve http on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	// A fresh deadline: ctx has ended, answers that run still get their time.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := srv.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close() // who has not finished by now is cut off
	}
	<-served
	if err != nil {
		return fmt.Errorf("shut down http on %s: %w", ln.Addr(), err)
	}
	return nil
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback() // a pipe or a Unix socket is local
}
