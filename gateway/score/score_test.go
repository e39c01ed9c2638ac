package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// steady is a record of an hour of 2000 W asked, of which a share is given.
func steady(share func(second int) float64) *record {
	sc := &scenario{id: "T", what: "a test", hour: 17, slots: one(2, time.Hour)}
	rc := &record{sc: sc, seed: 1, start: sc.start()}
	for i := range 3600 {
		rc.samples = append(rc.samples, sample{targetW: 2000, settledW: 2000 * share(i), trueW: 2000 * share(i), netW: 500, batteryW: 1000})
	}
	return rc
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-6 {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// Half of the first quarter hour and one and a half times the second: the mean
// is whole, and what was too much makes nothing good.
func TestTooMuchMakesNothingGood(t *testing.T) {
	s := steady(func(i int) float64 {
		switch {
		case i < 900:
			return 0.5
		case i < 1800:
			return 1.5
		}
		return 1
	}).rate()
	near(t, "delivered", s.delivered, 100)
	near(t, "capped", s.capped, 87.5)
	near(t, "worst quarter hour", s.worst15, 50)
	near(t, "worst hour", s.worst1h, 100)
	near(t, "15-min RMSE", s.rmse15, 100*math.Sqrt((0.25+0.25)/4))
	near(t, "first five minutes", s.firstFive, 50)
	near(t, "overshoot", s.overshoot, 50)
}

func TestSeedsCountTogether(t *testing.T) {
	all := together([]score{steady(func(int) float64 { return 1 }).rate(), steady(func(int) float64 { return 0.8 }).rate()})
	near(t, "capped", all.capped, 90)
	near(t, "worst quarter hour", all.worst15, 80)
	near(t, "15-min RMSE", all.rmse15, 100*math.Sqrt(0.04/2))
}

func TestExportCountsAfterTheTimeThatALimitHas(t *testing.T) {
	rc := &record{sc: &scenario{exportW: 1000}, violations: map[string]float64{}}
	for i := range 100 {
		s := sample{netW: -1500, batteryW: 2000}
		if i == 50 {
			s.netW = 0
		}
		rc.samples = append(rc.samples, s)
		rc.checkExport()
	}
	// 50 s less 30, and 49 s less 30.
	near(t, "seconds", rc.violations["export"], 20+19)
	rc = &record{sc: &scenario{exportW: 1000}, violations: map[string]float64{}}
	for range 100 {
		rc.samples = append(rc.samples, sample{netW: -1500, batteryW: 0})
		rc.checkExport()
	}
	near(t, "the sun alone", rc.violations["export"], 0)
}

func TestRecoveryIsCountedFromTheFailure(t *testing.T) {
	rc := steady(func(i int) float64 {
		if i >= 1800 && i < 1812 {
			return 0.5
		}
		return 1
	})
	rc.sc.actions = []action{{at: 30 * time.Minute}}
	near(t, "seconds until it is back", recovery(rc)[0].value, 12)
}

func TestScenariosAreTheWholeSet(t *testing.T) {
	seen := map[string]bool{}
	for _, sc := range scenarios() {
		if seen[sc.id] {
			t.Errorf("scenario %s twice", sc.id)
		}
		seen[sc.id] = true
	}
	for _, id := range strings.Split("A B C D E F95 F70 G H I J K L M N O P Q R", " ") {
		if !seen[id] {
			t.Errorf("scenario %s of domain.md 4.6 is missing", id)
		}
	}
}

// One scenario through everything: the same seed gives the same run, ours is
// ahead of both others, the plot is a picture.
func TestAScenarioFromPlantToPlot(t *testing.T) {
	var sc *scenario
	for _, s := range scenarios() {
		if s.id == "N" {
			sc = s
		}
	}
	results, err := playAll([]*scenario{sc}, 2)
	if err != nil {
		t.Fatal(err)
	}
	again, err := execute(sc, 1, newOurs)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.rate().capped, results[0].sample[0].rate().capped; got != want {
		t.Errorf("the same seed gives %v and %v", got, want)
	}
	if a := results[0].all; a[0].capped <= a[1].capped || a[0].capped <= a[2].capped || a[0].violations > 0 {
		t.Errorf("capped: ours %v, open loop %v, PI %v; ours broke %v limits", a[0].capped, a[1].capped, a[2].capped, a[0].violations)
	}
	d := xml.NewDecoder(strings.NewReader(draw(results[0])))
	curves := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal("the plot is no XML:", err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "polyline" {
			curves++
		}
	}
	if curves < 6 {
		t.Errorf("the plot has %d curves", curves)
	}
	var out bytes.Buffer
	printFigures(&out, results)
	if !strings.Contains(out.String(), "figure score_n_back_in ") {
		t.Errorf("figures: %s", out.String())
	}
}
