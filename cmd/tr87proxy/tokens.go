package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/tokens"
)

func tokensCommand() *cobra.Command {
	file := &secretsFile{of: "tokens", key: "application-sessions.tokens-file", named: func(c *config.Config) string { return c.Sessions.Tokens }}
	cmd := &cobra.Command{
		Use: "tokens", Short: "Manage bearer tokens for clients over HTTP", GroupID: "server",
		Long: `tokens manages the file of bearer tokens, with which clients over HTTP say who they are.
A token stands for a name; grants and rules in the configuration say what the name may do.
The file has hashes of the tokens: a token is shown once, when it is added. A running proxy
accepts a new token at once, and closes the sessions of a revoked one within seconds.`,
		Example: `  tr87proxy tokens add crm -c /etc/tr87proxy/config.yaml
  tr87proxy tokens list --tokens /etc/tr87proxy/tokens`,
		Args: noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	file.flags(cmd)
	cmd.AddCommand(addToken(file), revokeToken(file), listTokens(file))
	return cmd
}

func addToken(file *secretsFile) *cobra.Command {
	var scope, expires, comment string
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add a token for a name and print it", Args: exactly(1),
		Long: `add makes a token for a name, adds it to the file, and prints it. It creates the file if
necessary. A name can have several tokens, so that one can replace another.

--expires takes a time from now (90d, 12h), a date (2027-06-30: valid to the end of that day,
UTC), or a time (2027-06-30T12:00:00Z). Without it the token is valid until it is revoked.`,
		Example: `  tr87proxy tokens add wallboard
  tr87proxy tokens add crm --scope control --expires 90d --comment "click to dial"
  tr87proxy tokens add sip:alice@contoso.com --scope control --tokens /etc/tr87proxy/tokens`,
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now().UTC().Truncate(time.Second)
			t := tokens.Token{Name: args[0], Scope: tokens.Scope(scope), Created: now, Comment: comment}
			var err error
			if t.Expires, err = expiry(expires, now); err != nil {
				return usageError{fmt.Errorf("--expires: %w", err)}
			}
			text := t.Make()
			if err := t.Valid(); err != nil {
				return usageError{err}
			}
			path, err := file.find()
			if err != nil {
				return err
			}
			if err := tokens.Edit(path, func(list []tokens.Token) ([]tokens.Token, error) { return append(list, t), nil }); err != nil {
				return err
			}
			made := entryOf(t, now)
			made.Token = text
			note(cmd.ErrOrStderr(), asJSON(cmd), "This token is not shown again. It lets its bearer %s as %s%s.", t.Scope, t.Name, until(t))
			if file.unnamed(cmd.Context(), t.Name) {
				note(cmd.ErrOrStderr(), asJSON(cmd), "But no rule and no grant in %s names %s, so it may do nothing yet. For example:\n  grants:\n  - {who: %q, %s: [\"*\"]}", file.config, t.Name, t.Name, t.Scope)
			}
			return write(cmd, made, func(out io.Writer) error {
				_, err := fmt.Fprintln(out, text)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&scope, "scope", string(tokens.Observe), "observe, or control, which includes observe")
	cmd.Flags().StringVar(&expires, "expires", "", "when the token expires (default: never)")
	cmd.Flags().StringVar(&comment, "comment", "", "what the token is for")
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions([]string{"observe\tonly services that observe", "control\teverything that rules allow"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("expires", cobra.FixedCompletions([]string{"30d", "90d", "365d"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func until(t tokens.Token) string {
	if t.Expires.IsZero() {
		return ""
	}
	return " until " + t.Expires.Format(time.RFC3339)
}

// expiry reads a time from now, a date or a time. "" is the zero time.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, ok := moment(text, now)
	switch {
	case !ok:
		return time.Time{}, fmt.Errorf("%q is no time; write for example 90d, 12h or 2027-06-30", text)
	case !at.After(now):
		return time.Time{}, fmt.Errorf("%q is in the past", text)
	}
	return at.UTC().Truncate(time.Second), nil
}

const longestDays = 36500

func moment(text string, now time.Time) (at time.Time, ok bool) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, true
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), true
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(d), true
	}
	days, isDays := strings.CutSuffix(text, "d")
	n, err := strconv.Atoi(days)
	return now.AddDate(0, 0, min(n, longestDays)), isDays && err == nil && n <= longestDays
}

func revokeToken(file *secretsFile) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID|NAME", Short: "Revoke a token, or all tokens of a name", Args: exactly(1),
		Long: `revoke removes the token with an ID, or all tokens of a name, and prints the IDs. A running
proxy refuses a revoked token at once, and closes its sessions within seconds. Webhooks that
were added with it stop; tr87proxy webhooks list shows them as disabled. The ID is in the
token, after tr87_.`,
		Example: `  tr87proxy tokens revoke mfrggzdf
  tr87proxy tokens revoke crm`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			path, err := file.find()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			list, _ := tokens.Read(path)
			var words []string
			for _, t := range list {
				words = append(words, t.ID+"\t"+t.Name, t.Name)
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := file.find()
			if err != nil {
				return err
			}
			var removed []tokens.Token
			err = tokens.Edit(path, func(list []tokens.Token) ([]tokens.Token, error) {
				var left []tokens.Token
				var err error
				if left, removed, err = tokens.Remove(list, args[0]); err == nil && len(removed) == 0 {
					err = fmt.Errorf("no token %q; see tr87proxy tokens list", args[0])
				}
				return left, err
			})
			if err != nil {
				return err
			}
			entries := make([]tokenEntry, len(removed))
			for i, t := range removed {
				entries[i] = entryOf(t, time.Now())
			}
			return write(cmd, entries, func(out io.Writer) error {
				for _, t := range entries {
					fmt.Fprintln(out, t.ID)
				}
				return nil
			})
		},
	}
}

func listTokens(file *secretsFile) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the tokens", Args: exactly(0),
		Long: `list prints the ID, name and scope of each token, when it was created and expires, and its
comment. The tokens themselves are nowhere.`,
		Example: `  tr87proxy tokens list
  tr87proxy tokens list --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := file.find()
			if err != nil {
				return err
			}
			list, err := tokens.Read(path)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if err != nil {
				return fmt.Errorf("%w; make it with: tr87proxy tokens add NAME", err)
			}
			now := time.Now()
			entries := make([]tokenEntry, len(list))
			for i, t := range list {
				entries[i] = entryOf(t, now)
			}
			return write(cmd, entries, func(out io.Writer) error {
				for _, t := range entries {
					expires := "never expires"
					switch {
					case t.Expired:
						expires = "expired " + t.Expires.Format(time.DateOnly)
					case !t.Expires.IsZero():
						expires = "expires " + t.Expires.Format(time.DateOnly)
					}
					line := fmt.Sprintf("%s  %-24s %-8s created %s  %-18s  %s", t.ID, t.Name, t.Scope, t.Created.Format(time.DateOnly), expires, t.Comment)
					fmt.Fprintln(out, printable(strings.TrimRight(line, " ")))
				}
				return nil
			})
		},
	}
}

// tokenEntry is a token as it is shown.
type tokenEntry struct {
	Token   string       `json:"token,omitempty"` // only when it is made
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Scope   tokens.Scope `json:"scope"`
	Created time.Time    `json:"created"`
	Expires time.Time    `json:"expires,omitzero"`
	Expired bool         `json:"expired,omitempty"`
	Comment string       `json:"comment,omitempty"`
}

func entryOf(t tokens.Token, now time.Time) tokenEntry {
	return tokenEntry{ID: t.ID, Name: t.Name, Scope: t.Scope, Created: t.Created, Expires: t.Expires, Expired: t.Expired(now), Comment: t.Comment}
}
