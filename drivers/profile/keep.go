package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"nominald/drivers"
	"nominald/drivers/hold"
)

// keepsake is what outlives a restart, as one JSON text a device.
type keepsake struct {
	shift                     // of a thermostat
	Hold   *hold.Usage        `json:"hold,omitempty"`   // of an inhibit
	Writes map[string][]int64 `json:"writes,omitempty"` // Unix times by register with a budget, oldest first
	Ours   []string           `json:"ours,omitempty"`   // registers that a command changed from what their owner chose
}

// recall loads what survived a restart. Until that has worked nothing is done:
// an occupant's set-point would be overwritten.
func (d *device) recall() error {
	if d.known {
		return nil
	}
	if d.params.Remember != nil {
		data, err := d.params.Remember.Load()
		if err == nil && len(data) > 0 {
			err = json.Unmarshal(data, &d.kept)
		}
		if err != nil {
			return fmt.Errorf("load what is remembered of the device: %w", err)
		}
	}
	d.known = true
	return nil
}

// remember saves what was changed in kept.
func (d *device) remember() error {
	if d.params.Remember == nil {
		return nil
	}
	if !d.known {
		return errors.New("remember the device: what it remembers could not be loaded and is left as it is")
	}
	var data []byte
	if d.kept.On || d.kept.Hold != nil || len(d.kept.Writes) > 0 || len(d.kept.Ours) > 0 {
		var err error
		if data, err = json.Marshal(d.kept); err != nil {
			return fmt.Errorf("remember the device: %w", err)
		}
	}
	if err := d.params.Remember.Save(data); err != nil {
		return fmt.Errorf("remember the device: %w", err)
	}
	return nil
}

// day is the window of per_day.
const day = 24 * time.Hour

// afford checks that the budgets of all registers allow the requests, so that a
// sequence is not given up midway.
func (d *device) afford(all []request) error {
	now := d.now()
	for _, req := range all {
		for _, p := range req {
			times := d.kept.Writes[p.reg.Name]
			b := p.reg.Budget
			if n := len(times); b.Interval > 0 && n > 0 {
				if passed := now.Sub(time.Unix(times[n-1], 0)); passed >= 0 && passed < b.Interval {
					return fmt.Errorf("%s: write budget of %s: once in %v, again in %v: %w",
						d.p.Name, p.reg.Name, b.Interval, (b.Interval - passed).Round(time.Second), drivers.ErrRefused)
				}
			}
			if used := recent(times, now); b.PerDay > 0 && len(used) >= b.PerDay {
				wait := time.Unix(used[len(used)-b.PerDay], 0).Add(day).Sub(now)
				return fmt.Errorf("%s: write budget of %s: %d in 24 h are used up, again in %v: %w",
					d.p.Name, p.reg.Name, b.PerDay, wait.Round(time.Second), drivers.ErrRefused)
			}
		}
	}
	return nil
}

// count notes the writes of registers with a budget before they go out: a crash
// in between costs one of the budget, not one of the register's life.
func (d *device) count(req request) error {
	now, counted := d.now(), false
	for _, p := range req {
		if p.reg.Interval == 0 && p.reg.PerDay == 0 {
			continue
		}
		if d.kept.Writes == nil {
			d.kept.Writes = map[string][]int64{}
		}
		times := append(recent(d.kept.Writes[p.reg.Name], now), now.Unix())
		d.kept.Writes[p.reg.Name] = times[max(0, len(times)-max(p.reg.PerDay, 1)):]
		counted = true
	}
	if !counted {
		return nil
	}
	return d.remember()
}

// uncount takes back the last count; memory on disk follows with the next one.
func (d *device) uncount(req request) {
	for _, p := range req {
		if times := d.kept.Writes[p.reg.Name]; len(times) > 0 && (p.reg.Interval > 0 || p.reg.PerDay > 0) {
			d.kept.Writes[p.reg.Name] = times[:len(times)-1]
		}
	}
}

// recent returns the times of the last 24 h. Times far ahead are from a clock
// that was wrong and do not count.
func recent(times []int64, now time.Time) []int64 {
	var out []int64
	for _, t := range times {
		if age := now.Sub(time.Unix(t, 0)); age < day && age > -day {
			out = append(out, t)
		}
	}
	return out
}
