package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is how the store writes what is not bbolt's. Tests let each step fail.
type disk struct {
	write  func(f *os.File, b []byte) (int, error)
	sync   func(f *os.File) error
	rename func(from, to string) error
}

func realDisk() disk {
	return disk{write: (*os.File).Write, sync: (*os.File).Sync, rename: os.Rename}
}

// noSpace tells a full disk or quota. bbolt does not wrap what truncate says.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		err != nil && strings.Contains(err.Error(), unix.ENOSPC.Error())
}

// replace puts b in the place of path, and with keep what was there to path.1.
// At every moment one of path, path.new and path.1 is whole and on disk.
func (d disk) replace(path string, b []byte, keep bool) error {
	fresh := path + ".new"
	if err := d.writeFile(fresh, b); err != nil {
		return errors.Join(err, removeIfThere(fresh))
	}
	// The new file's name must be on disk before the old one gives up its own.
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	if keep {
		if err := d.rename(path, path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("keep the predecessor of %s: %w", path, err)
		}
	}
	if err := d.rename(fresh, path); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

func (d disk) writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	if err := ownedAsDir(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if _, err := d.write(f, b); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close())
	}
	if err := d.sync(f); err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", path, err), f.Close())
	}
	return f.Close()
}

// ownedAsDir gives a file that root makes to the owner of its directory: the
// commands may run as root, and the gateway must still get at what they wrote.
func ownedAsDir(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var dir unix.Stat_t
	if err := unix.Stat(filepath.Dir(f.Name()), &dir); err != nil {
		return fmt.Errorf("find the owner of the directory of %s: %w", f.Name(), err)
	}
	return f.Chown(int(dir.Uid), int(dir.Gid))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

const (
	reserveName = "reserve"
	// reserveSize is given up for what must not be lost once the disk is full:
	// a schedule, its spare, and some hundred commits of a few pages each.
	reserveSize = 1 << 20
)

// takeReserve claims the room that precious documents get when the disk is
// full. Where the file system can not (EOPNOTSUPP), there is none, and rows and
// documents meet a full disk alike.
func (s *Store) takeReserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reserved || s.noReserve {
		return nil
	}
	path := filepath.Join(s.dir, reserveName)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("reserve room in %s: %w", path, err)
	}
	if err := ownedAsDir(f); err != nil {
		return errors.Join(err, f.Close())
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveSize)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		s.noReserve = true
		return errors.Join(f.Close(), removeIfThere(path))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("reserve %d bytes in %s: %w", reserveSize, path, err), f.Close(), removeIfThere(path))
	}
	s.reserved = true
	return f.Close()
}

// giveReserve gives the reserved room back to the file system; false where
// there is none left.
func (s *Store) giveReserve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reserved || s.noReserve {
		return false
	}
	s.reserved = false
	return os.Remove(filepath.Join(s.dir, reserveName)) == nil
}
