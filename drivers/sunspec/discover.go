package sunspec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"nominald/drivers"
)

const (
	markHigh, markLow = 0x5375, 0x6E53 // "SunS"
	endOfMap          = 0xFFFF
	maxModels         = 100 // no device in the field comes near; a broken length must not make an endless walk
	commonModel       = 1
)

// bases returns where the marker may stand (modbus.md 4): the three addresses
// of the specification, then the same on devices that count from one.
func bases() []uint16 { return []uint16{40000, 50000, 0, 40001, 50001, 1} }

// Map is what a walk of a device found.
type Map struct {
	Base   uint16 // address of the marker
	Models []Model
}

// IDs returns the model numbers in the device's order, for people.
func (m Map) IDs() string {
	ids := make([]string, len(m.Models))
	for i, model := range m.Models {
		ids[i] = fmt.Sprint(model.ID)
	}
	return strings.Join(ids, ", ")
}

// all returns the models with one of the ids, in the device's order.
func (m Map) all(ids ...uint16) []Model {
	var found []Model
	for _, model := range m.Models {
		if slices.Contains(ids, model.ID) {
			found = append(found, model)
		}
	}
	return found
}

// common returns the common model that describes the given one: the last
// before it, because a device with several meters repeats model 1 for each.
func (m Map) common(of Model) (Model, bool) {
	var found Model
	for _, model := range m.Models {
		if model.ID == commonModel && (model.Addr < of.Addr || found.ID == 0) {
			found = model
		}
	}
	return found, found.ID == commonModel
}

// Walker finds a device's models. A walk takes many short requests; one that a
// deadline or a lost answer cut short goes on where it stopped at the next
// call of Walk, so that a slow line gets there too.
type Walker struct {
	base    int // index in bases to probe next
	refused int // bases in a row that were answered, but not with the marker
	m       Map
	next    uint32 // address of the next model's ID, 0 while no base is found
	silent  bool   // the header at next was not answered the last time
}

// Walk returns the device's map. An error wraps drivers.ErrWrongDevice where
// the device answered at every base address and none held the marker.
func (w *Walker) Walk(ctx context.Context, r Registers) (Map, error) {
	if w.next == 0 {
		if err := w.probe(ctx, r); err != nil {
			return Map{}, err
		}
	}
	for len(w.m.Models) < maxModels && w.next+2 <= 1<<16 {
		if w.silent {
			// A dead device costs one timeout a poll: the mark comes first.
			if err := w.marked(ctx, r); err != nil {
				return Map{}, fmt.Errorf("walk SunSpec models, again at %d: %w", w.m.Base, err)
			}
		}
		var head [2]uint16
		err := r.ReadHolding(ctx, uint16(w.next), head[:])
		if err != nil && w.endsHere(ctx, r, err) {
			break
		}
		if err != nil {
			return Map{}, fmt.Errorf("walk SunSpec models at %d: %w", w.next, err)
		}
		w.silent = false
		id, length := head[0], head[1]
		beyond := w.next+2+uint32(length) > 1<<16 // no model, but noise
		if id == endOfMap || id == 0 || beyond {
			break
		}
		w.m.Models = append(w.m.Models, Model{ID: id, L: length, Addr: uint16(w.next), points: Points(id)})
		w.next += 2 + uint32(length)
	}
	return w.finish(), nil
}

// endsHere decides whether a failed read of a header is the end of the map. A
// device without an end marker refuses the address, or stays silent. Either
// counts only when it comes twice while the "SunS" mark still answers in
// between: a passing fault must not hide the models behind it.
func (w *Walker) endsHere(ctx context.Context, r Registers, err error) bool {
	refused := errors.Is(err, drivers.ErrRefused)
	if len(w.m.Models) == 0 || (!refused && !errors.Is(err, drivers.ErrOffline)) {
		return false
	}
	if !refused {
		again := w.silent
		w.silent = true
		return again // with the mark in between
	}
	var regs [2]uint16
	return w.marked(ctx, r) == nil && errors.Is(r.ReadHolding(ctx, uint16(w.next), regs[:]), drivers.ErrRefused)
}

// marked reads the "SunS" mark once more.
func (w *Walker) marked(ctx context.Context, r Registers) error {
	var mark [2]uint16
	err := r.ReadHolding(ctx, w.m.Base, mark[:])
	if err == nil && mark != [2]uint16{markHigh, markLow} {
		err = fmt.Errorf("no marker \"SunS\" any more: %w", drivers.ErrOffline)
	}
	return err
}

// probe looks for the marker. After silence it gives up at once and tries the
// next base at the next call: a dead device then costs one timeout a poll, and
// a device that ignores addresses it does not have is found all the same.
func (w *Walker) probe(ctx context.Context, r Registers) error {
	all := bases()
	var last error
	for w.refused < len(all) {
		addr := all[w.base]
		var mark [2]uint16
		err := r.ReadHolding(ctx, addr, mark[:])
		if err == nil && mark == [2]uint16{markHigh, markLow} {
			*w = Walker{base: w.base, m: Map{Base: addr}, next: uint32(addr) + 2}
			return nil
		}
		if err != nil && !errors.Is(err, drivers.ErrRefused) {
			if errors.Is(err, drivers.ErrOffline) {
				w.base, w.refused = (w.base+1)%len(all), 0
			}
			return fmt.Errorf("look for SunSpec at %d: %w", addr, err)
		}
		w.base = (w.base + 1) % len(all)
		w.refused++
		last = err
	}
	w.refused = 0
	if last != nil {
		return fmt.Errorf("look for SunSpec: no marker \"SunS\" at any of %v; is SunSpec enabled on the device, and the unit id right?: %w: %w",
			all, drivers.ErrWrongDevice, last)
	}
	return fmt.Errorf("look for SunSpec: no marker \"SunS\" at any of %v; is SunSpec enabled on the device, and the unit id right?: %w",
		all, drivers.ErrWrongDevice)
}

// finish hands out the map. The next walk starts afresh, at the base that was
// right this time.
func (w *Walker) finish() Map {
	m := w.m
	*w = Walker{base: w.base}
	return m
}
