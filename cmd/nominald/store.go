package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nominald/gateway"
	"nominald/gateway/config"
	"nominald/gateway/loadlog"
	"nominald/gateway/store"
)

func storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Check, repair or compact the store",
		Long: `store looks after the file that keeps timeslots, reports and measured load
(nominald.db in store.dir). It refuses while the gateway or a commissioning has
the file: stop the service first.`,
		Example: `  nominald store check
  nominald store repair --config site.yaml`,
		Args: cobra.ArbitraryArgs, // so that an unknown command is our error, with exit code 2
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(storeCheckCommand(), storeRepairCommand(), storeCompactCommand())
	return cmd
}

type storeFlags struct {
	config, file string
	json         bool
}

func (f *storeFlags) add(cmd *cobra.Command) *cobra.Command {
	cmd.Args = noArgs()
	cmd.Flags().StringVar(&f.config, "config", defaultConfig, "config `FILE`, which names store.dir")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

// dir is store.dir of the config. That the site can be driven, and the API key
// read, does not matter.
func (f *storeFlags) dir() (string, error) {
	cfg, err := config.LoadWithoutSecrets(f.config)
	if err != nil {
		return "", err
	}
	return cfg.Store.Dir, nil
}

func storeCheckCommand() *cobra.Command {
	var f storeFlags
	cmd := f.add(&cobra.Command{
		Use:   "check",
		Short: "Say whether the store is good, and what it holds",
		Long: `check reads every page and every value of the store and of its spares, and the
files of seconds in its directory load, and changes nothing. It counts the
values of each bucket and those that fail their checksum, and runs the
database's own check in a process of its own. The exit code is 1 when anything
is wrong.`,
		Example: `  nominald store check
  nominald store check --config site.yaml --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.file != "" { // this is the process of its own
				return store.BoltCheck(f.file)
			}
			dir, err := f.dir()
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			r, err := checkStore(cmd.Context(), dir, []string{self, "store", "check", "--file"})
			if err != nil {
				return err
			}
			if f.json {
				err = writeJSON(cmd.OutOrStdout(), r)
			} else {
				err = writeStoreReport(cmd.OutOrStdout(), r)
			}
			if err != nil || len(r.Problems) == 0 {
				return err
			}
			return fmt.Errorf("%s: %s; `nominald store repair` saves what is readable", r.File, problemsText(len(r.Problems)))
		},
	})
	cmd.Flags().StringVar(&f.file, "file", "", "run the database's own check on `FILE` in this process")
	cmd.Flags().Lookup("file").Hidden = true
	return cmd
}

// storeReport is what check found of the store and of the files of seconds.
type storeReport struct {
	store.Report
	Load []loadlog.FileState `json:"load"`
}

func checkStore(ctx context.Context, dir string, child []string) (storeReport, error) {
	base, err := store.Check(ctx, dir, child)
	if err != nil {
		return storeReport{}, err
	}
	r := storeReport{Report: base}
	if r.Load, err = loadlog.Check(filepath.Join(dir, gateway.LoadDir)); err != nil {
		return r, err
	}
	for _, f := range r.Load {
		if f.Bad > 0 {
			r.Problems = append(r.Problems, secondsText(f))
		}
	}
	return r, nil
}

func secondsText(f loadlog.FileState) string {
	stretches := "1 stretch"
	if f.Bad != 1 {
		stretches = fmt.Sprintf("%d stretches", f.Bad)
	}
	return fmt.Sprintf("%s/%s: %s of seconds can not be read", gateway.LoadDir, f.Name, stretches)
}

func writeStoreReport(w io.Writer, r storeReport) error {
	t := newTable(w)
	result := "ok"
	if len(r.Problems) > 0 {
		result = problemsText(len(r.Problems))
	}
	t.line("%s: %s", r.File, result)
	t.row("size", bytesText(r.SizeBytes))
	t.row("version", fmt.Sprint(r.Version))
	t.row("pages", fmt.Sprintf("%d, of these free: %d", r.Pages, r.FreePages))
	t.row("database's own check", r.SecondOpinion)
	t.line("")
	t.row("BUCKET", "VALUES", "SIZE", "BAD")
	for _, b := range r.Buckets {
		t.row(b.Name, fmt.Sprint(b.Values), bytesText(b.Bytes), fmt.Sprint(b.Bad))
	}
	t.flush()
	t.line("")
	t.row("SPARE", "DOCUMENTS", "WRITTEN", "STATE")
	for _, s := range r.Spares {
		at := dash
		if !s.At.IsZero() {
			at = s.At.Format(time.RFC3339)
		}
		t.row(s.Name, fmt.Sprint(s.Documents), at, s.State)
	}
	t.flush()
	if len(r.Load) > 0 {
		t.line("")
		t.row("SECONDS", "HOURS OF A CHANNEL", "SIZE", "BAD")
		for _, f := range r.Load {
			t.row(f.Name, fmt.Sprint(f.Pieces), bytesText(f.Bytes), fmt.Sprint(f.Bad))
		}
		t.flush()
	}
	for _, b := range r.Buckets {
		for _, key := range b.BadKeys {
			t.line("bad: %s %s", b.Name, key)
		}
	}
	for _, p := range r.Problems {
		t.line("problem: %s", p)
	}
	return t.done()
}

func problemsText(n int) string {
	if n == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", n)
}

func storeRepairCommand() *cobra.Command {
	var f storeFlags
	return f.add(&cobra.Command{
		Use:   "repair",
		Short: "Save what is readable into a new store",
		Long: `repair writes every value that can be read, and what the spares have beyond
that, into a new file, puts that in the place of the store and sets the old file
aside beside it. Files of seconds lose what can not be read in them. It names
what is lost; the exit code is then 1 although the new store is good.`,
		Example: `  nominald store repair
  nominald store repair --config site.yaml --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := f.dir()
			if err != nil {
				return err
			}
			r, err := store.Repair(dir, time.Now())
			if err != nil {
				return err
			}
			mended, err := loadlog.Repair(filepath.Join(dir, gateway.LoadDir))
			if err != nil {
				return err
			}
			var lost []string
			if r.Lost != "" {
				lost = append(lost, r.Lost)
			}
			for _, f := range mended {
				lost = append(lost, secondsText(f))
			}
			r.Lost = strings.Join(lost, ", ")
			if err := writeRebuilt(cmd.OutOrStdout(), r, f.json); err != nil || r.Lost == "" {
				return err
			}
			return errors.New("lost: " + r.Lost)
		},
	})
}

func storeCompactCommand() *cobra.Command {
	var f storeFlags
	return f.add(&cobra.Command{
		Use:   "compact",
		Short: "Copy the store into a smaller file",
		Long: `compact copies the store into a new file without the room that deleted values
left, puts that in its place and prints the size before and after. It changes
nothing where anything in the store is bad.`,
		Example: `  nominald store compact
  nominald store compact --config site.yaml --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := f.dir()
			if err != nil {
				return err
			}
			r, err := store.Compact(dir)
			if err != nil {
				return err
			}
			return writeRebuilt(cmd.OutOrStdout(), r, f.json)
		},
	})
}

func writeRebuilt(w io.Writer, r store.Rebuilt, asJSON bool) error {
	if asJSON {
		return writeJSON(w, r)
	}
	t := newTable(w)
	t.line("%s: %s before, %s after", r.File, bytesText(r.Before), bytesText(r.After))
	if r.SetAside != "" {
		t.line("the old file is kept as %s", r.SetAside)
	}
	t.line("")
	t.row("BUCKET", "KEPT", "FROM SPARE", "LOST", "DAMAGE")
	for _, b := range r.Buckets {
		t.row(b.Bucket, fmt.Sprint(b.Kept), fmt.Sprint(b.FromSpare), fmt.Sprint(b.Lost), orDash(b.Damage))
	}
	return t.done()
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 10<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
