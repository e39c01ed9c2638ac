package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Open opens or creates the store in dir. An error means that the file can not
// be used at all: locked, no permission, no room to create it. A damaged file
// is not an error: what can be read of it and of its spares goes into a new one,
// and the notice says so. A file of a later version is set aside as it is.
func Open(dir string, opts Options) (*Store, Notice, error) {
	opts = opts.filled()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, Notice{}, fmt.Errorf("create store directory %s: %w; make its parent writable or give another store.dir", dir, err)
	}
	path := filepath.Join(dir, FileName)
	var notice Notice
	missing := "the file was missing"
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		// What this program writes is never empty; a power cut can leave it so.
		missing = "the file was empty"
		notice.Reason = missing
	}
	// Each turn either ends or has replaced a damaged or empty file; other
	// processes may do the same at the same time, hence more than two.
	for range 5 {
		f, size, err := openLocked(path, opts.LockTimeout)
		if err != nil {
			return nil, notice, err
		}
		if size == 0 {
			err := begin(path, missing, &notice)
			_ = f.Close() // gives up the lock, after the rename
			if err != nil {
				return nil, notice, err
			}
			continue
		}
		half := oneMeta(f)
		s, err := adopt(f, size, dir, opts)
		if err == nil {
			if half != nil {
				notice.Reason, notice.Lost = half.Error(), lostChange
			}
			s.settle()
			return s, notice, nil
		}
		notice, err = replaceBad(path, f, size, err, opts.Now())
		_ = f.Close()
		if err != nil {
			return nil, notice, err
		}
	}
	return nil, notice, fmt.Errorf("open store %s: it changes while being opened; stop the other nominald, or give another store.dir", path)
}

// begin makes a new store in the place of an empty file, by rename, so that a
// power cut leaves either nothing or a whole file. Where there are spares the
// file was lost, and their documents come back.
func begin(path, why string, notice *Notice) error {
	out, err := rebuild(path+".new", nil, 0, filepath.Dir(path), nil)
	if err == nil {
		err = swap(path+".new", path, "")
	}
	if err != nil {
		return fmt.Errorf("create store %s: %w", path, err)
	}
	if got := out.recovered(); got != "" {
		*notice = Notice{Reason: why, Recovered: got, Lost: keptOnce + beyond(out)}
	}
	return nil
}

// keptOnce is what a store made from the spares alone does not have.
const keptOnce = "everything that is kept once: load and what happened"

// beyond is what is lost of the spares themselves.
func beyond(out *rebuilt) string {
	if lost := out.lost(); lost != "" {
		return ", " + lost
	}
	return ""
}

// replaceBad sets a bad file aside and puts a new one in its place with what is
// readable in it and in the spares.
func replaceBad(path string, f *os.File, size int64, why error, now time.Time) (Notice, error) {
	dir, mark := filepath.Dir(path), damagedMark
	var old io.ReaderAt = f
	if errors.Is(why, errLater) {
		old, mark = nil, laterMark // its values may mean something else by now
	}
	out, err := rebuild(path+".new", old, size, dir, nil)
	if noSpace(err) {
		// There is no room for two: what must not be lost goes first. The rest
		// stays in the old file, where repair finds it.
		_ = removeIfThere(filepath.Join(dir, reserveName))
		if out, err = rebuild(path+".new", old, size, dir, precious); err == nil {
			out.Damage = "there was no room on the disk to copy load and what happened; they are in the file that was set aside"
		}
	}
	notice := Notice{Reason: why.Error()}
	if err != nil {
		return notice, fmt.Errorf("replace damaged store %s (%w): %w", path, why, err)
	}
	notice.SetAside, notice.Recovered, notice.Lost = asideName(path, mark, now), out.recovered(), out.lost()
	if old == nil {
		notice.Lost = keptOnce + ", which are in the file that was set aside" + beyond(out)
	}
	if err := swap(path+".new", path, notice.SetAside); err != nil {
		return notice, fmt.Errorf("set aside damaged store %s (%w): %w", path, why, err)
	}
	return notice, thinOut(path, notice.SetAside)
}

// settle does what an opened store can go on without: this version reads an
// older one as it is, and a full disk must not keep the schedule from running.
func (s *Store) settle() {
	if err := s.update(migrate); err == nil {
		if id, found, err := s.Get(bucketMeta, keyIdentity); err == nil && found {
			s.identity = string(id)
		}
	}
	_ = s.takeReserve() // tried again with each row, which waits for it
	for _, sp := range s.spares {
		f := look(s.dir, sp.name)
		for _, file := range f.later {
			if err := os.Rename(file, asideName(file, laterMark, s.now())); err != nil {
				sp.blocked = fmt.Errorf("%s was %w, and can not be set aside: %w", file, errSpareVersion, err)
			}
		}
		path := filepath.Join(s.dir, sp.name)
		if f.best.file == path+".new" {
			// The power went between two renames.
			if err := os.Rename(f.best.file, path); err == nil {
				f.best.file = path
			}
		}
		sp.seq, sp.keep = f.best.seq, f.ok && f.best.file == path && f.best.damaged == nil
		if sp.keep && f.best.identity == s.identity {
			sp.sum = f.best.sum
		}
		s.copyTo(sp, true)
	}
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
	opts.temporary = true
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
	if o.disk.write == nil {
		o.disk = realDisk()
	}
	return o
}

// adopt checks the locked file and gives it to bbolt. On error f stays open
// and locked where bbolt did not get it.
func adopt(f *os.File, size int64, dir string, opts Options) (*Store, error) {
	if err := inspect(f, size, dir); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, disk: opts.disk, now: opts.Now, maxSize: opts.MaxSize, noReserve: opts.temporary}
	if !opts.temporary {
		s.spares = newSpares()
	}
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

const lostChange = "the last change, where the spares do not have it"

// oneMeta tells of a store that can be used although one of its two meta pages,
// which bbolt writes in turn, is bad. When it is the newer one, the last change
// is gone.
func oneMeta(f io.ReaderAt) error {
	for i := range uint64(2) {
		if _, err := readMeta(f, i); err != nil {
			return err
		}
	}
	return nil
}

// inspect says why a locked file can not be served as it is.
func inspect(f *os.File, size int64, dir string) error {
	if err := verify(f, size); err != nil {
		return err
	}
	g, err := glanceAt(f, size)
	if err != nil {
		return err
	}
	if len(g.bad) > 0 {
		return fmt.Errorf("%w: %d values that are kept twice, %s/%q first: %s", errDamaged, len(g.bad), g.bad[0].Bucket, g.bad[0].Key, g.bad[0].Reason)
	}
	for _, sp := range newSpares() {
		if best := look(dir, sp.name).best; best.isAheadOf(f, size) {
			return fmt.Errorf("%w: it lacks the changes up to %s, which %s has", errDamaged, best.at.Format(time.RFC3339), sp.name)
		}
	}
	return nil
}
