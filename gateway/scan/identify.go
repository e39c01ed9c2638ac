package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nominald/drivers"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
	"nominald/drivers/sunspec"
)

const (
	// identifyLimit bounds the identification of one unit: one that ignores
	// addresses it does not have costs a timeout for each question.
	identifyLimit = 30 * time.Second
	// silences in a row after which a unit is not asked for further profiles.
	mostSilences = 6
)

// identify says what a unit is, as far as it can be known.
func (s *scanner) identify(ctx context.Context, line *modbus.Line, place Place, r reply) Found {
	f := Found{Place: place, Answer: r.text}
	ctx, cancel := context.WithTimeout(ctx, identifyLimit)
	defer cancel()
	u := line.Unit(byte(place.Unit))
	u.SetTiming(modbus.Timing{Timeout: patient(s.plan.timeout(place.Serial != "")), PauseBetween: s.pause(place)})
	if id, err := sunspec.Identify(ctx, u); err == nil {
		s.sunSpec(ctx, u, &f, id)
		return f
	}
	fits := s.fitting(ctx, line, place)
	if len(fits) == 0 {
		return f
	}
	best := fits[0]
	for _, p := range fits {
		f.Profiles = append(f.Profiles, p.Name)
	}
	f.Profile, f.Kind, f.Manufacturer, f.Channels = best.Name, best.Kind, best.Maker, best.Channels
	s.live(ctx, profile.New(best, s.unit(line, place, best), profile.Params{}), &f)
	return f
}

func (s *scanner) sunSpec(ctx context.Context, u *modbus.Unit, f *Found, id sunspec.Identity) {
	f.Manufacturer, f.Model, f.SerialNumber, f.Version = id.Manufacturer, id.Model, id.Serial, id.Version
	f.SunSpec, f.Profile, f.Profiles = id.Models, id.Profile, id.Profiles
	var device drivers.Device
	switch id.Profile {
	case sunspec.ProfileMeter:
		f.Kind, device = drivers.Meter, sunspec.NewMeter(u, sunspec.MeterOptions{})
	case sunspec.ProfileStorage:
		f.Kind, device = drivers.Battery, sunspec.NewStorage(u, sunspec.StorageOptions{})
	case sunspec.ProfileInverter:
		f.Kind, device = drivers.Inverter, sunspec.NewInverter(u, sunspec.InverterOptions{})
	default:
		f.Note = "a SunSpec device that is no meter, battery or inverter"
		return
	}
	s.live(ctx, device, f)
}

// live reads the device once, for a value to recognise it by, and for what it
// says of itself beyond its identity.
func (s *scanner) live(ctx context.Context, device drivers.Device, f *Found) {
	f.Fallback = device.Describe().Fallback
	reading, err := device.Read(ctx)
	if err != nil {
		f.Note = "identified, but not read: " + err.Error()
		return
	}
	f.Reading = &reading
	about := device.Describe()
	f.Fallback = about.Fallback
	if f.SerialNumber == "" {
		f.SerialNumber = about.Serial
	}
	if f.Model == "" {
		f.Model = about.Model
	}
}

// unit is the unit with the pauses that a profile asks for.
func (s *scanner) unit(line *modbus.Line, place Place, p *profile.Profile) *modbus.Unit {
	u := line.Unit(byte(place.Unit))
	t := p.Timing
	u.SetTiming(modbus.Timing{Timeout: max(t.Timeout, patient(s.plan.timeout(place.Serial != ""))),
		PauseBetween: max(t.PauseBetween, s.pause(place)), PauseAfterConnect: t.PauseAfterConnect, UnitChange: t.UnitChange})
	return u
}

// fitting returns the profiles whose identity the unit has, the best first:
// that whose identity proves most.
func (s *scanner) fitting(ctx context.Context, line *modbus.Line, place Place) []*profile.Profile {
	var fits []*profile.Profile
	silent := 0
	for _, p := range s.candidates(place) {
		if ctx.Err() != nil || silent >= mostSilences {
			break
		}
		err := p.Identify(ctx, s.unit(line, place, p))
		switch {
		case err == nil:
			fits = append(fits, p)
			silent = 0
		case errors.Is(err, drivers.ErrOffline):
			silent++
		default:
			silent = 0
		}
	}
	slices.SortStableFunc(fits, func(a, b *profile.Profile) int { return strength(b) - strength(a) })
	return fits
}

// candidates are the profiles that can be tried at a place, those that are set
// up like it first. A serial device may stand behind a TCP gateway, so over TCP
// those come as well, last; on a serial line a TCP device can not be.
func (s *scanner) candidates(place Place) []*profile.Profile {
	rank := func(p *profile.Profile) int {
		r := 4
		if slices.Contains(p.Link.Units, place.Unit) {
			r--
		}
		if place.Serial != "" && p.Link.Baud == place.Baud && p.Link.Format == place.Format {
			r -= 2
		}
		if place.TCP != "" && p.Link.Port > 0 && strings.HasSuffix(place.TCP, fmt.Sprint(":", p.Link.Port)) {
			r -= 2
		}
		return r
	}
	var out []*profile.Profile
	for _, p := range s.o.Profiles {
		tcpOnly := p.Link.Port > 0 && p.Link.Baud == 0
		if p.Bus == "modbus" && p.Driver == "" && len(p.Identity) > 0 && !(place.Serial != "" && tcpOnly) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b *profile.Profile) int { return rank(a) - rank(b) })
	return out
}

// Live is what a device measures, to recognise it by.
func (f Found) Live() string {
	r := f.Reading
	if r == nil {
		return ""
	}
	var parts []string
	for _, v := range []struct {
		format string
		o      drivers.Opt
		scale  float64
	}{{"%.2f kW", r.PowerW, 1000}, {"%.0f %% charged", r.SoC, 1}, {"%.1f A", r.CurrentA, 1}, {"%.1f C", r.TemperatureC, 1},
		{"set to %.1f C", r.SetpointC, 1}, {"%.0f kWh imported", r.ImportWh, 1000}} {
		if v.o.OK {
			parts = append(parts, fmt.Sprintf(v.format, v.o.V/v.scale))
		}
	}
	if r.State != "" {
		parts = append(parts, r.State)
	}
	return strings.Join(parts, ", ")
}
