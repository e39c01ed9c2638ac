package status

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener hands in-memory connections to a server, so that a bubble's
// clock runs its timeouts.
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
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// startPipe serves on pipes inside a bubble; dial opens one.
func startPipe(t *testing.T, opt Options) (dial func() net.Conn) {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(opt).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return func() net.Conn {
		ours, theirs := net.Pipe()
		l.conns <- theirs
		t.Cleanup(func() { ours.Close() })
		return ours
	}
}

func TestDribbledHeaderIsDroppedAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := startPipe(t, options(&fakeSite{}, NewBoard()))()
		go io.Copy(io.Discard, conn)
		began := time.Now()
		var err error
		for _, b := range []byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + strings.Repeat("a", 1000)) {
			if _, err = conn.Write([]byte{b}); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if lived := time.Since(began); err == nil || lived < readHeaderTimeout || lived > readHeaderTimeout+200*time.Millisecond {
			t.Errorf("dropped after %v (%v), want %v", lived, err, readHeaderTimeout)
		}
	})
}

func TestDribbledBodyIsDroppedAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site := &fakeSite{}
		conn := startPipe(t, options(site, NewBoard()))()
		answer := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(conn)
			answer <- string(b)
		}()
		began := time.Now()
		fmt.Fprint(conn, "POST /api/v1/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
		for {
			if _, err := conn.Write([]byte{'x'}); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if lived := time.Since(began); lived > readTimeout+2*time.Second {
			t.Errorf("dropped after %v, want %v", lived, readTimeout)
		}
		if got := <-answer; strings.Contains(got, "200 OK") || len(site.calls) != 0 {
			t.Errorf("the change was made: %q %v", got, site.calls)
		}
	})
}

func TestIdleConnectionIsClosedAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := startPipe(t, options(&fakeSite{}, NewBoard()))()
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		began := time.Now()
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		if lived := time.Since(began); lived != idleTimeout {
			t.Errorf("closed after %v, want %v", lived, idleTimeout)
		}
	})
}

// readEvents reads a stream into lines until it ends.
func readEvents(r io.Reader, lines chan<- string) {
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		lines <- scan.Text()
	}
	close(lines)
}

func TestStreamLivesLongAndBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		board := NewBoard()
		st := sampleStatus()
		board.Publish(st)
		conn := startPipe(t, options(&fakeSite{}, board))()
		lines := make(chan string, 1000)
		go readEvents(conn, lines)
		fmt.Fprint(conn, "GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
		time.Sleep(10 * time.Minute) // far beyond every timeout of the server
		st.SiteLoadW = num(4321)
		board.Publish(st)
		synctest.Wait()
		var all []string
		for len(lines) > 0 {
			all = append(all, <-lines)
		}
		text := strings.Join(all, "\n")
		for want, n := range map[string]int{": still here": 40, "event: status": 2, "retry: 3000": 1, `"site_load_w":-1500`: 1, `"site_load_w":4321`: 1, "Content-Type: text/event-stream": 1} {
			if got := strings.Count(text, want); got != n {
				t.Errorf("%q came %d times, want %d", want, got, n)
			}
		}
	})
}

func TestReaderThatNeverReadsBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		board := NewBoard()
		st := sampleStatus()
		board.Publish(st)
		dial := startPipe(t, options(&fakeSite{}, board))
		stuck, good := dial(), dial()
		lines := make(chan string, 10000)
		go readEvents(good, lines)
		for _, c := range []net.Conn{stuck, good} {
			fmt.Fprint(c, "GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		synctest.Wait()
		began := time.Now()
		for range 1000 { // the bubble's clock stands still while nothing waits
			board.Publish(st)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("1000 publishes waited %v", took)
		}
		time.Sleep(writeTimeout + time.Second)
		board.mu.Lock()
		readers := len(board.readers)
		board.mu.Unlock()
		if readers != 1 {
			t.Errorf("%d readers are left, want the one that reads", readers)
		}
		if len(lines) < 4 {
			t.Errorf("the good reader got %d lines", len(lines))
		}
	})
}

func TestSlowTableReaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		opt := options(&fakeSite{}, NewBoard())
		opt.Load = &fakeSite{rows: func(from, _ time.Time, _ time.Duration, emit func(LoadRow) error) error {
			for {
				if err := emit(LoadRow{T: from, Channel: "site", MeanW: num(1)}); err != nil {
					ended <- err
					return err
				}
			}
		}}
		conn := startPipe(t, opt)()
		fmt.Fprint(conn, "GET /api/v1/load HTTP/1.1\r\nHost: localhost\r\n\r\n")
		began := time.Now()
		b, read := make([]byte, 4096), 0
		for { // a little within each write's deadline, for ever
			n, err := conn.Read(b)
			if err != nil {
				break
			}
			read += n
			time.Sleep(2 * time.Second)
		}
		if err := <-ended; !errors.Is(err, errClientGone) || read == 0 {
			t.Errorf("ended with %v after %d bytes", err, read)
		}
		if took := time.Since(began); took > maxLoadTime+writeTimeout {
			t.Errorf("held the store for %v, want at most %v", took, maxLoadTime)
		}
	})
}

func TestStreamsAreLimited(t *testing.T) {
	_, board, host := start(t, nil)
	board.Publish(sampleStatus())
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range maxStreams {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		fmt.Fprint(conn, "GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("stream %d: %q %v", len(open), line, err)
		}
	}
	wantProblem(t, ask(t, "GET", "http://"+host+"/api/v1/stream", ""), 503, "streams are open")
	if a := ask(t, "GET", "http://"+host+"/api/v1/status", ""); a.code != 200 {
		t.Errorf("status beside full streams: %d", a.code)
	}
	open[0].Close()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		board.Publish(sampleStatus())
		resp, err := http.Get("http://" + host + "/api/v1/stream")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a stream that was closed gave no place back")
		}
	}
}

func TestConnectionsAreLimitedAndIdleOnesMakeRoom(t *testing.T) {
	_, _, host := start(t, nil)
	busy := func() net.Conn { // has sent half a header
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\n")
		return conn
	}
	finish := func(conn net.Conn, wait time.Duration) error {
		fmt.Fprint(conn, "Host: localhost\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(wait))
		_, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return err
	}
	conns := make([]net.Conn, maxConnections)
	for i := range conns {
		conns[i] = busy()
	}
	// The next one is served at once: the oldest that has not asked anything
	// yet has to go for it, and only that one.
	if err := finish(busy(), 2*time.Second); err != nil {
		t.Fatalf("connection %d beside %d that ask nothing: %v", maxConnections+1, maxConnections, err)
	}
	if err := finish(conns[0], 2*time.Second); err == nil {
		t.Errorf("the oldest connection was served, though it had to make room")
	}
	if err := finish(conns[maxConnections-1], 2*time.Second); err != nil {
		t.Errorf("the youngest of the %d: %v", maxConnections, err)
	}
}

func TestIdleConnectionsDoNotShutOthersOut(t *testing.T) {
	_, _, host := start(t, nil)
	for range 3 * maxConnections {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	site, _, host := start(t, nil)
	url := "http://" + host
	if a := ask(t, "GET", url+"/healthz", "", "X-Large: "+strings.Repeat("a", 15<<10)); a.code != 200 {
		t.Errorf("a header of 15 KiB: %d", a.code)
	}
	if a := ask(t, "GET", url+"/healthz", "", "X-Large: "+strings.Repeat("a", 17<<10)); a.code != 431 {
		t.Errorf("a header of 17 KiB: %d, want 431", a.code)
	}
	if a := ask(t, "GET", url+"/healthz?"+strings.Repeat("a", 17<<10), ""); a.code != 431 {
		t.Errorf("an address of 17 KiB: %d, want 431", a.code)
	}
	for _, path := range []string{"/api/v1/stop", loginPath} {
		for _, size := range []int{maxBodyBytes + 1, 8 << 20} {
			wantProblem(t, ask(t, "POST", url+path, strings.Repeat("x", size), "Content-Type: application/x-www-form-urlencoded"), 413)
		}
		// Without a length: counted while it comes.
		resp, err := http.Post(url+path, "application/x-www-form-urlencoded", io.MultiReader(strings.NewReader(strings.Repeat("x", maxBodyBytes)), strings.NewReader("yy")))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 413 {
			t.Errorf("%s in chunks: %d, want 413", path, resp.StatusCode)
		}
	}
	if len(site.calls) != 0 {
		t.Errorf("an over-large request was carried out: %v", site.calls)
	}
	if a := ask(t, "POST", url+"/api/v1/stop", strings.Repeat("x", maxBodyBytes)); a.code != 200 {
		t.Errorf("a body of exactly 1 MiB: %d", a.code)
	}
}

func TestShutdownEndsStreamsInTime(t *testing.T) {
	board := NewBoard()
	board.Publish(sampleStatus())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(options(&fakeSite{}, board)).Serve(ctx, ln) }()
	resp, err := http.Get("http://" + ln.Addr().String() + "/api/v1/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the port is still open")
	}
}
