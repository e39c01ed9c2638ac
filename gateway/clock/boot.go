package clock

import (
	"os"
	"strings"
	"time"
)

// Carried is what a process hands to the next one of the same boot: the wall
// clock was right then, and since then nobody has stepped it. A crash in the
// middle of a timeslot, with no network, must not end it; a reboot, which may
// lose the time, starts without (domain.md 2.2, "restart mid-event").
type Carried struct {
	BootID string        `json:"boot_id"`
	Offset time.Duration `json:"offset_ns"` // wall clock minus time since boot
	At     time.Duration `json:"at_ns"`     // time since boot when it was last confirmed
}

const bootIDFile = "/proc/sys/kernel/random/boot_id"

// BootID names this boot of the machine; empty where the kernel does not say.
func BootID() string {
	raw, err := os.ReadFile(bootIDFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// carry takes over what the last process of this boot knew, where the wall
// clock still stands as it stood then.
func (c *Clock) carry(from *Carried) {
	if from == nil || from.BootID == "" || from.BootID != c.opts.BootID {
		return
	}
	offset, elapsed := c.read()
	if (offset-from.Offset).Abs() > agreeWithin || elapsed < from.At {
		return
	}
	c.sure, c.confirmed, c.sureAt = true, from.Offset, from.At
}

// Carry is what the next process of this boot may rely on, false while the
// clock is not trusted.
func (c *Clock) Carry() (Carried, bool) {
	_, state := c.Read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !state.Trusted || !c.sure || c.opts.BootID == "" {
		return Carried{}, false
	}
	return Carried{BootID: c.opts.BootID, Offset: c.confirmed, At: c.sureAt}, true
}
