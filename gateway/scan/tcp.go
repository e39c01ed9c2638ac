package scan

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"nominald/drivers/modbus"
)

// atOnce is how many hosts are asked at a time. Each of them gets one
// connection and one request at a time.
const atOnce = 16

// network scans the TCP addresses.
func (s *scanner) network(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, addr := range s.plan.hosts {
		g.Go(func() error {
			if ctx.Err() == nil {
				s.host(ctx, addr)
			}
			return nil
		})
	}
	_ = g.Wait() // what went wrong is among the problems
	s.sortFound()
}

// host scans one address, where a connection is taken.
func (s *scanner) host(ctx context.Context, addr string) {
	probes := len(s.plan.tcpUnits) + len(decoys())
	dial, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := (&net.Dialer{}).DialContext(dial, "tcp", addr)
	cancel()
	if err != nil {
		s.skip(probes)
		if len(s.plan.hosts) <= 2*len(s.o.TCP) && ctx.Err() == nil { // named by hand, not one of a network
			s.problem(addr, "no connection: %v", err)
		}
		return
	}
	conn.Close() // many devices take one client only
	line := s.line(addr)
	defer line.Close()
	answers := map[int]reply{}
	everything := true
	for _, unit := range append(decoys(), s.plan.tcpUnits...) {
		if ctx.Err() != nil {
			return
		}
		place := Place{TCP: addr, RTU: s.o.RTU, Unit: unit}
		s.step(place.where())
		r := probe(ctx, line, unit, s.plan.timeout(false), s.pause(place))
		decoy := slices.Contains(decoys(), unit)
		if decoy {
			everything = everything && r.answered
		}
		if r.answered && (!decoy || slices.Contains(s.plan.tcpUnits, unit)) {
			answers[unit] = r
		}
	}
	if len(answers) == 0 {
		s.problem(addr, "%s", silentHost(s.o.RTU))
		return
	}
	s.identifyHost(ctx, line, addr, answers, everything)
}

func silentHost(rtu bool) string {
	if rtu {
		return "takes connections and answers no unit; is it set to transparent mode, with the line's speed and format? Without --rtu the scan speaks Modbus TCP"
	}
	return "takes connections and answers no unit; does another program hold its one connection (systemctl stop nominald), or does it pass RTU frames on (--rtu)?"
}

func (s *scanner) line(addr string) *modbus.Line {
	o := modbus.Options{Timeout: s.plan.timeout(false), ConnectTimeout: dialTimeout, PauseBetween: s.o.Pause}
	if s.o.RTU {
		return modbus.NewRTUOverTCP(addr, o)
	}
	return modbus.NewTCP(addr, o)
}

// identifyHost says what the units of an address are. One that answers any unit
// id is shown once for each thing that it is.
func (s *scanner) identifyHost(ctx context.Context, line *modbus.Line, addr string, answers map[int]reply, everything bool) {
	same := map[string][]int{} // units by what they are
	var all []Found
	for _, unit := range s.plan.tcpUnits {
		r, ok := answers[unit]
		if !ok || ctx.Err() != nil {
			continue
		}
		f := s.identify(ctx, line, Place{TCP: addr, RTU: s.o.RTU, Unit: unit}, r)
		if key := f.key(); everything {
			if same[key] = append(same[key], unit); len(same[key]) > 1 {
				continue
			}
		}
		all = append(all, f)
	}
	for _, f := range all {
		if units := same[f.key()]; everything {
			f.Note = fmt.Sprintf("the host answers every unit id that was tried; this came the same way from units %s: take the one its maker names",
				words(units))
		}
		s.found(f)
	}
}

// key is what tells a device from others.
func (f Found) key() string {
	return strings.Join([]string{f.Manufacturer, f.Model, f.SerialNumber, f.Version, fmt.Sprint(f.SunSpec), strings.Join(f.Profiles, " ")}, "\x00")
}
