package profile

import (
	"context"
	"math"
	"time"

	"nominald/drivers"
)

// inverter takes a limit of what it may feed in, W.
type inverter struct {
	*device
}

// Read implements drivers.Device.
func (d *inverter) Read(ctx context.Context) (drivers.Reading, error) {
	if err := d.read(ctx); err != nil {
		return drivers.Reading{}, err
	}
	d.reading.State = d.state()
	return d.reading, nil
}

// Apply implements drivers.Device. A negative limit is none to feed in; one
// above the register's is the register's.
func (d *inverter) Apply(ctx context.Context, c drivers.Command, valid time.Duration) error {
	if err := d.begin(ctx, c.PowerW, "W", valid); err != nil {
		return err
	}
	w := math.Max(c.PowerW, 0)
	for _, s := range flat(d.p.Command.Apply) {
		if reg, ok := d.p.register(s.Write); ok && s.Value == "command" {
			low, high := reg.limits()
			w = math.Min(math.Max(w, low), high)
		}
	}
	return d.command(ctx, d.p.Command.Apply, values{"command": w}, w, valid)
}

// Release implements drivers.Device.
func (d *inverter) Release(ctx context.Context) error { return d.release(ctx, values{}) }
