package main

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"nominald/gateway"
	"nominald/gateway/config"
	"nominald/gateway/demo"
	"nominald/gateway/sim"
)

// loadForDriving reads the config and makes sure that this program can drive
// what it names.
func loadForDriving(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return cfg, gateway.CheckDevices(cfg)
}

// loadForRelease is the same without the API key: a lost key must not keep a
// device from being released.
func loadForRelease(path string) (*config.Config, error) {
	cfg, err := config.LoadWithoutSecrets(path)
	if err != nil {
		return nil, err
	}
	return cfg, gateway.CheckDevices(cfg)
}

func runCommand() *cobra.Command {
	var path string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway; this is what systemd starts",
		Long: `run fetches timeslots, drives the site's devices while site.armed is true, logs
measured load and serves the local page until it gets SIGTERM or Ctrl-C. Then
every device that was commanded is put into its neutral state. A second signal
ends it at once; devices then fall back by their own timers.`,
		Example: `  nominald run --config /etc/nominald/nominald.yaml`,
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadForDriving(path)
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			log := newLogger(cmd.ErrOrStderr(), level)
			spareMemory()
			return gateway.Run(cmd.Context(), cfg, gateway.Options{Version: versionText(), Log: log, Ready: func() {
				if err := forgetStart(); err != nil { // it costs memory and nothing else
					log.Debug("memory of the start is kept", "error", err)
				}
			}})
		},
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "config `FILE`")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "log every round")
	return cmd
}

func releaseCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Put every device into its neutral state, and exit",
		Long: `release opens every device of the config, puts it into its neutral state and
exits. systemd runs it whenever the service has ended, in whatever way. Of a site
that is not armed it releases what a commissioning left commanded when it was
killed, and writes to nothing else.`,
		Example: `  nominald release --config /etc/nominald/nominald.yaml`,
		Args:    noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadForRelease(path)
			if err != nil {
				return err
			}
			return gateway.Release(cmd.Context(), cfg, newLogger(cmd.ErrOrStderr(), slog.LevelInfo))
		},
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "config `FILE`")
	return cmd
}

func demoCommand() *cobra.Command {
	o := demo.Options{}
	var withLog bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "One dispatch from award to report on a simulated site",
		Long: `demo needs no config and no devices. It runs a simulated Leap API, a simulated
site behind real Modbus TCP sockets on this machine, and between them the real
gateway. One timeslot of 4 kW goes from award to report. The exit code is 0
only if the mean over the timeslot is within 3 % of 4 kW.`,
		Example: `  nominald demo
  nominald demo --for 5m          # and in a second terminal: nominald status --watch
  nominald demo --stay            # keeps the page up after the report`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Version, o.Out = versionText(), cmd.OutOrStdout()
			if withLog {
				o.Log = cmd.ErrOrStderr()
			}
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().DurationVar(&o.For, "for", 90*time.Second, "length of the whole run")
	cmd.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:8645", "`ADDR` of the page")
	cmd.Flags().StringVar(&o.Keep, "keep", "", "keep config and store in `DIR`")
	cmd.Flags().BoolVar(&o.Stay, "stay", false, "keep the page up after the report")
	cmd.Flags().BoolVar(&withLog, "log", false, "show the gateway's log on stderr")
	return cmd
}

func simulateCommand() *cobra.Command {
	var path string
	o := sim.SimulateOptions{}
	var preset string
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Serve the simulated site and Leap API of a config",
		Long: `simulate serves, on loopback addresses only, the Modbus devices that a config
names and, where leap.url is plain http on this machine, a Leap API with one
example timeslot a meter. Run the gateway with the same config beside it.`,
		Example: `  nominald simulate --config try.yaml
  nominald run --config try.yaml          # in a second terminal`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(path)
			if err != nil {
				return err
			}
			o.Site.Preset = sim.Preset(preset)
			return sim.Simulate(cmd.Context(), cfg, o, printer(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&path, "config", defaultConfig, "config `FILE`")
	cmd.Flags().StringVar(&preset, "site", string(sim.Bakery), "base load: home or bakery")
	cmd.Flags().Int64Var(&o.Site.Seed, "seed", 1, "seed of the site's load")
	cmd.Flags().DurationVar(&o.EventIn, "event-in", 30*time.Second, "until the example timeslot starts")
	cmd.Flags().DurationVar(&o.EventFor, "event-for", 15*time.Minute, "how long it lasts")
	cmd.Flags().BoolVar(&o.NoEvent, "no-event", false, "award no timeslot")
	return cmd
}

// printer prints lines from several goroutines.
func printer(w io.Writer) func(string) {
	var mu sync.Mutex
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, line)
	}
}
