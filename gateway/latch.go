package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// latch is the owner's STOP. It stands in a file of its own beside the store:
// a damaged store is set aside and must not take the STOP with it.
type latch struct {
	path string
	mu   sync.Mutex              // one change at a time; held while the disk is written
	by   atomic.Pointer[latched] // nil while the site is not stopped
}

// latched says who stopped the site and when.
type latched struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

const latchFile = "stopped.json"

// openLatch reads what an earlier process left. A file that can not be read
// counts as a STOP: when we do not know, we do not push.
func openLatch(dir string) *latch {
	l := &latch{path: filepath.Join(dir, latchFile)}
	raw, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l
	}
	var by latched
	if err != nil || json.Unmarshal(raw, &by) != nil {
		by = latched{By: "unreadable " + l.path}
	}
	l.by.Store(&by)
	return l
}

// state tells whether the site is stopped, and by whom. It never waits.
func (l *latch) state() (stopped bool, by string) {
	if by := l.by.Load(); by != nil {
		return true, by.By
	}
	return false, ""
}

// stop takes effect even where it can not be written down; the error says so.
func (l *latch) stop(by string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := &latched{By: by, At: now}
	l.by.Store(entry)
	if err := writeNote(l.path, entry); err != nil {
		return fmt.Errorf("the site is stopped, but a restart would forget it: %w", err)
	}
	return nil
}

// resume takes effect only once no restart can bring the STOP back.
func (l *latch) resume() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := removeNote(l.path); err != nil {
		return fmt.Errorf("the site stays stopped: %w", err)
	}
	l.by.Store(nil)
	return nil
}
