package loadlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FileState is a file of seconds as Check found it.
type FileState struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Pieces int    `json:"pieces"` // good ones: hours of a channel
	Bad    int    `json:"bad"`    // stretches that can not be read
}

// Check reads the days' files of a directory and changes nothing. The ring is
// not among them: what it lacks is what a power cut took, and it is written
// anew all the time.
func Check(dir string) ([]FileState, error) {
	d := days{dir}
	list, err := d.list()
	if errors.Is(err, fs.ErrNotExist) {
		return []FileState{}, nil
	}
	states := make([]FileState, 0, len(list))
	for _, day := range list {
		s := FileState{Name: filepath.Base(d.path(day))}
		info, statErr := os.Stat(d.path(day))
		if statErr != nil {
			return states, fmt.Errorf("check seconds of %s: %w", day, statErr)
		}
		s.Bytes = info.Size()
		all := func(int64, string) bool { return true }
		if s.Bad, err = d.read(day, all, func(record) error { s.Pieces++; return nil }); err != nil {
			return states, err
		}
		states = append(states, s)
	}
	return states, err
}

// Repair writes each day's file of a directory that has bad stretches anew
// without them, and returns those as they were.
func Repair(dir string) ([]FileState, error) {
	states, err := Check(dir)
	if err != nil {
		return nil, err
	}
	var mended []FileState
	for _, s := range states {
		if s.Bad == 0 {
			continue
		}
		day := s.Name[:len(s.Name)-len(daySuffix)]
		if err := (days{dir}).thin(day, func(int64) bool { return true }); err != nil {
			return mended, fmt.Errorf("repair seconds of %s: %w", day, err)
		}
		mended = append(mended, s)
	}
	return mended, nil
}
