// Package scan finds Modbus devices on serial lines and TCP addresses and says
// what they are: SunSpec devices by what they say of themselves, others by the
// identity that their profile states. It reads only: nothing is ever on an
// allow-list here, so a write could not be sent. It is polite: one request at a
// time on a line, with a pause between two, and one line after the other.
package scan

import (
	"context"
	"errors"
	"time"

	"nominald/drivers"
	"nominald/drivers/modbus"
	"nominald/drivers/profile"
)

// Options say where to look and how hard.
type Options struct {
	Serial []string // device paths
	TCP    []string // HOST, HOST:PORT, or a network no larger than /24
	Ports  []int    // of hosts without one; empty is 502 and 1502
	RTU    bool     // TCP carries RTU frames, as serial device servers pass them on

	Full    bool // every speed, format and unit; else the usual ones
	Bauds   []int
	Formats []string
	Units   []int

	// Timeout is how long a unit is waited for, beyond what its bytes take on
	// the wire. 0 is 200 ms on a serial line and 1 s over TCP.
	Timeout time.Duration
	// Pause is kept between two requests; 0 is 20 ms. After an answer on a serial
	// line it is 100 ms at least.
	Pause time.Duration
	// Profiles are tried on what answers.
	Profiles []*profile.Profile
	// Progress is told where the scan is; it must return soon. Nil for none.
	Progress func(Progress)
}

// Progress is where a scan is.
type Progress struct {
	Where string        // line, setting and unit
	Done  int           // probes
	Total int           // probes, of which some may turn out not to be needed
	Left  time.Duration // were nothing more to answer
	Found *Found        // just found; nil mostly
}

// Place is where a device was found.
type Place struct {
	Serial string `json:"serial,omitempty"` // device path
	Baud   int    `json:"baud,omitempty"`
	Format string `json:"format,omitempty"`
	TCP    string `json:"tcp,omitempty"` // host:port
	RTU    bool   `json:"rtu,omitempty"` // RTU frames over TCP
	Unit   int    `json:"unit"`
}

// Found is one device.
type Found struct {
	Place
	// Answer is what came on the first question: "answers", "exception 2".
	Answer       string       `json:"answer"`
	Manufacturer string       `json:"manufacturer,omitempty"`
	Model        string       `json:"model,omitempty"`
	SerialNumber string       `json:"serial_number,omitempty"`
	Version      string       `json:"version,omitempty"`
	SunSpec      []uint16     `json:"sunspec_models,omitempty"`
	Profile      string       `json:"profile,omitempty"` // the best fit
	Kind         drivers.Kind `json:"kind,omitempty"`
	// Profiles are all that fit, the best first.
	Profiles []string         `json:"profiles,omitempty"`
	Reading  *drivers.Reading `json:"reading,omitempty"`
	Channels int              `json:"channels,omitempty"`
	// Fallback: it ends a command by itself that is not renewed.
	Fallback bool   `json:"fallback"`
	Note     string `json:"note,omitempty"`
}

// Problem is a line or a host that could not be scanned, or a remark on it.
type Problem struct {
	Where string `json:"where"`
	Text  string `json:"text"`
}

// Result is what a scan found.
type Result struct {
	Found       []Found       `json:"found"`
	Problems    []Problem     `json:"problems"`
	Probes      int           `json:"probes"`
	Took        time.Duration `json:"took_ns"`
	Blocked     []string      `json:"blocked"` // serial lines that could not be opened
	Interrupted bool          `json:"interrupted"`
}

// Run scans until it is through or the context ends; what was found by then is
// returned in any case. An error is a wrong option, before anything was sent.
func Run(ctx context.Context, o Options) (*Result, error) {
	p, err := NewPlan(o)
	if err != nil {
		return nil, err
	}
	s := &scanner{plan: p, o: p.o, result: &Result{Found: []Found{}, Problems: []Problem{}, Blocked: []string{}}, began: time.Now(), total: p.probes()}
	for _, path := range s.o.Serial {
		s.serial(ctx, path)
	}
	s.network(ctx)
	s.result.Took = time.Since(s.began)
	s.result.Interrupted = ctx.Err() != nil
	s.result.Probes = s.done
	return s.result, nil
}

// reply is how a unit answered the probe.
type reply struct {
	answered bool
	text     string
	noise    bool  // bytes came that are no answer
	err      error // the line itself failed
}

// probe asks a unit for something short. Any well-formed answer counts, a
// refusal too; only a gateway's "nobody there" does not. Two registers are
// asked for, because some devices refuse or ignore odd counts (modbus.md 5).
func probe(ctx context.Context, line *modbus.Line, unit int, timeout, pause time.Duration) reply {
	before := line.Stats()
	u := line.Unit(byte(unit))
	u.SetTiming(modbus.Timing{Timeout: timeout, PauseBetween: pause})
	var regs [2]uint16
	err := u.Read(ctx, 3, 0, regs[:])
	var refused *modbus.Exception
	switch after := line.Stats(); {
	case err == nil:
		return reply{answered: true, text: "answers"}
	case errors.As(err, &refused):
		gone := refused.Code == 10 || refused.Code == 11 // a gateway that has no such unit
		return reply{answered: !gone, text: "answers with an exception"}
	case after.DialErrors > before.DialErrors:
		return reply{err: err}
	default:
		heard := after.BytesIn - before.BytesIn
		if after.Echo { // the line's own bytes come back on it
			heard -= min(heard, after.BytesOut-before.BytesOut)
		}
		return reply{noise: heard > 0}
	}
}
