// Command tr87proxy lets programs control and watch telephones behind any PBX. Clients
// speak CSTA to it; it forwards their requests to the switch that has the telephones.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // the server refused the request, or another error
	exitUsage  = 2 // wrong command line or configuration
)

// usageError is an error in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int { return execute(ctx, newRoot(), args) }

// execute runs the command line, writes the error that ends it, and returns the exit status.
func execute(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	status := exitFailed
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		status = exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		err = errors.New("interrupted")
	default:
		err = plainly(err)
	}
	complain(root.ErrOrStderr(), cmd, args, err)
	return status
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "tr87proxy",
		Short: "Let programs control and watch telephones",
		Long: `tr87proxy lets programs control and watch telephones behind any PBX. Clients speak
CSTA to it, over SIP (TR/87), TCP or TLS; it forwards their requests to the switch
that has the telephones. It also has a switch of its own, with virtual phones.`,
		Example: `  tr87proxy demo                        watch a client control phones, then connect your own
  tr87proxy check -c config.yaml        find faults in a configuration
  tr87proxy serve -c config.yaml        run the proxy
  tr87proxy call 100 101                place a call`,
		SilenceUsage: true, SilenceErrors: true,
		Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	outputFlags(root)
	root.AddGroup(&cobra.Group{ID: "server", Title: "The proxy:"}, &cobra.Group{ID: "client", Title: "A client for any TR/87 server:"})
	root.AddCommand(serveCommand(), demoCommand(), checkCommand(), importCommand(), statusCommand(), traceCommand(), reloadCommand(), serverCommand(), webhooksCommand(), unlockCommand(), accountsCommand(), tokensCommand(), policyCommand(), auditCommand(), certsCommand(), phoneCommand(), simulateCommand(), decodeCommand(), versionCommand())
	root.AddCommand(clientCommands()...)
	root.AddCommand(serviceCommands()...)
	root.AddCommand(voiceCommands()...)
	root.AddCommand(featureCommands()...)
	root.AddCommand(deviceCommands()...)
	root.AddCommand(routeCommand(), watchCommand(), scriptCommand())
	return root
}

// noSubcommand refuses the name of a command that does not exist.
func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath())}
}

// exactly is cobra.ExactArgs with a usage error that says which arguments are missing.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }

func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usageError{fmt.Errorf("usage: %s; see %s --help", cmd.UseLine(), cmd.CommandPath())}
		}
		return nil
	}
}
