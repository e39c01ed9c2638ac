package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// disk is an ext4 file system of its own behind a loop device, whose counters
// say what really reached it: data, the journal, everything.
type disk struct {
	dir    string
	device string // loop0
}

const diskBytes = 3 << 30 // sparse

// newDisk makes and mounts one. It takes root.
func newDisk(ctx context.Context, work string) (*disk, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the device's write counters take a file system of its own: run this as root")
	}
	image, d := filepath.Join(work, "card.img"), &disk{dir: filepath.Join(work, "card")}
	f, err := os.Create(image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(diskBytes), f.Close(), os.Mkdir(d.dir, 0o755)); err != nil {
		return nil, err
	}
	// Without the lazy initialisation, whose writes are not ours.
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
		{"mount", "-o", "loop", image, d.dir}} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	out, err := exec.CommandContext(ctx, "losetup", "-j", image, "-O", "NAME", "-n").Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find the loop device of %s: %w", image, err), d.close())
	}
	d.device = filepath.Base(strings.TrimSpace(string(out)))
	return d, nil
}

func (d *disk) close() error {
	if err := syscall.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.dir, err)
	}
	return nil
}

// written is how many bytes the device was given so far, once all is out.
func (d *disk) written() (float64, error) {
	syscall.Sync()
	path := "/sys/block/" + d.device + "/stat"
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(raw))
	const sectorsWritten, sector = 6, 512 // Documentation/block/stat
	if len(fields) <= sectorsWritten {
		return 0, fmt.Errorf("%s: %q", path, raw)
	}
	n, err := strconv.ParseFloat(fields[sectorsWritten], 64)
	return n * sector, err
}

// during is what fn writes to the device, in bytes.
func (d *disk) during(fn func() error) (float64, error) {
	before, err := d.written()
	if err != nil {
		return 0, err
	}
	if err := fn(); err != nil {
		return 0, err
	}
	after, err := d.written()
	return after - before, err
}

// size is what the files below a directory hold, in bytes.
func size(dir string) (float64, error) {
	var sum float64
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += float64(info.Size())
		}
		return err
	})
	return sum, err
}
