package gateway

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"nominald/gateway/store"
)

// What a damaged store must not take along, the owner's STOP and what a
// commissioning has commanded, stands in small files of its own beside it.

// writeNote puts a value into its file, whole or not at all; when it returns
// nil, that is on the disk.
func writeNote(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(path, raw, 0o640); err != nil {
		return err
	}
	return store.SyncDir(filepath.Dir(path))
}

// removeNote takes the file away, if it is there; when it returns nil, no
// restart can bring it back.
func removeNote(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return store.SyncDir(filepath.Dir(path))
}
