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
	Optional bool     // the device may not have it: what it refuses is unknown
}

// Requests returns what a poll of the channel reads, in order: first what is
// read each time, then what is read once a minute.
func (p *Profile) Requests(channel int) []Request {
	var all []Request
	fast, slow := p.plan(channel)
	for _, b := range append(fast, slow...) {
		r := Request{Function: b.function, Address: b.address, Count: len(b.regs), Slow: p.Points[b.points[0]].Slow, Optional: b.lax}
		for _, i := range b.points {
			r.Points = append(r.Points, p.Points[i].Name)
		}
		all = append(all, r)
	}
	return all
}

// plan returns the reads of each poll, and those of once a minute. What the
// device may refuse is not read together with what it has to have.
func (p *Profile) plan(channel int) (fast, slow []*block) {
	kind := func(slow, optional bool) func(int) bool {
		return func(i int) bool { return p.Points[i].Slow == slow && (slow || p.Points[i].Optional == optional) }
	}
	fast, slow = p.blocks(channel, kind(false, false)), p.blocks(channel, kind(true, true))
	lax := p.blocks(channel, kind(false, true))
	for _, b := range append(slices.Clone(lax), slow...) {
		b.lax = true
	}
	return append(fast, lax...), slow
}

// block is a run of registers that one request reads, with memory for them.
type block struct {
	function byte
	address  uint16
	regs     []uint16
	points   []int // by index
	lax      bool  // the device may refuse it
	absent   bool  // it did, the last time
}

// blocks returns the fewest requests that read the wanted points. Going
// by address and starting a new request only where one more point does not fit
// gives the fewest: whatever runs of neighbours a plan has, each of these reaches
// at least as far.
func (p *Profile) blocks(channel int, wanted func(i int) bool) []*block {
	var order []int
	for i := range p.Points {
		if wanted(i) {
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
		all = append(all, &block{function: readFunction(pt.Table), address: at, regs: make([]uint16, n), points: []int{i}})
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
