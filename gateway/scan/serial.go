package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"nominald/drivers/modbus"
)

// scanner is one scan that runs.
type scanner struct {
	plan  *Plan
	o     Options
	began time.Time

	mu     sync.Mutex // TCP hosts are asked several at a time
	result *Result
	done   int // probes
	total  int
	left   time.Duration // as told last; 0 before the first
}

// step tells progress before a probe.
func (s *scanner) step(where string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	if s.o.Progress == nil {
		return
	}
	p := Progress{Where: where, Done: s.done, Total: max(s.total, s.done)}
	// What answered may cost more time than was left for it; a promise that grows
	// is none.
	if left := s.plan.left(p.Total - p.Done + 1); s.left == 0 || left < s.left {
		s.left = left
	}
	p.Left = s.left
	s.o.Progress(p)
}

// skip takes probes out that are not needed any more.
func (s *scanner) skip(probes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total -= probes
}

func (s *scanner) found(f Found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Found = append(s.result.Found, f)
	if s.o.Progress != nil {
		s.o.Progress(Progress{Where: f.where(), Done: s.done, Total: s.total, Found: &f})
	}
}

func (s *scanner) problem(where, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Problems = append(s.result.Problems, Problem{where, fmt.Sprintf(format, args...)})
}

// where is the place as people write it.
func (p Place) where() string {
	if p.Serial != "" {
		return fmt.Sprintf("%s %d %s unit %d", p.Serial, p.Baud, p.Format, p.Unit)
	}
	rtu := ""
	if p.RTU {
		rtu = " (RTU)"
	}
	return fmt.Sprintf("%s%s unit %d", p.TCP, rtu, p.Unit)
}

// String is the place as people write it.
func (p Place) String() string { return p.where() }

// serial scans one line: setting by setting, unit by unit. Where something
// answered, that setting is completed, and the others are left out unless a
// full scan is asked for: the devices of one line speak at one speed.
func (s *scanner) serial(ctx context.Context, path string) {
	var noisy []string
	left := len(s.plan.settings) * len(s.plan.units)
	seen := map[[2]int]int{} // baud and unit: index in the result
	for _, set := range s.plan.settings {
		if ctx.Err() != nil {
			return
		}
		found, noise, err := s.setting(ctx, path, set, seen)
		left -= len(s.plan.units)
		if err != nil {
			s.skip(left)
			s.problem(path, "%s", openProblem(err))
			s.result.Blocked = append(s.result.Blocked, path)
			return
		}
		if noise > 0 && found == 0 {
			noisy = append(noisy, fmt.Sprintf("%s (%d times)", set, noise))
		}
		if found > 0 && !s.o.Full {
			s.skip(left)
			noisy = nil
			break
		}
	}
	if len(noisy) > 0 && ctx.Err() == nil {
		s.problem(path, "heard bytes that are no answer at %s: a device with another speed or format, a second master on the line, two devices with one unit id, or noise", strings.Join(noisy, ", "))
	}
}

// setting scans all units at one setting.
func (s *scanner) setting(ctx context.Context, path string, set setting, seen map[[2]int]int) (found, noise int, err error) {
	line := modbus.NewSerial(modbus.Serial{Path: path, Baud: set.baud, Format: set.format}, modbus.Options{Timeout: s.plan.timeout(true), PauseBetween: s.o.Pause})
	defer line.Close()
	rest := s.o.Pause // before the next request
	for _, unit := range s.plan.units {
		if ctx.Err() != nil {
			return found, noise, nil
		}
		place := Place{Serial: path, Baud: set.baud, Format: set.format, Unit: unit}
		s.step(place.where())
		r := probe(ctx, line, unit, s.plan.timeout(true), rest)
		rest = s.o.Pause
		if r.noise && ctx.Err() == nil { // late, or spoiled: once more, with patience
			noise++
			r = probe(ctx, line, unit, patient(s.plan.timeout(true)), s.pause(place))
		}
		if r.answered || r.noise {
			rest = s.pause(place)
		}
		if r.err != nil {
			return found, noise, r.err
		}
		if !r.answered {
			continue
		}
		found++
		if i, again := seen[[2]int{set.baud, unit}]; again {
			s.also(i, set)
			continue
		}
		f := s.identify(ctx, line, place, r)
		seen[[2]int{set.baud, unit}] = len(s.result.Found)
		s.found(f)
	}
	return found, noise, nil
}

// pause is what a place needs between an answer and the next request, as long
// as no profile says otherwise.
func (s *scanner) pause(place Place) time.Duration {
	if place.Serial != "" || place.RTU {
		return max(s.o.Pause, afterAnswer)
	}
	return s.o.Pause
}

// also notes that a device answers with another format as well: the number of
// stop bits seldom matters, and some adapters do not check parity.
func (s *scanner) also(i int, set setting) {
	f := &s.result.Found[i]
	if f.Note != "" {
		f.Note += "; "
	}
	f.Note += "answers with " + set.format + " too"
}

// patient is the timeout for what is known to be there, or may be.
func patient(timeout time.Duration) time.Duration { return max(3*timeout, 600*time.Millisecond) }

// openProblem says what to do about a line that can not be opened.
func openProblem(err error) string {
	switch {
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EWOULDBLOCK):
		return "another program holds the line; if it is the gateway: systemctl stop nominald, and start it again after the scan"
	case errors.Is(err, fs.ErrNotExist):
		return "the line is not there; ls /dev/serial/by-id lists what is"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not open the line; run as root, or as a member of the group dialout"
	}
	return fmt.Sprintf("%v; is it a serial line?", err)
}

// sortFound orders by place, serial lines first, in the order in which they
// were given.
func (s *scanner) sortFound() {
	order := func(f Found) int {
		if f.Serial == "" {
			return len(s.o.Serial) + slices.Index(s.plan.hosts, f.TCP)
		}
		return slices.Index(s.o.Serial, f.Serial)
	}
	slices.SortStableFunc(s.result.Found, func(a, b Found) int {
		if d := order(a) - order(b); d != 0 {
			return d
		}
		return a.Unit - b.Unit
	})
}
