package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/policy"
)

func policyCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "policy", Short: "Show how a configuration decides and translates numbers", GroupID: "server",
		Long: `policy shows how a configuration file, not a running proxy, decides and translates
numbers, and each rule that was tried.`,
		Example: `  tr87proxy policy explain --as sip:alice@contoso.com MakeCall 100 +4420123456
  tr87proxy policy translate "tel:+49 (89) 4711"`,
		Args: noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVarP(&file, "config", "c", "config.yaml", "configuration file")
	_ = cmd.MarkPersistentFlagFilename("config", "yaml", "yml")
	cmd.AddCommand(explainCommand(&file), translateCommand(&file))
	return cmd
}

// loadPolicy reads a configuration and returns its policy and numbering.
func loadPolicy(cmd *cobra.Command, file string) (*config.Config, *policy.Policy, *policy.Numbers, error) {
	cfg, err := daemon.Load(file)
	if err != nil {
		return nil, nil, nil, usageError{err}
	}
	rules, numbers, unasked, err := daemon.Decide(cmd.Context(), cfg)
	if err != nil {
		return nil, nil, nil, usageError{err}
	}
	if unasked != nil {
		note(cmd.ErrOrStderr(), asJSON(cmd), "tr87proxy: the directory cannot be read, its lines are missing: %v", unasked)
	}
	return cfg, rules, numbers, nil
}

func explainCommand(file *string) *cobra.Command {
	var as, front, at, scope string
	fronts := daemon.Kinds().FrontNames()
	cmd := &cobra.Command{
		Use: "explain SERVICE DEVICE [DESTINATION...]", Short: "Show whether a request is allowed, and by which rule", Args: between(2, 20),
		Long: `explain decides like the proxy whether an identity may use a service on a device, and send
its call to the destinations. SERVICE is a service of CSTA, such as MakeCall, or an action of
the HTTP interface, such as call. The exit status is 1 if it may not.`,
		Example: `  tr87proxy policy explain --as sip:alice@contoso.com MakeCall 100 +4420123456
  tr87proxy policy explain --as crm --front xml --at "2026-11-24 22:00" MonitorStart 217
  tr87proxy policy explain --as crm --front api --scope observe call 100 101`,
		RunE: func(cmd *cobra.Command, args []string) error {
			when := time.Now()
			if at != "" {
				var err error
				if when, err = time.ParseInLocation("2006-01-02 15:04", at, time.Local); err != nil {
					return usageError{fmt.Errorf("--at %q: write for example \"2026-11-24 22:00\"", at)}
				}
			}
			q := daemon.Question{Identity: as, Front: front, Scope: scope, Service: args[0], Device: args[1], Destinations: args[2:], At: when}
			if err := q.Check(); err != nil {
				return usageError{err}
			}
			cfg, rules, numbers, err := loadPolicy(cmd, *file)
			if err != nil {
				return err
			}
			e, err := daemon.Explain(cfg, rules, numbers, q)
			if err != nil {
				return usageError{err}
			}
			if err := write(cmd, e, func(out io.Writer) error { return printExplanation(out, e) }); err != nil || e.Allowed {
				return err
			}
			return errors.New("refused")
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "identity, such as sip:alice@contoso.com, or crm")
	cmd.Flags().StringVar(&front, "front", fronts[0], "front that the client uses: "+strings.Join(fronts, ", "))
	_ = cmd.RegisterFlagCompletionFunc("front", cobra.FixedCompletions(fronts, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&scope, "scope", string(tokens.Control), "scope of the token, with --front api: observe or control")
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{string(tokens.Observe), string(tokens.Control)}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&at, "at", "", "time, such as \"2026-11-24 22:00\" (default: now)")
	_ = cmd.MarkFlagRequired("as")
	return cmd
}

// printExplanation writes an explanation for people.
func printExplanation(out io.Writer, e *daemon.Explanation) error {
	fmt.Fprintf(out, "%s, by %s, at %s: %s %s", printable(e.Identity), e.Front, e.When.Format("Mon 2006-01-02 15:04"), e.Service, printable(e.Device))
	if len(e.Destinations) > 0 {
		fmt.Fprintf(out, " to %s", printable(strings.Join(e.Destinations, ", ")))
	}
	fmt.Fprintln(out)
	for _, s := range e.Steps {
		if !s.Decides {
			fmt.Fprintf(out, "  %-24s does not decide: %s\n", s.Rule, s.Why)
		}
	}
	_, err := fmt.Fprintf(out, "%s: %s\n", map[bool]string{true: "yes", false: "no"}[e.Allowed], e.Reason)
	return err
}

func translateCommand(file *string) *cobra.Command {
	var link string
	cmd := &cobra.Command{
		Use: "translate NUMBER", Short: "Show how a number is translated", Args: exactly(1),
		Long: `translate shows the canonical form of a number that a client writes, the link that it
belongs to, how it is sent there, and each rule that was tried.`,
		Example: `  tr87proxy policy translate "tel:+49 (89) 4711"
  tr87proxy policy translate --link pbx 0894711`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, numbers, err := loadPolicy(cmd, *file)
			if err != nil {
				return err
			}
			t, fault := daemon.Translate(cfg, numbers, args[0], "", link)
			if t == nil {
				return usageError{fmt.Errorf("%w in %s", fault, *file)}
			}
			if err := write(cmd, t, func(out io.Writer) error { return printTranslation(out, t) }); err != nil {
				return err
			}
			return fault
		},
	}
	cmd.Flags().StringVar(&link, "link", "", "link to translate for (default: the one that has the number)")
	return cmd
}

// printTranslation writes a translation for people.
func printTranslation(out io.Writer, t *daemon.Translation) error {
	steps := func(list []daemon.NumberStep) {
		for _, s := range list {
			what := "does not fit"
			if s.Fits {
				what = "fits: " + s.Number
			}
			fmt.Fprintf(out, "  %-24s %s\n", s.Rule, what)
		}
	}
	fmt.Fprintf(out, "written    %s\n", printable(t.Written))
	if steps(t.Inward); t.Canonical == "" {
		return nil
	}
	fmt.Fprintf(out, "canonical  %s\nlink       %s\n", t.Canonical, t.Link)
	steps(t.Outward)
	_, err := fmt.Fprintf(out, "sent       %s\nshown      %s (to clients that write tel:)\n", printable(t.Sent), printable(t.Shown))
	return err
}
