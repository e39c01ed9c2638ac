package profile

import (
	"cmp"
	"slices"
)

// Request is one read that a poll of the device takes.
type Request struct {
	Function byte // 1 coils, 2 discrete inputs, 3 holding registers, 4 input registers
	Address  uint16
	Count    int      // registers or bits
	Points   []string // that it serves
	Slow     bool     // once a minute only
}

// Requests returns what a poll of the channel reads, in order: first what is
// read each time, then what is read once a minute.
func (p *Profile) Requests(channel int) []Request {
	var all []Request
	for _, slow := range []bool{false, true} {
		for _, b := range p.blocks(channel, slow) {
			r := Request{Function: b.function, Address: b.address, Count: len(b.regs), Slow: slow}
			for _, i := range b.points {
				r.Points = append(r.Points, p.Points[i].Name)
			}
			all = append(all, r)
		}
	}
	return all
}

// block is a run of registers that one request reads, with memory for them.
type block struct {
	function byte
	address  uint16
	regs     []uint16
	points   []int // by index
}

// blocks returns the fewest requests that read all fast or all slow points. Going
// by address and starting a new request only where one more point does not fit
// gives the fewest: whatever runs of neighbours a plan has, each of these reaches
// at least as far.
func (p *Profile) blocks(channel int, slow bool) []*block {
	var order []int
	for i, pt := range p.Points {
		if pt.Slow == slow {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := p.Points[a], p.Points[b]
		return cmp.Or(cmp.Compare(readFunction(x.Table), readFunction(y.Table)), cmp.Compare(x.at(channel), y.at(channel)), cmp.Compare(width(x.Type), width(y.Type)))
	})
	var all []*block
	for _, i := range order {
		pt := p.Points[i]
		at, n := pt.at(channel), width(pt.Type)
		if len(all) > 0 {
			b := all[len(all)-1]
			if span := p.joined(b, readFunction(pt.Table), at, n); span > 0 {
				b.regs = make([]uint16, span)
				b.points = append(b.points, i)
				continue
			}
		}
		all = append(all, &block{readFunction(pt.Table), at, make([]uint16, n), []int{i}})
	}
	return all
}

// joined returns how many registers the block has with a value that begins not
// before it; 0 where one request can not read both.
func (p *Profile) joined(b *block, function byte, at uint16, n int) int {
	end := int(b.address) + len(b.regs)
	span := max(end, int(at)+n) - int(b.address)
	switch {
	case function != b.function || span > p.MaxRegisters:
		return 0
	case p.OnePerRequest && (at != b.address || n != len(b.regs)): // the same registers may serve several points
		return 0
	case int(at)-end > p.MaxGap:
		return 0
	case int(at) > end && p.hole(function, end, int(at)-1):
		return 0
	}
	return span
}

// hole tells whether a register from first to last must not be read.
func (p *Profile) hole(function byte, first, last int) bool {
	return function >= 3 && slices.ContainsFunc(p.Holes, func(h [2]uint16) bool {
		return first <= int(h[1]) && last >= int(h[0])
	})
}

// at is the point's address in a channel, which counts from 1.
func (pt Point) at(channel int) uint16 { return pt.Address + uint16(max(channel, 1)-1)*pt.Stride }

// at is the register's address in a channel, which counts from 1.
func (r Register) at(channel int) uint16 { return r.Address + uint16(max(channel, 1)-1)*r.Stride }
