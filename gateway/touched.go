package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nominald/gateway/config"
)

// touched notes which devices a commissioning has commanded and not yet seen
// neutral again. It stands in a file beside the store, like the STOP: a
// commissioning may be killed, and it drives sites that are not armed, on which
// nobody would look for a commanded device otherwise.
type touched struct {
	path    string
	devices []string
	// unknown: the file is there and can not be read, so it may name any device.
	unknown bool
}

const touchedFile = "commissioning.json"

// touchedEntry is what the file holds.
type touchedEntry struct {
	Devices []string  `json:"devices"`
	At      time.Time `json:"at"`
}

// openTouched reads what an earlier process left.
func openTouched(dir string) *touched {
	t := &touched{path: filepath.Join(dir, touchedFile)}
	raw, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return t
	}
	var entry touchedEntry
	if err == nil {
		err = json.Unmarshal(raw, &entry)
	}
	t.devices, t.unknown = entry.Devices, err != nil
	return t
}

// any tells whether a device may still be commanded.
func (t *touched) any() bool { return t.unknown || len(t.devices) > 0 }

// has tells whether the device may still be commanded.
func (t *touched) has(device string) bool { return t.unknown || slices.Contains(t.devices, device) }

// left are the devices that the note names. What is not in the config any more
// can not be reached, and a person has to know.
func (t *touched) left(devices []onceDevice, log *slog.Logger) []onceDevice {
	for _, name := range t.devices {
		if !slices.ContainsFunc(devices, func(d onceDevice) bool { return d.cfg.Name == name }) {
			log.Warn("a commissioning left a device commanded that is not in the config: see to it by hand", "device", name)
		}
	}
	return slices.DeleteFunc(devices, func(d onceDevice) bool { return !t.has(d.cfg.Name) })
}

// releaseTouched releases, before the gateway runs, what a commissioning that
// was killed left commanded: a site that is not armed would never do it.
func releaseTouched(ctx context.Context, cfg *config.Config, log *slog.Logger) {
	note := openTouched(cfg.Store.Dir)
	if !note.any() {
		return
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log.Warn("a commissioning was ended before it released every device; they are released now", "devices", note.devices)
	if err := Release(ctx, cfg, log); err != nil {
		log.Error("a device may still be commanded by a commissioning; see to it, or run `nominald release` while the gateway is stopped", "error", err)
	}
}

// add notes one more device; when it returns, that is on the disk.
func (t *touched) add(device string) error {
	if t.has(device) && !t.unknown {
		return nil
	}
	devices := append(slices.Clone(t.devices), device)
	if err := writeNote(t.path, touchedEntry{Devices: devices, At: time.Now().UTC()}); err != nil {
		return fmt.Errorf("note that %s is commanded: %w", device, err)
	}
	t.devices, t.unknown = devices, false
	return nil
}

// clear notes that every device is neutral.
func (t *touched) clear() error {
	if err := removeNote(t.path); err != nil {
		return fmt.Errorf("note that no device is commanded: %w", err)
	}
	t.devices, t.unknown = nil, false
	return nil
}
