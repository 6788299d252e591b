package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/config"
)

func importCommand() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Convert the configuration of FreeSWITCH's mod_csta_socket", GroupID: "server", Args: exactly(1), Annotations: map[string]string{noJSON: "it writes YAML"},
		Long: `import reads csta_socket.conf.xml, the configuration of FreeSWITCH's mod_csta_socket, and
acl.conf.xml and event_socket.conf.xml in the same folder. It writes a configuration of
tr87proxy with the same address for clients and the same device numbers to standard output,
and what is left to do to standard error. It copies no passwords.`,
		Example: `  tr87proxy import /etc/freeswitch/autoload_configs/csta_socket.conf.xml > config.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := config.ImportCSTASocket(os.DirFS(filepath.Dir(args[0])), filepath.Base(args[0]))
			if err != nil {
				return usageError{err}
			}
			for _, note := range out.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "to do:", printable(note))
			}
			fmt.Fprint(cmd.OutOrStdout(), out.YAML)
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"xml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
}
