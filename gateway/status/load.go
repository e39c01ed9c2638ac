package status

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxLoadTime ends a table whose reader is slow, since the store keeps old
// pages for as long as somebody reads.
const maxLoadTime = 5 * time.Minute

// errClientGone ends a table whose reader has left or is too slow.
var errClientGone = errors.New("client has gone or is too slow")

func (s *Server) load(w http.ResponseWriter, r *http.Request) {
	lq, err := parseLoad(r, s.opt.Now())
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxLoadTime)
	defer cancel()
	out := &deadlineWriter{ctx: ctx, w: w, rc: http.NewResponseController(w)}
	buf := bufio.NewWriterSize(out, 16<<10)
	var t table = &jsonTable{buf: buf, step: lq.step}
	w.Header().Set("Content-Type", "application/json")
	if lq.csv {
		// A csv.Writer takes a bufio.Writer for its own and flushes it with each
		// row; behind a plain io.Writer it has one of its own.
		t = &csvTable{csv: csv.NewWriter(struct{ io.Writer }{buf})}
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="load.csv"`)
	}
	w.Header().Set("Vary", "Accept")
	err = writeTable(t, func(emit func(LoadRow) error) error {
		return s.opt.Load.Load(lq.from, lq.to, lq.step, lq.channels, emit)
	})
	if err == nil {
		err = buf.Flush()
	}
	switch {
	case err == nil:
	case !out.begun:
		w.Header().Del("Content-Disposition")
		problem(w, http.StatusInternalServerError, fmt.Sprintf("read load from %s to %s: %v",
			lq.from.Format(time.RFC3339), lq.to.Format(time.RFC3339), err))
	default:
		// Part of the table is out under status 200. Cutting the connection is
		// the one way to say that it is not whole.
		if !errors.Is(err, errClientGone) {
			s.opt.Log.Error("http", "path", r.URL.Path, "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// table writes load in one format.
type table interface {
	head() error
	row(LoadRow) error
	tail() error
}

func writeTable(t table, rows func(emit func(LoadRow) error) error) error {
	if err := t.head(); err != nil {
		return err
	}
	if err := rows(t.row); err != nil {
		return err
	}
	return t.tail()
}

// jsonTable writes a LoadTable row by row, without holding it.
type jsonTable struct {
	buf  *bufio.Writer
	step time.Duration
	rows int
}

func (t *jsonTable) head() error {
	_, err := fmt.Fprintf(t.buf, `{"step_s":%d,"rows":[`, t.step/time.Second)
	return err
}

func (t *jsonTable) row(r LoadRow) error {
	r.T = r.T.UTC()
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode load of %s at %s: %w", r.Channel, r.T.Format(time.RFC3339), err)
	}
	if t.rows++; t.rows > 1 {
		t.buf.WriteByte(',') // bufio keeps the error for the next Write
	}
	_, err = t.buf.Write(line)
	return err
}

func (t *jsonTable) tail() error {
	_, err := t.buf.WriteString("]}\n")
	return err
}

// csvTable writes the same rows as comma-separated values. Unknown numbers
// are empty fields.
type csvTable struct {
	csv *csv.Writer
}

func (t *csvTable) head() error {
	return t.write([]string{"t", "channel", "mean_w", "min_w", "max_w", "wh", "quality"})
}

func (t *csvTable) row(r LoadRow) error {
	return t.write([]string{
		r.T.UTC().Format(time.RFC3339Nano), r.Channel,
		number(r.MeanW), number(r.MinW), number(r.MaxW), number(r.Wh), r.Quality,
	})
}

func (t *csvTable) write(fields []string) error {
	if err := t.csv.Write(fields); err != nil {
		return err
	}
	t.csv.Flush() // into buf, which is what bounds the writes to the client
	return t.csv.Error()
}

func (t *csvTable) tail() error { return nil }

func number(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'f', -1, 64)
}

// deadlineWriter gives each write its own time, since a long table takes
// longer than one answer may.
type deadlineWriter struct {
	ctx   context.Context
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

func (d *deadlineWriter) Write(p []byte) (int, error) {
	if err := d.ctx.Err(); err != nil {
		return 0, fmt.Errorf("%w: %w", errClientGone, err)
	}
	d.begun = true
	// Not every ResponseWriter has deadlines; the server's own do.
	if err := d.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, fmt.Errorf("%w: %w", errClientGone, err)
	}
	n, err := d.w.Write(p)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errClientGone, err)
	}
	return n, nil
}
