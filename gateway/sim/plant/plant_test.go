package plant

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const tick = 100 * time.Millisecond

func TestBatteryWaitsThenRampsThenSettles(t *testing.T) {
	b := NewBattery(NewBatteryParams(5000, 13_500, 80))
	b.Command(5000)
	last := 0.0
	for at := tick; at <= 15*time.Second; at += tick {
		b.Step(tick)
		w := b.PowerW()
		if at < 2*time.Second && w != 0 {
			t.Fatalf("at %s: %0.f W within the dead time of 2 s", at, w)
		}
		if rate := (w - last) / tick.Seconds(); rate > 1000.001 {
			t.Fatalf("at %s: %.0f W/s, ramp is 1000 W/s", at, rate)
		}
		last = w
	}
	if math.Abs(last-5000) > 5 {
		t.Errorf("after 15 s: %.0f W, want 5000 W", last)
	}
	// The lag: one time constant before the end of a small step, 63 % are there.
	b.Command(4900)
	for range 30 {
		b.Step(tick)
	}
	if got := b.PowerW(); math.Abs(got-(4900+100/math.E)) > 5 {
		t.Errorf("1 s into a step of -100 W: %.1f W, want %.1f W", got, 4900+100/math.E)
	}
}

func TestBatteryEnergyBalances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := NewBatteryParams(rapid.Float64Range(500, 20_000).Draw(t, "power"),
			rapid.Float64Range(200, 20_000).Draw(t, "capacity"), rapid.Float64Range(0, 100).Draw(t, "soc"))
		b := NewBattery(p)
		before := p.CapacityWh * p.SoC / 100
		floor := math.Min(p.ReserveSoC, p.SoC)
		given, taken := 0.0, 0.0
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			b.Command(rapid.Float64Range(-30_000, 30_000).Draw(t, "w"))
			dt := time.Duration(rapid.Int64Range(1, int64(2*time.Minute)).Draw(t, "dt"))
			b.Step(dt)
			if wh := b.PowerW() * dt.Hours(); wh > 0 {
				given += wh
			} else {
				taken -= wh
			}
			if soc := b.SoC(); soc < floor-1e-6 || soc > 100+1e-6 {
				t.Fatalf("state of charge %.6f %% is outside %.1f to 100 %%", soc, floor)
			}
			if w := b.PowerW(); w > p.MaxDischargeW+1e-6 || w < -p.MaxChargeW-1e-6 {
				t.Fatalf("%.3f W is beyond the ratings", w)
			}
		}
		eta := math.Sqrt(p.Efficiency)
		want := before - given/eta + taken*eta
		if got := p.CapacityWh * b.SoC() / 100; math.Abs(got-want) > 1e-6*p.CapacityWh {
			t.Fatalf("stored %.9f Wh, balance says %.9f Wh", got, want)
		}
		if math.Abs(b.DischargedWh()-given) > 1e-6*given+1e-9 || math.Abs(b.ChargedWh()-taken) > 1e-6*taken+1e-9 {
			t.Fatalf("counters %.6f/%.6f Wh, want %.6f/%.6f Wh", b.DischargedWh(), b.ChargedWh(), given, taken)
		}
	})
}

func TestVehicleFollowsLateAndPausesBelowSixAmperes(t *testing.T) {
	e := NewEV(NewEVParams(3, 230, 16, 40_000))
	if e.CurrentA() != 16 {
		t.Fatalf("uncommanded: %.1f A, want 16 A", e.CurrentA())
	}
	run := func(d time.Duration) {
		for ; d > 0; d -= tick {
			e.Step(tick)
		}
	}
	e.Limit(8)
	run(4900 * time.Millisecond)
	if e.CurrentA() != 16 {
		t.Errorf("after 4.9 s: %.2f A, want 16 A still", e.CurrentA())
	}
	run(4100 * time.Millisecond) // 9 s: one lag
	if want := 8 + 8/math.E; math.Abs(e.CurrentA()-want) > 0.3 {
		t.Errorf("after 9 s: %.2f A, want about %.2f A", e.CurrentA(), want)
	}
	run(time.Minute)
	if want := 8 * 230 * 3.0; math.Abs(e.PowerW()-want) > 1 {
		t.Errorf("settled: %.0f W, want %.0f W", e.PowerW(), want)
	}
	e.Limit(5.9)
	run(time.Minute)
	if e.PowerW() != 0 {
		t.Errorf("at 5.9 A: %.0f W, want a pause", e.PowerW())
	}
}

func TestVehicleStopsWithWhatItWants(t *testing.T) {
	e := NewEV(NewEVParams(1, 230, 32, 500))
	for range 36_000 {
		e.Step(tick)
	}
	if got := e.SessionWh(); got < 500 || got > 530 || e.PowerW() != 0 {
		t.Errorf("session %.1f Wh at %.0f W, want a little over 500 Wh at 0 W", got, e.PowerW())
	}
	e.Plug(false, 0)
	e.Step(tick)
	e.Plug(true, 1000)
	for range 300 {
		e.Step(tick)
	}
	if e.SessionWh() == 0 || e.CurrentA() < 31 {
		t.Errorf("after a new vehicle: %.1f A, want 32 A", e.CurrentA())
	}
}

func TestRoomKeepsItsBandAndItsRest(t *testing.T) {
	r := NewRoom(NewRoomParams(3500, 34))
	var stopped time.Duration
	switches := 0
	was := r.Running()
	for at := time.Duration(0); at < 12*time.Hour; at += time.Second {
		if at == 6*time.Hour {
			r.SetSetpoint(26)
		}
		r.Step(time.Second)
		if r.Running() == was {
			continue
		}
		was = r.Running()
		switches++
		if was && stopped > 0 && at-stopped < 299*time.Second {
			t.Fatalf("at %s: the compressor starts %s after it stopped", at, at-stopped)
		}
		stopped = at
		if low, high := r.SetpointC()-0.6, r.SetpointC()+0.6; r.TempC() < low-2 || r.TempC() > high {
			t.Fatalf("at %s: switches at %.2f C with a set-point of %.1f C", at, r.TempC(), r.SetpointC())
		}
	}
	if switches < 6 {
		t.Errorf("%d switches in 12 h: the thermostat does not work", switches)
	}
	if math.Abs(r.TempC()-26) > 0.6 {
		t.Errorf("%.2f C after six hours at 26 C", r.TempC())
	}
}

func TestRoomWarmsWhenSwitchedOff(t *testing.T) {
	p := NewRoomParams(3500, 34)
	r := NewRoom(p)
	r.Enable(false)
	for range 3600 {
		r.Step(time.Second)
	}
	// R*C = 5 h: after one hour the difference to outside is down to e^-0.2.
	want := 34 - (34-p.StartC)*math.Exp(-0.2)
	if math.Abs(r.TempC()-want) > 0.02 || r.PowerW() != 0 {
		t.Errorf("%.3f C at %.0f W, want %.3f C at 0 W", r.TempC(), r.PowerW(), want)
	}
}

func TestLoadIsTheSameForASeedWhateverTheStep(t *testing.T) {
	p := LoadParams{MinW: 400, MaxW: 1400, NoiseW: 60, AppliancesPerHour: 4, StartOfDay: 6 * time.Hour}
	fine, coarse, other := NewLoad(p, 7), NewLoad(p, 7), NewLoad(p, 8)
	differs, spikes := false, 0
	for range 4 * 3600 {
		for range 10 {
			fine.Step(tick)
		}
		coarse.Step(time.Second)
		other.Step(time.Second)
		if fine.PowerW() != coarse.PowerW() {
			t.Fatalf("%f W with fine steps, %f W with coarse ones", fine.PowerW(), coarse.PowerW())
		}
		differs = differs || fine.PowerW() != other.PowerW()
		if fine.PowerW() > 2000 {
			spikes++
		}
	}
	if !differs {
		t.Error("two seeds give the same load")
	}
	if spikes == 0 {
		t.Error("no appliance in four hours at four an hour")
	}
}

func TestMeterIsLateAndCoarse(t *testing.T) {
	m := NewMeter(3, 0)
	for range 9 {
		m.Step(tick, 3000)
	}
	if m.PowerW() != 0 {
		t.Errorf("after 0.9 s: %.0f W, want 0 W still", m.PowerW())
	}
	sum, squares, n := 0.0, 0.0, 0.0
	for range 20_000 {
		m.Step(tick, 3000)
		w := m.PowerW()
		if math.Mod(w, 10) != 0 {
			t.Fatalf("%f W is not a multiple of 10 W", w)
		}
		sum, squares, n = sum+w, squares+w*w, n+1
	}
	mean := sum / n
	sd := math.Sqrt(squares/n - mean*mean)
	if math.Abs(mean-3000) > 3 || sd < 10 || sd > 22 {
		t.Errorf("mean %.1f W, deviation %.1f W; want 3000 W and about 15 W", mean, sd)
	}
	if want := 3000 * 2000.9 / 3600; math.Abs(m.ImportWh()-want) > 1e-6 {
		t.Errorf("imported %.6f Wh, want %.6f Wh", m.ImportWh(), want)
	}
}

func TestSunRisesAndSets(t *testing.T) {
	v := NewPV(6000, 0, 1)
	best := 0.0
	for s := range 24 * 3600 {
		v.Step(time.Second)
		w := v.PowerW()
		if w < 0 || w > 6000 {
			t.Fatalf("%.0f W from 6 kW", w)
		}
		if hour := s / 3600; (hour < 5 || hour > 19) && w != 0 {
			t.Fatalf("%.0f W at %d o'clock", w, hour)
		}
		best = math.Max(best, w)
	}
	if best < 4000 {
		t.Errorf("best of the day %.0f W", best)
	}
}
