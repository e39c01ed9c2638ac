package scan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nominald/drivers/profile"
)

// The settings that serial lines have in the field, the usual ones first.
func usualSettings() []setting {
	return []setting{{9600, "8N1"}, {19200, "8E1"}, {19200, "8N1"}, {115200, "8N1"}}
}

func allBauds() []int { return []int{9600, 19200, 115200, 38400, 57600, 4800, 2400, 1200} }

func allFormats() []string { return []string{"8N1", "8E1", "8N2", "8O1"} }

// Unit ids that makers give their devices (modbus.md 3, 5).
func knownUnits() []int { return []int{100, 126, 180, 200, 247} }

// tcpUnits come in the order in which they are likely.
func tcpUnits() []int { return []int{1, 255, 0, 247, 126, 100, 200, 3, 71, 180, 2, 50} }

// decoys are unit ids that hardly anybody uses. A host that answers both
// answers everything.
func decoys() []int { return []int{173, 219} }

// setting is one way in which a serial line may be set.
type setting struct {
	baud   int
	format string
}

func (s setting) String() string { return fmt.Sprintf("%d %s", s.baud, s.format) }

// bits of a character with start bit.
func (s setting) bits() int {
	if s.format == "8N1" {
		return 10
	}
	return 11
}

// Plan is what a scan is going to do, worked out before it begins.
type Plan struct {
	o        Options
	settings []setting
	units    []int    // of a serial line
	tcpUnits []int    // of a TCP address
	hosts    []string // host:port
}

// The defaults of Options.
const (
	serialTimeout = 200 * time.Millisecond
	tcpTimeout    = time.Second
	defaultPause  = 20 * time.Millisecond
	// afterAnswer is the least pause on a serial line behind what answered: some
	// devices lose single requests, or drop into an error state, that come sooner
	// (modbus.md 5). Silence needs no rest.
	afterAnswer = 100 * time.Millisecond
	dialTimeout = time.Second
	mostHosts   = 256
)

// NewPlan checks the options and works out what is to be done.
func NewPlan(o Options) (*Plan, error) {
	if o.Pause <= 0 {
		o.Pause = defaultPause
	}
	if len(o.Serial)+len(o.TCP) == 0 {
		return nil, fmt.Errorf("nothing to scan: give a serial line or a TCP address")
	}
	p := &Plan{o: o}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.settings = p.serialSettings()
	p.units, p.tcpUnits = p.serialUnits(), p.networkUnits()
	for _, t := range o.TCP {
		hosts, err := p.addresses(t)
		if err != nil {
			return nil, err
		}
		for _, h := range hosts {
			if !slices.Contains(p.hosts, h) {
				p.hosts = append(p.hosts, h)
			}
		}
	}
	return p, nil
}

func (p *Plan) check() error {
	for _, b := range p.o.Bauds {
		if !slices.Contains(allBauds(), b) {
			return fmt.Errorf("speed %d is not known; accepted are %s", b, words(sortedInts(allBauds())))
		}
	}
	for _, f := range p.o.Formats {
		if !slices.Contains(allFormats(), f) {
			return fmt.Errorf("format %q is not known; accepted are %s", f, strings.Join(allFormats(), ", "))
		}
	}
	for _, u := range p.o.Units {
		if u < 0 || u > 255 {
			return fmt.Errorf("unit %d is out of range; accepted are 1 to 247 on a serial line, 0 to 255 over TCP", u)
		}
		if len(p.o.Serial) > 0 && (u < 1 || u > 247) {
			return fmt.Errorf("unit %d is out of range; accepted on a serial line are 1 to 247", u)
		}
	}
	for i, path := range p.o.Serial {
		if slices.Contains(p.o.Serial[:i], path) {
			return fmt.Errorf("the line %s is given twice", path)
		}
	}
	return nil
}

// serialSettings are the speeds and formats in the order in which they are
// likely. What is given replaces what is usual.
func (p *Plan) serialSettings() []setting {
	likely := usualSettings()
	for _, pr := range p.o.Profiles {
		if pr.Link.Baud > 0 && pr.Link.Format != "" {
			likely = append(likely, setting{pr.Link.Baud, pr.Link.Format})
		}
	}
	bauds, formats := p.o.Bauds, p.o.Formats
	if p.o.Full || len(bauds) > 0 || len(formats) > 0 {
		if len(bauds) == 0 {
			bauds = []int{9600, 19200, 115200}
			if p.o.Full {
				bauds = allBauds()
			}
		}
		if len(formats) == 0 {
			formats = []string{"8N1", "8E1"}
			if p.o.Full {
				formats = allFormats()
			}
		}
	}
	wanted := func(s setting) bool {
		return len(bauds) == 0 || slices.Contains(bauds, s.baud) && slices.Contains(formats, s.format)
	}
	for _, b := range bauds {
		for _, f := range formats {
			likely = append(likely, setting{b, f})
		}
	}
	var out []setting
	for _, s := range likely {
		if wanted(s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (p *Plan) serialUnits() []int {
	if len(p.o.Units) > 0 {
		return p.o.Units
	}
	most := 10
	if p.o.Full {
		most = 247
	}
	var units []int
	for u := 1; u <= most; u++ {
		units = append(units, u)
	}
	units = append(units, knownUnits()...)
	for _, pr := range p.o.Profiles {
		if pr.Link.Baud > 0 {
			units = append(units, pr.Link.Units...)
		}
	}
	return distinct(units, 1, 247)
}

func (p *Plan) networkUnits() []int {
	if len(p.o.Units) > 0 {
		return p.o.Units
	}
	units := tcpUnits()
	for _, pr := range p.o.Profiles {
		if pr.Link.Port > 0 || p.o.RTU {
			units = append(units, pr.Link.Units...)
		}
	}
	for u := 1; p.o.Full && u <= 247; u++ {
		units = append(units, u)
	}
	if p.o.RTU { // 0 is the broadcast there
		return distinct(units, 1, 247)
	}
	return distinct(units, 0, 255)
}

// addresses turns HOST, HOST:PORT or a network into host:port.
func (p *Plan) addresses(t string) ([]string, error) {
	ports := p.o.Ports
	if len(ports) == 0 {
		ports = []int{502, 1502}
	}
	host, port, err := split(t)
	if err != nil {
		return nil, err
	}
	if port > 0 {
		ports = []int{port}
	}
	hosts := []string{host}
	if strings.Contains(host, "/") {
		if hosts, err = network(host); err != nil {
			return nil, err
		}
	}
	var out []string
	for _, h := range hosts {
		for _, port := range ports {
			out = append(out, joinHostPort(h, port))
		}
	}
	return out, nil
}

// network returns the addresses of a network that is no larger than /24: who
// asks for more is about to knock at doors that are not his.
func network(cidr string) ([]string, error) {
	n, err := netip.ParsePrefix(cidr)
	if err != nil {
		return nil, fmt.Errorf("%q is no network; accepted is for instance 192.168.1.0/24", cidr)
	}
	if n.Addr().BitLen()-n.Bits() > 8 {
		return nil, fmt.Errorf("%s is larger than a /24; give the part of it that is the site's", cidr)
	}
	n = n.Masked()
	var hosts []string
	for a := n.Addr(); n.Contains(a) && len(hosts) < mostHosts; a = a.Next() {
		hosts = append(hosts, a.String())
	}
	if n.Addr().Is4() && len(hosts) > 2 {
		hosts = hosts[1 : len(hosts)-1] // the network's own address and its broadcast
	}
	return hosts, nil
}

func (p *Plan) timeout(serial bool) time.Duration {
	switch {
	case p.o.Timeout > 0:
		return p.o.Timeout
	case serial:
		return serialTimeout
	}
	return tcpTimeout
}

// perProbe is the longest that one unit which does not answer takes: the
// timeout, the bytes of the request and of the reply that does not come, the
// pause.
func (p *Plan) perProbe(s setting) time.Duration {
	wire := time.Duration(8+9+7) * time.Duration(s.bits()) * time.Second / time.Duration(s.baud)
	return p.timeout(true) + wire + p.o.Pause
}

// perLine is the longest that a serial line takes.
func (p *Plan) perLine() time.Duration {
	var d time.Duration
	for _, s := range p.settings {
		d += time.Duration(len(p.units)) * p.perProbe(s)
	}
	return d
}

func (p *Plan) probes() int {
	return len(p.o.Serial)*len(p.settings)*len(p.units) + len(p.hosts)*(len(p.tcpUnits)+len(decoys()))
}

// Estimate says in lines for people what the scan will do and how long that
// takes at most.
func (p *Plan) Estimate() []string {
	how := "quick"
	if p.o.Full {
		how = "full"
	}
	var lines []string
	const answers = ", and some seconds for each that answers"
	if n := len(p.o.Serial); n > 0 {
		mean := p.perLine() / time.Duration(len(p.settings)*len(p.units))
		lines = append(lines, fmt.Sprintf("%s scan of %s: %s x %s x %.2f s = %s at most"+answers, how, count(n, "line"), count(len(p.units), "unit"),
			count(len(p.settings), "setting"), mean.Seconds(), round(time.Duration(n)*p.perLine())))
	}
	if n := len(p.hosts); n > 0 {
		lines = append(lines, fmt.Sprintf("%s scan of %s: %s where a connection is taken, %d at a time, up to %s each", how,
			count(n, "TCP address"), count(len(p.tcpUnits), "unit"), atOnce, round(p.perHost())))
	}
	return lines
}

func (p *Plan) perHost() time.Duration {
	return dialTimeout + time.Duration(len(p.tcpUnits)+len(decoys()))*(p.timeout(false)+p.o.Pause)
}

// left is the longest that so many probes still take, were nothing to answer.
// What answers takes some seconds more until it is named.
func (p *Plan) left(probes int) time.Duration {
	serial := len(p.o.Serial) * len(p.settings) * len(p.units)
	all := time.Duration(len(p.o.Serial)) * p.perLine()
	if network := p.probes() - serial; network > 0 {
		all += time.Duration(network) * (p.timeout(false) + p.o.Pause) / time.Duration(min(atOnce, len(p.hosts)))
	}
	return all * time.Duration(probes) / time.Duration(max(p.probes(), 1))
}

// strength is how much a profile's identity proves: a text hardly lies, one of
// some values seldom, a range says little.
func strength(p *profile.Profile) int {
	sum := 0
	for _, c := range p.Identity {
		switch {
		case c.Text != "":
			sum += 6
		case len(c.OneOf) > 0:
			sum += 3
		default:
			sum++
		}
	}
	return sum
}
