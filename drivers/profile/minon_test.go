package profile_test

import (
	"context"
	"testing"
	"time"

	"nominald/drivers"
)

func TestRelayIsAllowedForMinOnAlsoAfterARestart(t *testing.T) {
	s := newSite(t, relays)
	s.params.Channel, s.params.MinOn = 1, 5*time.Minute
	d := s.open()
	mustRead(t, d)
	inhibit := drivers.Command{Inhibit: true}
	s.apply(d, inhibit)
	release(t, d)
	s.wrote("5@0=[65280] 5@0=[0]")
	s.now = s.now.Add(time.Minute)
	refused(t, d.Apply(context.Background(), inhibit, 30*time.Second), "4m0s more (min_on)")
	d = s.open()
	mustRead(t, d)
	refused(t, d.Apply(context.Background(), inhibit, 30*time.Second), "4m0s more (min_on)")
	s.written()
	s.now = s.now.Add(4 * time.Minute)
	s.apply(d, inhibit)
	s.wrote("5@0=[65280]")
}
