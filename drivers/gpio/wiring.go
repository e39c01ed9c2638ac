package gpio

import "errors"

// Wiring is what a relay's contacts do to the load.
type Wiring int

// The wirings. What the relay does without power is what the load does without
// the gateway.
const (
	// Inhibit: energised holds the load off. Wired through the normally closed
	// contact, a dead gateway leaves the load to its own thermostat.
	Inhibit Wiring = iota
	// Stage: energised allows the stage, through the normally open contact. A
	// dead gateway leaves the stage off, so it is for loads that do no harm
	// when they stay off.
	Stage
	// SGReady: two contacts of a heat pump. Contact 1 alone blocks it (1:0),
	// none leaves it to itself (0:0). Contact 2 is kept open, so that no
	// transition passes through 1:1, which orders the pump to run.
	SGReady
)

// energised is the level that energises the coil while the load is held off.
func (w Wiring) energised(off bool) bool { return off != (w == Stage) }

// words are what the states are called.
func (w Wiring) words() (allowed, off string) {
	switch w {
	case Stage:
		return "stage allowed", "stage off"
	case SGReady:
		return "normal (0:0)", "blocked (1:0)"
	}
	return "allowed", "held off"
}

// contacts are the open lines of one relay device.
type contacts struct {
	main, second Pin // second is nil but with SGReady
	activeLow    bool
}

// openContacts opens the lines and releases them, each before anything else is
// done, the second contact first.
func openContacts(o Options) (*contacts, error) {
	c := &contacts{activeLow: o.ActiveLow}
	if o.Wiring == SGReady {
		second, err := o.Open(o.Second)
		if err != nil {
			return nil, &lineError{o.Second, "open", err}
		}
		c.second = second
		if err := c.release(second); err != nil {
			return nil, c.failed(o.Second, err, nil)
		}
	}
	main, err := o.Open(o.Line)
	if err != nil {
		return nil, &lineError{o.Line, "open", errors.Join(err, c.close())}
	}
	c.main = main
	if err := c.release(main); err != nil {
		return nil, c.failed(o.Line, err, c.second)
	}
	return c, nil
}

func (c *contacts) release(p Pin) error { return p.Out(c.activeLow) }

// set drives the main contact. The second one is released first, each time.
func (c *contacts) set(o Options, energised bool) error {
	if c.second != nil {
		if err := c.release(c.second); err != nil {
			return c.failed(o.Second, err, c.main)
		}
	}
	if err := c.main.Out(energised != c.activeLow); err != nil {
		return c.failed(o.Line, err, c.second)
	}
	return nil
}

// failed gives all lines back. A line that failed is closed and not written to
// before, or that write would skip the request and go to file descriptor 0
// (modbus.md 6, trap 3); the other one, if there is one, is released as far as
// it goes.
func (c *contacts) failed(line string, err error, other Pin) error {
	if other != nil {
		_ = c.release(other) // the error that counts is the one above
	}
	return &lineError{line, "write", errors.Join(err, c.close())}
}

func (c *contacts) close() error {
	var errs []error
	for _, p := range []Pin{c.main, c.second} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	return errors.Join(errs...)
}

// lineError is what went wrong with a line.
type lineError struct {
	line, verb string
	err        error
}

func (e *lineError) Error() string { return e.verb + " " + e.line + ": " + e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }
