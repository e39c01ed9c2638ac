package gateway

import (
	"time"

	"nominald/drivers"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
)

// shown is where the load log keeps the net load that a Leap meter shows. The
// zero value is the site's.
type shown struct {
	channel string // of the device that measures; empty for the site
	battery bool   // its discharge is positive there
}

// shownBy is what a meter is compared with its baseline by: a device meter by
// the power of the device that measures it, every other by the site's.
func shownBy(cfg *config.Config, m config.Meter) shown {
	if m.Type != config.DeviceMeter || m.Reference != config.ByBaseline {
		return shown{}
	}
	return shown{channel: m.MeasuredBy, battery: kindOf(cfg, m.MeasuredBy) == drivers.Battery}
}

func kindOf(cfg *config.Config, device string) drivers.Kind {
	for _, d := range cfg.Devices {
		if d.Name == device {
			return d.Kind
		}
	}
	return ""
}

// ofDevice tells whether it is a device's load and not the site's.
func (s shown) ofDevice() bool { return s.channel != "" }

func (s shown) name() string {
	if s.ofDevice() {
		return s.channel
	}
	return loadlog.Site
}

// mean is the mean net load in W of [from, to), import positive, and how much
// of it was measured.
func (s shown) mean(loads measuredLoad, from, to time.Time) (meanW, coverage float64, err error) {
	meanW, coverage, err = loads.Mean(s.name(), from.UTC(), to.UTC())
	if s.battery {
		meanW = 0 - meanW
	}
	return meanW, coverage, err
}
