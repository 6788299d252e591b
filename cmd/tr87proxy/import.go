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
		Use: "import FILE", Short: "Make a configuration from csta_socket.conf.xml of FreeSWITCH's mod_csta_socket", GroupID: "server", Args: exactly(1),
		Long: `import reads csta_socket.conf.xml, the configuration of FreeSWITCH's module
mod_csta_socket, and writes one for tr87proxy to standard output: programs find the
same address and the same device numbers, and the module can go. It reads acl.conf.xml
and event_socket.conf.xml beside the file, too. What is left to do goes to standard
error; passwords are not copied.`,
		Example: `  tr87proxy import /etc/freeswitch/autoload_configs/csta_socket.conf.xml > config.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := config.ImportCSTASocket(os.DirFS(filepath.Dir(args[0])), filepath.Base(args[0]))
			if err != nil {
				return usageError{err}
			}
			for _, note := range out.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "look at", printable(note))
			}
			fmt.Fprint(cmd.OutOrStdout(), out.YAML)
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"xml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
}
