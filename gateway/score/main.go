// Command score plays the reference scenarios of domain.md 4.6 with the
// gateway's own control, faster than real time, and beside it under two
// controllers that it is compared with: open loop, and a plain PI of 1 s. It
// prints a table, draws a plot a scenario and prints one figure a line
// (design.md 1.4).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"time"

	"nominald/gateway"
)

func main() {
	if err := score1(); err != nil {
		fmt.Fprintln(os.Stderr, "score:", err)
		os.Exit(1)
	}
}

// controllers are ours and those that it is compared with.
func controllers() []controller {
	return []controller{
		{"nominald", newOurs},
		{"open loop", func(*run) (driver, error) { return openLoop{}, nil }},
		{"PI 1 s", func(*run) (driver, error) { return &pi{}, nil }},
	}
}

type controller struct {
	name string
	make func(*run) (driver, error)
}

func newOurs(r *run) (driver, error) {
	s, err := gateway.NewStepped(gateway.SteppedOptions{Config: siteConfig(r.sc), Ports: r.world.ports(),
		Now: func() time.Time { return r.world.now }})
	if err != nil {
		return nil, err
	}
	return &ours{s}, nil
}

func score1() error {
	only := flag.String("only", "", "play these `SCENARIOS` only, for instance A,K,N")
	seeds := flag.Int("seeds", 8, "play each scenario with this many `SEEDS`")
	liveRun := flag.Bool("live", false, "play A, K and N in real time through sockets instead")
	full := flag.Bool("full", false, "with -live: in full, two hours, not half an hour")
	plots := flag.String("plots", "build/score", "`DIR` for the plots")
	flag.Parse()
	if *liveRun {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		return scoreLive(ctx, os.Stdout, *full)
	}
	var chosen []*scenario
	for _, sc := range scenarios() {
		if *only == "" || contains(strings.Split(*only, ","), sc.id) {
			chosen = append(chosen, sc)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no scenario of %q; known are %s", *only, known())
	}
	results, err := playAll(chosen, *seeds)
	if err != nil {
		return err
	}
	if err := drawAll(results, *plots); err != nil {
		return err
	}
	printTable(os.Stdout, results)
	printFigures(os.Stdout, results)
	return nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if strings.TrimSpace(l) == s {
			return true
		}
	}
	return false
}

func known() string {
	var ids []string
	for _, sc := range scenarios() {
		ids = append(ids, sc.id)
	}
	return strings.Join(ids, ",")
}

// result is a scenario under all controllers, in their order.
type result struct {
	sc     *scenario
	all    []score   // over all seeds
	worst  []score   // one a seed, ours
	sample []*record // the first seed's run, for the plot
}

// playAll plays everything, on all processors.
func playAll(chosen []*scenario, seeds int) ([]*result, error) {
	type job struct {
		at, seed, by int
	}
	jobs := make(chan job)
	cs := controllers()
	scores := make([][][]score, len(chosen))
	results := make([]*result, len(chosen))
	for i, sc := range chosen {
		results[i] = &result{sc: sc, sample: make([]*record, len(cs))}
		scores[i] = make([][]score, len(cs))
		for by := range cs {
			scores[i][by] = make([]score, seeds)
		}
	}
	errs := make(chan error, len(chosen)*seeds*len(cs))
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for j := range jobs {
				rc, err := execute(chosen[j.at], int64(j.seed+1), cs[j.by].make)
				if err != nil {
					errs <- err
					continue
				}
				scores[j.at][j.by][j.seed] = rc.rate()
				if j.seed == 0 {
					results[j.at].sample[j.by] = rc
				}
			}
		})
	}
	for at := range chosen {
		fmt.Fprintf(os.Stderr, "\rscore: scenario %-4s %d of %d", chosen[at].id, at+1, len(chosen))
		for by := range cs {
			for seed := range seeds {
				jobs <- job{at, seed, by}
			}
		}
	}
	close(jobs)
	wg.Wait()
	fmt.Fprintln(os.Stderr)
	close(errs)
	if err := <-errs; err != nil {
		return nil, err
	}
	for i := range chosen {
		for by := range cs {
			results[i].all = append(results[i].all, together(scores[i][by]))
		}
		results[i].worst = scores[i][0]
	}
	return results, nil
}
