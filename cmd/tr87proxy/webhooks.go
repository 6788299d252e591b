package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/internal/webhook"
)

// hooks has the flags of the commands about webhooks.
type hooks struct {
	adminSocket

	owner string
}

func webhooksCommand() *cobra.Command {
	h := &hooks{}
	cmd := &cobra.Command{
		Use: "webhooks", Short: "See how webhooks are doing, and deliver what they have not", GroupID: "server",
		Long: `webhooks shows the webhooks of a running proxy, those of the configuration and those that
clients have added, and their dead letters: events that could not be delivered. Dead letters
can be delivered once more, or dropped; a webhook that its receiver has disabled can be
enabled; one of a client can be removed. A name alone means the webhook of the configuration;
--owner names the client whose webhook is meant.`,
		Example: `  tr87proxy webhooks list -c /etc/tr87proxy/config.yaml
  tr87proxy webhooks dead crm
  tr87proxy webhooks replay crm --all
  tr87proxy webhooks enable crm
  tr87proxy webhooks remove calls --owner crm`,
		Args: noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	h.flags(cmd)
	cmd.AddCommand(h.listCommand(), h.deadCommand(), h.lettersCommand("replay"), h.lettersCommand("drop"), h.enableCommand(), h.removeCommand())
	return cmd
}

func (h *hooks) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the webhooks", Args: exactly(0),
		Long: `list shows all webhooks: who has added each, to which host it sends, how it is doing, and how
many events wait, have been delivered since the proxy started, and are dead letters. The paths
of URLs are not shown: they can have secrets.`,
		Example: `  tr87proxy webhooks list
  tr87proxy webhooks list --json --socket /run/tr87proxy/admin.sock`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []daemon.Webhook
			if err := h.ask(cmd.Context(), http.MethodGet, "/webhooks", &list); err != nil {
				return err
			}
			return write(cmd, list, func(out io.Writer) error { return printHooks(out, list) })
		},
	}
	return cmd
}

func printHooks(out io.Writer, list []daemon.Webhook) error {
	if len(list) == 0 {
		fmt.Fprintln(out, "there are no webhooks")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tOWNER\tRECEIVER\tWAITING\tDELIVERED\tDEAD LETTERS\tSTATE")
	for _, one := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", printable(one.Name), printable(ownerText(one.Owner)), printable(one.Receiver), one.Waiting, one.Delivered, one.Letters, printable(stateOf(&one)))
	}
	return w.Flush()
}

func ownerText(owner string) string {
	if owner == "" {
		return "(configuration)"
	}
	return owner
}

// stateOf says how a webhook is doing.
func stateOf(h *daemon.Webhook) string {
	switch {
	case h.Disabled:
		return "disabled: " + h.Why
	case h.NoRoom:
		return "waits for room: the proxy records events of as many devices as it can"
	case h.Failure != "":
		return "fails: " + h.Failure
	}
	return "delivers"
}

func (h *hooks) deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dead NAME", Short: "List the dead letters of a webhook", Args: exactly(1),
		Long: `dead lists the events that a webhook could not deliver, the oldest first, and why the last
attempt failed. With --json they have the events themselves.`,
		Example: `  tr87proxy webhooks dead crm
  tr87proxy webhooks dead crm --owner sip:alice@contoso.com --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := h.letters(cmd, args[0])
			if err != nil {
				return err
			}
			return write(cmd, list, func(out io.Writer) error { return printLetters(out, list) })
		},
	}
	h.about(cmd)
	return cmd
}

func printLetters(out io.Writer, list []webhook.Letter) error {
	if len(list) == 0 {
		fmt.Fprintln(out, "there are no dead letters")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTIME\tDEVICE\tTYPE\tATTEMPTS\tREASON")
	for _, l := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", l.ID, l.Time.Local().Format(time.DateTime), printable(l.Device), l.Type, l.Attempts, printable(l.Reason))
	}
	return w.Flush()
}

// replayFails is after how many failures in a row replay --all stops: the receiver is down then.
const replayFails = 3

// handled is what became of a dead letter.
type handled struct {
	ID    string `json:"id"`
	Error string `json:"error,omitempty"`
}

func (h *hooks) lettersCommand(what string) *cobra.Command {
	long := map[string]string{"replay": `replay delivers dead letters once more, in the order of their events. Those that the receiver
takes are dead letters no longer. It gets them with the webhook-id that they had. --all stops
after 3 failures in a row.

The exit status is 1 if one of them could not be delivered.`, "drop": `drop removes dead letters. They are lost. The exit status is 1 if one of them could not be dropped.`}[what]
	short := map[string]string{"replay": "Deliver dead letters once more", "drop": "Remove dead letters"}[what]
	var all bool
	cmd := &cobra.Command{
		Use: what + " NAME [ID...]", Short: short, Args: between(1, 1+mostIDs),
		Long:    long,
		Example: fmt.Sprintf("  tr87proxy webhooks %[1]s crm 1795972303619571\n  tr87proxy webhooks %[1]s crm --all\n  tr87proxy webhooks %[1]s calls --all --owner dialler --json", what),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := args[1:]
			if all == (len(ids) > 0) {
				return usageError{fmt.Errorf("name dead letters by their IDs, or all of them by --all; see %s --help", cmd.CommandPath())}
			}
			if all {
				list, err := h.letters(cmd, args[0])
				if err != nil {
					return err
				}
				for _, l := range list {
					ids = append(ids, l.ID)
				}
			}
			return h.each(cmd, what, args[0], ids, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters of the webhook")
	h.about(cmd)
	names := cmd.ValidArgsFunction
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return names(cmd, args, text)
		}
		list, _ := h.letters(cmd, args[0])
		ids := make([]string, 0, len(list))
		for _, l := range list {
			ids = append(ids, l.ID+"\t"+l.Type+" "+printable(l.Device))
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// mostIDs is how many dead letters a command line can name; a webhook has as many.
const mostIDs = 1000

// each replays or drops dead letters, and says what became of each.
func (h *hooks) each(cmd *cobra.Command, what, name string, ids []string, all bool) error {
	out, done, failed, row := cmd.OutOrStdout(), []handled{}, 0, 0
	did := map[string]string{"replay": "delivered", "drop": "dropped"}[what]
	for _, id := range ids {
		if all && row == replayFails {
			break
		}
		one := handled{ID: id}
		if err := h.ask(cmd.Context(), http.MethodPost, h.path(cmd, what, name, id), &struct{}{}); err != nil {
			if usage := (usageError{}); errors.As(err, &usage) || cmd.Context().Err() != nil {
				return err
			}
			one.Error = err.Error()
			failed++
			row++
		} else {
			row = 0
		}
		done = append(done, one)
		switch {
		case asJSON(cmd):
		case one.Error != "":
			fmt.Fprintf(out, "%s: failed: %s\n", printable(id), printable(one.Error))
		default:
			fmt.Fprintf(out, "%s: %s\n", printable(id), did)
		}
	}
	if asJSON(cmd) {
		if err := writeJSON(out, done); err != nil {
			return err
		}
	} else if len(ids) == 0 {
		fmt.Fprintln(out, "there are no dead letters")
	}
	switch rest := len(ids) - len(done); {
	case rest > 0:
		return fmt.Errorf("%d failed in a row, %d were not tried; try again when the receiver works", row, rest)
	case failed > 0:
		return fmt.Errorf("%d of %d failed", failed, len(ids))
	}
	return nil
}

func (h *hooks) enableCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "enable NAME", Short: "Let a webhook go on that its receiver has disabled", Args: exactly(1),
		Long: `enable lets a webhook go on whose receiver has responded 410 Gone. It begins with the event
that was refused. A webhook whose token was revoked is enabled by its owner, with another token
(POST /v1/webhooks/NAME/enable).`,
		Example: `  tr87proxy webhooks enable crm
  tr87proxy webhooks enable calls --owner sip:alice@contoso.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return h.ask(cmd.Context(), http.MethodPost, h.path(cmd, "enable", args[0], ""), &struct{}{})
		},
	}
	h.about(cmd)
	return cmd
}

func (h *hooks) removeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME --owner IDENTITY", Short: "Remove a webhook of a client", Args: exactly(1),
		Long: `remove removes a webhook that a client has added, with the events that wait and its dead
letters. Those of the configuration are removed from api.webhooks.`,
		Example: `  tr87proxy webhooks remove calls --owner crm`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return h.ask(cmd.Context(), http.MethodPost, h.path(cmd, "remove", args[0], ""), &struct{}{})
		},
	}
	h.about(cmd)
	return cmd
}

// about adds the flags of a command about one webhook, and completes its name.
func (h *hooks) about(cmd *cobra.Command) {
	cmd.Flags().StringVar(&h.owner, "owner", "", `the identity that has added the webhook (default: the webhook of the configuration)`)
	complete := func(cmd *cobra.Command, text func(*daemon.Webhook) string) []string {
		var list []daemon.Webhook
		_ = h.ask(cmd.Context(), http.MethodGet, "/webhooks", &list) // without, there is nothing to complete
		texts := make([]string, 0, len(list))
		for _, one := range list {
			texts = append(texts, printable(text(&one)))
		}
		return texts
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, func(one *daemon.Webhook) string { return one.Name + "\t" + ownerText(one.Owner) }), cobra.ShellCompDirectiveNoFileComp
	}
	_ = cmd.RegisterFlagCompletionFunc("owner", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return complete(cmd, func(one *daemon.Webhook) string { return one.Owner }), cobra.ShellCompDirectiveNoFileComp
	})
}

// letters asks for the dead letters of a webhook.
func (h *hooks) letters(cmd *cobra.Command, name string) (list []webhook.Letter, err error) {
	err = h.ask(cmd.Context(), http.MethodGet, h.path(cmd, "dead", name, ""), &list)
	return list, err
}

// path returns the path of a request about a webhook.
func (h *hooks) path(cmd *cobra.Command, do, name, letter string) string {
	query := url.Values{"name": {name}}
	if cmd.Flags().Changed("owner") {
		query.Set("owner", h.owner)
	}
	if letter != "" {
		query.Set("letter", letter)
	}
	return "/webhooks/" + do + "?" + query.Encode()
}
