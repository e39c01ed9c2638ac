package sunspec

// Point is one value of a model. Offsets count registers from the model's ID.
type Point struct {
	Name string
	At   int
	Type Type
	SF   int // offset of its scale factor, 0 where it has none
}

// end is the offset behind the point and its scale factor.
func (p Point) end() int {
	return max(p.At+p.Type.Len(), p.SF+1)
}

// Points returns the layout of the model, limited to the points that this
// package uses; nil for a model it does not know. Offsets and types are those
// of the SunSpec Alliance's model files (github.com/sunspec/models).
func Points(id uint16) []Point {
	switch id {
	case 101, 102, 103:
		return []Point{{"W", 14, Int16, 15}, {"WH", 24, Acc32, 26}, {"St", 38, Enum16, 0}}
	case 111, 112, 113:
		return []Point{{"W", 22, Float32, 0}, {"WH", 32, Float32, 0}, {"St", 48, Enum16, 0}}
	case 120, 121, 122, 123, 124:
		return inverterPoints(id)
	case 201, 202, 203, 204:
		return []Point{
			{"W", 18, Int16, 22},
			{"WphA", 19, Int16, 22}, {"WphB", 20, Int16, 22}, {"WphC", 21, Int16, 22},
			{"TotWhExp", 38, Acc32, 54}, {"TotWhImp", 46, Acc32, 54},
		}
	case 211, 212, 213, 214:
		return []Point{
			{"W", 28, Float32, 0},
			{"WphA", 30, Float32, 0}, {"WphB", 32, Float32, 0}, {"WphC", 34, Float32, 0},
			{"TotWhExp", 60, Float32, 0}, {"TotWhImp", 68, Float32, 0},
		}
	case 701:
		return []Point{
			{"InvSt", 4, Enum16, 0}, {"ConnSt", 5, Enum16, 0}, {"W", 10, Int16, 116},
			{"TotWhInj", 19, Uint64, 120}, {"TotWhAbs", 23, Uint64, 120},
		}
	case 702:
		return []Point{
			{"WMaxRtg", 2, Uint16, 45},
			{"WChaRteMaxRtg", 10, Uint16, 45}, {"WDisChaRteMaxRtg", 11, Uint16, 45},
			{"WMax", 26, Uint16, 45},
			{"WChaRteMax", 34, Uint16, 45}, {"WDisChaRteMax", 35, Uint16, 45},
		}
	case 703:
		return []Point{{"ES", 2, Enum16, 0}}
	case 704:
		return controlPoints()
	case 713:
		return []Point{{"WHRtg", 2, Uint16, 7}, {"SoC", 4, Uint16, 8}, {"Sta", 6, Enum16, 0}}
	case 802:
		return []Point{
			{"WHRtg", 3, Uint16, 53},
			{"WChaRteMax", 4, Uint16, 54}, {"WDisChaRteMax", 5, Uint16, 54},
			{"SoC", 11, Uint16, 56}, {"ChaSt", 16, Enum16, 0}, {"LocRemCtl", 17, Enum16, 0}, {"CtrlHb", 19, Uint16, 0},
			{"V", 34, Uint16, 59}, {"A", 44, Int16, 61}, {"W", 47, Int16, 63},
		}
	default:
		return nil
	}
}

// inverterPoints are the models 120 to 124 of an inverter: nameplate, settings,
// status, immediate controls, storage.
func inverterPoints(id uint16) []Point {
	switch id {
	case 120:
		return []Point{
			{"WRtg", 3, Uint16, 4},
			{"WHRtg", 19, Uint16, 20},
			{"MaxChaRte", 23, Uint16, 24}, {"MaxDisChaRte", 25, Uint16, 26},
		}
	case 121:
		return []Point{{"WMax", 2, Uint16, 22}}
	case 122:
		return []Point{{"PVConn", 2, Bits16, 0}, {"ECPConn", 4, Bits16, 0}}
	case 123:
		return []Point{
			{"Conn", 4, Enum16, 0},
			{"WMaxLimPct", 5, Uint16, 23},
			{"WMaxLimPct_WinTms", 6, Uint16, 0},
			{"WMaxLimPct_RvrtTms", 7, Uint16, 0},
			{"WMaxLim_Ena", 9, Enum16, 0},
		}
	default:
		return storagePoints()
	}
}

// storagePoints is model 124, basic storage control.
func storagePoints() []Point {
	return []Point{
		{"WChaMax", 2, Uint16, 18},
		{"StorCtl_Mod", 5, Bits16, 0},
		{"ChaState", 8, Uint16, 22},
		{"ChaSt", 11, Enum16, 0},
		{"OutWRte", 12, Int16, 25},
		{"InWRte", 13, Int16, 25},
		{"InOutWRte_RvrtTms", 15, Uint16, 0},
		{"ChaGriSet", 17, Enum16, 0},
	}
}

// controlPoints is the limit and the set-point of active power of model 704,
// DER AC controls.
func controlPoints() []Point {
	return []Point{
		{"WMaxLimPctEna", 14, Enum16, 0},
		{"WMaxLimPct", 15, Uint16, 54},
		{"WMaxLimPctRvrt", 16, Uint16, 54},
		{"WMaxLimPctEnaRvrt", 17, Enum16, 0},
		{"WMaxLimPctRvrtTms", 18, Uint32, 0},
		{"WSetEna", 22, Enum16, 0},
		{"WSetMod", 23, Enum16, 0},
		{"WSet", 24, Int32, 55},
		{"WSetRvrt", 26, Int32, 55},
		{"WSetPct", 28, Int16, 56},
		{"WSetPctRvrt", 29, Int16, 56},
		{"WSetEnaRvrt", 30, Enum16, 0},
		{"WSetRvrtTms", 31, Uint32, 0},
		{"WSetRvrtRem", 33, Uint32, 0},
	}
}

// Model is one model of a device's map: L registers follow the ID and L.
type Model struct {
	ID, L  uint16
	Addr   uint16 // of the ID register
	points []Point
}

// use is how many registers from the ID on are read: up to the last point that
// is used, never beyond the model's own end and never more than one request
// carries. So a value and its scale factor always come from one moment, and
// the ID and L at the front prove that the map has not moved. Model 701 is 155
// registers long; the 121 up to its last scale factor fit one request.
func (m Model) use() int {
	n := 2
	for _, p := range m.points {
		n = max(n, p.end())
	}
	return min(n, 2+int(m.L), maxRead)
}

// block is a model as last read. The zero block knows nothing.
type block struct {
	Model
	regs []uint16
}

// find returns a point of the block's model.
func (b block) find(name string) (Point, bool) {
	for _, p := range b.points {
		if p.Name == name {
			return p, true
		}
	}
	return Point{}, false
}

// exponent returns the scale factor of a point. It is not ok where the device
// left it out or it is not a scale factor: the value is then unknown.
func (b block) exponent(p Point) (int, bool) {
	if p.SF == 0 {
		return 0, true
	}
	if p.SF >= len(b.regs) {
		return 0, false
	}
	e, ok := Decode(ScaleFactor, b.regs[p.SF:])
	return int(e), ok && e >= -maxExponent && e <= maxExponent
}

// value returns a point in its unit. It is not ok where the model, the point
// or its scale factor is missing.
func (b block) value(name string) (float64, bool) {
	p, ok := b.find(name)
	if !ok || p.At+p.Type.Len() > len(b.regs) {
		return 0, false
	}
	exp, scaled := b.exponent(p)
	raw, ok := Decode(p.Type, b.regs[p.At:])
	if !ok || !scaled {
		return 0, false
	}
	return scale(raw, exp), true
}

// positive returns a rating; devices leave ratings that they do not know at 0.
func (b block) positive(name string) (float64, bool) {
	v, ok := b.value(name)
	return v, ok && v > 0
}

// has reports whether the device implements the point.
func (b block) has(name string) bool {
	_, ok := b.value(name)
	return ok
}

// word returns an enumeration or bit field as written in its register.
func (b block) word(name string) (uint16, bool) {
	v, ok := b.value(name)
	return uint16(v), ok
}

// addr returns the register of the point on the wire.
func (b block) addr(p Point) uint16 { return b.Addr + uint16(p.At) }

// present reports whether the device implements the point, whatever its scale
// factor says now.
func (b block) present(name string) bool {
	p, ok := b.find(name)
	if !ok || p.At >= len(b.regs) {
		return false
	}
	_, ok = Decode(p.Type, b.regs[p.At:])
	return ok
}
