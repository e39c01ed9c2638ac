// Package store keeps what must outlive the process: timeslots with their
// history, references, the stop latch, reports and the load log. It is the one
// door to bbolt.
//
// Every value carries a version and a checksum over its bucket and key; one
// that fails is counted and named, never served. Before bbolt maps a file,
// every page is checked with plain bounded reads (verify.go), because bbolt
// trusts its pages and a bad one ends the process in ways that no recover
// catches. A file that fails is set aside and a new one begun. Faults that
// come later, from a card that dies under the mapping, become errors
// (debug.SetPanicOnFault). After a failed commit the last committed state goes
// on being served, and later writes may succeed again.
package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
}

// Notice tells what Open had to do that a person must know of. The zero value
// is good news.
type Notice struct {
	SetAside  string // the damaged file's new path
	Reason    string // what was wrong with it
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
}

// Store is an open file. Its methods may be called from any goroutine.
type Store struct {
	db       *bolt.DB
	now      func() time.Time
	maxSize  int64
	ownsDir  string     // removed on Close; for a temporary store
	writing  sync.Mutex // one writer, so that Health sees commits in order
	mu       sync.Mutex // guards the fields below
	health   Health
	closed   bool
	poisoned error // a write panicked: bbolt's locks and state in memory are not to be trusted with another
	unread   error // a read panicked with bbolt's own locks held: the next one would wait for ever
}

// Open opens or creates the store in dir. An error means that the file can not
// be used at all: locked, no permission, no room to create it. A damaged file
// is not an error: it is set aside, and the notice says so.
func Open(dir string, opts Options) (*Store, Notice, error) {
	opts = opts.filled()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, Notice{}, fmt.Errorf("create store directory %s: %w; make its parent writable or give another store.dir", dir, err)
	}
	path := filepath.Join(dir, FileName)
	var notice Notice
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		// What this program writes is never empty; a power cut can leave it so.
		notice.Reason = "the file was empty"
	}
	// Each turn either ends or has replaced a damaged or empty file; other
	// processes may do the same at the same time, hence more than two.
	for range 5 {
		f, size, err := openLocked(path, opts.LockTimeout)
		if err != nil {
			return nil, notice, err
		}
		if size == 0 {
			if err := create(path, f); err != nil {
				return nil, notice, err
			}
			continue
		}
		s, err := adopt(f, size, opts)
		if err == nil {
			return s, notice, nil
		}
		aside, moveErr := setAside(path, opts.Now())
		_ = f.Close() // gives up the lock, after the rename
		if moveErr != nil {
			return nil, notice, fmt.Errorf("set aside damaged store %s (%w): %w", path, err, moveErr)
		}
		notice = Notice{SetAside: aside, Reason: err.Error()}
	}
	return nil, notice, fmt.Errorf("open store %s: it changes while being opened; stop the other nominald, or give another store.dir", path)
}

// OpenTemporary opens a store that lives in memory (a tmpfs where there is
// one) for a site whose disk can not be used: it goes on and says so.
func OpenTemporary(opts Options) (*Store, Notice, error) {
	parent := "/dev/shm"
	dir, err := os.MkdirTemp(parent, "nominald-")
	if err != nil {
		parent = os.TempDir()
		if dir, err = os.MkdirTemp(parent, "nominald-"); err != nil {
			return nil, Notice{}, fmt.Errorf("create a temporary store in %s: %w", parent, err)
		}
	}
	s, notice, err := Open(dir, opts)
	if err != nil {
		return nil, Notice{}, errors.Join(err, os.RemoveAll(dir))
	}
	s.ownsDir = dir
	notice.Temporary = true
	return s, notice, nil
}

func (o Options) filled() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxSize <= 0 {
		o.MaxSize = defaultMaxSize
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = lockTimeout
	}
	return o
}

// adopt checks the locked file and gives it to bbolt. On error f stays open
// and locked where bbolt did not get it.
func adopt(f *os.File, size int64, opts Options) (*Store, error) {
	if err := verify(f, size); err != nil {
		return nil, err
	}
	s := &Store{now: opts.Now, maxSize: opts.MaxSize}
	err := guard(func() error {
		db, err := bolt.Open(f.Name(), 0o640, &bolt.Options{
			PageSize: pageSize,
			MaxSize:  int(opts.MaxSize),
			Timeout:  opts.LockTimeout,
			// The file that was checked and locked, not one that has taken
			// its name since.
			OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
		})
		s.db = db
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open checked file: %w", err)
	}
	s.db.AllocSize = growStep
	s.health.MaxBytes = opts.MaxSize
	return s, nil
}

// Close waits for running calls and closes the file. It may be called twice.
func (s *Store) Close() error {
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
