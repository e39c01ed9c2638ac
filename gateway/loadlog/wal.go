package loadlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"syscall"
)

// The seconds that are not sealed yet live in a ring of pages in one file. Each
// flush writes one frame at the start of a fresh page, so that a page that is
// torn by a power cut takes no earlier frame with it, and since the file never
// grows, the card writes that page and nothing else: no block is allocated, no
// directory and no journal of the file system changes.
//
//	frame: 4 bytes magic | 8 bytes sequence | 4 bytes length of the body
//	     | 4 bytes CRC-32C of sequence, length and body | body, over as many pages as it takes
const (
	walName   = "seconds.ring"
	walMagic  = 0x6c6f6164 // "load"
	walHeader = 20
	pageBytes = 4096
	// walPages hold seven hours of 20 channels, a page a flush: so long may the
	// disk be too full for the days' files before the oldest seconds are given up.
	walPages = 512
)

// frame is what one flush wrote.
type frame struct {
	seq  uint64
	body []byte
	page int // where it begins
}

func (f frame) pages() int { return (walHeader + len(f.body) + pageBytes - 1) / pageBytes }

// ringFile is what the ring needs of its file.
type ringFile interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Close() error
}

// dataFile syncs what was written and nothing else: a file that keeps its length
// has no more to say than the time of its change.
type dataFile struct{ *os.File }

// Sync waits for the data.
func (f dataFile) Sync() error { return syscall.Fdatasync(int(f.Fd())) }

// wal is the ring of frames.
type wal struct {
	file ringFile
	next int    // page of the next frame
	seq  uint64 // of the last frame
}

// checksum is the CRC-32C over the parts.
func checksum(parts ...[]byte) uint32 {
	table, sum := crc32.MakeTable(crc32.Castagnoli), uint32(0)
	for _, p := range parts {
		sum = crc32.Update(sum, table, p)
	}
	return sum
}

// openWAL opens or makes the ring and returns its frames by sequence. What can
// not be read is counted, not served.
func openWAL(path string) (w *wal, frames []frame, bad int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("open %s: %w", path, err)
	}
	if err := fill(f); err != nil {
		return nil, nil, 0, errors.Join(fmt.Errorf("make room for %s: %w", path, err), f.Close())
	}
	w = &wal{file: dataFile{f}}
	frames, bad, err = w.read()
	if err != nil {
		return nil, nil, bad, errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
	}
	if n := len(frames); n > 0 {
		last := frames[n-1]
		w.seq, w.next = last.seq, (last.page+last.pages())%walPages
	}
	return w, frames, bad, nil
}

// fill writes the file out to its full length: blocks that were written once
// cost nothing but themselves later on.
func fill(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 16*pageBytes)
	for at := info.Size() / int64(len(zeros)) * int64(len(zeros)); at < walPages*pageBytes; at += int64(len(zeros)) {
		from := max(0, info.Size()-at) // what is there stays
		if from >= int64(len(zeros)) {
			continue
		}
		if _, err := f.WriteAt(zeros[from:], at+from); err != nil {
			return err
		}
	}
	if info.Size() < walPages*pageBytes {
		return f.Sync()
	}
	return nil
}

// read finds every frame whose checksum holds.
func (w *wal) read() (frames []frame, bad int, err error) {
	all := make([]byte, walPages*pageBytes)
	if n, err := w.file.ReadAt(all, 0); err != nil && (!errors.Is(err, io.EOF) || n < pageBytes) {
		if bad = w.readPages(all); bad == walPages {
			return nil, 0, err
		}
	}
	for page := range walPages {
		b := all[page*pageBytes:]
		if binary.LittleEndian.Uint32(b) != walMagic {
			continue
		}
		f := frame{seq: binary.LittleEndian.Uint64(b[4:]), page: page}
		length := binary.LittleEndian.Uint32(b[12:])
		if uint64(length) > uint64(max(0, len(b)-walHeader)) || checksum(b[4:16], b[walHeader:walHeader+length]) != binary.LittleEndian.Uint32(b[16:]) {
			bad++ // torn, or the rest of it was overwritten since
			continue
		}
		f.body = slices.Clone(b[walHeader : walHeader+length])
		frames = append(frames, f)
	}
	slices.SortFunc(frames, func(a, b frame) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return frames, bad, nil
}

// readPages reads page by page what can not be read at once, and counts the pages
// that a worn card does not give: they stay empty.
func (w *wal) readPages(all []byte) (bad int) {
	for page := range walPages {
		b := all[page*pageBytes:][:pageBytes]
		if _, err := w.file.ReadAt(b, int64(page)*pageBytes); err != nil {
			clear(b)
			bad++
		}
	}
	return bad
}

// place is where a frame with this body goes: at the end of the ring it begins
// anew rather than wrap round in the middle.
func (w *wal) place(body []byte) (first, pages int, err error) {
	pages = frame{body: body}.pages()
	if pages > walPages/4 {
		return 0, 0, fmt.Errorf("a flush of %d bytes is too large for the ring", len(body))
	}
	if w.next+pages > walPages {
		return 0, pages, nil
	}
	return w.next, pages, nil
}

// append writes a frame and waits until it is on the card. A frame that failed
// leaves the ring as it was: the next one goes to the same place.
func (w *wal) append(body []byte) (frame, error) {
	first, pages, err := w.place(body)
	if err != nil {
		return frame{}, err
	}
	b := make([]byte, pages*pageBytes)
	binary.LittleEndian.PutUint32(b, walMagic)
	binary.LittleEndian.PutUint64(b[4:], w.seq+1)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[16:], checksum(b[4:16], body))
	copy(b[walHeader:], body)
	if _, err := w.file.WriteAt(b, int64(first)*pageBytes); err != nil {
		return frame{}, fmt.Errorf("write seconds of load: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return frame{}, fmt.Errorf("write seconds of load: %w", err)
	}
	w.seq++
	w.next = (first + pages) % walPages
	return frame{seq: w.seq, body: body, page: first}, nil
}
