package gateway

import (
	"fmt"
	"time"

	"nominald/drivers/gpio"
	"nominald/gateway/config"
	"nominald/gateway/status"
)

// button is a STOP button at the site. While it is pressed, or can not be read,
// the owner's STOP is latched; letting go of it releases nothing.
type button struct {
	cfg   config.Input
	input *gpio.Input
}

func openInputs(cfg *config.Config, open func(string, gpio.Pull) (gpio.Contact, error)) []*button {
	var out []*button
	for _, c := range cfg.Inputs {
		pull := map[string]gpio.Pull{"up": gpio.PullUp, "down": gpio.PullDown, "none": gpio.PullNone}[c.Pull]
		out = append(out, &button{cfg: c, input: gpio.NewInput(gpio.InputOptions{
			Line: c.GPIO, ActiveLow: c.Active == "low", Pull: pull, Debounce: c.Debounce, Open: open})})
	}
	return out
}

// demand says why the site has to be stopped, empty where it has not.
func (b *button) demand(s gpio.InputState) string {
	switch {
	case s.Unreadable(time.Now()):
		return fmt.Sprintf("stop button %s, which can not be read", b.cfg.Name)
	case s.Pressed: // also where its line was lost just now: nobody saw it let go
		return "stop button " + b.cfg.Name
	}
	return ""
}

// seen latches the STOP. It is called again and again, so a resume that came in
// between does not last.
func (g *Gateway) seen(b *button, s gpio.InputState) {
	by := b.demand(s)
	if by == "" {
		return
	}
	if stopped, _ := g.latch.state(); stopped {
		return
	}
	if err := g.Stop(by); err != nil {
		g.log.Error("owner stop", "by", by, "error", err)
	}
}

// pressed names a button that keeps the site stopped.
func (g *Gateway) pressed() string {
	for _, b := range g.inputs {
		if by := b.demand(b.input.State()); by != "" {
			return by
		}
	}
	return ""
}

func (g *Gateway) showInputs() []status.Input {
	var out []status.Input
	for _, b := range g.inputs {
		s := b.input.State()
		in := status.Input{Name: b.cfg.Name, Role: b.cfg.Role, Pressed: s.Pressed && s.Lost.IsZero()}
		if s.Error != "" && !s.Lost.IsZero() {
			in.Error = s.Error
		}
		out = append(out, in)
	}
	return out
}
