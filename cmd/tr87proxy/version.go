package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", GroupID: "server", Example: "  tr87proxy version", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			is := struct {
				Version string `json:"version"`
			}{version()}
			return write(cmd, is, func(out io.Writer) error {
				_, err := fmt.Fprintln(out, "tr87proxy", is.Version)
				return err
			})
		},
	}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value
		}
	}
	return v + " " + info.GoVersion
}
