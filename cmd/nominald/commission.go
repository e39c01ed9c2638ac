package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"nominald/gateway"
	"nominald/gateway/commission"
)

func commissionCommand() *cobra.Command {
	var path, power, out string
	var yes, asJSON bool
	var o commission.Options
	cmd := &cobra.Command{
		Use:   "commission --config FILE",
		Short: "Prove the wiring: signs, steps, fallback timers, relays; write the hand-over sheet",
		Long: `commission commands the devices themselves, in place of the gateway, and measures
what happens: the sign of meter and battery, dead time and gain of a step, that
a device ends a command by itself when it is not renewed, that a set-point or a
relay follows and comes back. It says first what it will do, and asks.

It stays inside the limits of the config: reserve, largest powers, import and
export. It refuses while the gateway runs (systemctl stop nominald), while the
site is stopped, during a timeslot and when one begins before the test can end.
Every device is released and read back at the end, on Ctrl-C and on any error. A
load that is held off stays so for its min_off first; Ctrl-C once more lets go at
once. A commissioning that was killed is healed by nominald release. A site that
is not armed is tested all the same: arm it when the sheet is good.

The hand-over sheet is written as Markdown and as JSON. The exit code is 0 only
if no test failed and none that the gateway relies on is lacking.`,
		Example: `  nominald commission --config /etc/nominald/nominald.yaml
  nominald commission --config site.yaml --device battery --power 2kW --for 60s
  nominald commission --config site.yaml --yes --out /tmp --json`,
		Args: noArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.PowerW, err = parsePower(power); err != nil {
				return &usageError{found: err.Error()}
			}
			if o.For < 5*time.Second || o.For > 10*time.Minute {
				return &usageError{found: fmt.Sprintf("--for %v", o.For), remedy: "accepted are 5s to 10m"}
			}
			cfg, err := loadForDriving(path)
			if err != nil {
				return err
			}
			if out == "" {
				out = cfg.Store.Dir
			}
			c, err := gateway.OpenCommissioning(cmd.Context(), cfg, versionText())
			if err != nil {
				return err
			}
			defer c.Close()
			return runCommission(cmd, c, o, out, yes, asJSON)
		},
	}
	o.Version = versionText()
	timeFlags(cmd, &o)
	f := cmd.Flags()
	f.StringVar(&path, "config", defaultConfig, "config `FILE`")
	f.StringArrayVar(&o.Names, "device", nil, "test this device only; may be given several times")
	f.StringVar(&power, "power", "1kW", "`POWER` of battery tests, at most")
	f.StringVar(&out, "out", "", "`DIR` of the hand-over sheet (default store.dir)")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&asJSON, "json", false, "print the sheet as JSON")
	return cmd
}

// timeFlags are the lengths of a test's parts.
func timeFlags(cmd *cobra.Command, o *commission.Options) {
	f := cmd.Flags()
	f.DurationVar(&o.For, "for", 30*time.Second, "how long a battery holds it")
	f.DurationVar(&o.Times.Lease, "lease", 30*time.Second, "how long a device shall hold a command that is not renewed")
	f.DurationVar(&o.Times.Noise, "noise", 20*time.Second, "how long the meter is watched beforehand")
	f.DurationVar(&o.Times.Rest, "rest", 10*time.Second, "how long a battery rests before its step")
	f.DurationVar(&o.Times.Back, "back", 15*time.Second, "how long a battery rests after its step")
}

// parsePower reads 1kW, 1.5kW, 800W.
func parsePower(text string) (watts float64, err error) {
	s, scale := strings.ToLower(strings.ReplaceAll(text, " ", "")), 1.0
	switch {
	case strings.HasSuffix(s, "kw"):
		s, scale = strings.TrimSuffix(s, "kw"), 1000
	case strings.HasSuffix(s, "w"):
		s = strings.TrimSuffix(s, "w")
	default:
		return 0, fmt.Errorf("--power %s has no unit; accepted is for instance 1kW or 800W", text)
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v*scale >= 200 && v*scale <= 1e6) {
		return 0, fmt.Errorf("--power %s is not understood; accepted are 200W to 1000kW", text)
	}
	return v * scale, nil
}

func runCommission(cmd *cobra.Command, c *gateway.Commissioning, o commission.Options, dir string, yes, asJSON bool) error {
	errs := cmd.ErrOrStderr()
	o.Tell = printer(errs)
	if err := o.Check(c.Site); err != nil {
		return &usageError{found: err.Error()}
	}
	for _, line := range c.Site.Plan(o) {
		o.Tell(printable(line))
	}
	if c.Unsure != "" && !yes {
		return fmt.Errorf("%s; --yes goes on all the same", c.Unsure)
	}
	if !yes {
		ask := newAsker(cmd.Context(), cmd.InOrStdin(), errs)
		if ok, err := ask.confirm(cmd.Context(), "Go on?"); err != nil || !ok {
			return errors.Join(errors.New("not confirmed, nothing was done; --yes does not ask"), err)
		}
		o.Confirm = ask.confirm
	}
	hurry, calm := impatience()
	defer calm()
	o.Hurry = hurry
	ctx, unwatch := c.Guard(cmd.Context())
	defer unwatch()
	sheet, err := commission.Run(ctx, c.Site, o)
	if err != nil {
		return err
	}
	text, raw, err := saveSheet(dir, sheet)
	if err == nil {
		fmt.Fprintf(errs, "hand-over sheet: %s, %s\n", text, raw)
	}
	if asJSON {
		err = errors.Join(err, writeJSON(cmd.OutOrStdout(), sheet))
	}
	fmt.Fprintln(errs, sheet.Counts())
	for _, line := range sheet.Todo {
		o.Tell(printable("to do: " + line))
	}
	return errors.Join(err, judgement(sheet))
}

// judgement is nil only for a sheet that is good.
func judgement(sheet *commission.Sheet) error {
	left := sheet.NotReleased()
	switch {
	case len(left) > 0:
		return fmt.Errorf("NOT RELEASED: %s; run `nominald release --config %s`, or switch the device off and on", strings.Join(left, ", "), sheet.Config)
	case sheet.Interrupted != "" && len(sheet.Restored) == 0:
		return errors.New("interrupted before the end; no device had been commanded")
	case sheet.Interrupted != "":
		return errors.New("interrupted before the end; every device that had been commanded is released, see the sheet")
	case sheet.Incomplete():
		return fmt.Errorf("incomplete: not proved: %s; what to do is told above and on the sheet", sheet.Lacking())
	case !sheet.Good():
		return errors.New("the site did not pass, see the sheet")
	}
	return nil
}

// sureOfSecond is how long after the first signal another one is a wish of its
// own: a terminal that closes may send two at once.
const sureOfSecond = time.Second

// impatience returns a channel that is closed by the second Ctrl-C or SIGTERM;
// the first one ends the tests (see main). A third ends the program as it would
// any. Output that nobody reads any more, as of a pipe whose reader took the
// Ctrl-C too, must not end a program that is about to release devices.
func impatience() (hurry <-chan struct{}, calm func()) {
	signal.Ignore(syscall.SIGPIPE)
	signals, done, closed := make(chan os.Signal, 4), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		var first time.Time
		for {
			select {
			case s := <-signals:
				if first.IsZero() {
					first = time.Now()
				} else if s != syscall.SIGHUP && time.Since(first) >= sureOfSecond {
					signal.Stop(signals)
					close(closed)
					return
				}
			case <-done:
				return
			}
		}
	}()
	return closed, func() { signal.Stop(signals); close(done) }
}

// saveSheet writes both forms and returns their paths.
func saveSheet(dir string, sheet *commission.Sheet) (text, raw string, err error) {
	base := filepath.Join(dir, "commissioning-"+sheet.Began.Format("20060102-150405"))
	text, raw = base+".md", base+".json"
	var b strings.Builder
	if err := writeJSON(&b, sheet); err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", "", fmt.Errorf("write the hand-over sheet: %w", err)
	}
	for path, content := range map[string]string{text: sheet.Markdown(), raw: b.String()} {
		if err := renameio.WriteFile(path, []byte(content), 0o640); err != nil {
			return "", "", fmt.Errorf("write the hand-over sheet: %w; --out takes another directory", err)
		}
	}
	return text, raw, nil
}

// asker puts questions to the person at the terminal. Lines are read by one
// goroutine, because a read can not be ended by Ctrl-C; it lasts as long as the
// program does.
type asker struct {
	out   io.Writer
	lines <-chan string
}

func newAsker(ctx context.Context, in io.Reader, out io.Writer) *asker {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return &asker{out: out, lines: lines}
}

// confirm asks until the answer is yes or no, the input or the context ends.
func (a *asker) confirm(ctx context.Context, question string) (bool, error) {
	for {
		fmt.Fprintf(a.out, "%s [yes/no] ", printable(question))
		select {
		case line, ok := <-a.lines:
			if !ok {
				return false, errors.New("nobody is at the terminal to answer")
			}
			switch strings.ToLower(strings.TrimSpace(line)) {
			case "y", "yes":
				return true, nil
			case "n", "no":
				return false, nil
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}
