// Package store keeps what must outlive the process: timeslots with their
// history, references, the stop latch, reports and the load log. It is the one
// door to bbolt.
//
// Every value carries a version and a checksum over its bucket and key; one
// that fails is counted and named, never served. Before bbolt maps a file,
// every page is checked with plain bounded reads (verify.go), because bbolt
// trusts its pages and a bad one ends the process in ways that no recover
// catches. A file that fails is set aside and a new one made of what is readable
// in it (rebuild.go) and of the spares, second copies of what can not be
// measured or fetched again (spare.go). Faults that come later, from a card that
// dies under the mapping, become errors (debug.SetPanicOnFault). After a failed
// commit the last committed state goes on being served, and later writes may
// succeed again.
package store

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// FileName is the store's file inside its directory.
const FileName = "nominald.db"

const (
	// defaultMaxSize holds 400 days of 20 channels (71 MB, loadlog) three times.
	defaultMaxSize = 256 << 20
	// growStep is what the file grows by: bbolt's own 16 MiB would waste a
	// small card and make MaxSize coarse.
	growStep    = 1 << 20
	lockTimeout = time.Second
	keepBad     = 32
)

// Errors that callers branch on.
var (
	// ErrFull: the file has reached its maximum size, or, for load rows, the
	// part of it that rows may use. Rows stop first, so that timeslots still
	// find room (domain.md 4.5).
	ErrFull = errors.New("store is full")
	// ErrLocked: another process has the file open.
	ErrLocked = errors.New("store is in use by another process")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

// Options say how a store is opened. The zero value is good.
type Options struct {
	Now     func() time.Time // for names and times of notices; nil is time.Now
	MaxSize int64            // bytes of the file; 0 is 256 MiB
	// LockTimeout is how long to wait for another process; 0 is 1 s.
	LockTimeout time.Duration

	temporary bool // no spares and no reserve
	disk      disk
}

// Notice tells what Open had to do that a person must know of. The zero value
// is good news.
type Notice struct {
	SetAside  string // the new path of the damaged file, or of one from a later version
	Reason    string // what was wrong with it
	Recovered string // how many values of what were recovered, and from where
	Lost      string // what was not; of values that can be named, the keys
	Temporary bool   // kept in memory only: nothing survives a restart
}

// Bad is a value that was not served.
type Bad struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Reason string `json:"reason"`
	// Recovered: the same content was found in the history and served.
	Recovered bool `json:"recovered,omitempty"`
}

// Health is what the store knows of itself.
type Health struct {
	BadValues  int       `json:"bad_values"` // readings of values that failed, since Open
	Bad        []Bad     `json:"bad"`        // the last ones, distinct, at most 32
	LastError  string    `json:"last_error"` // of the last failed write; empty once one succeeded
	LastCommit time.Time `json:"last_commit"`
	UsedBytes  int64     `json:"used_bytes"`
	MaxBytes   int64     `json:"max_bytes"`
	// Spares are the second copies, empty until each was first looked after.
	Spares []SpareState `json:"spares"`
}

// Store is an open file. Its methods may be called from any goroutine.
type Store struct {
	db       *bolt.DB
	dir      string
	disk     disk
	identity string // of the file, by which a spare knows it
	spares   []*spare
	now      func() time.Time
	maxSize  int64
	ownsDir  string     // removed on Close; for a temporary store
	writing  sync.Mutex // one writer, so that Health sees commits in order
	mu       sync.Mutex // guards the fields below
	health   Health
	closed   bool
	// reserved: room on the disk is held back for what must not be lost;
	// noReserve: the file system can not do that.
	reserved  bool
	noReserve bool
	poisoned  error // a write panicked: bbolt's locks and state in memory are not to be trusted with another
	unread    error // a read panicked with bbolt's own locks held: the next one would wait for ever
}

// Close waits for running calls and closes the file. It may be called twice.
func (s *Store) Close() error {
	for _, sp := range s.spares {
		s.copyTo(sp, true)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	was, poisoned := s.closed, s.poisoned
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	if poisoned != nil {
		// bbolt may still hold its own locks; the kernel takes the file's
		// lock back when the process ends.
		return fmt.Errorf("close store: left to the end of the process after: %w", poisoned)
	}
	err := guard(s.db.Close)
	if s.ownsDir != "" {
		err = errors.Join(err, os.RemoveAll(s.ownsDir))
	}
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Health returns what the store knows of itself.
func (s *Store) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.health
	h.Bad = append([]Bad(nil), s.health.Bad...)
	h.Spares = append([]SpareState(nil), s.health.Spares...)
	return h
}

// guard turns a panic, and a fault in the mapped file, into an error.
func guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
	}()
	return fn()
}

var errPanicked = errors.New("store file is unreadable in part")

// view runs fn in a read transaction. fn must not keep slices nor write.
func (s *Store) view(fn func(tx *bolt.Tx) error) error {
	s.mu.Lock()
	closed, unread := s.closed, s.unread
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if unread != nil {
		return fmt.Errorf("read refused until restart after: %w", unread)
	}
	began := false
	err := guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			began = true
			return fn(tx)
		})
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	if errors.Is(err, errPanicked) && !began {
		// bbolt gives its locks back when fn fails, not when Begin does.
		s.mu.Lock()
		s.unread, s.poisoned = err, err
		s.mu.Unlock()
	}
	return err
}

// errUnchanged from the function of an update ends it without a write.
var errUnchanged = errors.New("nothing to change")

// save is update for a change of one bucket. A precious one gets the reserve
// when the disk is full, and its spare is brought up to date.
func (s *Store) save(bucket string, fn func(tx *bolt.Tx) error) error {
	wrote := false
	run := func(tx *bolt.Tx) error {
		err := fn(tx)
		wrote = err == nil
		return err
	}
	err := s.update(run)
	if noSpace(err) && precious(bucket) && s.giveReserve() {
		err = s.update(run)
	}
	if err == nil && wrote {
		s.changed(bucket)
	}
	return err
}

// update runs fn in one transaction that is on disk when update returns nil.
func (s *Store) update(fn func(tx *bolt.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	poisoned, closed := s.poisoned, s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if poisoned != nil {
		s.mu.Lock()
		s.health.LastError = poisoned.Error()
		s.mu.Unlock()
		return fmt.Errorf("write refused until restart after: %w", poisoned)
	}
	var used int64
	err := guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			used = s.used(tx)
			return fn(tx)
		})
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	if errors.Is(err, berrors.ErrMaxSizeReached) {
		err = fmt.Errorf("%w: %d bytes: %w", ErrFull, s.maxSize, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.UsedBytes = used
	if errors.Is(err, errPanicked) {
		s.poisoned = err
	}
	if err != nil {
		s.health.LastError = err.Error()
		return err
	}
	s.health.LastError = ""
	s.health.LastCommit = s.now().UTC()
	return nil
}

// reportBad counts a value that could not be served.
func (s *Store) reportBad(b Bad) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health.BadValues++
	for _, known := range s.health.Bad {
		if known.Bucket == b.Bucket && known.Key == b.Key {
			return
		}
	}
	if len(s.health.Bad) == keepBad {
		s.health.Bad = s.health.Bad[1:]
	}
	s.health.Bad = append(s.health.Bad, b)
}
