package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
	"nominald/gateway/config"
)

// profileCheck is what `nominald check --profile F` understood of a file.
type profileCheck struct {
	OK       bool             `json:"ok"`
	Path     string           `json:"path"`
	Error    *profileFault    `json:"error,omitempty"`
	Name     string           `json:"name,omitempty"`
	Kind     drivers.Kind     `json:"kind,omitempty"`
	Channels int              `json:"channels,omitempty"`
	Link     string           `json:"link,omitempty"`
	Requests []profileRequest `json:"requests"`
	Poll     wireCost         `json:"poll"`      // what is read each time
	PollSlow wireCost         `json:"poll_slow"` // and once a minute besides
	Commands []profileCommand `json:"commands"`
	Writable []string         `json:"writable"` // the whole of what may be written
	Fallback string           `json:"fallback"`
	Needs    []string         `json:"needs,omitempty"` // config keys without which it is not commanded
}

type profileFault struct {
	Message string `json:"message"`
	Line    int    `json:"line"`
}

type profileRequest struct {
	Reads string `json:"reads"` // "holding 1000+2"
	Slow  bool   `json:"slow"`  // once a minute
	// Optional: a variant of the device may refuse it, and the values are unknown then.
	Optional bool     `json:"optional"`
	Points   []string `json:"points"`
}

type profileCommand struct {
	Title   string   `json:"title"`
	Writes  []string `json:"writes"` // "function 6: 5004 = 10000 (0x2710)"
	Problem string   `json:"problem,omitempty"`
}

// wireCost is what a group of reads takes of a bus.
type wireCost struct {
	Requests int     `json:"requests"`
	Bytes    int     `json:"bytes"`
	SerialMS float64 `json:"serial_ms,omitempty"` // at the link's baud rate, the device's own time not counted
}

// checkProfile reads a profile strictly and prints what was understood.
func checkProfile(w io.Writer, path string, asJSON bool) error {
	p, err := profile.ReadFile(path)
	if bad, ok := errors.AsType[*profile.Fault](err); ok {
		err = &config.Error{Path: bad.File, Line: bad.Line, Found: bad.Text}
	} else if err != nil {
		err = &config.Error{Path: path, Found: err.Error()}
	}
	if asJSON {
		return errors.Join(err, writeJSON(w, newProfileCheck(path, p, err)))
	}
	if err != nil {
		return err
	}
	return writeProfileCheck(w, newProfileCheck(path, p, nil))
}

func newProfileCheck(path string, p *profile.Profile, err error) profileCheck {
	c := profileCheck{OK: err == nil, Path: path, Requests: []profileRequest{}, Commands: []profileCommand{}, Writable: []string{}}
	if bad, ok := errors.AsType[*config.Error](err); ok {
		c.Error = &profileFault{Message: bad.Error(), Line: bad.Line}
	}
	if p == nil {
		return c
	}
	c.Name, c.Kind, c.Channels, c.Link, c.Fallback = p.Name, p.Kind, max(p.Channels, 1), linkText(p.Link), fallbackText(p)
	c.Needs = p.Unrated()
	if p.Driver != "" {
		return c
	}
	for _, r := range p.Requests(1) {
		c.Requests = append(c.Requests, profileRequest{
			Reads: fmt.Sprintf("%s %d+%d", tableOf(r.Function), r.Address, r.Count), Slow: r.Slow, Optional: r.Optional, Points: r.Points})
		if r.Slow {
			c.PollSlow.add(r, p.Link)
		} else {
			c.Poll.add(r, p.Link)
		}
	}
	for _, v := range p.Previews(profile.Params{}) {
		command := profileCommand{Title: v.Title, Problem: v.Problem, Writes: []string{}}
		for _, write := range v.Writes {
			command.Writes = append(command.Writes, writeText(write))
		}
		c.Commands = append(c.Commands, command)
	}
	for _, r := range p.Writable {
		c.Writable = append(c.Writable, registerText(r, c.Channels))
	}
	return c
}

// add counts one read as it goes over a serial line: 8 bytes out, 5 bytes and
// the values back, each way with 3.5 characters of silence before it (modbus.md 2).
func (c *wireCost) add(r profile.Request, l profile.Link) {
	values := 2 * r.Count
	if r.Function < 3 {
		values = (r.Count + 7) / 8
	}
	c.Requests++
	c.Bytes += 8 + 5 + values
	if l.Baud == 0 {
		return
	}
	bits := 11.0
	if l.Format == "8N1" {
		bits = 10
	}
	char := bits / float64(l.Baud)
	silence := 3.5 * char
	if l.Baud > 19200 {
		silence = 0.00175
	}
	c.SerialMS += 1000 * (float64(8+5+values)*char + 2*silence)
}

func (c wireCost) text() string {
	noun := "requests"
	if c.Requests == 1 {
		noun = "request"
	}
	s := fmt.Sprintf("%d %s, %d bytes on a serial line", c.Requests, noun, c.Bytes)
	if c.SerialMS > 0 {
		s += fmt.Sprintf(", %.1f ms and the device's own time", c.SerialMS)
	}
	return s
}

func writeProfileCheck(w io.Writer, c profileCheck) error {
	t := newTable(w)
	t.line("%s: ok, %s is a %s", c.Path, c.Name, c.Kind)
	if c.Link != "" {
		t.row("link", c.Link)
	}
	if c.Channels > 1 {
		t.row("channels", fmt.Sprintf("%d, shown is the first", c.Channels))
	}
	t.row("fallback", c.Fallback)
	if len(c.Needs) > 0 {
		t.row("a site has to set", strings.Join(c.Needs, ", ")+": the device tells no rating of its own")
	}
	t.row("each poll", c.Poll.text())
	if c.PollSlow.Requests > 0 {
		t.row("each minute", c.PollSlow.text())
	}
	t.flush()
	if len(c.Requests) > 0 {
		t.line("")
		t.row("READS", "WHEN", "POINTS")
	}
	for _, r := range c.Requests {
		when := "each poll"
		if r.Slow {
			when = "each minute"
		} else if r.Optional {
			when = "each poll, where the device has it"
		}
		t.row(r.Reads, when, strings.Join(r.Points, ", "))
	}
	t.flush()
	for _, command := range c.Commands {
		t.line("")
		t.line("to %s:", command.Title)
		for _, write := range command.Writes {
			t.line("  %s", write)
		}
		if command.Problem != "" {
			t.line("  refused: %s", command.Problem)
		}
	}
	t.line("")
	t.line("may be written:")
	for _, r := range c.Writable {
		t.line("  %s", r)
	}
	if len(c.Writable) == 0 {
		t.line("  nothing")
	}
	return t.done()
}

func tableOf(function byte) string {
	return [...]string{1: "coil", 2: "discrete", 3: "holding", 4: "input"}[function]
}

// writeText is a write as it goes out: "function 16: 2000 = 1 44 (0x0001 0x002c)".
func writeText(w profile.Write) string {
	var decimal, hex []string
	for _, v := range w.Values {
		decimal = append(decimal, fmt.Sprint(v))
		hex = append(hex, fmt.Sprintf("0x%04x", v))
	}
	text := fmt.Sprintf("function %d: %d = %s (%s)", w.Function, w.Address, strings.Join(decimal, " "), strings.Join(hex, " "))
	if w.When != "" {
		text += ", only where " + w.When
	}
	return text
}

// registerText is a writable register with all that bounds it.
func registerText(r profile.Register, channels int) string {
	s := fmt.Sprintf("%s: %s %d, %s by function %d", r.Name, r.Table, r.Address, r.Type, r.Function)
	if channels > 1 && r.Stride > 0 {
		s += fmt.Sprintf(", +%d a channel", r.Stride)
	}
	if r.Min != nil || r.Max != nil {
		s += ", " + acceptedText(r)
	}
	if r.Interval > 0 {
		s += ", at most once in " + config.FormatDuration(r.Interval)
	}
	if r.PerDay > 0 {
		s += fmt.Sprintf(", at most %d in 24 h", r.PerDay)
	}
	if r.Changed {
		s += ", only where it holds another value"
	}
	return s
}

// acceptedText is the range of a register in its unit.
func acceptedText(r profile.Register) string {
	switch {
	case r.Min != nil && r.Max != nil:
		return strings.TrimSpace(fmt.Sprintf("%g to %g %s", *r.Min, *r.Max, r.Unit))
	case r.Min != nil:
		return strings.TrimSpace(fmt.Sprintf("%g %s and more", *r.Min, r.Unit))
	case r.Max != nil:
		return strings.TrimSpace(fmt.Sprintf("up to %g %s", *r.Max, r.Unit))
	}
	return "any"
}

// linkText says how the device is set up when it leaves its maker.
func linkText(l profile.Link) string {
	var parts []string
	if l.Baud > 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("RTU %d %s", l.Baud, l.Format)))
	}
	if l.Port > 0 {
		parts = append(parts, fmt.Sprintf("TCP port %d", l.Port))
	}
	if len(l.Units) > 0 {
		parts = append(parts, "unit "+strings.Trim(strings.ReplaceAll(fmt.Sprint(l.Units), " ", ", "), "[]"))
	}
	return strings.Join(parts, ", ")
}

// fallbackText says how the device ends a command that is not renewed.
func fallbackText(p *profile.Profile) string {
	f, s := p.Fallback, ""
	span := func(d time.Duration) string { return config.FormatDuration(d) }
	switch {
	case p.Driver != "":
		return "as the driver " + p.Driver + " finds it"
	case len(p.Command.Release) == 0:
		return "takes no command"
	case f.Register != "" && f.Max > 0 && f.Min == f.Max:
		s = fmt.Sprintf("%s, %s", f.Register, span(f.Max))
	case f.Register != "" && f.Max > 0:
		s = fmt.Sprintf("%s, %s to %s", f.Register, span(f.Min), span(f.Max))
	case f.Register != "":
		s = f.Register
	case f.After > 0:
		s = "after " + span(f.After)
	default:
		return "none known: the device does not end a command by itself"
	}
	if f.State != "" {
		s += "; then it " + f.State
	}
	return s
}
