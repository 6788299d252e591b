package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
)

func unlockCommand() *cobra.Command {
	var socket adminSocket
	var from string
	var all bool
	cmd := &cobra.Command{
		Use: "unlock [NAME]", Aliases: []string{"locks"}, Short: "List and remove locks after wrong passwords", GroupID: "server", Args: between(0, 1),
		Long: `unlock lists the names that a running proxy has locked after too many wrong passwords. With
NAME it removes the locks of that name at every address, with --from only those at one address
(IPv6: its /64); with --from alone all locks at that address, with --all every lock. It fails
if there is nothing to unlock.`,
		Example: `  tr87proxy unlock                        lists the locks
  tr87proxy unlock 100                    telephone 100, at every address
  tr87proxy unlock crm --from 192.0.2.7
  tr87proxy unlock --from 192.0.2.7       every name at an address
  tr87proxy unlock --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if len(args) > 0 {
				query.Set("name", args[0])
			}
			if from != "" {
				addr, _, _ := strings.Cut(from, "/") // as the list writes a network
				if _, err := netip.ParseAddr(addr); err != nil {
					return usageError{fmt.Errorf("--from %s is not an address", from)}
				}
				query.Set("from", addr)
			}
			if all && len(query) > 0 {
				return usageError{fmt.Errorf("use --all without a name and without --from; see %s --help", cmd.CommandPath())}
			}
			if all {
				query.Set("all", "")
			}
			method, path := http.MethodGet, "/locks"
			if len(query) > 0 {
				method, path = http.MethodPost, "/unlock?"+query.Encode()
			}
			var list []accounts.Lock
			if err := socket.ask(cmd.Context(), method, path, &list); err != nil {
				return err
			}
			if method == http.MethodPost && len(list) == 0 {
				return errors.New("nothing to unlock; tr87proxy unlock lists the locks")
			}
			return write(cmd, list, func(out io.Writer) error { return printLocks(out, list, method == http.MethodPost) })
		},
	}
	locked := func(cmd *cobra.Command, what func(accounts.Lock) string) []string {
		var list []accounts.Lock
		if socket.ask(cmd.Context(), http.MethodGet, "/locks", &list) != nil {
			return nil
		}
		texts := make([]string, len(list))
		for i, l := range list {
			texts[i] = what(l)
		}
		slices.Sort(texts)
		return slices.Compact(texts)
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return locked(cmd, func(l accounts.Lock) string { return l.Name }), cobra.ShellCompDirectiveNoFileComp
	}
	socket.flags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "address that the wrong passwords came from")
	cmd.Flags().BoolVar(&all, "all", false, "remove every lock")
	_ = cmd.RegisterFlagCompletionFunc("from", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return locked(cmd, func(l accounts.Lock) string { return l.Address }), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// printLocks writes locks as text: the current ones, or those that were removed.
func printLocks(out io.Writer, list []accounts.Lock, removed bool) error {
	if removed {
		for _, l := range list {
			fmt.Fprintf(out, "unlocked %s at %s (%s)\n", printable(l.Name), l.Address, printable(l.Of))
		}
		return nil
	}
	if len(list) == 0 {
		fmt.Fprintln(out, "nothing is locked")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tADDRESS\tOF\tWRONG PASSWORDS\tUNTIL")
	for _, l := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", printable(l.Name), l.Address, printable(l.Of), l.Wrong, l.Until.Local().Format(time.DateTime))
	}
	return w.Flush()
}
