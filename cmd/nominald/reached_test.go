package main

import (
	"testing"

	"nominald/gateway/config"
)

func TestWiringIsToldInFull(t *testing.T) {
	c := &config.Config{Buses: []config.Bus{
		{Name: "lan", TCP: "10.0.0.2:502"}, {Name: "cabinet", TCP: "10.0.0.3:4001", RTU: true},
		{Name: "rs485", Serial: "/dev/ttyUSB0", Baud: 19200, Format: "8E1"}}}
	for _, x := range []struct {
		d    config.Device
		want string
	}{
		{config.Device{Bus: "lan", Unit: 1}, "lan (10.0.0.2:502) unit 1"},
		{config.Device{Bus: "cabinet", Unit: 3, Channel: 8}, "cabinet (10.0.0.3:4001 RTU) unit 3 channel 8"},
		{config.Device{Bus: "rs485", Unit: 2}, "rs485 (/dev/ttyUSB0 19200 8E1) unit 2"},
		{config.Device{GPIO: "GPIO17", ActiveLow: true}, "GPIO17, active low"},
		{config.Device{GPIO: "GPIO5", GPIO2: "GPIO6"}, "GPIO5 and GPIO6, active high"},
	} {
		if got := reachedBy(c, x.d); got != x.want {
			t.Errorf("got %q, want %q", got, x.want)
		}
	}
}
