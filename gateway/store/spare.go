package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A spare is a second copy, outside the main file, of documents that can not be
// measured or fetched again. The main file is on disk before a change is
// acknowledged; the spare follows:
//
//	schedule.spare: timeslots, what drivers remember, last trusted time;
//	    written before the call that changed a timeslot or a driver's memory returns
//	events.spare: what was measured of timeslots (the reports);
//	    written with the first change after 15 minutes, on Close and on Open
//
// Each is replaced as a whole, by rename, with file and directory synced; its
// predecessor stays as NAME.1. A spare that can not be written never fails the
// change itself: it is told in Health and tried again with the next one.
type spare struct {
	name    string
	buckets []string
	prompt  []string      // a change of these is copied before the call returns
	every   time.Duration // how old the copy of the others may be
	mu      sync.Mutex
	seq     uint64
	sum     uint32    // of the documents as copied last; 0: to be written in any case
	keep    bool      // what is there is whole: it becomes the predecessor
	at      time.Time // of the last look that found it current
	failed  error
	short   error // it does not hold everything
	blocked error // it must not be written: a later version's is in its place
}

const (
	scheduleSpare = "schedule.spare"
	eventsSpare   = "events.spare"
	bucketEvents  = "events"
	bucketLedger  = "intervals" // what was sent to Leap
	bucketMemory  = "memory"

	// spareEvery is how old the copy of the events may be: they change each 30 s
	// while a timeslot runs, and a copy is a write of all of them. The last time
	// that was believed, which changes each 5 min, is copied with the next change
	// of the schedule, once a day at least.
	spareEvery = 15 * time.Minute
	metaEvery  = 24 * time.Hour
	// maxSpare bounds one spare: 400 days of ten timeslots of 1.5 kB a day.
	maxSpare = 8 << 20

	spareMagic   = "nomspare"
	spareVersion = 1
	// magic | u32 version | u32 CRC32C of what follows | u32 length of it |
	// u64 number of the copy | u64 transaction | i64 Unix ns | 16 bytes identity |
	// documents: bucket, key, sealed value, each behind its length (uvarint).
	spareHead = 8 + 4 + 4 + 4
	spareInfo = 8 + 8 + 8 + identitySize
)

// errSpareVersion: a spare of a later version; it is never overwritten.
var errSpareVersion = errors.New("written by a later version of nominald")

func newSpares() []*spare {
	return []*spare{
		{name: scheduleSpare, buckets: []string{bucketSchedule, bucketMemory, bucketMeta}, prompt: []string{bucketSchedule, bucketMemory}, every: metaEvery},
		{name: eventsSpare, buckets: []string{bucketEvents, bucketLedger}, every: spareEvery},
	}
}

// precious tells whether a bucket is kept twice. Its documents are written
// when load rows no longer are.
func precious(bucket string) bool {
	for _, sp := range newSpares() {
		if slices.Contains(sp.buckets, bucket) {
			return true
		}
	}
	return false
}

// doc is one document as it is stored: sealed.
type doc struct {
	bucket, key string
	raw         []byte
}

// copied is the content of a spare that was read.
type copied struct {
	file     string
	seq      uint64
	txid     uint64
	at       time.Time
	identity string
	docs     []doc
	sum      uint32
	damaged  error // some documents are missing
	older    bool  // some are from the predecessor: they may lack the last change
}

func (c *copied) encode() []byte {
	b := make([]byte, spareHead+spareInfo, 64<<10)
	copy(b, spareMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], spareVersion)
	info := b[spareHead:]
	le.PutUint64(info, c.seq)
	le.PutUint64(info[8:], c.txid)
	le.PutUint64(info[16:], uint64(c.at.UnixNano()))
	copy(info[24:], c.identity)
	for _, d := range c.docs {
		for _, part := range [][]byte{[]byte(d.bucket), []byte(d.key), d.raw} {
			b = binary.AppendUvarint(b, uint64(len(part)))
			b = append(b, part...)
		}
	}
	le.PutUint32(b[16:], uint32(len(b)-spareHead))
	le.PutUint32(b[12:], crc32.Checksum(b[spareHead:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// decodeSpare reads a spare. One whose checksum fails still gives the documents
// that pass their own, with damaged set; the error is for one that gives none.
func decodeSpare(b []byte) (copied, error) {
	if len(b) < spareHead+spareInfo || string(b[:8]) != spareMagic {
		return copied{}, fmt.Errorf("%w: no spare of nominald", errDamaged)
	}
	le := binary.LittleEndian
	body := b[spareHead:]
	whole := uint64(le.Uint32(b[16:])) == uint64(len(body)) &&
		le.Uint32(b[12:]) == crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	if v := le.Uint32(b[8:]); v != spareVersion {
		if whole && v > spareVersion { // else it is damage, not age
			return copied{}, fmt.Errorf("format %d where this one reads %d: %w", v, spareVersion, errSpareVersion)
		}
		return copied{}, fmt.Errorf("%w: spare of format %d", errDamaged, v)
	}
	c := copied{seq: le.Uint64(body), txid: le.Uint64(body[8:]), at: time.Unix(0, int64(le.Uint64(body[16:]))).UTC(),
		identity: string(body[24:spareInfo])}
	docs := body[spareInfo:]
	c.sum = crc32.Checksum(docs, crc32.MakeTable(crc32.Castagnoli))
	bad := 0
	for len(docs) > 0 {
		var parts [3][]byte
		for i := range parts {
			n, used := binary.Uvarint(docs)
			if used <= 0 || n > uint64(len(docs)-used) {
				c.damaged = fmt.Errorf("%w: it can not be read beyond %d documents", errDamaged, len(c.docs))
				return c, nil
			}
			parts[i], docs = docs[used:used+int(n)], docs[used+int(n):]
		}
		d := doc{string(parts[0]), string(parts[1]), parts[2]}
		if _, err := unseal(d.bucket, d.key, d.raw); err != nil {
			bad++
			continue
		}
		c.docs = append(c.docs, d)
	}
	if !whole || bad > 0 {
		// The head has no checksum of its own, so none of it is believed.
		c.damaged = fmt.Errorf("%w: its checksum fails, %d documents in it are bad", errDamaged, bad)
	}
	if c.damaged != nil {
		c.seq, c.txid, c.identity, c.at = 0, 0, "", time.Time{}
	}
	return c, nil
}

func readSpare(path string) (copied, error) {
	f, err := os.Open(path)
	if err != nil {
		return copied{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 2*maxSpare))
	if err != nil {
		return copied{}, fmt.Errorf("read %s: %w", path, err)
	}
	c, err := decodeSpare(b)
	if err != nil {
		return copied{}, fmt.Errorf("%s: %w", path, err)
	}
	c.file = path
	return c, nil
}

// found is what there is of one spare on disk: the best copy, and what is wrong
// with the others.
type found struct {
	best  copied
	ok    bool
	wrong []error
	later []string // files of a later version
}

// look reads the copies of a spare and picks the newest whole one. NAME.new is
// whole where a power cut came between the two renames. Of damaged ones, the
// newest file's documents come first and its predecessor's fill the gaps.
func look(dir, name string) found {
	var f found
	path := filepath.Join(dir, name)
	var parts []copied
	for _, file := range []string{path, path + ".new", path + ".1"} {
		c, err := readSpare(file)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case errors.Is(err, errSpareVersion):
			f.later, f.wrong = append(f.later, file), append(f.wrong, err)
		case file == path+".new" && (err != nil || c.damaged != nil):
			// A write that did not end; its predecessor is there.
		case err != nil:
			f.wrong = append(f.wrong, err)
		case c.damaged != nil:
			f.wrong, parts = append(f.wrong, fmt.Errorf("%s: %w", file, c.damaged)), append(parts, c)
		case !f.ok || c.seq > f.best.seq:
			f.best, f.ok = c, true
		}
	}
	f.best.older = f.best.file == path+".1"
	if len(parts) > 0 && (!f.ok || parts[0].file == path) {
		f.best, f.ok = merged(parts[0], f.best), true
	}
	return f
}

// merged puts the documents of an older copy behind those of a damaged one.
func merged(newest, older copied) copied {
	have := make(map[[2]string]bool, len(newest.docs))
	for _, d := range newest.docs {
		have[[2]string{d.bucket, d.key}] = true
	}
	for _, d := range older.docs {
		if !have[[2]string{d.bucket, d.key}] {
			newest.docs = append(newest.docs, d)
			newest.older = true
		}
	}
	newest.older = newest.older || strings.HasSuffix(newest.file, ".1")
	newest.at, newest.seq = older.at, older.seq
	return newest
}

// changed copies what a change of bucket makes due.
func (s *Store) changed(bucket string) {
	for _, sp := range s.spares {
		if slices.Contains(sp.buckets, bucket) {
			s.copyTo(sp, slices.Contains(sp.prompt, bucket))
		}
	}
}

// copyTo writes the spare anew where that is due and its documents changed.
func (s *Store) copyTo(sp *spare, now bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	at := s.now().UTC()
	if !now && sp.failed == nil && at.Sub(sp.at).Abs() < sp.every {
		return
	}
	err := sp.blocked
	if err == nil {
		err = s.copySpare(sp, at)
	}
	if errors.Is(err, ErrClosed) {
		return
	}
	if noSpace(err) && s.giveReserve() {
		err = s.copySpare(sp, at)
	}
	sp.failed = err
	s.mu.Lock()
	defer s.mu.Unlock()
	state := SpareState{Name: sp.name, At: sp.at}
	if err = cmp.Or(err, sp.short); err != nil {
		state.Error = err.Error()
	}
	s.health.Spares = slices.DeleteFunc(s.health.Spares, func(o SpareState) bool { return o.Name == sp.name })
	s.health.Spares = append(s.health.Spares, state)
}

// SpareState is how a second copy stands.
type SpareState struct {
	Name  string    `json:"name"`
	At    time.Time `json:"at"`    // when it was last known to be current
	Error string    `json:"error"` // why the last attempt to write it failed, or what it leaves out
}

func (s *Store) copySpare(sp *spare, at time.Time) error {
	c, leftOut, err := s.collect(sp, at)
	if err != nil {
		return fmt.Errorf("copy to %s: %w", sp.name, err)
	}
	b := c.encode()
	sum := crc32.Checksum(b[spareHead+spareInfo:], crc32.MakeTable(crc32.Castagnoli))
	if sp.sum == 0 || sum != sp.sum {
		if err := s.disk.replace(filepath.Join(s.dir, sp.name), b, sp.keep); err != nil {
			return fmt.Errorf("copy to %s: %w", sp.name, err)
		}
		sp.seq, sp.sum, sp.keep = c.seq, sum, true
	}
	sp.at, sp.short = at, nil
	if leftOut > 0 {
		sp.short = fmt.Errorf("%s holds its first %d bytes; %d documents of %s beyond that are in %s alone",
			sp.name, maxSpare, leftOut, strings.Join(sp.buckets, ", "), FileName)
	}
	return nil
}

// isAheadOf tells whether a whole spare was written after the last change that
// the main file still has: the file went back, or lost its newest meta page.
func (c *copied) isAheadOf(main io.ReaderAt, size int64) bool {
	m, err := newestMeta(main)
	if err != nil || c.txid <= m.txid {
		return false // without a readable main file there is nothing to be ahead of
	}
	g, err := glanceAt(main, size)
	return err == nil && (g.identity == "" || g.identity == c.identity)
}

// collect reads the documents for a spare. A value that has gone bad in the
// main file stays in the spare as it was.
func (s *Store) collect(sp *spare, at time.Time) (copied, int, error) {
	c := copied{seq: sp.seq + 1, at: at, identity: s.identity}
	size, leftOut := spareHead+spareInfo, 0
	var bad []doc
	err := s.view(func(tx *bolt.Tx) error {
		c.txid = uint64(tx.ID())
		for _, name := range sp.buckets {
			b := tx.Bucket([]byte(name))
			if b == nil {
				continue
			}
			err := b.ForEach(func(k, v []byte) error {
				d := doc{name, string(k), bytes.Clone(v)}
				if _, err := unseal(name, d.key, v); err != nil {
					bad = append(bad, d)
					return nil
				}
				if size += len(name) + len(k) + len(v) + 12; size > maxSpare {
					leftOut++
					return nil
				}
				c.docs = append(c.docs, d)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(bad) == 0 {
		return c, leftOut, err
	}
	old := look(s.dir, sp.name).best.docs
	for _, d := range bad {
		if i := slices.IndexFunc(old, func(o doc) bool { return o.bucket == d.bucket && o.key == d.key }); i >= 0 {
			c.docs = append(c.docs, old[i])
		}
	}
	return c, leftOut, nil
}
