// Command mutate makes small changes to the code of a package and runs the package's own tests on
// each of them. A change that no test notices survives: it shows what the tests do not reach. The
// tree is never touched: the compiler reads the changed file from an overlay.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"time"
)

const usage = `Usage: go run ./scripts/mutate [flags] PACKAGE...

Makes small changes to the code of each package, one at a time, and runs the package's own
tests on each. Prints the changes that no test notices (survivors) to the standard output, and
progress to the standard error. The changes: conditions negated or left out, comparisons moved
by one or turned round, && for ||, + for -, numbers changed, results replaced by zero,
statements dropped, functions that return at once. Texts are left alone.

Some survivors change nothing that anybody can see ("<" for "<=" in a maximum): read them.

Flags:
`

const examples = `
Examples:
  nice go run ./scripts/mutate ./policy              100 changes chosen at random
  go run ./scripts/mutate -seed 7 -n 30 ./audit ./gate   30 others of each of two packages
  go run ./scripts/mutate -n 0 -only guard.go ./accounts all of one file
  go run ./scripts/mutate -n 0 -only 'guard.go:6[0-9]:' ./accounts   all of these lines
  go run ./scripts/mutate -list -n 0 ./policy        what would be changed

Exit status: 0 when at most -max of the changes survive in each package, 1 when more do,
2 when a package cannot be tested, or its tests fail as they are.
`

// options has the values of the flags.
type options struct {
	most   int            // number of changes for each package; 0 for all
	seed   uint64         // seed of the choice of changes
	only   *regexp.Regexp // matches the positions to change; nil for all
	list   bool           // only list the changes
	limit  time.Duration  // time limit of the tests on each change; 0 derives it from their usual duration
	share  float64        // share of the changes that may survive
	atOnce int            // number of changes tested at the same time
	short  bool           // run the tests with -short first
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run runs the command, and returns its exit status.
func run(ctx context.Context, args []string, out, progress io.Writer) int {
	var o options
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.IntVar(&o.most, "n", 100, "`changes` of each package; 0 for all")
	flags.Uint64Var(&o.seed, "seed", 1, "of the choice: the same `number` chooses the same changes of the same code")
	flags.BoolVar(&o.list, "list", false, "print the changes and test nothing")
	flags.DurationVar(&o.limit, "timeout", 0, "`time` for the tests on each change; 0: 5 times what they take on the code as it is, and 10s")
	flags.Float64Var(&o.share, "max", 0.1, "`share` of the changes that may survive")
	flags.IntVar(&o.atOnce, "j", max(1, runtime.NumCPU()/2), "changes that are tested at a `time`")
	flags.BoolVar(&o.short, "short", false, "run the tests with -short first, and all of them on what survives those")
	flags.Func("only", "change only where FILE:LINE: fits this `expression`", func(s string) (err error) {
		o.only, err = regexp.Compile(s)
		return err
	})
	flags.Usage = func() {
		fmt.Fprint(progress, usage)
		flags.PrintDefaults()
		fmt.Fprint(progress, examples)
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() == 0 || o.most < 0 || o.atOnce < 1 || o.limit < 0 {
		flags.Usage()
		return 2
	}
	status := 0
	for _, name := range flags.Args() {
		bad, err := o.mutate(ctx, name, out, progress)
		switch {
		case err != nil:
			fmt.Fprintf(progress, "mutate: %s: %v\n", name, err)
			return 2
		case bad:
			status = 1
		}
	}
	return status
}

// mutate tests the changes of one package, and reports whether too many survive.
func (o *options) mutate(ctx context.Context, name string, out, progress io.Writer) (bad bool, err error) {
	p, err := load(ctx, name)
	if err != nil {
		return false, err
	}
	changes, err := p.changes(ctx)
	if err != nil {
		return false, err
	}
	var chosen []int // indexes into changes
	for i, c := range changes {
		if o.only == nil || o.only.MatchString(fmt.Sprintf("%s:%d:", c.file, c.line)) {
			chosen = append(chosen, i)
		}
	}
	random := rand.New(rand.NewPCG(o.seed, 0)) //nolint:gosec // it is to choose the same again
	random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	if o.list {
		if o.most > 0 {
			chosen = chosen[:min(o.most, len(chosen))]
		}
		for _, i := range chosen {
			fmt.Fprintln(out, changes[i])
		}
		return false, nil
	}
	b, err := newBench(ctx, p, changes, o.limit, o.short)
	if err != nil {
		return false, err
	}
	defer b.close()
	fmt.Fprintf(progress, "%s: %d changes are possible; the tests take %v and have %v for each\n", p.ImportPath, len(chosen), b.usual.Round(time.Millisecond), b.limit.Round(time.Millisecond))
	t := b.run(ctx, chosen, o.most, o.atOnce, func(t tally, c change, outcome outcome) {
		if outcome.survived() {
			fmt.Fprintf(out, "%v%s\n", c, outcome.remark())
		}
		if t.tested()%10 == 0 {
			fmt.Fprintf(progress, "%s: %d tested, %d survived\n", p.ImportPath, t.tested(), t.survived())
		}
	})
	if err := ctx.Err(); err != nil {
		return false, err
	}
	fmt.Fprintf(out, "%s: %d changes, %d killed (%d of them by the time limit), %d survived (%d of them where no test comes); %d did not build\n",
		p.ImportPath, t.tested(), t.tested()-t.survived(), t[late], t.survived(), t[unreached], t[broken])
	return float64(t.survived()) > o.share*float64(t.tested()), nil
}
