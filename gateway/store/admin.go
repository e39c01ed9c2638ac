package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Report is what Check found.
type Report struct {
	File      string        `json:"file"`
	SizeBytes int64         `json:"size_bytes"`
	Version   int           `json:"version"` // of the schema; 0 where it can not be read
	Pages     int           `json:"pages"`   // of 4096 bytes
	FreePages int           `json:"free_pages"`
	Buckets   []BucketState `json:"buckets"`
	Spares    []SpareReport `json:"spares"`
	// SecondOpinion is how bbolt's own check ended in a child process: "ok", its
	// first fault, that it crashed, or that it was not run.
	SecondOpinion string   `json:"second_opinion"`
	Problems      []string `json:"problems"` // empty: all is good
}

// BucketState is one bucket as Check found it.
type BucketState struct {
	Name    string   `json:"name"`
	Values  int      `json:"values"`
	Bytes   int64    `json:"bytes"` // of keys and values
	Bad     int      `json:"bad"`   // values that fail their checksum
	BadKeys []string `json:"bad_keys"`
}

// SpareReport is one spare as Check found it.
type SpareReport struct {
	Name      string    `json:"name"`
	Documents int       `json:"documents"`
	At        time.Time `json:"at"`
	State     string    `json:"state"` // "good", "missing", or what is wrong
}

// Check reads the store in dir and changes nothing. child is the command line
// that runs BoltCheck on a file whose path is put behind it; nil leaves that
// out. The error is for a store that can not be looked at: missing, or in use
// (ErrLocked).
func Check(ctx context.Context, dir string, child []string) (Report, error) {
	path := filepath.Join(dir, FileName)
	f, size, err := lockThere(path, unix.LOCK_SH)
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	r := Report{File: path, SizeBytes: size, Buckets: []BucketState{}, Problems: []string{}}
	if r.Pages, r.FreePages, err = countPages(f, size); err != nil {
		r.problem("%v", err)
	}
	if err := oneMeta(f); err != nil && r.Pages > 0 {
		r.problem("%v: the last change may be lost", err)
	}
	r.readBuckets(f, size)
	r.readSpares(f, size, dir)
	// On pages that are known to be bad it could only crash, or fill the memory.
	r.SecondOpinion = "not run"
	if child != nil && r.Pages > 0 {
		r.SecondOpinion = CheckInChild(ctx, append(slices.Clone(child), path))
		if r.SecondOpinion != "ok" {
			r.problem("bbolt's own check: %s", r.SecondOpinion)
		}
	}
	return r, nil
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *Report) readBuckets(f *os.File, size int64) {
	version := 1
	at := func(name string) *BucketState {
		if n := len(r.Buckets); n > 0 && r.Buckets[n-1].Name == name {
			return &r.Buckets[n-1]
		}
		r.Buckets = append(r.Buckets, BucketState{Name: name, BadKeys: []string{}})
		return &r.Buckets[len(r.Buckets)-1]
	}
	_, err := walkFile(f, size, walk{
		value: func(bucket string, key, raw []byte) error {
			b := at(bucket)
			b.Values, b.Bytes = b.Values+1, b.Bytes+int64(len(key)+len(raw))
			if _, err := unseal(bucket, string(key), raw); err != nil {
				if b.Bad++; b.Bad <= namedLost {
					b.BadKeys = append(b.BadKeys, strconv.Quote(string(key))+": "+err.Error())
				}
			} else if bucket == bucketMeta && string(key) == keyVersion {
				version, err = versionOf(raw)
				return err
			}
			return nil
		},
		damaged: func(bucket string, err error) {
			if r.Pages == 0 && len(r.Problems) < namedLost {
				r.problem("in %s: %v", strconv.Quote(bucket), err)
			}
		},
	})
	for _, b := range r.Buckets {
		if b.Bad > 0 {
			r.problem("%s: %d of %d values fail their checksum", b.Name, b.Bad, b.Values)
		}
	}
	if err != nil {
		return // countPages said why
	}
	if r.Version = version; version > schemaVersion {
		r.problem("version %d where this one reads up to %d: %v", version, schemaVersion, errLater)
	}
}

func (r *Report) readSpares(f *os.File, size int64, dir string) {
	for _, sp := range newSpares() {
		got := look(dir, sp.name)
		s := SpareReport{Name: sp.name, Documents: len(got.best.docs), At: got.best.at, State: "good"}
		switch {
		case got.best.isAheadOf(f, size):
			s.State = "it has later changes than " + FileName + "; repair brings them back"
		case len(got.wrong) > 0:
			s.State = errors.Join(got.wrong...).Error()
		case !got.ok:
			s.State = "missing"
		}
		if s.State != "good" && s.State != "missing" { // the next start writes it
			r.problem("%s: %s", sp.name, s.State)
		}
		r.Spares = append(r.Spares, s)
	}
}

// Rebuilt is what Repair or Compact did.
type Rebuilt struct {
	File     string     `json:"file"`
	SetAside string     `json:"set_aside,omitempty"` // the old file
	Before   int64      `json:"before_bytes"`
	After    int64      `json:"after_bytes"`
	Buckets  []*Salvage `json:"buckets"`
	// Lost says what did not get into the new file, empty where all did.
	Lost string `json:"lost"`
}

// Repair writes every value that can be read, with what the spares have beyond
// that, to a new file, puts that in the store's place and sets the old one
// aside. It refuses while another process has the store (ErrLocked), and a
// file of a later version.
func Repair(dir string, now time.Time) (Rebuilt, error) {
	return remake(dir, func(path string, f *os.File, size int64) (Rebuilt, error) {
		if _, err := glanceAt(f, size); errors.Is(err, errLater) {
			return Rebuilt{}, fmt.Errorf("%s: %w", path, err)
		}
		out, err := rebuild(path+".new", f, size, dir, nil)
		if err != nil {
			return Rebuilt{}, err
		}
		r := Rebuilt{File: path, SetAside: asideName(path, damagedMark, now), Buckets: out.Buckets, Lost: out.lost()}
		if err := swap(path+".new", path, r.SetAside); err != nil {
			return r, err
		}
		return r, thinOut(path, r.SetAside)
	})
}

// Compact copies the store into a new file without its free pages. It refuses
// where anything in it is bad, and while another process has it (ErrLocked).
func Compact(dir string) (Rebuilt, error) {
	return remake(dir, func(path string, f *os.File, size int64) (Rebuilt, error) {
		if err := inspect(f, size, dir); err != nil {
			return Rebuilt{}, fmt.Errorf("%s: %w; nothing was changed: repair it first", path, err)
		}
		out, err := rebuild(path+".new", f, size, dir, nil)
		if err != nil {
			return Rebuilt{}, err
		}
		if !out.whole() {
			return Rebuilt{}, errors.Join(fmt.Errorf("%s: %s can not be read; nothing was changed: repair it first", path, out.lost()),
				removeIfThere(path+".new"))
		}
		return Rebuilt{File: path, Buckets: out.Buckets}, swap(path+".new", path, "")
	})
}

// remake locks the store, has it made anew, and opens it once, which proves
// that it opens and brings the spares up to date.
func remake(dir string, do func(path string, f *os.File, size int64) (Rebuilt, error)) (Rebuilt, error) {
	path := filepath.Join(dir, FileName)
	f, size, err := lockThere(path, unix.LOCK_EX)
	if err != nil {
		return Rebuilt{}, err
	}
	r, err := do(path, f, size)
	_ = f.Close()
	if err != nil {
		return r, err
	}
	r.Before = size
	s, _, err := Open(dir, Options{})
	if err != nil {
		return r, err
	}
	if err := s.Close(); err != nil {
		return r, err
	}
	info, err := os.Stat(path)
	if err == nil {
		r.After = info.Size()
	}
	return r, err
}

// lockThere opens and locks a store that is there.
func lockThere(path string, how int) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("open store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		holder := lockHolder(f)
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w%s: stop it first (systemctl stop nominald)", ErrLocked, holder)
		}
		return nil, 0, fmt.Errorf("open store %s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// BoltCheck runs bbolt's own check on a file. On a damaged one it can end the
// process, or not end at all: it is for a child process.
func BoltCheck(path string) error {
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true, PageSize: pageSize, Timeout: lockTimeout, PreLoadFreelist: true})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		var first error
		n := 0
		for err := range tx.Check() {
			if n++; first == nil {
				first = err
			}
		}
		if n > 0 {
			return fmt.Errorf("%d faults, first: %w", n, first)
		}
		return nil
	})
}

// childLimit is how long bbolt's check may take: 100 MB take 0.07 s in memory,
// and as long as a slow card needs to read them.
const childLimit = time.Minute

// CheckInChild runs a command that calls BoltCheck and says how it ended. The
// caller survives whatever becomes of the child.
func CheckInChild(ctx context.Context, argv []string) string {
	ctx, cancel := context.WithTimeout(ctx, childLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "ok"
	case ctx.Err() != nil:
		return fmt.Sprintf("it was ended before it was done; it may take %v", childLimit)
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return strings.TrimSpace(string(out))
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return fmt.Sprintf("it crashed (%v): %s", err, line)
}
