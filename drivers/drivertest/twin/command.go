package twin

import (
	"math"
	"slices"
	"strconv"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
)

// Commanded is what the registers tell the device to do, in the gateway's units
// and signs. Which field counts follows from the profile's kind. NaN in all of
// them: what was written is no command of the profile, whole or in part.
type Commanded struct {
	PowerW    float64 // battery: discharge positive; inverter: the most it feeds in
	CurrentA  float64 // charger: limit a phase, 0 pauses
	SetpointC float64 // thermostat
	Inhibit   bool    // relay, thermostat by inhibit
}

// plan is one of the profile's sequences as the registers that it leaves behind.
type plan struct {
	name  string
	steps []profile.Step // one a register, the last to write it
}

// The names of plans that are told apart.
const (
	released = "release"
	unclear  = "unclear"
)

// state is what the device does.
type state struct {
	plan string
	cmd  Commanded
}

// plansOf lists the sequences, those that leave least open first: 0 W by hold
// is not to be taken for a charge with 0 W.
func plansOf(p *profile.Profile) []plan {
	c := p.Command
	var out []plan
	for _, s := range []struct {
		name  string
		steps []profile.Step
	}{
		{released, c.Release}, {"hold", c.Hold}, {"pause", c.Pause}, {"inhibit", c.Inhibit},
		{"charge", c.Charge}, {"discharge", c.Discharge}, {"apply", c.Apply},
	} {
		if len(s.steps) > 0 {
			out = append(out, plan{s.name, leaves(s.steps)})
		}
	}
	return out
}

// leaves flattens a sequence to what each register holds at its end.
func leaves(steps []profile.Step) []profile.Step {
	var flat []profile.Step
	for _, s := range steps {
		flat = append(append(flat, s), s.Also...)
	}
	var out []profile.Step
	for i, s := range flat {
		later := slices.ContainsFunc(flat[i+1:], func(o profile.Step) bool { return o.Write == s.Write })
		if !later {
			out = append(out, s)
		}
	}
	return out
}

func (p plan) touches(names []string) bool {
	return slices.ContainsFunc(p.steps, func(s profile.Step) bool { return slices.Contains(names, s.Write) })
}

// constant reads a step's value where it is a number.
func constant(value string) (float64, bool) {
	if n, err := strconv.ParseInt(value, 0, 64); err == nil {
		return float64(n), true
	}
	v, err := strconv.ParseFloat(value, 64)
	return v, err == nil
}

func (t *Twin) register(name string) (profile.Register, bool) {
	i := slices.IndexFunc(t.p.Writable, func(r profile.Register) bool { return r.Name == name })
	if i < 0 {
		return profile.Register{}, false
	}
	return t.p.Writable[i], true
}

// match tells whether the registers hold what the plan leaves behind, and what
// that commands.
func (t *Twin) match(p plan) (Commanded, bool) {
	said := map[string]float64{}
	for _, optional := range []bool{false, true} {
		for _, s := range p.steps {
			if (s.Unless != nil) == optional && !t.holds(s, said) && !t.spares(p.name, s) {
				return Commanded{}, false
			}
		}
	}
	return t.meant(p.name, said)
}

// holds compares one register with its step; what a word stands for is put into
// said, and has to be the same wherever the word stands.
func (t *Twin) holds(s profile.Step, said map[string]float64) bool {
	reg, ok := t.register(s.Write)
	if !ok {
		return false
	}
	v, near := inUnit(reg, t.wrote[reg.Name]), step(reg)*0.51
	if c, ok := constant(s.Value); ok {
		return math.Abs(v-c) <= near
	}
	switch s.Value {
	case "timer":
		return v > 0
	case "max":
		return math.Abs(v-t.largest(reg)) <= near
	case "remembered":
		return math.Abs(v-t.user["setpoint_c"]) <= near
	}
	before, again := said[s.Value]
	if again && s.Unless != nil && math.Abs(before-*s.Unless) <= near {
		return true // the step was skipped
	}
	said[s.Value] = v
	return !again || math.Abs(v-before) <= near
}

// spares tells whether a release leaves a register as it is: it holds none of
// the values that the release takes back.
func (t *Twin) spares(plan string, s profile.Step) bool {
	reg, ok := t.register(s.Write)
	if plan != released || len(s.Only) == 0 || !ok {
		return false
	}
	v := inUnit(reg, t.wrote[reg.Name])
	return !slices.ContainsFunc(s.Only, func(only float64) bool { return math.Abs(v-only) <= step(reg)*0.51 })
}

// meant puts a plan's words into a command.
func (t *Twin) meant(name string, said map[string]float64) (Commanded, bool) {
	if said["charge"] < 0 || said["discharge"] < 0 || said["watts"] < 0 {
		return Commanded{}, false
	}
	c := Commanded{Inhibit: name == "inhibit", PowerW: said["discharge"] - said["charge"]}
	switch t.p.Kind {
	case drivers.Charger:
		c.CurrentA = said["command"]
		if w, ok := said["watts"]; ok {
			c.CurrentA = w / t.phaseVolts()
		}
	case drivers.Thermostat:
		c.SetpointC = said["command"]
	default:
		if w, ok := said["command"]; ok {
			c.PowerW = w
		}
	}
	return c, true
}

// phaseVolts is what a current of 1 A a phase draws, in W.
func (t *Twin) phaseVolts() float64 {
	phases, volts := t.site.Phases, t.site.VoltageV
	if phases == 0 {
		phases = 3
	}
	if volts == 0 {
		volts = 230
	}
	return float64(phases) * volts
}

// largest is the most that a register of a limit may hold at this site.
func (t *Twin) largest(reg profile.Register) float64 {
	most := layoutOf(reg.Type).most() * math.Abs(scaleOf(reg.Scale))
	if reg.Max != nil {
		most = *reg.Max
	}
	switch {
	case t.site.MaxA <= 0 || t.p.Kind != drivers.Charger:
		return most
	case reg.Unit == "W":
		return math.Min(most, t.site.MaxA*t.phaseVolts())
	}
	return math.Min(most, t.site.MaxA)
}

// written finds out what the device is told after a write to some registers.
func (t *Twin) written(names []string) {
	before, done := t.now.plan, false
	for _, p := range t.plans {
		if !p.touches(names) {
			continue
		}
		if cmd, ok := t.match(p); ok {
			t.now, done = state{p.name, cmd}, true
			break
		}
	}
	if !done && slices.ContainsFunc(t.plans, func(p plan) bool { return p.name == before && p.touches(names) }) {
		nan := math.NaN()
		t.now = state{unclear, Commanded{PowerW: nan, CurrentA: nan, SetpointC: nan}}
	}
	t.renew(names, done)
	t.settle()
}

// renew starts the fallback timer with a command, and again where the write is
// one that renews it.
func (t *Twin) renew(names []string, done bool) {
	if t.now.plan == released {
		t.left = 0
		return
	}
	f := t.p.Fallback
	alive := done
	if len(f.KeepAlive) > 0 {
		alive = plan{steps: leaves(f.KeepAlive)}.touches(names)
	}
	starts := done && t.left == 0
	if starts || alive || (f.Register != "" && slices.Contains(names, f.Register)) {
		t.left = t.timer()
	}
}

// timer is how long the device waits for a renewal; 0 is for ever.
func (t *Twin) timer() time.Duration {
	f := t.p.Fallback
	if reg, ok := t.register(f.Register); ok {
		return time.Duration(inUnit(reg, t.wrote[reg.Name]) * float64(time.Second))
	}
	return f.After
}

// Timer returns the length that the fallback timer was given, or has; 0 where
// none runs.
func (t *Twin) Timer() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.timer()
}

// Commanded returns what the device is told to do. It is not active where the
// device is neutral or has fallen back.
func (t *Twin) Commanded() (c Commanded, active bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.cmd, t.now.plan != released
}

// Step lets time pass: the fallback timer runs, and a power that follows its
// command does.
func (t *Twin) Step(dt time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left > 0 {
		if t.left -= dt; t.left <= 0 {
			t.neutral()
			t.settle()
		}
	}
	t.chase(dt)
}

// Scramble leaves arbitrary values in all writable registers of the channel, as
// another controller or a crash does.
func (t *Twin) Scramble(random func() uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.places {
		if p.channel != t.channel {
			continue
		}
		regs := layoutOf(p.reg.Type).split(random())
		if p.table == "coil" && !p.reg.Raw {
			regs[0] &= 1
		}
		t.store(p.span, regs)
		t.wrote[p.reg.Name] = layoutOf(p.reg.Type).join(regs)
	}
	t.recognize()
}

// recognize finds out what the registers command, whoever wrote them.
func (t *Twin) recognize() {
	nan := math.NaN()
	t.now, t.left = state{unclear, Commanded{PowerW: nan, CurrentA: nan, SetpointC: nan}}, 0
	for _, p := range t.plans {
		if cmd, ok := t.match(p); ok {
			t.now = state{p.name, cmd}
			break
		}
	}
	t.settle()
}

// Choose has the device's owner, or another controller, put a value in its unit
// into a writable register of the channel; not ok where it can not hold it.
func (t *Twin) Choose(name string, v float64) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.places {
		if p.channel != t.channel || p.reg.Name != name {
			continue
		}
		raw, fits := layoutOf(p.reg.Type).raw(v / scaleOf(p.reg.Scale))
		if !fits {
			return false
		}
		t.store(p.span, layoutOf(p.reg.Type).split(raw))
		t.wrote[name] = raw
		t.recognize()
		return true
	}
	return false
}

// Holds returns what a writable register of the channel holds, in its unit.
func (t *Twin) Holds(name string) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	reg, _ := t.register(name)
	return inUnit(reg, t.wrote[name])
}

// neutral has this channel's registers hold what they do when nobody commands.
func (t *Twin) neutral() {
	t.now, t.left = state{plan: released}, 0
	for _, p := range t.places {
		v, given := t.neutralOf(p.reg)
		raw, _ := layoutOf(p.reg.Type).raw(v / scaleOf(p.reg.Scale))
		if !given && t.measured(p.span) { // a register that is also read keeps what it shows
			raw = layoutOf(p.reg.Type).join(t.load(p.span))
		}
		t.store(p.span, layoutOf(p.reg.Type).split(raw))
		if p.channel == t.channel {
			t.wrote[p.reg.Name] = raw
		} else if t.codes(p.reg) {
			t.store(p.span, []uint16{0}) // its contact
		}
	}
}

// neutralOf returns what a register holds in the neutral state; given where
// that follows from the release.
func (t *Twin) neutralOf(reg profile.Register) (v float64, given bool) {
	for _, p := range t.plans {
		for _, s := range p.steps {
			if p.name != released || s.Write != reg.Name {
				continue
			}
			switch c, ok := constant(s.Value); {
			case ok:
				return c, true
			case s.Value == "max":
				return t.largest(reg), true
			case s.Value == "remembered":
				return t.user["setpoint_c"], true
			}
		}
	}
	if reg.Min != nil {
		v = math.Max(v, *reg.Min)
	}
	if reg.Max != nil {
		v = math.Min(v, *reg.Max)
	}
	return v, false
}

func (t *Twin) neutralIs(name string, v float64) bool {
	reg, _ := t.register(name)
	neutral, given := t.neutralOf(reg)
	return given && math.Abs(neutral-v) <= step(reg)/2
}

func scaleOf(s float64) float64 {
	if s == 0 {
		return 1
	}
	return s
}
