// Package journal keeps lines of JSON with their times on disk: many days of
// them, in little room, readable after a power cut and beside the process that
// writes. It knows nothing of what the lines say.
//
// A directory holds one segment a UTC hour (20261126T17.nj). A segment is a row
// of blocks, each written by one write and one fsync:
//
//	magic    8 bytes  "nmndjnl1"
//	length   4 bytes  of the payload
//	crc      4 bytes  CRC-32 (IEEE) of all that follows
//	first    8 bytes  the earliest time in the block, ns since 1970
//	last     8 bytes  the latest
//	payload           DEFLATE of the lines: "TIME JSON\n", TIME in ns since 1970
//
// Numbers are little endian. A block stands for itself: where one is damaged or
// cut off, the reader says so, looks for the next magic and goes on there. All
// lines of a segment are of its hour, so that a time is looked up in one file.
package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	magic      = "nmndjnl1"
	headerSize = len(magic) + 4 + 4 + 8 + 8
	crcFrom    = len(magic) + 8 // what the checksum covers begins here

	// MaxLine is the longest line, in bytes.
	MaxLine = 4 << 20
	// blockRaw is how many bytes of lines a block takes before it is closed.
	blockRaw = 1 << 20
	// maxPayload bounds what a reader takes into memory: a full block and its
	// last line, that do not compress at all.
	maxPayload = blockRaw + MaxLine + 1<<20

	extension = ".nj"
	hourForm  = "20060102T15"
)

// segmentOf is the name of the file that holds a time.
func segmentOf(at time.Time) string { return at.UTC().Format(hourForm) + extension }

// hourOf is the hour that a segment holds; false for a file of another name.
func hourOf(name string) (time.Time, bool) {
	if len(name) != len(hourForm)+len(extension) || filepath.Ext(name) != extension {
		return time.Time{}, false
	}
	hour, err := time.Parse(hourForm, name[:len(hourForm)])
	return hour, err == nil
}

// segment is one file of the journal.
type segment struct {
	name string
	hour time.Time
	size int64
}

// segments lists the journal's files, oldest first. A directory that is not
// there holds none.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir) // by name, which is by time
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	var out []segment
	for _, e := range entries {
		hour, ok := hourOf(e.Name())
		if !ok {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile, to keep the budget
		}
		if err != nil {
			return nil, fmt.Errorf("list journal: %w", err)
		}
		out = append(out, segment{name: e.Name(), hour: hour, size: info.Size()})
	}
	return out, nil
}

// header is what stands before a block's payload.
type header struct {
	length      uint32
	crc         uint32
	first, last int64
}

// seal fills the header into the room left for it at the begin of a block.
func seal(block []byte, first, last time.Time) {
	copy(block, magic)
	binary.LittleEndian.PutUint32(block[8:], uint32(len(block)-headerSize))
	binary.LittleEndian.PutUint64(block[16:], uint64(first.UnixNano()))
	binary.LittleEndian.PutUint64(block[24:], uint64(last.UnixNano()))
	binary.LittleEndian.PutUint32(block[12:], crc32.ChecksumIEEE(block[crcFrom:]))
}

// parseHeader reads a header; false where none can stand.
func parseHeader(raw []byte) (header, bool) {
	if len(raw) < headerSize || !bytes.HasPrefix(raw, []byte(magic)) {
		return header{}, false
	}
	h := header{length: binary.LittleEndian.Uint32(raw[8:]), crc: binary.LittleEndian.Uint32(raw[12:]),
		first: int64(binary.LittleEndian.Uint64(raw[16:])),
		last:  int64(binary.LittleEndian.Uint64(raw[24:]))}
	return h, h.length > 0 && h.length <= maxPayload && h.first <= h.last
}
