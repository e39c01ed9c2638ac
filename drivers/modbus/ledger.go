package modbus

import (
	"slices"
	"time"
)

// An RTU reply carries unit, function and length, but neither a transaction id
// nor an address. When the reply to one request has not come in time, or not
// whole, it may still come: after the next request has gone out, whose reply
// may look the same but for the values. Flushing before the request does not
// help, nor does any fixed wait that a living bus could afford.
//
// So the ledger keeps what each unit owes, and a request goes out only if its
// answer can not be mistaken for something owed:
//
//   - Another unit's late reply carries that unit's id.
//   - A function and length that the unit does not owe are told apart by that,
//     and an exception by the function. Once it is answered, nothing older can
//     come any more: a unit serves one request after the other.
//   - One that it does owe is preceded by a probe: a read of an item or two
//     with another function, asked only after what is to be settled. Its
//     answer, be it an exception, settles all that is older.
//   - Where no function is left, because the unit is silent to those that it
//     does not know, reads are held back until the debt is lateLimit timeouts
//     old. Writes go out, also after a probe in vain, but what acknowledges
//     them counts for nothing.
//
// What this rests on: a unit answers in the order in which it was asked, or not
// later than lateLimit timeouts after it was through with the one before. A dead
// unit costs one timeout a try as before, since after a probe in vain the request itself is not sent. Late
// frames that are seen settle nothing: a device may put a wrong id on one.
type ledger struct {
	units map[byte]*debts
}

// lateLimit is after how many timeouts an owed reply is given up.
const lateLimit = 10

// strikeLimit is how often a unit may pass over a probe before its function is
// not used for probes any more: some devices are silent to functions that they
// do not know, instead of refusing them.
const strikeLimit = 2

// mostOwed bounds a unit's debts; nothing is sent on top of them.
const mostOwed = 16

// debts are what one unit owes, oldest first.
type debts struct {
	open    []owed
	strikes [5]int // by function 1-4: probes passed over
}

type owed struct {
	function byte
	size     int       // of the reply in order
	silent   bool      // it was a probe, and nothing at all came back
	until    time.Time // from then on it is given up
}

// of returns the unit's debts, without those that are given up. It is nil for
// a unit that never owed.
func (l *ledger) of(unit byte, now time.Time) *debts {
	d := l.units[unit]
	if d == nil || len(d.open) == 0 {
		return d
	}
	d.open = slices.DeleteFunc(d.open, func(o owed) bool { return !now.Before(o.until) })
	if len(d.open) == 0 { // every function gets another chance
		for f := range d.strikes {
			d.strikes[f] = min(d.strikes[f], strikeLimit-1)
		}
	}
	return d
}

// owe enters a request whose reply has not come by now. A unit that serves one
// request after the other begins with this one when it is through with those it
// owed before, so its time to be late begins when theirs is over.
func (l *ledger) owe(request []byte, silent bool, now time.Time, late time.Duration) {
	if l.units == nil {
		l.units = map[byte]*debts{}
	}
	d := l.units[request[0]]
	if d == nil {
		d = &debts{}
		l.units[request[0]] = d
	}
	if n := len(d.open); n > 0 {
		now = later(now, d.open[n-1].until)
	}
	d.open = append(d.open, owed{request[1], answerSize(request), silent, now.Add(late)})
}

// settle enters that the unit has answered with a function: what is older than
// the oldest request with it can not come any more. It returns false where it
// was owed already, so that the answer may be another request's.
func (d *debts) settle(function byte) bool {
	if d == nil {
		return true
	}
	first := slices.IndexFunc(d.open, func(o owed) bool { return o.function == function })
	older := d.open
	if first >= 0 {
		older = d.open[:first]
	}
	for _, o := range older {
		if o.silent {
			d.strikes[o.function]++
		}
	}
	if function < 5 {
		d.strikes[function] = 0
	}
	d.open = append(d.open[:0], d.open[len(older):]...)
	for i, o := range d.open {
		d.open[i].silent = o.silent && o.function != function
	}
	return first < 0
}

// collide tells whether a reply that may still come could be taken for the
// request's.
func (d *debts) collide(request []byte) bool {
	return d != nil && slices.ContainsFunc(d.open, func(o owed) bool { return o.collides(request) })
}

// owesFrame tells whether this may be one of the replies that are owed. It
// stays owed all the same: a device may put a wrong id on a frame, and then it
// would be taken for this one's. A probe that was answered late was not passed
// over.
func (d *debts) owesFrame(frame []byte) bool {
	if d == nil {
		return false
	}
	function := frame[1] &^ 0x80
	for i, o := range d.open {
		if o.function == function && (frame[1] != function || o.size == len(frame)) {
			d.open[i].silent = false
			return true
		}
	}
	return false
}

// probe chooses the function and count of a read whose answer settles all that
// the request collides with. The probe's function is 0 where there is none.
func (d *debts) probe(request []byte) (function byte, n uint16) {
	if d == nil || len(d.open) == 0 { // strikes bar a function only where its silence would cost something
		return 3, 1
	}
	best := strikeLimit
	for _, f := range [...]byte{3, 4, 1, 2} { // by how many devices know them
		if f != request[1] && d.strikes[f] < best && d.asksAfter(f, request) {
			function, best = f, d.strikes[f]
		}
	}
	// Of a size of its own, see collides.
	item, width := 1, 1
	if function < 3 {
		item, width = 8, 0
	}
	k := 1
	for d.owesSize(rtuLeast + k + k*width) {
		k++
	}
	return function, uint16(item * k)
}

// asksAfter tells whether all that is owed of function f was asked after all
// that the request collides with.
func (d *debts) asksAfter(f byte, request []byte) bool {
	seen := false
	for _, o := range d.open {
		if seen && o.collides(request) {
			return false
		}
		seen = seen || o.function == f
	}
	return true
}

// collides tells whether the late reply may be taken for the request's. The
// same length is enough to be careful: a device may
// answer under another function than it was asked with.
func (o owed) collides(request []byte) bool {
	return o.function == request[1] || o.size == answerSize(request)
}

func (d *debts) owesSize(size int) bool {
	return slices.ContainsFunc(d.open, func(o owed) bool { return o.size == size })
}

// deaf tells whether a probe has met with silence.
func (d *debts) deaf() bool {
	return d != nil && slices.ContainsFunc(d.open, func(o owed) bool { return o.silent })
}

// full tells whether nothing more may be asked before something is settled.
func (d *debts) full() bool { return d != nil && len(d.open) >= mostOwed }

// freed returns when the oldest of the debts is given up.
func (d *debts) freed() time.Time { return d.open[0].until }
