package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
)

// spareMemory lets the heap grow by half before it is collected, not to the
// double: 2 MB less resident for some microseconds a second. GOGC overrides it.
// What reading the config and all profiles took is given back at once.
func spareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	debug.FreeOSMemory()
}

// forgetStart gives back what only the start needed: heap, and the pages of this
// program's own file. The kernel maps 64 kB around each byte of it that is
// touched and guards mapped code longest when memory runs short; of 11 MB so
// mapped a running gateway uses 4. What is used again comes from the page cache.
func forgetStart() error {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to uintptr
		var rights string
		// 00400000-00c51000 r-xp 00000000 fd:00 4711 /usr/bin/nominald
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &rights); err != nil {
			return fmt.Errorf("/proc/self/maps: %q: %w", lines.Text(), err)
		}
		// Only what can not be written: it is as in the file.
		if !strings.HasSuffix(lines.Text(), " "+self) || rights != "r-xp" && rights != "r--p" {
			continue
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back %s: %w", rights, errno)
		}
	}
	return lines.Err()
}
