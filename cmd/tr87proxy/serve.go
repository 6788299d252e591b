package main

import (
	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/daemon"
)

func serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the proxy", GroupID: "server", Args: exactly(0), Annotations: map[string]string{noJSON: "its log is JSON with log.format: json in the configuration"},
		Long: `serve runs the proxy until SIGTERM or SIGINT. Then it closes the sessions of all clients
and stops. On SIGHUP it reads the configuration again, like tr87proxy reload.`,
		Example: `  tr87proxy serve -c /etc/tr87proxy/config.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := daemon.Load(file)
			if err != nil {
				return usageError{err}
			}
			n, err := daemon.New(cfg, daemon.Options{File: file, Version: version(), Log: cmd.ErrOrStderr()})
			if err != nil {
				return usageError{err}
			}
			return n.Run(cmd.Context())
		},
	}
	configFlag(cmd, &file)
	return cmd
}
