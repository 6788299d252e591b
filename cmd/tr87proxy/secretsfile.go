package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/policy"
)

// secretsFile has the flags that name a file with accounts or tokens: directly, or by a configuration.
type secretsFile struct {
	of           string // what is in it, and the flag that names it
	key          string // the key of the configuration that names it
	named        func(*config.Config) string
	path, config string
}

func (f *secretsFile) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.path, f.of, "", f.of+" file (default: that of the configuration)")
	cmd.PersistentFlags().StringVarP(&f.config, "config", "c", "config.yaml", "configuration file")
	_ = cmd.MarkPersistentFlagFilename(f.of)
	_ = cmd.MarkPersistentFlagFilename("config", "yaml", "yml")
}

func (f *secretsFile) find() (string, error) {
	if f.path != "" {
		return f.path, nil
	}
	cfg, err := daemon.Load(f.config)
	if err != nil {
		return "", usageError{fmt.Errorf("%w\nor name the %s file with --%s", err, f.of, f.of)}
	}
	if path := f.named(cfg); path != "" {
		return path, nil
	}
	return "", usageError{fmt.Errorf("%s names no %s file (%s); or name one with --%s", f.config, f.of, f.key, f.of)}
}

// unnamed reports whether there is a configuration, and neither a rule nor a grant in it names an identity.
func (f *secretsFile) unnamed(ctx context.Context, name string) bool {
	cfg, err := daemon.Load(f.config)
	if err != nil {
		return false
	}
	rules, _, unasked, err := daemon.Decide(ctx, cfg)
	return err == nil && unasked == nil && !rules.Known(policy.Identity{Name: name})
}
