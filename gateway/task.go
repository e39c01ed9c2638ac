package gateway

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// task is one of the gateway's long-running parts. It returns nil when its
// context ends.
type task struct {
	name string
	run  func(context.Context) error
}

// runAll runs the tasks until the context ends or one of them fails, which
// ends the others; the error names it.
func runAll(ctx context.Context, tasks []task) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		group.Go(func() error {
			if err := t.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			if ctx.Err() == nil {
				return fmt.Errorf("%s: ended by itself", t.name)
			}
			return nil
		})
	}
	return group.Wait()
}
