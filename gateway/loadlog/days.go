package loadlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A day's file holds sealed hours, one record after the other:
//
//	4 bytes magic | 4 bytes length of the body | 4 bytes CRC-32C of what follows
//	| 4 bytes hour since 1970 | 2 bytes length of the name | name | body
//
// The body is one channel of a frame (frame.go). A record that was torn is
// skipped: the next one is found by its magic and its checksum.
const (
	dayMagic  = 0x686f7572 // "hour"
	dayHeader = 18
	daySuffix = ".seconds"
)

// days are the files of sealed seconds, one a UTC day.
type days struct{ dir string }

func dayOf(hour int64) string { return time.Unix(hour*3600, 0).UTC().Format(time.DateOnly) }

func (d days) path(day string) string { return filepath.Join(d.dir, day+daySuffix) }

// list returns the days that there are, oldest first.
func (d days) list() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list days of load: %w", err)
	}
	var list []string
	for _, e := range entries {
		day, ok := strings.CutSuffix(e.Name(), daySuffix)
		if _, err := time.Parse(time.DateOnly, day); ok && err == nil {
			list = append(list, day)
		}
	}
	slices.Sort(list)
	return list, nil
}

// record is an hour of one channel in a day's file.
type record struct {
	hour int64
	name string
	body []byte
}

func (r record) encode(out []byte) []byte {
	at := len(out)
	out = binary.LittleEndian.AppendUint32(out, dayMagic)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(r.body)))
	out = binary.LittleEndian.AppendUint32(out, 0)
	out = binary.LittleEndian.AppendUint32(out, uint32(r.hour))
	out = binary.LittleEndian.AppendUint16(out, uint16(len(r.name)))
	out = append(append(out, r.name...), r.body...)
	binary.LittleEndian.PutUint32(out[at+8:], checksum(out[at+4:at+8], out[at+12:]))
	return out
}

// append adds records to their day's file and waits until they are on the card.
// What a failed attempt left behind is cut off.
func (d days) append(day string, records []record) (err error) {
	f, err := os.OpenFile(d.path(day), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open seconds of %s: %w", day, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open seconds of %s: %w", day, err)
	}
	var out []byte
	for _, r := range records {
		out = r.encode(out)
	}
	_, err = f.Write(out)
	if err == nil {
		err = f.Sync()
	}
	if err == nil && info.Size() == 0 {
		err = syncDir(d.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write seconds of %s: %w", day, err), f.Truncate(info.Size()))
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// read calls fn for each record of a day that want says is wanted. Damaged ones
// are counted.
func (d days) read(day string, want func(hour int64, name string) bool, fn func(record) error) (bad int, err error) {
	f, err := os.Open(d.path(day))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open seconds of %s: %w", day, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("open seconds of %s: %w", day, err)
	}
	rd := dayReader{f: f, size: info.Size(), want: want}
	for rd.at < rd.size {
		r, ok, err := rd.next()
		if err != nil {
			return rd.bad, fmt.Errorf("read seconds of %s: %w", day, err)
		}
		if !ok {
			continue
		}
		if err := fn(r); err != nil {
			return rd.bad, err
		}
	}
	return rd.bad, nil
}

// dayReader reads a day's file from front to back.
type dayReader struct {
	f     io.ReaderAt
	size  int64
	at    int64
	bad   int
	lost  bool // it looks for the next record since one was damaged
	want  func(hour int64, name string) bool
	body  []byte
	first [dayHeader + maxName]byte
}

// next reads one record; ok is false where it is not wanted or not good.
func (d *dayReader) next() (r record, ok bool, err error) {
	n, err := d.f.ReadAt(d.first[:min(int64(len(d.first)), d.size-d.at)], d.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return r, false, err
	}
	head := d.first[:n]
	if len(head) < dayHeader || binary.LittleEndian.Uint32(head) != dayMagic {
		d.skip()
		return r, false, nil
	}
	length, name := int64(binary.LittleEndian.Uint32(head[4:])), int(binary.LittleEndian.Uint16(head[16:]))
	total := dayHeader + int64(name) + length
	if name > maxName || dayHeader+name > len(head) || d.at+total > d.size {
		d.skip()
		return r, false, nil
	}
	r = record{hour: int64(binary.LittleEndian.Uint32(head[12:])), name: string(head[dayHeader : dayHeader+name])}
	if !d.lost && !d.want(r.hour, r.name) {
		d.at += total
		return r, false, nil
	}
	d.body = slices.Grow(d.body[:0], int(length))[:length]
	if _, err := d.f.ReadAt(d.body, d.at+dayHeader+int64(name)); err != nil && !errors.Is(err, io.EOF) {
		return r, false, err
	}
	if checksum(head[4:8], head[12:dayHeader+name], d.body) != binary.LittleEndian.Uint32(head[8:]) {
		d.skip()
		return r, false, nil
	}
	d.at += total
	d.lost = false
	r.body = d.body
	return r, d.want(r.hour, r.name), nil
}

// skip looks for the next record a byte further on.
func (d *dayReader) skip() {
	if !d.lost {
		d.bad++
	}
	d.lost = true
	d.at++
	d.at = nextMagic(d.f, d.at, d.size)
}

// nextMagic finds where the next record may begin.
func nextMagic(f io.ReaderAt, at, size int64) int64 {
	want := binary.LittleEndian.AppendUint32(nil, dayMagic)
	buf := make([]byte, 64<<10)
	for at < size {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		for i := 0; i+4 <= n; i++ {
			if string(buf[i:i+4]) == string(want) {
				return at + int64(i)
			}
		}
		if n < 4 || err != nil && !errors.Is(err, io.EOF) {
			return size
		}
		at += int64(n - 3)
	}
	return size
}

// thin keeps of a day the hours that keep names and gives the rest back; a day
// of which nothing is kept goes altogether.
func (d days) thin(day string, keep func(hour int64) bool) error {
	var kept []byte
	_, err := d.read(day, func(int64, string) bool { return true }, func(r record) error {
		if keep(r.hour) {
			kept = r.encode(kept)
		}
		return nil
	})
	if err != nil {
		return err
	}
	path := d.path(day)
	if len(kept) == 0 {
		return os.Remove(path)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() == int64(len(kept)) {
		return err
	}
	return replaceFile(path, kept)
}

// replaceFile puts a new file in the place of an old one, whole or not at all.
func replaceFile(path string, content []byte) (err error) {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}
