package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"nominald/gateway/config"
)

// Exit codes (design.md 1.1). 78 is EX_CONFIG of sysexits.h; the unit does not
// restart on it.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78
)

// usageError is a command line that can not be understood.
type usageError struct {
	found  string
	remedy string
}

func (e *usageError) Error() string {
	s := e.found
	if e.remedy != "" {
		s += "; " + e.remedy
	}
	return s
}

// run is the program: it does what the arguments say and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	name := cmd.CommandPath()
	if usage, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprintf(stderr, "%s: %v\nsee: %s --help\n", name, usage, name)
		return exitUsage
	}
	if bad, ok := errors.AsType[*config.Error](err); ok {
		fmt.Fprintln(stderr, bad)
		return exitConfig
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	return exitFailed
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "nominald",
		Short: "Edge gateway for virtual power plants",
		Long: `nominald fetches dispatch timeslots from Leap, keeps them, and drives the
batteries, chargers and thermostats of a site so that it delivers what was
nominated.`,
		Example: `  nominald demo
  nominald check --config /etc/nominald/nominald.yaml
  nominald status --watch`,
		Version:           versionText(),
		Args:              cobra.ArbitraryArgs, // so that an unknown command is our error, with exit code 2
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(commands()...)
	root.SetHelpCommand(helpCommand())
	// Completion is for the package to install, not for people to read.
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// helpCommand is cobra's own but for the exit code: help on what does not exist
// is wrong usage.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: "  nominald help check",
		Args:    atMost(1, "one COMMAND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Root().Help()
			}
			for _, c := range cmd.Root().Commands() {
				if c.Name() == args[0] {
					return c.Help()
				}
			}
			return unknownCommand(cmd.Root(), args[0])
		},
	}
}

// commands is the list of all subcommands.
func commands() []*cobra.Command {
	return []*cobra.Command{
		runCommand(),
		demoCommand(),
		checkCommand(),
		profilesCommand(),
		scanCommand(),
		commissionCommand(),
		statusCommand(),
		timeslotsCommand(),
		reportCommand(),
		loadCommand(),
		exportCommand(),
		explainCommand(),
		latchCommand("stop"),
		latchCommand("resume"),
		storeCommand(),
		leapCommand(),
		releaseCommand(),
		simulateCommand(),
		versionCommand(),
	}
}

func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	e := &usageError{found: fmt.Sprintf("there is no command %q", word), remedy: "commands: " + strings.Join(names, ", ")}
	if near := config.Nearest(word, names); near != "" {
		e.remedy = "did you mean " + near + "?"
	}
	return e
}

// flagError turns an error of the flag parser into one with a suggestion.
func flagError(cmd *cobra.Command, err error) error {
	e := &usageError{found: err.Error()}
	if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		collect := func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		}
		cmd.LocalFlags().VisitAll(collect)
		cmd.InheritedFlags().VisitAll(collect)
		name := missing.GetSpecifiedName()
		e.found = fmt.Sprintf("there is no flag --%s", name)
		if missing.GetSpecifiedShortnames() != "" {
			e.found = fmt.Sprintf("there is no flag -%s", name)
		}
		if near := config.Nearest(name, names); near != "" {
			e.remedy = "did you mean --" + near + "?"
		}
	}
	return e
}

// atMost is a check of the number of arguments.
func atMost(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return &usageError{found: fmt.Sprintf("%q is one argument too many", args[n]), remedy: "accepted: " + what}
	}
}

func noArgs() cobra.PositionalArgs { return atMost(0, "flags only") }
