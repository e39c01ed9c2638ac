package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// liveLine shows progress on a stream: on a terminal as one line that changes,
// else as a line every few seconds, so that a log stays readable.
type liveLine struct {
	w        io.Writer
	terminal bool

	mu    sync.Mutex
	shown time.Time
	width int // of what stands on the terminal's line now
}

// The paces of progress.
const (
	liveEvery = 200 * time.Millisecond
	lineEvery = 5 * time.Second
)

func newLiveLine(w io.Writer) *liveLine {
	l := &liveLine{w: w, shown: time.Now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		l.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return l
}

// update shows a passing state, if it is time to.
func (l *liveLine) update(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	every := lineEvery
	if l.terminal {
		every = liveEvery
	}
	if time.Since(l.shown) < every {
		return
	}
	l.shown = time.Now()
	text := printable(fmt.Sprintf(format, args...))
	if !l.terminal {
		fmt.Fprintln(l.w, text)
		return
	}
	if most := 78; len(text) > most {
		text = text[:most] // a line that wraps can not be overwritten
	}
	fmt.Fprintf(l.w, "\r%s%s", text, strings.Repeat(" ", max(0, l.width-len(text))))
	l.width = len(text)
}

// say prints a line that stays.
func (l *liveLine) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
	fmt.Fprintln(l.w, printable(fmt.Sprintf(format, args...)))
}

// done takes the passing state away.
func (l *liveLine) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
}

func (l *liveLine) clear() {
	if l.width > 0 {
		fmt.Fprintf(l.w, "\r%s\r", strings.Repeat(" ", l.width))
		l.width = 0
	}
}
