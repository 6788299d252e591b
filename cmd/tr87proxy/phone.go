package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

func phoneCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "phone", Short: "Set telephones up", GroupID: "server",
		Example: `  tr87proxy phone snippet Yealink 100`,
		Args:    noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(snippetCommand())
	return cmd
}

func snippetCommand() *cobra.Command {
	var file, server string
	var index int
	cmd := &cobra.Command{
		Use: "snippet MODEL NUMBER", Short: "Write provisioning lines for a telephone", Args: exactly(2),
		Long: `snippet writes the lines of a telephone's provisioning file that switch on uaCSTA and
synchronised feature keys. It does not write the settings of the telephone's SIP account.

MODEL is a maker or the User-Agent of the telephone:

` + makers() + `
A file of telephones.models can add more. NUMBER is an extension of the built-in switch
with the key sip, or a number with an account at a link of type phones. Replace PASSWORD
with the account's password.`,
		Example: `  tr87proxy phone snippet Yealink 100 -c /etc/tr87proxy/config.yaml
  tr87proxy phone snippet snom 201 --index 12 --server 192.0.2.5`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			cfg, _ := daemon.Load(file) // without it, or with faults in it, the makers of the built-in table
			return completeSnippet(cfg, args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if index < 1 {
				return usageError{fmt.Errorf("--index %d: a telephone counts its lines from 1", index)}
			}
			if _, _, err := net.SplitHostPort(server); err == nil {
				return usageError{fmt.Errorf("--server %s: write the address without port: the port is that of the configuration", server)}
			}
			cfg, err := daemon.Load(file)
			if err != nil {
				return usageError{err}
			}
			place, own, err := daemon.PlaceOf(cfg, args[1])
			if err != nil {
				return usageError{err}
			}
			list, err := config.Models(cfg.Telephones.Models)
			if err != nil {
				return usageError{err}
			}
			if place.Index = index; server != "" {
				place.Server = server
			}
			lines, err := snippet(list, args[0], place, own)
			if err != nil {
				return usageError{err}
			}
			made := struct {
				Lines []string `json:"lines"`
			}{lines}
			err = write(cmd, made, func(out io.Writer) error {
				_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
				return err
			})
			if address, err := netip.ParseAddr(place.Server); err == nil && address.IsLoopback() && strings.Contains(strings.Join(lines, " "), place.Server) {
				note(cmd.ErrOrStderr(), asJSON(cmd), "warning: %s is this machine to itself, not to a telephone; write --server ADDRESS", address)
			}
			return err
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&server, "server", "", "address at which the telephone reaches the proxy, without port (default: that of the listener)")
	cmd.Flags().IntVar(&index, "index", 1, "number of the line or identity in the telephone")
	return cmd
}

// makers returns the makers of the built-in table, for the help text.
func makers() string {
	list, err := config.Models("")
	if err != nil {
		panic(err) // the table is part of the program
	}
	var line, account []string
	for _, m := range list {
		if len(m.Line) > 0 {
			line = append(line, m.Name)
		}
		if len(m.Account) > 0 {
			account = append(account, m.Name)
		}
	}
	return "  at the built-in switch     " + wrapNames(line) + "\n  at a link of type phones   " + wrapNames(account) + "\n"
}

// wrapNames returns names for a line of help text, the fifth to begin a new line.
func wrapNames(names []string) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i > 0 && i%5 == 0:
			b.WriteString(",\n" + strings.Repeat(" ", 29))
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(name)
	}
	return b.String()
}

// completeSnippet returns the makers that have provisioning lines, then the numbers of telephones.
// cfg is nil if there is no configuration that can be read.
func completeSnippet(cfg *config.Config, args []string) (words []string) {
	switch {
	case len(args) == 0:
		more := ""
		if cfg != nil {
			more = cfg.Telephones.Models
		}
		list, _ := config.Models(more) // with faults in the file, the built-in table
		for _, m := range list {
			if len(m.Line) > 0 || len(m.Account) > 0 {
				words = append(words, m.Name)
			}
		}
	case len(args) == 1 && cfg != nil:
		words = daemon.TelephoneNumbers(cfg)
	}
	return words
}

// snippet returns the provisioning lines of a model, for a telephone with an account of its own, or with a line.
func snippet(list []config.Model, model string, place config.Place, own bool) ([]string, error) {
	linesOf, where := func(m config.Model) []string { return m.Line }, "at the built-in switch"
	if own {
		linesOf, where = func(m config.Model) []string { return m.Account }, "at a link of type phones"
	}
	var known []string
	row := false
	for _, m := range list {
		lines, fits := linesOf(m), strings.EqualFold(m.Name, model) || regexp.MustCompile(m.Agent).MatchString(model)
		switch {
		case len(lines) == 0:
			row = row || fits
		case !fits:
			known = append(known, m.Name)
		case place.Server == "" && strings.Contains(strings.Join(lines, " "), "{server}"):
			return nil, errors.New("the configuration does not name the proxy's address; write --server ADDRESS")
		default:
			return place.Fill(lines), nil
		}
	}
	fault := fmt.Sprintf("no telephone %.40q in the table", model)
	if row {
		fault = fmt.Sprintf("no provisioning lines are known for %.40q", model)
	}
	return nil, fmt.Errorf("%s, and %s is %s: write one of %s, or add a row to telephones.models", fault, place.Number, where, strings.Join(known, ", "))
}
