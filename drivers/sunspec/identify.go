package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"nominald/drivers"
)

// The profiles that this package drives, most able first.
const (
	ProfileStorage  = "sunspec-storage"
	ProfileInverter = "sunspec-inverter"
	ProfileMeter    = "sunspec-meter"
)

// Identity is what a device says of itself, for a scan.
type Identity struct {
	Manufacturer, Model, Version, Serial string

	Base     uint16   // address of the marker "SunS"
	Models   []uint16 // in the device's order, repeated as the device repeats them
	Profile  string   // the first of Profiles
	Profiles []string // all that fit: a hybrid is a battery and an inverter; none where it is neither, nor a meter
}

// Identify walks a device's models and reads its name. It only reads. A unit
// that answers at no address costs a timeout for each of the six places the
// marker may stand, so a scan asks it for something shorter before. An error
// wraps drivers.ErrWrongDevice where the device answered and is no SunSpec
// device.
func Identify(ctx context.Context, r Registers) (Identity, error) {
	s := &site{regs: r, now: clock(nil)}
	var err error
	for range 2 * len(bases()) { // silence at one address is no answer about the next
		s.m, err = s.walker.Walk(ctx, r)
		if err == nil || ctx.Err() != nil || !errors.Is(err, drivers.ErrOffline) {
			break
		}
		if s.walker.next == 0 && s.walker.base == 0 {
			break // all have been tried
		}
	}
	if err != nil {
		return Identity{}, err
	}
	return s.introduce(ctx)
}

// introduce names the device of a walked map and the profiles that fit it.
func (s *site) introduce(ctx context.Context) (Identity, error) {
	id := Identity{Base: s.m.Base}
	for _, m := range s.m.Models {
		id.Models = append(id.Models, m.ID)
	}
	if len(s.m.Models) == 0 {
		return Identity{}, fmt.Errorf("identify SunSpec device at %d: the marker is there and no model behind it: %w", s.m.Base, drivers.ErrWrongDevice)
	}
	s.primary = s.m.Models[len(s.m.Models)-1]
	for _, kind := range []struct {
		profile string
		fits    func(context.Context) (Model, bool, error)
	}{{ProfileStorage, s.isStorage}, {ProfileInverter, s.isInverter}, {ProfileMeter, s.isMeter}} {
		m, ok, err := kind.fits(ctx)
		if err != nil {
			return Identity{}, err
		}
		if ok {
			id.Profiles = append(id.Profiles, kind.profile)
			if id.Profile == "" {
				id.Profile, s.primary = kind.profile, m
			}
		}
	}
	about, err := s.identify(ctx)
	if err != nil {
		return Identity{}, err
	}
	id.Manufacturer, id.Model, id.Version, id.Serial = about.Manufacturer, about.Model, about.Version, about.Serial
	return id, nil
}

// isStorage reports whether a battery can be commanded. Inverters without one
// carry the same models, so 704 counts only beside something that knows of a
// battery, and 124 only with a rating to take percentages of.
func (s *site) isStorage(ctx context.Context) (Model, bool, error) {
	knows := len(s.m.all(713, 802)) > 0
	if caps := s.m.all(702); len(caps) > 0 && !knows {
		b, err := s.tryRead(ctx, caps[0])
		if err != nil {
			return Model{}, false, err
		}
		_, knows = b.positive("WChaRteMaxRtg")
	}
	for _, m := range append(s.m.all(704), s.m.all(124)...) {
		b, err := s.tryRead(ctx, m)
		if err != nil {
			return Model{}, false, err
		}
		_, rated := b.positive("WChaMax")
		if takesPower(b) && (rated || (m.ID == 704 && knows)) {
			return m, true, nil
		}
	}
	return Model{}, false, nil
}

// isInverter reports whether the device measures AC power as a generator.
func (s *site) isInverter(context.Context) (Model, bool, error) {
	models := s.m.all(generators()...)
	if len(models) == 0 {
		return Model{}, false, nil
	}
	return models[0], true, nil
}

func (s *site) isMeter(context.Context) (Model, bool, error) {
	i := slices.IndexFunc(s.m.Models, func(m Model) bool { return slices.Contains(meters(), m.ID) })
	if i < 0 {
		return Model{}, false, nil
	}
	return s.m.Models[i], true, nil
}

// tryRead reads a model; one that the device refuses knows nothing, and casts
// no doubt on the map.
func (s *site) tryRead(ctx context.Context, m Model) (block, error) {
	known := s.known
	b, err := s.read(ctx, m)
	if errors.Is(err, drivers.ErrRefused) {
		s.known = known
		return block{}, nil
	}
	return b, err
}
