package sunspec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nominald/drivers"
)

// site is one device's register map with what was read of it: the part that
// meters and batteries share. It doubts the map after every error and looks at
// the serial number again each verifyEvery.
type site struct {
	regs   Registers
	now    func() time.Time
	walker Walker

	m        Map
	known    bool // m can be trusted
	single   bool // writes one register a request, function 16 is refused
	verified time.Time
	primary  Model // the model that makes the device what it is
	about    drivers.Description
}

// choose picks the models a device type uses from a fresh map. It may read.
type choose func(ctx context.Context, m Map) (primary Model, err error)

// ensure has the map walked, the models chosen and the identity read. It
// reports whether the slowly changing models are due.
func (s *site) ensure(ctx context.Context, pick choose) (due bool, err error) {
	if s.known && s.now().Sub(s.verified) < verifyEvery {
		return false, nil
	}
	if s.known {
		same, err := s.sameSerial(ctx)
		if err != nil {
			return false, err
		}
		if same {
			s.verified = s.now()
			return true, nil
		}
		s.known = false
	}
	m, err := s.walker.Walk(ctx, s.regs)
	if err != nil {
		return false, err
	}
	s.m, s.single = m, false
	if s.primary, err = pick(ctx, m); err != nil {
		return false, err
	}
	if s.about, err = s.identify(ctx); err != nil {
		return false, err
	}
	s.known, s.verified = true, s.now()
	return true, nil
}

// doubt has the map walked again before it is used the next time.
func (s *site) doubt() { s.known = false }

// sameSerial reads the common model again.
func (s *site) sameSerial(ctx context.Context) (bool, error) {
	about, err := s.identify(ctx)
	if errors.Is(err, drivers.ErrRefused) || errors.Is(err, drivers.ErrWrongDevice) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return about.Serial == s.about.Serial && about.Model == s.about.Model, nil
}

// identify reads the common model that stands before the primary one. A device
// without a common model is nameless, not wrong.
func (s *site) identify(ctx context.Context) (drivers.Description, error) {
	about := drivers.Description{Detail: fmt.Sprintf("SunSpec %s at %d", s.m.IDs(), s.m.Base)}
	model, ok := s.m.common(s.primary)
	if !ok {
		return about, nil
	}
	// Mn 2+16, Md 18+16, Opt 34+8, Vr 42+8, SN 50+16 (model 1).
	regs := make([]uint16, min(66, 2+int(model.L)))
	if err := s.readHeaded(ctx, model, regs); err != nil {
		return about, err
	}
	field := func(from, n int) string {
		from, to := min(from, len(regs)), min(from+n, len(regs))
		return text(regs[from:to])
	}
	about.Manufacturer, about.Model = field(2, 16), field(18, 16)
	about.Version, about.Serial = field(42, 8), field(50, 16)
	return about, nil
}

// read reads what is used of a model in one request.
func (s *site) read(ctx context.Context, m Model) (block, error) {
	regs := make([]uint16, m.use())
	if err := s.readHeaded(ctx, m, regs); err != nil {
		return block{}, err
	}
	return block{Model: m, regs: regs}, nil
}

// readHeaded reads a model from its ID on and proves by ID and L that the map
// has not moved. Every error but "busy" makes the map doubtful.
func (s *site) readHeaded(ctx context.Context, m Model, regs []uint16) error {
	if err := s.regs.ReadHolding(ctx, m.Addr, regs); err != nil {
		if !errors.Is(err, drivers.ErrBusy) {
			s.doubt()
		}
		return fmt.Errorf("read model %d at %d+%d: %w", m.ID, m.Addr, len(regs), err)
	}
	if regs[0] != m.ID || regs[1] != m.L {
		s.doubt()
		return fmt.Errorf("read model %d at %d: found model %d of length %d instead of %d, the register map has changed: %w",
			m.ID, m.Addr, regs[0], regs[1], m.L, drivers.ErrWrongDevice)
	}
	return nil
}

// readAll reads the models, or none.
func (s *site) readAll(ctx context.Context, models []Model) ([]block, error) {
	blocks := make([]block, 0, len(models))
	for _, m := range models {
		b, err := s.read(ctx, m)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}
