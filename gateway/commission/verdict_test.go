package commission_test

import (
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/gateway/commission"
	"nominald/gateway/config"
)

// A load that was held off a moment ago has not failed: it is told how long to
// wait, and the sheet is incomplete, not passed.
func TestALoadThatRestsIsIncomplete(t *testing.T) {
	t.Parallel()
	site, board := inhibitBench(t, "waveshare-modbus-relay", config.Device{Name: "boiler", Kind: drivers.Relay, MinOn: 30 * time.Minute})
	o := relayOptions(t, true)
	if _, err := commission.Run(stopAt(t, &o, "holds the load off", 300*time.Millisecond), site, o); err != nil {
		t.Fatal(err)
	}
	s, err := commission.Run(t.Context(), site, relayOptions(t, true))
	if err != nil {
		t.Fatal(err)
	}
	click := s.Device("boiler").Test("relay click")
	if click.Verdict != commission.Missing || !strings.Contains(click.Why, "has to run for 30m0s") || s.Good() || !s.Incomplete() {
		t.Errorf("%+v", click)
	}
	if text := s.Markdown(); !strings.Contains(text, "**Incomplete: not proved: boiler (relay click)**") || !strings.Contains(text, "To do: boiler: wait 30m0s") || held(t, board) {
		t.Errorf("%s", text)
	}
}

// A board that takes the command and does not switch: the words say where to
// look.
func TestARelayThatDoesNotMove(t *testing.T) {
	t.Parallel()
	site, board := relayBench(t, 0)
	board.Deafen(true)
	s, err := commission.Run(t.Context(), site, relayOptions(t, true))
	if err != nil {
		t.Fatal(err)
	}
	if click := s.Device("boiler").Test("relay click"); click.Verdict != commission.Failed || !strings.Contains(click.Why, "coils supplied") {
		t.Errorf("%+v", click)
	}
}

// A charger whose watchdog counts any request is left alone, so its fallback is
// seen; the test's own readings would keep it alive for ever.
func TestAWatchdogThatReadingsFeed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("its watchdog takes a minute")
	}
	site, board := inhibitBench(t, "heidelberg-energy-control", config.Device{Name: "wallbox", Kind: drivers.Charger, Phases: 3, VoltageV: 230, MinA: 6, MaxA: 16})
	o := relayOptions(t, true)
	o.Times.Rest, o.Times.Follow = time.Second, 6*time.Second
	s, err := commission.Run(t.Context(), site, o)
	if err != nil {
		t.Fatal(err)
	}
	fallback := s.Device("wallbox").Test("fallback")
	if fallback == nil || fallback.Verdict != commission.Passed || !strings.Contains(fallback.Why, "of silence") {
		t.Errorf("%s", s.Markdown())
	}
	if held(t, board) {
		t.Error("still commanded")
	}
}
