package main

import (
	"errors"
	"fmt"
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
		Long: `snippet writes the lines of a telephone's provisioning file that switch uaCSTA and
synchronised feature keys on. MODEL is a maker of the table of telephones, such as
Yealink, or a User-Agent. NUMBER is an extension of the built-in switch, or a number with
an account at a link of type phones. Write the account's password in the place of
PASSWORD.`,
		Example: `  tr87proxy phone snippet Yealink 100 -c /etc/tr87proxy/config.yaml
  tr87proxy phone snippet snom 201 --index 12 --server 192.0.2.5`,
		RunE: func(cmd *cobra.Command, args []string) error {
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
			for _, line := range lines {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			return nil
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&server, "server", "", "address by which the telephone reaches the proxy (default: that of the configuration)")
	cmd.Flags().IntVar(&index, "index", 1, "number of the line or identity in the telephone")
	return cmd
}

// snippet returns the provisioning lines of a model, for a telephone with an account of its own, or with a line.
func snippet(list []config.Model, model string, place config.Place, own bool) ([]string, error) {
	linesOf, what := func(m config.Model) []string { return m.Line }, "a line at the built-in switch"
	if own {
		linesOf, what = func(m config.Model) []string { return m.Account }, "an account at a link of type phones"
	}
	var known []string
	for _, m := range list {
		lines := linesOf(m)
		if len(lines) == 0 {
			continue
		}
		if !strings.EqualFold(m.Name, model) && !regexp.MustCompile(m.Agent).MatchString(model) {
			known = append(known, m.Name)
			continue
		}
		if place.Server == "" && strings.Contains(strings.Join(lines, " "), "{server}") {
			return nil, errors.New("the configuration does not name the proxy's address; write --server ADDRESS")
		}
		return place.Fill(lines), nil
	}
	return nil, fmt.Errorf("no provisioning lines are known of %.40q with %s; there are some of %s", model, what, strings.Join(known, ", "))
}
