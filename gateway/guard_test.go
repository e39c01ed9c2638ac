package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"nominald/drivers/gpio"
)

// Nobody else hears the button while the gateway is down for its commissioning.
func TestButtonEndsACommissioning(t *testing.T) {
	w, line := withButton(t)
	dir := t.TempDir()
	c := &Commissioning{latch: openLatch(dir),
		buttons: openInputs(w.cfg, func(l string, p gpio.Pull) (gpio.Contact, error) { return w.contact(l, p) })}
	ctx, unwatch := c.Guard(t.Context())
	defer unwatch()
	time.Sleep(200 * time.Millisecond)
	if ctx.Err() != nil {
		t.Fatalf("ended with the button at rest: %v", context.Cause(ctx))
	}
	line.set(true, nil)
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
		t.Fatal("pressed for 2 s, and it goes on")
	}
	if why := context.Cause(ctx).Error(); !strings.Contains(why, "stop button red") {
		t.Errorf("ended by %q, want it to name the button", why)
	}
	if stopped, by := openLatch(dir).state(); !stopped || !strings.Contains(by, "red") {
		t.Errorf("latched %v by %q, want the button", stopped, by)
	}
}
