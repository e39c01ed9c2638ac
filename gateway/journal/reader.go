package journal

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Damage is a part of a segment that could not be read.
type Damage struct {
	Segment string `json:"segment"`
	Offset  int64  `json:"offset"`
	Bytes   int64  `json:"bytes"`
	Why     string `json:"why"`
}

// String names the place and what is wrong there.
func (d Damage) String() string {
	return fmt.Sprintf("%s: %d bytes at %d can not be read: %s", d.Segment, d.Bytes, d.Offset, d.Why)
}

// Read calls emit for each line of [from, to), oldest segment first and in the
// order of writing within it, and damaged for each part that it has to leave
// out. A zero time leaves that side open. A line is valid during its call only.
// Memory is bounded by one block, however long the time is. It stops when emit
// returns an error and returns that error.
func Read(dir string, from, to time.Time, emit func(at time.Time, line []byte) error, damaged func(Damage)) error {
	all, err := segments(dir)
	if err != nil {
		return err
	}
	w := window{from: minTime, to: maxTime}
	if !from.IsZero() {
		w.from = from.UnixNano()
	}
	if !to.IsZero() {
		w.to = to.UnixNano()
	}
	for _, s := range all {
		if (!from.IsZero() && !s.hour.Add(time.Hour).After(from)) || (!to.IsZero() && !s.hour.Before(to)) {
			continue
		}
		if err := readSegment(filepath.Join(dir, s.name), w, emit, damaged); err != nil {
			return err
		}
	}
	return nil
}

// Find returns the newest line at or before a time that is at most within
// older, with its own time; nil where there is none. It calls damaged for each
// part of that hour that can not be read.
func Find(dir string, at time.Time, within time.Duration, damaged func(Damage)) (line []byte, when time.Time, err error) {
	emit := func(t time.Time, l []byte) error {
		if !t.Before(when) { // of two at the same time the later written one counts
			line, when = append(line[:0], l...), t
		}
		return nil
	}
	err = Read(dir, at.Add(-within), at.Add(1), emit, damaged)
	return line, when, err
}

// Kept returns the time of the first and the last line that can be read; zero
// times where there is none.
func Kept(dir string) (first, last time.Time, err error) {
	all, err := segments(dir)
	if err != nil {
		return first, last, err
	}
	for i := 0; i < len(all) && first.IsZero(); i++ {
		if first, _, err = extent(filepath.Join(dir, all[i].name)); err != nil {
			return first, last, err
		}
	}
	for i := len(all) - 1; i >= 0 && last.IsZero(); i-- {
		if _, last, err = extent(filepath.Join(dir, all[i].name)); err != nil {
			return first, last, err
		}
	}
	return first, last, nil
}

// extent is the earliest and the latest time of a segment's good blocks.
func extent(path string) (first, last time.Time, err error) {
	err = scanFile(path, func(_ int64, h header, _ []byte) error {
		f, l := time.Unix(0, h.first).UTC(), time.Unix(0, h.last).UTC()
		if first.IsZero() || f.Before(first) {
			first = f
		}
		if l.After(last) {
			last = l
		}
		return nil
	}, func(Damage) {})
	return first, last, err
}

// window is a stretch of time [from, to) in ns since 1970.
type window struct{ from, to int64 }

const (
	minTime = -1 << 63
	maxTime = 1<<63 - 1
)

// errUnpack: the block is whole and what is in it is not what the writer makes.
var errUnpack = errors.New("its content can not be unpacked")

func readSegment(path string, w window, emit func(time.Time, []byte) error, damaged func(Damage)) error {
	return scanFile(path, func(at int64, h header, payload []byte) error {
		if h.last < w.from || h.first >= w.to {
			return nil
		}
		err := unpack(payload, w, emit)
		if errors.Is(err, errUnpack) {
			damaged(Damage{Segment: filepath.Base(path), Offset: at, Bytes: int64(headerSize + len(payload)), Why: err.Error()})
			return nil
		}
		return err
	}, damaged)
}

// unpack calls emit for the lines of a block that lie in the window.
func unpack(payload []byte, w window, emit func(time.Time, []byte) error) error {
	inflate := flate.NewReader(bytes.NewReader(payload))
	defer inflate.Close() // reading has said what there is to say
	lines := bufio.NewScanner(inflate)
	lines.Buffer(make([]byte, 0, 16<<10), MaxLine+stampRoom)
	for lines.Scan() {
		stamp, line, ok := bytes.Cut(lines.Bytes(), []byte{' '})
		ns, err := strconv.ParseInt(string(stamp), 10, 64)
		if !ok || err != nil {
			return fmt.Errorf("%w: a line without a time", errUnpack)
		}
		if ns < w.from || ns >= w.to {
			continue
		}
		if err := emit(time.Unix(0, ns).UTC(), line); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", errUnpack, err)
	}
	return nil
}

// stampRoom is the longest time before a line, with its space and line break.
const stampRoom = 24

func scanFile(path string, block func(int64, header, []byte) error, damaged func(Damage)) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile, to keep the budget
	}
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	defer f.Close() // read only
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	s := scanner{r: f, size: info.Size(), block: block,
		damaged: func(from, to int64, why string) {
			damaged(Damage{Segment: filepath.Base(path), Offset: from, Bytes: to - from, Why: why})
		}}
	if err := s.run(); err != nil {
		return fmt.Errorf("read journal %s: %w", path, err)
	}
	return nil
}

// scanner walks over the blocks of a segment.
type scanner struct {
	r       io.ReaderAt
	size    int64
	block   func(at int64, h header, payload []byte) error
	damaged func(from, to int64, why string)
	payload []byte
}

// run calls block for each good block and damaged for all between them.
func (s *scanner) run() error {
	for at := int64(0); at < s.size; {
		h, why, err := s.read(at)
		if err != nil {
			return err
		}
		if why == "" {
			if err := s.block(at, h, s.payload[headerSize-crcFrom:]); err != nil {
				return err
			}
			at += int64(headerSize) + int64(h.length)
			continue
		}
		next, err := s.resync(at + 1)
		if err != nil {
			return err
		}
		s.damaged(at, next, why)
		at = next
	}
	return nil
}

const cutOff = "it is cut off"

// ignoreEOF takes the end of the file for no error: the writer takes back what
// it could not write whole, so the file may become shorter while it is read.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// read takes the block at an offset, or says why there is none.
func (s *scanner) read(at int64) (h header, why string, err error) {
	var raw [headerSize]byte
	if at+int64(headerSize) > s.size {
		return h, cutOff, nil
	}
	if _, err := s.r.ReadAt(raw[:], at); err != nil {
		return h, cutOff, ignoreEOF(err)
	}
	h, ok := parseHeader(raw[:])
	switch {
	case !ok:
		return h, "no block begins here", nil
	case at+int64(headerSize)+int64(h.length) > s.size:
		return h, cutOff, nil
	}
	// The checksum begins within the header, so both are read as one.
	n := headerSize - crcFrom + int(h.length)
	if cap(s.payload) < n {
		s.payload = make([]byte, n)
	}
	s.payload = s.payload[:n]
	if _, err := s.r.ReadAt(s.payload, at+int64(crcFrom)); err != nil {
		return h, cutOff, ignoreEOF(err)
	}
	if crc32.ChecksumIEEE(s.payload) != h.crc {
		return h, "its checksum is wrong", nil
	}
	return h, "", nil
}

// resync looks for the next place where a block may begin.
func (s *scanner) resync(from int64) (int64, error) {
	const step = 64 << 10
	buf := make([]byte, step+len(magic)-1)
	for at := from; at < s.size; at += step {
		n, err := s.r.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.Index(buf[:n], []byte(magic)); i >= 0 {
			return at + int64(i), nil
		}
	}
	return s.size, nil
}
