package journal

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Options say where the journal is and how much is kept of it.
type Options struct {
	Dir      string
	MaxBytes int64         // 0: no limit
	MaxAge   time.Duration // 0: no limit
}

// Writer gathers lines into a block and appends it to its segment. One
// goroutine uses it. What can not be written is given up, so that a full disk
// costs lines and nothing else.
type Writer struct {
	opts Options
	// write appends a block to a file; tests make it fail.
	write func(path string, block []byte) error

	pending     bytes.Buffer // lines, each behind its time
	lines       int
	first, last time.Time
	segment     string
	lost        int
}

// level is of DEFLATE's nine: higher ones gain nothing here, the lowest makes
// half as much again.
const level = 6

// NewWriter returns a writer. The directory is made with the first block.
func NewWriter(opts Options) *Writer { return &Writer{opts: opts, write: appendBlock} }

// Append adds a line. It goes to disk with Flush, or before that when its hour
// is another than that of the lines before it, or the block is full; an error
// is that of this writing.
func (w *Writer) Append(at time.Time, line []byte) error {
	if len(line) > MaxLine || bytes.IndexByte(line, '\n') >= 0 {
		w.lost++
		return fmt.Errorf("journal: a line of %d bytes can not be kept; the most is %d, without line breaks", len(line), MaxLine)
	}
	var err error
	name := segmentOf(at)
	if w.lines > 0 && (name != w.segment || w.pending.Len() >= blockRaw) {
		err = w.Flush()
	}
	if w.lines == 0 {
		w.segment, w.first, w.last = name, at, at
	}
	if at.Before(w.first) {
		w.first = at
	}
	if at.After(w.last) {
		w.last = at
	}
	w.lines++
	w.pending.Write(append(strconv.AppendInt(nil, at.UnixNano(), 10), ' '))
	w.pending.Write(line)
	w.pending.WriteByte('\n')
	return err
}

// Pending is how many lines wait for Flush.
func (w *Writer) Pending() int { return w.lines }

// Lost is how many lines were given up.
func (w *Writer) Lost() int { return w.lost }

// Flush writes what was added since the last one, and first removes what is
// older or more than the options keep. With an error the lines are given up.
func (w *Writer) Flush() error {
	if w.lines == 0 {
		return nil
	}
	lines := w.lines
	block, err := compress(w.pending.Bytes())
	w.lines = 0
	w.pending.Reset()
	if w.pending.Cap() > keepBuffer {
		w.pending = bytes.Buffer{}
	}
	if err == nil {
		seal(block, w.first, w.last)
		err = w.store(block)
	}
	if err != nil {
		w.lost += lines
		return fmt.Errorf("write journal, %d rounds are not kept: %w", lines, err)
	}
	return nil
}

// keepBuffer is how large the buffer may stay between two blocks.
const keepBuffer = 64 << 10

// compress makes a block's payload, with room for the header before it. The
// compressor takes most of a megabyte, so none is kept for the minute between
// two blocks.
func compress(lines []byte) ([]byte, error) {
	var block bytes.Buffer
	block.Write(make([]byte, headerSize))
	deflate, err := flate.NewWriter(&block, level)
	if err != nil {
		return nil, err
	}
	if _, err := deflate.Write(lines); err != nil {
		return nil, err
	}
	if err := deflate.Close(); err != nil {
		return nil, err
	}
	return block.Bytes(), nil
}

func (w *Writer) store(block []byte) error {
	if err := os.MkdirAll(w.opts.Dir, 0o750); err != nil {
		return err
	}
	if err := w.makeRoom(int64(len(block))); err != nil {
		return err
	}
	path := filepath.Join(w.opts.Dir, w.segment)
	err := w.write(path, block)
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	// The newest lines are worth more than the oldest, and what others write
	// here is worth more than both.
	if removed, rerr := w.removeOldest(); rerr != nil || !removed {
		return errors.Join(err, rerr)
	}
	return w.write(path, block)
}

// Expire removes the segments that are older than the options keep, counted
// from a time that is certainly not ahead: a clock that is years ahead must not
// empty the journal.
func (w *Writer) Expire(now time.Time) error {
	if w.opts.MaxAge <= 0 || now.IsZero() {
		return nil
	}
	all, err := segments(w.opts.Dir)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.hour.Add(time.Hour).After(now.Add(-w.opts.MaxAge)) {
			break
		}
		if err := w.remove(s); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom removes the oldest segments until so many bytes more fit into the
// budget.
func (w *Writer) makeRoom(more int64) error {
	if w.opts.MaxBytes <= 0 {
		return nil
	}
	if more > w.opts.MaxBytes {
		return fmt.Errorf("a block of %d bytes is more than the journal may take, which is %d", more, w.opts.MaxBytes)
	}
	all, err := segments(w.opts.Dir)
	if err != nil {
		return err
	}
	total := more
	for _, s := range all {
		total += s.size
	}
	for _, s := range w.currentLast(all) {
		if total <= w.opts.MaxBytes {
			return nil
		}
		if err := w.remove(s); err != nil {
			return err
		}
		total -= s.size
	}
	return nil
}

// currentLast puts the segment that is written now behind all others, whatever
// its name: after a clock was set back it is not the newest by name.
func (w *Writer) currentLast(all []segment) []segment {
	for i, s := range all {
		if s.name == w.segment {
			return append(append(append([]segment(nil), all[:i]...), all[i+1:]...), s)
		}
	}
	return all
}

// removeOldest removes the oldest segment but the one that is written now.
func (w *Writer) removeOldest() (bool, error) {
	all, err := segments(w.opts.Dir)
	if err != nil {
		return false, err
	}
	for _, s := range all {
		if s.name != w.segment {
			return true, w.remove(s)
		}
	}
	return false, nil
}

func (w *Writer) remove(s segment) error {
	if err := os.Remove(filepath.Join(w.opts.Dir, s.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old journal: %w", err)
	}
	return nil
}

// appendBlock writes a block so that it is on disk when it returns. What of it
// was written before an error is taken back.
func appendBlock(path string, block []byte) error {
	_, statErr := os.Stat(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer f.Close() // synced below; closing can not lose anything more
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.Write(block); err != nil {
		return errors.Join(err, f.Truncate(info.Size()))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if statErr == nil {
		return nil
	}
	return syncDir(filepath.Dir(path)) // the file's name is new
}

// syncDir makes a new name in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems (9p, some FUSE) refuse to sync a directory.
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
