package leap

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener is a network inside a bubble of virtual time.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// searchSlow runs one search in virtual time against a real HTTP server that
// answers with h, and returns how long it took.
func searchSlow(t *testing.T, h http.HandlerFunc) (took time.Duration, err error) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipeListener{make(chan net.Conn), make(chan struct{})}
		server := &http.Server{Handler: h}
		go func() { _ = server.Serve(l) }()
		transport := newTransport()
		transport.DialContext = l.dial
		transport.HTTP2 = nil
		c := New(Options{BaseURL: "http://127.0.0.1/v2", Key: func() string { return testKey },
			HTTP: &http.Client{Transport: transport}})
		start := time.Now()
		_, err = c.Search(t.Context(), window())
		took = time.Since(start)
		transport.CloseIdleConnections()
		_ = server.Close()
		synctest.Wait()
	})
	return took, err
}

// dribble sends one byte of a body at each step, until it is cut off.
func dribble(step time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-time.After(step):
			case <-r.Context().Done():
			}
		}
	}
}

func TestSlowAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    time.Duration
		text    string
	}{
		"1 byte/s":               {dribble(time.Second), pageDeadline, "no complete answer after 1m0s"},
		"stands still":           {dribble(time.Hour), stallAfter, "stood still for 15s"},
		"just under the stall":   {dribble(14 * time.Second), pageDeadline, "no complete answer"},
		"never answers":          {silent, 20 * time.Second, "awaiting response headers"},
		"error that stops short": {stuckRefusal, stallAfter, "403"},
	} {
		t.Run(name, func(t *testing.T) {
			took, err := searchSlow(t, c.handler)
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want it to say %q", err, c.text)
			}
			if took < c.want || took > c.want+time.Second {
				t.Errorf("took %s, want %s", took, c.want)
			}
			if strings.Contains(c.text, "answer") && !errors.Is(err, context.DeadlineExceeded) {
				t.Error("not a deadline")
			}
		})
	}
}

// silent reads the request, without which a server does not notice that the
// client has gone, and says nothing.
func silent(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// stuckRefusal: what matters of an error is its status, which is there.
func stuckRefusal(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusForbidden)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func TestSlowButSteadyAnswerIsRead(t *testing.T) {
	body := onePage(goodSlot)
	took, err := searchSlow(t, func(w http.ResponseWriter, _ *http.Request) {
		for len(body) > 0 {
			n := min(20, len(body))
			_, _ = w.Write(body[:n])
			w.(http.Flusher).Flush()
			body = body[n:]
			time.Sleep(time.Second)
		}
	})
	if err != nil || took < 20*time.Second {
		t.Errorf("took %s, error %v", took, err)
	}
}
