package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/api"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
	"github.com/tr87proxy/tr87proxy/policy"
	"github.com/tr87proxy/tr87proxy/proxy"
	"github.com/tr87proxy/tr87proxy/uacsta"
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
			service := cmp.Or(api.Service(args[0]), args[0])
			switch {
			case !uacsta.IsRequest(service):
				return usageError{fmt.Errorf("%q is not a service; write for example MakeCall or MonitorStart, or an action of the HTTP interface: call, answer, set-forwarding", args[0])}
			case !slices.Contains(fronts, front):
				return usageError{fmt.Errorf("--front %q: write one of: %s", front, strings.Join(fronts, ", "))}
			case scope != string(tokens.Observe) && scope != string(tokens.Control):
				return usageError{fmt.Errorf("--scope %q: write observe or control", scope)}
			case scope == string(tokens.Observe) && front != api.Kind.Name():
				return usageError{fmt.Errorf("--scope: only tokens have one; write --front %s", api.Kind.Name())}
			}
			reach := proxy.ReachPolicy
			if scope == string(tokens.Observe) {
				reach = proxy.ReachObserve
			}
			when := time.Now()
			if at != "" {
				var err error
				if when, err = time.ParseInLocation("2006-01-02 15:04", at, time.Local); err != nil {
					return usageError{fmt.Errorf("--at %q: write for example \"2026-11-24 22:00\"", at)}
				}
			}
			_, rules, numbers, err := loadPolicy(cmd, *file)
			if err != nil {
				return err
			}
			ask := policy.Request{Who: policy.Identity{Name: identityOf(as)}, Front: front, Service: service, Action: proxy.ActionOf(service), At: when}
			for i, written := range args[1:] {
				number, err := numbers.Parse(written, "")
				if err != nil {
					return usageError{fmt.Errorf("%.64q %w", written, err)}
				}
				if i == 0 {
					ask.Device = number
					continue
				}
				ask.Destinations = append(ask.Destinations, number)
			}
			e := explainRequest(rules, ask, reach)
			if err := write(cmd, e, e.text); err != nil || e.Allowed {
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

// explanation is what the rules say about a request.
type explanation struct {
	Who          string    `json:"who"`
	Front        string    `json:"front"`
	At           time.Time `json:"at"`
	Service      string    `json:"service"`
	Device       string    `json:"device"`
	Destinations []string  `json:"destinations,omitempty"`
	Allowed      bool      `json:"allowed"`
	Reason       string    `json:"reason"`
	Tried        []tried   `json:"tried"` // rules that do not decide
}

// tried is a rule that does not decide, or does not fit a number.
type tried struct {
	Rule   string `json:"rule"`
	Why    string `json:"why,omitempty"`
	Number string `json:"number,omitempty"` // after a rule that fits
}

// explainRequest decides about a request.
func explainRequest(rules *policy.Policy, ask policy.Request, reach proxy.Reach) *explanation {
	e := &explanation{Who: ask.Who.Name, Front: ask.Front, At: ask.At, Service: ask.Service, Device: ask.Device.String(), Tried: []tried{}}
	for _, to := range ask.Destinations {
		e.Destinations = append(e.Destinations, to.String())
	}
	decision, fixed := reach.Decide(ask.Action)
	if !fixed {
		var trials []policy.Trial
		decision, trials = rules.Explain(ask)
		for _, t := range trials {
			e.Tried = append(e.Tried, tried{Rule: t.Rule, Why: t.Why})
		}
	}
	e.Allowed, e.Reason = decision.Allowed, decision.Reason
	return e
}

// text writes the explanation for people.
func (e *explanation) text(out io.Writer) error {
	fmt.Fprintf(out, "%s, by %s, at %s: %s %s", printable(e.Who), e.Front, e.At.Format("Mon 2006-01-02 15:04"), e.Service, printable(e.Device))
	if len(e.Destinations) > 0 {
		fmt.Fprintf(out, " to %s", printable(strings.Join(e.Destinations, ", ")))
	}
	fmt.Fprintln(out)
	for _, t := range e.Tried {
		fmt.Fprintf(out, "  %-24s does not decide: %s\n", t.Rule, t.Why)
	}
	_, err := fmt.Fprintf(out, "%s: %s\n", map[bool]string{true: "yes", false: "no"}[e.Allowed], e.Reason)
	return err
}

// identityOf returns the name by which rules know an identity, however somebody writes it.
func identityOf(as string) string {
	switch _, err := netip.ParseAddr(as); {
	case err == nil: // a trusted peer; one of IPv6 is no URI
		return as
	case strings.Contains(as, ":"):
		as = policy.IdentityOf(as)
	case strings.Contains(as, "@"):
		as = policy.IdentityOf("sip:" + as)
	}
	return strings.ToLower(as)
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
			if link != "" && !slices.ContainsFunc(cfg.Links, func(l config.Link) bool { return l.Name == link }) {
				return usageError{fmt.Errorf("no link %q in %s", link, *file)}
			}
			t := translation{Written: args[0]}
			number, steps, fault := numbers.Trace(args[0])
			if t.Read = triedSteps(steps); fault == nil {
				t.Canonical = number.String()
				name, rules := daemon.LinkOf(cfg, link, t.Canonical)
				t.Link = name
				t.Sent, steps = rules.Trace(t.Canonical)
				t.Encoded, t.Shown = triedSteps(steps), numbers.Client(t.Canonical)
			}
			if err := write(cmd, t, t.text); err != nil || fault == nil {
				return err
			}
			return fmt.Errorf("%.64q %w", args[0], fault)
		},
	}
	cmd.Flags().StringVar(&link, "link", "", "link to translate for (default: the one that has the number)")
	return cmd
}

// translation is what becomes of a number that a client writes.
type translation struct {
	Written   string  `json:"written"`
	Read      []tried `json:"read"` // rules for numbers of clients
	Canonical string  `json:"canonical,omitempty"`
	Link      string  `json:"link,omitempty"`
	Encoded   []tried `json:"encoded,omitempty"` // rules for numbers of the link
	Sent      string  `json:"sent,omitempty"`
	Shown     string  `json:"shown,omitempty"` // to clients that write tel:
}

// triedSteps returns the rules that were tried with a number.
func triedSteps(list []policy.Step) []tried {
	steps := make([]tried, len(list))
	for i, s := range list {
		if steps[i].Rule = s.Rule; s.Fits {
			steps[i].Number = s.Number
		} else {
			steps[i].Why = "does not fit"
		}
	}
	return steps
}

// text writes the translation for people.
func (t *translation) text(out io.Writer) error {
	steps := func(list []tried) {
		for _, s := range list {
			fmt.Fprintf(out, "  %-24s %s\n", s.Rule, cmp.Or(s.Why, "fits: "+s.Number))
		}
	}
	fmt.Fprintf(out, "written    %s\n", printable(t.Written))
	if steps(t.Read); t.Canonical == "" {
		return nil
	}
	fmt.Fprintf(out, "canonical  %s\nlink       %s\n", t.Canonical, t.Link)
	steps(t.Encoded)
	_, err := fmt.Fprintf(out, "sent       %s\nshown      %s (to clients that write tel:)\n", printable(t.Sent), printable(t.Shown))
	return err
}
