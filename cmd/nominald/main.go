// Command nominald is an edge gateway for virtual power plants: it fetches
// dispatch timeslots, drives the site's devices so that the nominated power is
// delivered, and shows what it does. This package is the command line only:
// flags, help, exit codes and how answers are printed. What is done is in
// package gateway and below.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // 450 KB: a minimal system may have no zones, and every config names one
)

func main() {
	// SIGHUP is what a closed ssh session sends: it must not leave devices
	// commanded either.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal ends the context and gives the signals back, so that a
	// second one ends a process that hangs while it winds down.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
