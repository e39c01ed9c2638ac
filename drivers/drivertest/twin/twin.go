// Package twin makes a simulated device out of a device profile: its registers
// and coils, its refusals, its fallback timer, and what a command written into
// it means. It reads the profile on its own and shares no code with the driver
// that interprets profiles: where the two understand a file differently, a test
// that runs one against the other fails.
//
// A twin is served by anything that serves a unit with Read and Write: the
// slave of package drivertest, a simulated serial line, the simulated site.
// Its methods may be called from several goroutines.
package twin

import (
	"math"
	"slices"
	"sync"
	"time"

	"nominald/drivers/profile"
)

// Exception is a refusal, with the code that goes on the wire.
type Exception byte

// The refusals of a twin (Modbus Application Protocol 1.1b3, chapter 7).
const (
	IllegalFunction Exception = 1
	IllegalAddress  Exception = 2
	IllegalValue    Exception = 3
)

// Error says which refusal it is.
func (e Exception) Error() string {
	switch e {
	case 0:
		return "carried out"
	case IllegalFunction:
		return "exception 1: illegal function"
	case IllegalAddress:
		return "exception 2: illegal data address"
	}
	return "exception 3: illegal data value"
}

// ExceptionCode is the code on the wire.
func (e Exception) ExceptionCode() byte { return byte(e) }

// Write is one write as it arrived, whatever became of it.
type Write struct {
	Function byte
	Addr     uint16
	Values   []uint16
	Before   []uint16  // what was there
	Refused  Exception // 0 where it was carried out
}

// Site is what a device knows of where it is installed. Zero values are three
// phases of 230 V and the largest current of the profile's register.
type Site struct {
	Phases   int
	VoltageV float64
	MaxA     float64
}

// Twin is one simulated device.
type Twin struct {
	p       *profile.Profile
	channel uint16 // from 0

	mu      sync.Mutex
	site    Site
	cells   map[cell]uint16
	spans   []span             // every value, as what may be read whole
	places  []place            // every writable register of every channel
	wrote   map[string]uint64  // raw values of this channel's writable registers
	user    map[string]float64 // what was last measured, by meaning
	plans   []plan             // the command sequences
	now     state              // what the device is commanded to do
	left    time.Duration      // until the fallback; 0 where it does not run
	log     []Write            // since the last call of Writes
	lenient bool               // reads of what does not exist give 0
	deaf    bool               // writes are acknowledged and do nothing
	lacks   map[string]bool    // points that this variant refuses
	frozen  map[cell]uint16    // what reads show instead of the cells
	lag     time.Duration      // of a measured power behind its command; 0 does not follow
	power   float64            // what it measures then, in W
}

// cell is one register or bit.
type cell struct {
	table string
	addr  uint16
}

// span is a value's registers.
type span struct {
	table      string
	first, end int // end is behind the last
}

// place is where a writable register of one channel lies.
type place struct {
	reg     profile.Register
	channel uint16 // from 0
	span
}

// New returns the device as it is after power-on, neutral. The channel counts
// from 1; 0 is 1. All channels exist, the chosen one follows commands.
func New(p *profile.Profile, channel int) *Twin {
	t := &Twin{p: p, channel: uint16(max(channel, 1) - 1), user: defaults(p), plans: plansOf(p)}
	t.boot()
	return t
}

// Install tells the device its wiring.
func (t *Twin) Install(s Site) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.site = s
	t.boot()
}

// Reboot puts everything back to what it is after power-on. What the twin
// measures stays.
func (t *Twin) Reboot() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.boot()
}

func (t *Twin) boot() {
	t.cells, t.wrote = map[cell]uint16{}, map[string]uint64{}
	t.spans, t.places = nil, nil
	for channel := range uint16(max(t.p.Channels, 1)) {
		for _, pt := range t.p.Points {
			t.exist(table(pt.Table), pt.Address+channel*pt.Stride, layoutOf(pt.Type).words)
		}
		for _, r := range t.p.Writable {
			if r.Stride == 0 && channel != t.channel {
				continue // one register for all channels
			}
			s := t.exist(table(r.Table), r.Address+channel*r.Stride, layoutOf(r.Type).words)
			t.places = append(t.places, place{reg: r, channel: channel, span: s})
		}
	}
	t.power = t.user["power_w"]
	for meaning, v := range t.user {
		t.show(meaning, v)
	}
	for _, pt := range t.points("link") {
		if raw, ok := unnamed(pt); ok {
			t.lay(pt, raw)
		}
	}
	t.identify()
	t.neutral()
	t.settle()
}

// exist makes the registers of a value.
func (t *Twin) exist(table string, addr uint16, words int) span {
	s := span{table, int(addr), int(addr) + words}
	for a := s.first; a < s.end; a++ {
		if _, ok := t.cells[cell{table, uint16(a)}]; !ok {
			t.cells[cell{table, uint16(a)}] = 0
		}
	}
	if !slices.Contains(t.spans, s) {
		t.spans = append(t.spans, s)
	}
	return s
}

// identify fills in what the identity asks for and is not there by measurement.
func (t *Twin) identify() {
	for _, c := range t.p.Identity {
		if c.Type == "text" {
			s := t.exist(table(c.Table), c.Address, max(c.Length, (len(c.Text)+1)/2))
			for i := range s.end - s.first {
				t.cells[cell{s.table, uint16(s.first + i)}] = letter(c.Text, 2*i)<<8 | letter(c.Text, 2*i+1)
			}
			continue
		}
		l := layoutOf(c.Type)
		s := t.exist(table(c.Table), c.Address, l.words)
		switch raw := l.join(t.load(s)); {
		case agrees(c, raw):
		case len(c.OneOf) > 0:
			t.store(s, l.split(t.wanted(c)))
		default:
			t.store(s, l.split(between(l, c)))
		}
	}
}

// agrees tells whether a check takes a raw value.
func agrees(c profile.Check, raw uint64) bool {
	if slices.Contains(c.Unset, raw) {
		return true
	}
	if len(c.OneOf) > 0 {
		return slices.Contains(c.OneOf, raw)
	}
	v := layoutOf(c.Type).number(raw) * scaleOf(c.Scale)
	return v >= c.Min && v <= c.Max
}

// wanted is the first value that a check accepts and that no point calls wrong.
func (t *Twin) wanted(c profile.Check) uint64 {
	for _, raw := range c.OneOf {
		if !slices.ContainsFunc(t.points("link"), func(pt profile.Point) bool {
			_, wrong := pt.Words[raw]
			return wrong && pt.Address == c.Address && table(pt.Table) == table(c.Table)
		}) {
			return raw
		}
	}
	return c.OneOf[0]
}

// between returns the raw value nearest to the middle of a check's range, or at
// its upper end where the resolution is too coarse for that.
func between(l layout, c profile.Check) uint64 {
	scale := scaleOf(c.Scale)
	raw, _ := l.raw((c.Min + c.Max) / 2 / scale)
	if v := l.number(raw) * scale; v < c.Min || v > c.Max {
		raw, _ = l.raw(math.Floor(c.Max / scale))
	}
	return raw
}

func letter(s string, i int) uint16 {
	if i < len(s) {
		return uint16(s[i])
	}
	return 0
}

func (t *Twin) store(s span, regs []uint16) {
	for i, v := range regs {
		t.cells[cell{s.table, uint16(s.first + i)}] = v
	}
}

func (t *Twin) load(s span) []uint16 {
	regs := make([]uint16, s.end-s.first)
	for i := range regs {
		regs[i] = t.cells[cell{s.table, uint16(s.first + i)}]
	}
	return regs
}

// table names a table as the schema does when it is written out.
func table(name string) string {
	if name == "" {
		return "holding"
	}
	return name
}

// Writes returns all writes since the last call, refused ones included.
func (t *Twin) Writes() []Write {
	t.mu.Lock()
	defer t.mu.Unlock()
	log := t.log
	t.log = nil
	return log
}

// Stray tells whether a write touched anything but the chosen channel's
// writable registers.
func (t *Twin) Stray(w Write) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := written(w.Function)
	for a := int(w.Addr); a < int(w.Addr)+len(w.Values); a++ {
		if !slices.ContainsFunc(t.places, func(p place) bool {
			return p.channel == t.channel && p.table == name && p.first <= a && a < p.end
		}) {
			return true
		}
	}
	return slices.ContainsFunc(t.p.Never, func(n uint16) bool { return n >= w.Addr && int(n) < int(w.Addr)+len(w.Values) })
}

// Lenient has reads of registers that do not exist answered with 0, as some
// devices do, instead of refused.
func (t *Twin) Lenient(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lenient = on
}

// Deafen has the device acknowledge writes without doing them.
func (t *Twin) Deafen(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deaf = on
}

// Freeze has every read show what is there now, whatever happens later.
func (t *Twin) Freeze(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frozen = nil
	if on {
		t.frozen = map[cell]uint16{}
		for c, v := range t.cells {
			t.frozen[c] = v
		}
	}
}
