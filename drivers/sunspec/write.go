package sunspec

import (
	"context"
	"errors"
	"fmt"

	"nominald/drivers"
)

// write writes registers that stand side by side. Function 16 is tried first;
// a device that refuses it may take function 6 (Kostal, modbus.md 4), and what
// worked is remembered. Whole registers hold one value that must not be
// written in parts, so function 6 is no way out for them.
func (s *site) write(ctx context.Context, name string, addr uint16, vs []uint16, whole bool) error {
	if s.single && !whole {
		return s.writeSingly(ctx, name, addr, vs)
	}
	err := s.regs.WriteRegisters(ctx, addr, vs)
	if err == nil {
		return nil
	}
	if errors.Is(err, drivers.ErrRefused) && !whole {
		if s.writeSingly(ctx, name, addr, vs) == nil {
			s.single = true
			return nil
		}
	}
	if errors.Is(err, drivers.ErrOffline) {
		s.doubt()
	}
	return fmt.Errorf("write %s at %d+%d: %w", name, addr, len(vs), err)
}

// writeSingly writes one register a request.
func (s *site) writeSingly(ctx context.Context, name string, addr uint16, vs []uint16) error {
	for i, v := range vs {
		if err := s.regs.WriteRegister(ctx, addr+uint16(i), v); err != nil {
			if errors.Is(err, drivers.ErrOffline) {
				s.doubt()
			}
			return fmt.Errorf("write %s at %d: %w", name, addr+uint16(i), err)
		}
	}
	return nil
}
