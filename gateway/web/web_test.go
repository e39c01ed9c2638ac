package web

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// fetch gets one file as it comes over the wire, without unpacking.
func fetch(t *testing.T, method, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestFilesComePackedAndOnce(t *testing.T) {
	_, url := startSite(t, slotStart(), "a token, which the files do not ask for")
	pages, err := Pages()
	if err != nil {
		t.Fatal(err)
	}
	var page, report int // what a browser fetches for each view
	for path := range pages {
		resp, plain := fetch(t, "GET", url+path)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "" || resp.ContentLength != int64(len(plain)) {
			t.Fatalf("%s: %d %v", path, resp.StatusCode, resp.Header)
		}
		gz, packed := fetch(t, "GET", url+path, "Accept-Encoding: br, GZIP;q=0.8")
		zr, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got, err := io.ReadAll(zr); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: unpacked it is another file (%v)", path, err)
		}
		switch {
		case strings.HasPrefix(path, "/static/report."):
			report += len(packed)
		case path == "/static/app.css":
			page, report = page+len(packed), report+len(packed)
		default:
			page += len(packed)
		}
		if gz.Header.Get("ETag") == resp.Header.Get("ETag") || gz.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: a cache can mix up the encodings: %v", path, gz.Header)
		}
		if r, _ := fetch(t, "GET", url+path, "Accept-Encoding: gzip;q=0"); r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: packed for a client that refuses it", path)
		}
		for _, known := range []string{gz.Header.Get("ETag"), `"other", W/` + gz.Header.Get("ETag"), "*"} {
			r, body := fetch(t, "GET", url+path, "Accept-Encoding: gzip", "If-None-Match: "+known)
			if r.StatusCode != 304 || len(body) != 0 {
				t.Errorf("%s with If-None-Match %s: %d, %d bytes", path, known, r.StatusCode, len(body))
			}
		}
		if r, body := fetch(t, "HEAD", url+path); r.StatusCode != 200 || len(body) != 0 || r.ContentLength != int64(len(plain)) {
			t.Errorf("HEAD %s: %d %d", path, r.StatusCode, r.ContentLength)
		}
	}
	if page > 16<<10 || report > 8<<10 {
		t.Errorf("packed, the page weighs %d bytes and the report %d; want at most 16 and 8 KiB", page, report)
	}
	if r, _ := fetch(t, "POST", url+"/static/app.js"); r.StatusCode != 405 {
		t.Errorf("POST to a file: %d", r.StatusCode)
	}
	if r, _ := fetch(t, "GET", url+"/static/nothing.js"); r.StatusCode != 404 {
		t.Errorf("a file that is not there: %d", r.StatusCode)
	}
}

// The policy that the server sends forbids all of these; the page would break
// without a word.
func TestPageHasNothingInlineAndNothingFromElsewhere(t *testing.T) {
	entries, err := files.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := regexp.MustCompile(`(?i)(src|href)\s*=\s*"(https?:)?//|@import|url\(|\bon[a-z]+="|style="|javascript:|innerHTML|outerHTML|insertAdjacentHTML|eval\(`)
	for _, e := range entries {
		text, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if found := elsewhere.FindAll(text, -1); found != nil {
			t.Errorf("%s has %q", e.Name(), found)
		}
	}
}
