package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

func checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "check", Short: "Find faults in a configuration file", GroupID: "server", Args: exactly(0),
		Long: `check reads a configuration file and reports faults with file, line and key, and what to
write instead: unknown keys and wrong types first, and wrong values once there are none of
these. The exit status is 2 if there are faults. Warnings name settings that may
not do what you expect; they do not change the status.`,
		Example: `  tr87proxy check -c /etc/tr87proxy/config.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := daemon.Load(file)
			if err == nil {
				err = daemon.Check(file, cfg)
			}
			if err != nil {
				return usageError{err}
			}
			checked := struct {
				File     string   `json:"file"`
				Warnings []string `json:"warnings"`
			}{file, append([]string{}, daemon.Warnings(cfg)...)}
			return write(cmd, checked, func(out io.Writer) error {
				p := painterFor(cmd, out)
				for _, warning := range checked.Warnings {
					fmt.Fprintln(out, p.paint(busy, printable(file+": warning:"))+" "+printable(warning))
				}
				fmt.Fprintln(out, p.paint(good, file+": no faults"))
				return nil
			})
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "config.yaml", "configuration file")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}
