package status

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// limitListener hands out at most a fixed number of connections at a time.
// When all are taken the next one waits in the kernel, and the connection that
// has idled longest, between two requests or before its first, is closed to
// make room for it.
type limitListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	idle    map[net.Conn]time.Time // since when
	waiting bool                   // Accept waits for a place
}

func newLimitListener(ln net.Listener, n int) *limitListener {
	return &limitListener{
		Listener: ln,
		places:   make(chan struct{}, n),
		closed:   make(chan struct{}),
		idle:     make(map[net.Conn]time.Time),
	}
}

// Accept waits for a place, then for a connection.
func (l *limitListener) Accept() (net.Conn, error) {
	if !l.takePlace() {
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, release: func() { <-l.places }}, nil
}

func (l *limitListener) takePlace() bool {
	select {
	case l.places <- struct{}{}:
		return true
	default:
	}
	l.setWaiting(true)
	defer l.setWaiting(false)
	select {
	case l.places <- struct{}{}:
		return true
	case <-l.closed:
		return false
	}
}

// setWaiting notes that the next connection waits, and makes room for it.
func (l *limitListener) setWaiting(on bool) {
	l.mu.Lock()
	l.waiting = on
	var oldest net.Conn
	if on {
		for c, since := range l.idle {
			if oldest == nil || since.Before(l.idle[oldest]) {
				oldest = c
			}
		}
	}
	l.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
}

// connState is the server's ConnState hook: it learns here which connections
// idle.
func (l *limitListener) connState(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	drop := false
	switch state {
	case http.StateNew:
		// One that never asks anything is as idle as one between two requests.
		l.idle[c] = time.Now()
	case http.StateIdle:
		l.idle[c] = time.Now()
		drop = l.waiting
	default:
		delete(l.idle, c)
	}
	l.mu.Unlock()
	if drop {
		c.Close()
	}
}

// Close closes the listener and ends a waiting Accept.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its place back when it is closed, once.
type limitedConn struct {
	net.Conn
	once    sync.Once
	release func()
}

// CloseWrite lets the server end its side first, as it does after an error, so
// that the client reads the answer before the connection is reset.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
