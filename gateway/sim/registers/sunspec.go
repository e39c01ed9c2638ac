// Package registers gives the plant models their Modbus register maps, as the
// makers and the SunSpec Alliance print them. It is written from the register
// lists alone and shares nothing with the drivers.
//
// A map has one owner: whoever serves it keeps Read, Write and Step apart.
package registers

import (
	"fmt"
	"slices"

	"nominald/gateway/sim/modbustcp"
)

// SunSpec is what differs between devices that carry the same models.
type SunSpec struct {
	Base    uint16 // address of the SunS marker: 40000, 50000 or 0
	Flavour Flavour
	// PowerSF is the scale factor of power points, 0 for 1 W, 1 for 10 W.
	PowerSF int
	// PercentSF is that of percentages, -2 for 0.01 %.
	PercentSF int
	// Order lists model ids in the order of the map; those that are left out
	// follow in their usual order. Model 1 comes first always.
	Order []uint16
	// Without lists points that the device does not implement.
	Without []Point
	// StrictRefresh makes the fallback timer of model 124 restart only by a
	// write of StorCtl_Mod, as some makers have it (modbus.md 4, recipes).
	StrictRefresh bool
}

// Flavour says which models a storage device is controlled by.
type Flavour string

// The flavours of storage.
const (
	Storage124 Flavour = "124" // 103, 120, 124, 802; the default
	Storage704 Flavour = "704" // 701, 702, 704, 713
)

// Point is a place in a model: the offset counts from the ID register.
type Point struct {
	Model  uint16
	Offset int
}

// NewSunSpec returns the usual options: base 40000, 1 W, 0.01 %.
func NewSunSpec() SunSpec {
	return SunSpec{Base: 40000, Flavour: Storage124, PowerSF: 0, PercentSF: -2}
}

// device is a SunSpec map: the marker, models one after another, the end.
type device struct {
	opt    SunSpec
	models []*model
	// refresh fills the models from the plant before they are read.
	refresh func()
	// check refuses the new content of a model, changed is told what was
	// written. Both may be nil.
	check   func(m *model) error
	changed func(m *model, offsets []int)
}

func newDevice(opt SunSpec, common *model, models ...*model) (*device, error) {
	if opt.Base > 65000 {
		return nil, fmt.Errorf("sunspec base %d: no room for the models behind it", opt.Base)
	}
	var ordered []*model
	for _, id := range opt.Order {
		i := slices.IndexFunc(models, func(m *model) bool { return m.id == id })
		if i < 0 {
			return nil, fmt.Errorf("sunspec model order: model %d is not one of this device's", id)
		}
		ordered = append(ordered, models[i])
		models = slices.Delete(slices.Clone(models), i, i+1)
	}
	ordered = append(ordered, models...)
	return &device{opt: opt, models: append([]*model{common}, ordered...)}, nil
}

// commonModel is model 1.
func commonModel(name, serial string, unit byte) *model {
	m := newModel(1, layoutCommon)
	m.setText(2, 16, "nominald")
	m.setText(18, 16, name)
	m.setText(42, 8, "1.0")
	m.setText(50, 16, serial)
	m.reg[66] = uint16(unit)
	return m
}

// image returns all registers from the base on.
func (d *device) image() []uint16 {
	d.refresh()
	out := []uint16{0x5375, 0x6E53} // "SunS"
	for _, m := range d.models {
		for _, p := range d.opt.Without {
			if p.Model == m.id {
				m.erase(p.Offset)
			}
		}
		out = append(out, m.reg...)
	}
	return append(out, 0xFFFF, 0)
}

// Read returns registers of the map; holding registers only.
func (d *device) Read(function byte, addr, count uint16) ([]uint16, error) {
	if function != modbustcp.ReadHolding {
		return nil, modbustcp.IllegalFunction
	}
	image := d.image()
	first := int(addr) - int(d.opt.Base)
	if first < 0 || first+int(count) > len(image) {
		return nil, modbustcp.IllegalAddress
	}
	return image[first : first+int(count)], nil
}

// Write stores registers of one model. A block that touches a read-only
// register, half a number or another model is refused whole.
func (d *device) Write(_ byte, addr uint16, values []uint16) error {
	start := int(d.opt.Base) + 2
	for _, m := range d.models {
		off := int(addr) - start
		if off >= 0 && off < len(m.reg) {
			return d.writeModel(m, off, values)
		}
		start += len(m.reg)
	}
	return modbustcp.IllegalAddress
}

func (d *device) writeModel(m *model, off int, values []uint16) error {
	end := off + len(values)
	if end > len(m.reg) || m.kinds[off] == '.' || (end < len(m.kinds) && m.kinds[end] == '.') {
		return modbustcp.IllegalAddress
	}
	var offsets []int
	for i := off; i < end; i++ {
		if !m.writable[i] {
			return modbustcp.IllegalAddress
		}
		if m.kinds[i] != '.' {
			offsets = append(offsets, i)
		}
	}
	old := slices.Clone(m.reg)
	copy(m.reg[off:end], values)
	if d.check != nil {
		if err := d.check(m); err != nil {
			m.reg = old
			return err
		}
	}
	if d.changed != nil {
		d.changed(m, offsets)
	}
	return nil
}
