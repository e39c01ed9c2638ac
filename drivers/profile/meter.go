package profile

import (
	"context"
	"fmt"
	"time"

	"nominald/drivers"
)

// meter is read and takes no command.
type meter struct {
	*device
}

// Read implements drivers.Device. Inverted, power has the other sign, and the
// counters of import and export change places.
func (d *meter) Read(ctx context.Context) (drivers.Reading, error) {
	if err := d.read(ctx); err != nil {
		return drivers.Reading{}, err
	}
	r := &d.reading
	if d.params.Invert {
		if r.PowerW.OK {
			r.PowerW.V = 0 - r.PowerW.V // not -0
		}
		r.ImportWh, r.ExportWh = r.ExportWh, r.ImportWh
	}
	r.State = d.state()
	return *r, nil
}

// Apply implements drivers.Device.
func (d *meter) Apply(context.Context, drivers.Command, time.Duration) error {
	return fmt.Errorf("%s is a meter and takes no command: %w", d.p.Name, drivers.ErrRefused)
}

// Release implements drivers.Device.
func (d *meter) Release(context.Context) error { return nil }
