package commission

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nominald/drivers"
)

// plant makes the samples of a step: a level before, a dead time, then a first
// order lag towards the level after.
type stepPlant struct {
	before, change float64
	dead, lag      time.Duration
	noise          float64
	every          time.Duration
	at, until      time.Duration
}

func (p stepPlant) samples(seed uint64) []Sample {
	rng := rand.New(rand.NewPCG(seed, 1))
	var out []Sample
	for at := time.Duration(0); at <= p.until; at += p.every {
		w := p.before
		if moved := at - p.at - p.dead; moved > 0 {
			w += p.change * (1 - math.Exp(-moved.Seconds()/max(p.lag.Seconds(), 1e-9)))
		}
		out = append(out, Sample{at, w + p.noise*rng.NormFloat64()})
	}
	return out
}

const sec = time.Second

func TestAnalyseStep(t *testing.T) {
	base := stepPlant{before: 6000, change: -1000, dead: 2 * sec, lag: sec, every: 500 * time.Millisecond, at: 10 * sec, until: 40 * sec}
	noisy, still, half, wrong := base, base, base, base
	noisy.noise = 30
	still.change = 0
	half.change = -500
	wrong.change = 1000
	for name, c := range map[string]struct {
		plant             stepPlant
		gain, dead, rise  float64
		moved             bool
		gainTol, deadsTol float64
	}{
		"clean":          {base, 1, 2, 4.3, true, 0.001, 0.6},
		"noisy meter":    {noisy, 1, 2, 4.3, true, 0.05, 1.1},
		"half":           {half, 0.5, 2, 4.3, true, 0.001, 0.6},
		"wrong way":      {wrong, -1, 2, 4.3, true, 0.001, 0.6},
		"nothing happen": {still, 0, 0, 0, false, 0.001, 0},
	} {
		got, ok := Analyse(c.plant.samples(1), c.plant.at, c.plant.until, -1000, 0)
		if !ok || got.Moved != c.moved || math.Abs(got.Gain-c.gain) > c.gainTol {
			t.Errorf("%s: %+v, want gain %g, moved %v", name, got, c.gain, c.moved)
		}
		if c.moved && (math.Abs(got.DeadTime-c.dead) > c.deadsTol || math.Abs(got.Rise90-c.rise) > c.deadsTol) {
			t.Errorf("%s: dead time %g s, 90 %% after %g s; want %g and %g", name, got.DeadTime, got.Rise90, c.dead, c.rise)
		}
	}
}

func TestAnalyseNeedsSamplesOnBothSides(t *testing.T) {
	s := []Sample{{0, 1}, {sec, 2}}
	for name, c := range map[string]struct {
		samples   []Sample
		at, until time.Duration
		commanded float64
	}{
		"none": {nil, 0, sec, 1}, "none before": {s[1:], 0, sec, 1}, "none after": {s[:1], 0, sec, 1}, "no command": {s, 0, sec, 0},
	} {
		if r, ok := Analyse(c.samples, c.at, c.until, c.commanded, 0); ok {
			t.Errorf("%s: judged to %+v", name, r)
		}
	}
}

// Whatever the plant is, its gain and its times are found again, within what
// the samples' distance and the threshold leave open.
func TestAnalyseFindsThePlantAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := stepPlant{
			before: rapid.Float64Range(-20_000, 20_000).Draw(t, "before"),
			change: rapid.Float64Range(300, 10_000).Draw(t, "change") * float64(rapid.SampledFrom([]int{-1, 1}).Draw(t, "sign")),
			dead:   time.Duration(rapid.IntRange(0, 8_000).Draw(t, "dead_ms")) * time.Millisecond,
			lag:    time.Duration(rapid.IntRange(1, 3_000).Draw(t, "lag_ms")) * time.Millisecond,
			every:  time.Duration(rapid.IntRange(100, 1_000).Draw(t, "every_ms")) * time.Millisecond,
			at:     10 * sec, until: 40 * sec,
		}
		gain := rapid.Float64Range(0.3, 3).Draw(t, "gain") * float64(rapid.SampledFrom([]int{-1, 1}).Draw(t, "gain_sign"))
		p.noise = math.Abs(p.change) / 100
		samples := p.samples(uint64(rapid.IntRange(0, 1000).Draw(t, "seed")))
		got, ok := Analyse(samples, p.at, p.until, p.change/gain, 0)
		if !ok || math.Abs(got.Gain-gain) > 0.03*math.Abs(gain) {
			t.Fatalf("gain %g, found %+v", gain, got)
		}
		if !got.Moved {
			if math.Abs(p.change) > 1.2*leastStep*math.Abs(p.change/gain) {
				t.Fatalf("did not see a change of %g W: %+v", p.change, got)
			}
			return
		}
		slack := 2 * p.every.Seconds()
		if got.DeadTime < p.dead.Seconds()-slack || got.DeadTime > p.dead.Seconds()+p.lag.Seconds()*1.5+slack {
			t.Fatalf("dead time %v, lag %v, found %g s", p.dead, p.lag, got.DeadTime)
		}
		if want := p.dead.Seconds() + p.lag.Seconds()*math.Ln10; got.Rise90 < want*0.8-slack || got.Rise90 > want+p.lag.Seconds()+slack {
			t.Fatalf("90 %% after %g s, found %g s", want, got.Rise90)
		}
		if got.Rise90 < got.DeadTime {
			t.Fatalf("90 %% before the first change: %+v", got)
		}
	})
}

// A meter wired the other way shows the same step with the other sign.
func TestAnalyseTurnsItsSignWithTheMeter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(4, 60).Draw(t, "n")
		var samples, turned []Sample
		for i := range n {
			w := rapid.Float64Range(-1e5, 1e5).Draw(t, "w")
			at := time.Duration(i) * sec
			samples, turned = append(samples, Sample{at, w}), append(turned, Sample{at, -w})
		}
		at := time.Duration(rapid.IntRange(0, n-2).Draw(t, "at")) * sec
		a, okA := Analyse(samples, at, time.Hour, 1000, 0)
		b, okB := Analyse(turned, at, time.Hour, 1000, 0)
		if okA != okB || a.Moved != b.Moved || math.Abs(a.Gain+b.Gain) > 1e-9 || a.DeadTime != b.DeadTime || a.Rise90 != b.Rise90 {
			t.Fatalf("%+v\n%+v", a, b)
		}
	})
}

func TestNoiseOfAMeter(t *testing.T) {
	p := stepPlant{before: 6000, noise: 30, every: 100 * time.Millisecond, at: time.Hour, until: 60 * sec}
	n := MeasureNoise(p.samples(7))
	if math.Abs(n.NoiseW-30) > 6 || math.Abs(n.MeanW-6000) > 5 || math.Abs(n.Refresh-0.1) > 1e-9 {
		t.Errorf("got %+v, want noise 30 W, mean 6000 W, refresh 0.1 s", n)
	}
	// An appliance that switches in the middle is no noise.
	samples := p.samples(7)
	for i := range samples[:100] {
		samples[i].W += 2000
	}
	if n := MeasureNoise(samples); n.NoiseW > 60 {
		t.Errorf("an appliance became noise: %+v", n)
	}
	// A meter that is read each 100 ms and moves each second, by 10 W.
	var slow []Sample
	for i := range 100 {
		slow = append(slow, Sample{time.Duration(i) * 100 * time.Millisecond, 500 + float64(i/10%2)*10})
	}
	if n := MeasureNoise(slow); math.Abs(n.Refresh-1) > 1e-9 || n.StepW != 10 || n.NoiseW < 5 {
		t.Errorf("got %+v, want a refresh of 1 s in steps of 10 W", n)
	}
	if n := MeasureNoise([]Sample{{0, 5}, {sec, 5}}); n.StepW != 0 || n.NoiseW != 0 || n.Refresh != 0 {
		t.Errorf("a stuck value has %+v", n)
	}
	if n := MeasureNoise(nil); n != (Noise{}) {
		t.Errorf("nothing has %+v", n)
	}
}

func TestWhenACommandWasLeft(t *testing.T) {
	at := func(ws ...float64) (s []Sample) {
		for i, w := range ws {
			s = append(s, Sample{time.Duration(i) * sec, w})
		}
		return s
	}
	for name, c := range map[string]struct {
		samples []Sample
		want    time.Duration
		found   bool
	}{
		"held":             {at(1000, 990, 1010), 0, false},
		"let go":           {at(1000, 1000, 400, 0, 0), 2 * sec, true},
		"a dip, then held": {at(1000, 0, 1000, 1000), 0, false},
		"a dip, then left": {at(1000, 0, 1000, 0, 0), 3 * sec, true},
		"never there":      {at(0, 0), 0, true},
		"nothing":          {nil, 0, false},
	} {
		if got, found := Left(c.samples, 1000, 100); got != c.want || found != c.found {
			t.Errorf("%s: %v %v, want %v %v", name, got, found, c.want, c.found)
		}
	}
}

func TestWrongWayNeedsSeveralSamples(t *testing.T) {
	level := func(ws ...float64) (s []Sample) {
		for _, w := range ws {
			s = append(s, Sample{0, w})
		}
		return s
	}
	for name, c := range map[string]struct {
		samples []Sample
		want    bool
	}{
		"right way": {level(6000, 5000, 5000, 5000), false},
		"wrong way": {level(6000, 7000, 7000, 7000, 7000), true},
		"a spike":   {level(6000, 7000, 6000, 7000, 7000), false},
		"too few":   {level(7000, 7000), false},
		"noise":     {level(6100, 6100, 6100, 6100), false},
	} {
		if got := WrongWay(c.samples, 6000, -1000, 50, 4); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestTestPowerStaysInsideTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opt := func(name string) drivers.Opt {
			if rapid.Bool().Draw(t, name+" known") {
				return drivers.Some(rapid.Float64Range(0, 10_000).Draw(t, name))
			}
			return drivers.Opt{}
		}
		l := Limits{WantW: rapid.Float64Range(100, 5000).Draw(t, "want"), NetW: rapid.Float64Range(-10_000, 10_000).Draw(t, "net"),
			MaxImportW: rapid.SampledFrom([]float64{0, 5000, 20_000}).Draw(t, "import"), MaxExportW: rapid.SampledFrom([]float64{0, 3000}).Draw(t, "export"),
			MaxDischargeW: opt("discharge"), MaxChargeW: opt("charge"), ReserveSoC: rapid.Float64Range(0, 100).Draw(t, "reserve"),
			NoiseW: rapid.Float64Range(0, 200).Draw(t, "noise")}
		if rapid.Bool().Draw(t, "soc known") {
			l.SoC = drivers.Some(rapid.Float64Range(0, 100).Draw(t, "soc"))
		}
		w, why := l.Choose()
		switch {
		case w == 0 && why == "":
			t.Fatal("no power and no reason")
		case w == 0:
		case !l.SoC.OK, math.Abs(w) > l.WantW:
			t.Fatalf("%g W with %+v", w, l)
		case w > 0 && (l.NetW-w < -l.MaxExportW || w > l.MaxDischargeW.Or(w) || l.SoC.V < l.ReserveSoC):
			t.Fatalf("discharges %g W against a limit of %+v", w, l)
		case w < 0 && (-w > l.MaxChargeW.Or(-w) || l.MaxImportW > 0 && l.NetW-w > l.MaxImportW):
			t.Fatalf("charges %g W against a limit of %+v", w, l)
		}
	})
}

func TestTestPower(t *testing.T) {
	good := Limits{WantW: 1000, NetW: 6000, SoC: drivers.Some(80), ReserveSoC: 20}
	for name, c := range map[string]struct {
		change func(*Limits)
		want   float64
	}{
		"as asked":               {func(*Limits) {}, 1000},
		"the device's own limit": {func(l *Limits) { l.MaxDischargeW = drivers.Some(700) }, 700},
		"below the site's load":  {func(l *Limits) { l.NetW = 600 }, 500},
		"no load, so charge":     {func(l *Limits) { l.NetW = 0 }, -1000},
		"export is allowed":      {func(l *Limits) { l.NetW, l.MaxExportW = 0, 5000 }, 1000},
		"at the reserve":         {func(l *Limits) { l.SoC = drivers.Some(20) }, -1000},
		"full and no load":       {func(l *Limits) { l.NetW, l.SoC = 0, drivers.Some(100) }, 0},
		"import limit":           {func(l *Limits) { l.NetW, l.MaxImportW = 0, 600 }, -500},
		"charge unknown":         {func(l *Limits) { l.SoC = drivers.Opt{} }, 0},
		"no charging at all":     {func(l *Limits) { l.NetW, l.MaxChargeW = 0, drivers.Some(0) }, 0},
	} {
		l := good
		c.change(&l)
		if got, why := l.Choose(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %g W (%s), want %g W", name, got, why, c.want)
		}
	}
}
