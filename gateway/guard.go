package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"nominald/drivers/gpio"
)

// Guard watches the site's STOP buttons while devices are moved without the
// running gateway, which else does that. When one is pressed, or can not be read
// for long, the STOP is latched, so that the gateway does not begin after it
// either, and the context that Guard returns ends. The function ends the watch.
func (c *Commissioning) Guard(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watchers sync.WaitGroup
	for _, b := range c.buttons {
		watchers.Go(func() {
			_ = b.input.Run(ctx, func(s gpio.InputState) { // what fails is in its state
				if by := b.demand(s); by != "" && ctx.Err() == nil {
					err := c.latch.stop(by, time.Now().UTC())
					cancel(errors.Join(fmt.Errorf("stopped by the %s; that is latched until `nominald resume`", by), err))
				}
			})
		})
	}
	return ctx, func() {
		cancel(nil)
		watchers.Wait()
	}
}
