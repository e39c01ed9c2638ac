package leap

import (
	"context"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nominald/dispatch"
)

// TestFromTheWireToTheSchedule runs the poller with the real client against a
// real server that goes down, comes back and cancels.
func TestFromTheWireToTheSchedule(t *testing.T) {
	var asked atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := asked.Add(1); {
		case n == 2:
			http.Error(w, "down", http.StatusBadGateway)
		case n > 2:
			_, _ = w.Write(onePage(strings.Replace(goodSlot, `"cancelled":false`, `"cancelled":true`, 1)))
		default:
			_, _ = w.Write(onePage(goodSlot))
		}
	}))
	defer api.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	now := time.Date(2026, 7, 21, 12, 0, 0, 0, time.UTC)
	var s *dispatch.Schedule
	var seen []string
	p := NewPoller(PollerOptions{
		Client: New(Options{BaseURL: api.URL + "/v2", Key: func() string { return testKey },
			Now: func() time.Time { now = now.Add(time.Second); return now }}),
		Meters: []string{meterA}, Poll: 20 * time.Millisecond,
		Deliver: func(_ context.Context, b dispatch.Batch) error {
			var changes []dispatch.Change
			s, changes = dispatch.Merge(s, b, b.Observed)
			for _, c := range changes {
				seen = append(seen, c.Kind)
			}
			if len(seen) == 2 {
				cancel()
			}
			return nil
		},
	})
	_ = p.Run(ctx)
	r, ok := s.Get(eventA)
	if got := strings.Join(seen, " "); !ok || got != "new cancelled" || r.Revision != 2 {
		t.Errorf("changes %q, revision %d", got, r.Revision)
	}
	if state, _ := r.StateAt(r.Start.Add(time.Minute), 0); state != dispatch.Cancelled {
		t.Errorf("state %s", state)
	}
}

// TestSearchOverTLS proves the transport that the product uses.
func TestSearchOverTLS(t *testing.T) {
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("protocol %s", r.Proto)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(onePage(goodSlot))
	}))
	api.EnableHTTP2 = true
	api.StartTLS()
	defer api.Close()
	transport := newTransport()
	transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	transport.TLSClientConfig.RootCAs.AddCert(api.Certificate())
	defer transport.CloseIdleConnections()
	c := New(Options{BaseURL: api.URL + "/v2", Key: func() string { return testKey },
		HTTP: &http.Client{Transport: transport}})
	if r, err := c.Search(t.Context(), window()); err != nil || len(r.Slots) != 1 {
		t.Errorf("%d timeslots, error %v", len(r.Slots), err)
	}
}
