// SPDX-License-Identifier: Apache-2.0

// Command runner runs the tests of all modules of the tree and closes with a
// summary: what failed with its output, what was skipped with its reason, how each
// use case fared, and the counts.
//
//	go run ./test/runner [-v] [-run regexp] [-modules dir,dir] [-alone packages] [-guests packages] [packages]
//
// The README's table of use cases is printed by
//
//	go run ./test/runner -markdown -run 'TestRows|TestUseCases' -guests ./test/vm ./test/usecases ./test/vm
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nsm-afxdp/forwarder/test/vm"
)

func main() {
	modules := flag.String("modules", ".", "comma-separated folders of the modules to test")
	run := flag.String("run", "", "only tests that match, as in go test")
	verbose := flag.Bool("v", false, "print the output of tests that pass, too")
	markdown := flag.Bool("markdown", false, "print the table of use cases in Markdown")
	alone := flag.String("alone", "", "comma-separated packages of the first module that no others are tested with: they come after the others, one by one")
	guests := flag.String("guests", "", "comma-separated packages of the first module that run virtual machines: they are tested all the while, in the processors' time that the others leave (SCHED_IDLE); where the guests' clocks would mind, alone")
	timeout := flag.Duration("timeout", 25*time.Minute, "limit for each test binary")
	flag.Parse()
	packages := flag.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	folders := strings.Split(*modules, ",")
	beside := *guests
	if vm.Hardware() { // else guests' clocks count instructions
		*alone, beside = *alone+","+*guests, ""
	}
	p, err := newPlan(ctx, folders[0], packages, *alone, beside)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := newSummary(os.Stdout, *verbose)
	// No earlier results: go test does not know that tests depend on programs that they
	// run, and guests.
	r := &runner{summary: s, args: []string{"test", "-json", "-count", "1", "-p", "2", "-timeout", timeout.String()}}
	if *run != "" {
		r.args = append(r.args, "-run", *run)
	}
	var meanwhile sync.WaitGroup
	meanwhile.Go(func() { r.testAll(ctx, folders[0], p.beside, idle...) })
	r.testAll(ctx, folders[0], p.groups)
	for _, folder := range folders[1:] {
		r.testAll(ctx, folder, [][]string{packages})
	}
	meanwhile.Wait()
	stop()
	s.rows.print(os.Stdout, *markdown)
	s.print()
	if len(s.failed) > 0 || s.passed == 0 {
		os.Exit(1)
	}
}
