// Package web holds the operator's page: HTML, style and script as plain
// files, without a framework, a build step or anything from elsewhere. The
// files hold no site data; the page asks gateway/status for that.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var files embed.FS

// Pages returns a handler for each file of the page, by its path: "/" and
// "/static/...". They are compressed here, once.
func Pages() (map[string]http.Handler, error) {
	entries, err := files.ReadDir("static")
	if err != nil {
		return nil, fmt.Errorf("list the page's files: %w", err)
	}
	pages := make(map[string]http.Handler, len(entries))
	for _, e := range entries {
		f, err := newFile(e.Name())
		if err != nil {
			return nil, err
		}
		at := "/static/" + e.Name()
		if e.Name() == "index.html" {
			at = "/"
		}
		pages[at] = f
	}
	return pages, nil
}

// file is one file of the page in both encodings.
type file struct {
	contentType string
	tag         string // of the content; each encoding has its own ETag
	plain       []byte
	packed      []byte
}

func newFile(name string) (*file, error) {
	plain, err := files.ReadFile("static/" + name)
	if err != nil {
		return nil, fmt.Errorf("read the page's file %s: %w", name, err)
	}
	contentType, ok := contentTypes()[path.Ext(name)]
	if !ok {
		return nil, fmt.Errorf("page's file %s: no content type is known for %q", name, path.Ext(name))
	}
	var packed bytes.Buffer
	zw, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress the page's file %s: %w", name, err)
	}
	if _, err := zw.Write(plain); err != nil {
		return nil, fmt.Errorf("compress the page's file %s: %w", name, err)
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("compress the page's file %s: %w", name, err)
	}
	sum := sha256.Sum256(plain)
	return &file{contentType: contentType, tag: hex.EncodeToString(sum[:8]), plain: plain, packed: packed.Bytes()}, nil
}

// contentTypes are given here: the mime package would read the machine's own
// list, which may say something else.
func contentTypes() map[string]string {
	return map[string]string{
		".html": "text/html; charset=utf-8",
		".css":  "text/css; charset=utf-8",
		".js":   "text/javascript; charset=utf-8",
		".svg":  "image/svg+xml",
	}
}

// ServeHTTP answers GET and HEAD. Browsers keep the file and ask each time
// whether it is still the same, so that an upgrade shows at once.
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, tag := f.plain, `"`+f.tag+`"`
	h := w.Header()
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if takesGzip(r.Header.Values("Accept-Encoding")) {
		body, tag = f.packed, `"`+f.tag+`-gz"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", tag)
	for known := range strings.SplitSeq(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		if known = strings.TrimSpace(known); known == "*" || strings.TrimPrefix(known, "W/") == tag {
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body) // a client that has gone can not be told
	}
}

// takesGzip reports whether an Accept-Encoding names gzip and does not weigh
// it with zero.
func takesGzip(accept []string) bool {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q := strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(params), " ", ""), "q=")
		return strings.Trim(q, "0.") != "" || q == ""
	}
	return false
}
