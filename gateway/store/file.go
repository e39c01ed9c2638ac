package store

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	damagedMark = ".damaged-"
	laterMark   = ".later-version-"
	keepDamaged = 3
	lockRetry   = 50 * time.Millisecond
)

// openLocked opens the file, creating an empty one, and locks it as bbolt
// does. The lock is held from before the check to the end, so that no process
// checks, replaces or sets aside a file that another one uses.
func openLocked(path string, timeout time.Duration) (*os.File, int64, error) {
	deadline := time.Now().Add(timeout)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
		if err != nil {
			return nil, 0, fmt.Errorf("open store: %w; it must be readable and writable for user %d: change its owner, or give another store.dir",
				err, os.Geteuid())
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			mine, err := f.Stat()
			if err != nil {
				return nil, 0, errors.Join(fmt.Errorf("open store %s: %w", path, err), f.Close())
			}
			// While we waited for the lock the owner may have renamed it.
			if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
				return f, mine.Size(), nil
			}
		}
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, 0, errors.Join(fmt.Errorf("lock store %s: %w", path, err), f.Close())
		}
		if time.Now().After(deadline) {
			holder := lockHolder(f)
			_ = f.Close()
			return nil, 0, fmt.Errorf("open store %s: %w%s; stop the other nominald, or give another store.dir", path, ErrLocked, holder)
		}
		_ = f.Close()
		time.Sleep(lockRetry)
	}
}

// lockHolder names the process that holds the lock: " (pid 17)", or nothing
// where the kernel does not tell, as across containers.
func lockHolder(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()
	lines := bufio.NewScanner(locks)
	for lines.Scan() {
		if pid := holderIn(lines.Text(), uint64(st.Dev), st.Ino); pid > 0 {
			return fmt.Sprintf(" (pid %d)", pid)
		}
	}
	return ""
}

// holderIn reads a line of /proc/locks (proc_locks(5)):
// "1: FLOCK  ADVISORY  WRITE 712 08:01:1052 0 EOF".
func holderIn(line string, dev, inode uint64) int {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[1] != "FLOCK" {
		return 0
	}
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), inode)
	pid, err := strconv.Atoi(fields[4])
	if err != nil || fields[5] != want {
		return 0
	}
	return pid
}

func asideName(path, mark string, now time.Time) string {
	return path + mark + now.UTC().Format("20060102T150405.000000000Z")
}

// thinOut keeps the three newest damaged copies. Files of a later version are
// never removed.
func thinOut(path, aside string) error {
	// By their own time, not by name: the clock may have been wrong.
	old, err := filepath.Glob(path + damagedMark + "*")
	if err != nil || len(old) <= keepDamaged {
		return nil
	}
	age := func(name string) int64 {
		var st unix.Stat_t
		if unix.Lstat(name, &st) != nil {
			return 0
		}
		return st.Ctim.Nano() // set by the rename
	}
	slices.SortFunc(old, func(a, b string) int {
		if a == aside || (b != aside && age(a) > age(b)) {
			return -1
		}
		return 1
	})
	for _, name := range old[keepDamaged:] {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove an older damaged copy: %w", err)
		}
	}
	return nil
}

// SyncDir makes a rename or a removal in dir survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	defer d.Close()
	// Some file systems (9p, some FUSE) refuse to sync a directory.
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
