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
//   - A function that the unit does not owe is told apart by the function, and
//     so is its exception. Once it is answered, nothing older can come any
//     more: a unit serves one request after the other.
//   - A function that it does owe is preceded by a probe: a read of one item
//     with another function, which settles the debt when it is answered, by an
//     exception or otherwise.
//   - Where no function is left, because the unit stays silent to all of them,
//     reads are held back until the debt is lateLimit timeouts old. Writes go
//     out nevertheless, but their acknowledgement counts for nothing.
//
// What this rests on: a unit answers in the order in which it was asked, or
// not later than lateLimit timeouts. A dead unit costs one timeout a try as
// before, since after a probe in vain the request itself is not sent.
type ledger struct {
	units map[byte]*debts
}

// lateLimit is after how many timeouts an owed reply is given up.
const lateLimit = 10

// strikeLimit is how often a unit may pass over a probe before its function is
// not used for probes any more: some devices are silent to functions that they
// do not know, instead of refusing them.
const strikeLimit = 2

// mostOwed bounds a unit's debts; a write on top of them is not sent.
const mostOwed = 16

// debts are what one unit owes, oldest first.
type debts struct {
	open    []owed
	strikes [5]int // by function 1-4: probes passed over
}

type owed struct {
	function byte
	size     int // of the reply in order
	probe    bool
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

// owe enters a request whose reply has not come.
func (l *ledger) owe(request []byte, probe bool, until time.Time) {
	if l.units == nil {
		l.units = map[byte]*debts{}
	}
	d := l.units[request[0]]
	if d == nil {
		d = &debts{}
		l.units[request[0]] = d
	}
	d.open = append(d.open, owed{request[1], answerSize(request), probe, until})
}

// settle enters that the unit has answered a request with a function that it
// did not owe: nothing older can come.
func (d *debts) settle(function byte) {
	if d == nil {
		return
	}
	for _, o := range d.open {
		if o.probe {
			d.strikes[o.function]++
		}
	}
	if function < 5 {
		d.strikes[function] = 0
	}
	d.open = d.open[:0]
}

// owesFunction tells whether a reply with the function may still come.
func (d *debts) owesFunction(function byte) bool {
	return d != nil && slices.ContainsFunc(d.open, func(o owed) bool { return o.function == function })
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
			d.open[i].probe = false
			return true
		}
	}
	return false
}

// probe chooses the function and count of a read whose answer is like nothing
// that is owed. The function is 0 where there is none.
func (d *debts) probe() (function byte, n uint16) {
	best := strikeLimit
	for _, f := range readFunctions() {
		strikes := 0
		if d != nil {
			strikes = d.strikes[f]
		}
		if !d.owesFunction(f) && strikes < best {
			function, best = f, strikes
		}
	}
	// Also of another size, so that a reply under a wrong function does not do.
	for n = 1; d != nil && function >= 3 && d.owesSize(rtuLeast+2*int(n)); {
		n++
	}
	return function, n
}

func (d *debts) owesSize(size int) bool {
	return slices.ContainsFunc(d.open, func(o owed) bool { return o.size == size })
}

// freed returns when the first of the debts with the function is given up.
func (d *debts) freed(function byte) time.Time {
	var at time.Time
	for _, o := range d.open {
		if o.function == function {
			at = later(at, o.until)
		}
	}
	return at
}
