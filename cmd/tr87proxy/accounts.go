package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
)

// accountsFile is the accounts file.
type accountsFile struct{ secretsFile }

func (f *accountsFile) edit(change func([]accounts.Account) ([]accounts.Account, error)) error {
	path, err := f.find()
	if err != nil {
		return err
	}
	return accounts.Edit(path, change)
}

func accountsCommand() *cobra.Command {
	file := accountsFile{secretsFile{of: "accounts", key: "application-sessions.accounts", named: func(c *config.Config) string { return c.Sessions.Accounts }}}
	cmd := &cobra.Command{
		Use: "accounts", Short: "Manage accounts for application sessions", GroupID: "server",
		Long: `accounts manages the file of names and hashed passwords with which clients open
application sessions (ECMA-354). A running proxy sees a change within seconds and closes
the sessions of accounts that were changed or removed. Grants and rules in the
configuration say what an account may do.`,
		Example: `  tr87proxy accounts add crm -c /etc/tr87proxy/config.yaml
  tr87proxy accounts list --accounts /etc/tr87proxy/accounts`,
		Args: noSubcommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	file.flags(cmd)
	cmd.AddCommand(addAccount(&file), changeAccount(&file), removeAccount(&file), listAccounts(&file))
	return cmd
}

// password has the flags for the source of a new password.
type password struct {
	file     string
	generate bool
}

func (p *password) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.file, "password-file", "", "file whose first line is the password; - for standard input")
	cmd.Flags().BoolVar(&p.generate, "generate", false, "generate a password and print it")
	cmd.MarkFlagsMutuallyExclusive("password-file", "generate")
	_ = cmd.MarkFlagFilename("password-file")
}

// generated is a password that was made.
type generated struct {
	Password string `json:"password"`
}

func (p *password) wanted() bool { return p.file != "" || p.generate }

// read returns the password. Without flags it asks for the password twice, or reads the
// first line of standard input if that is not a terminal.
func (p *password) read(cmd *cobra.Command) (string, error) {
	in := cmd.InOrStdin()
	switch {
	case p.generate:
		text := rand.Text()
		return text, write(cmd, generated{text}, func(out io.Writer) error {
			_, err := fmt.Fprintln(out, text)
			return err
		})
	case p.file != "" && p.file != "-":
		f, err := os.Open(p.file)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }()
		in = f
	case p.file == "" && in == os.Stdin && term.IsTerminal(int(os.Stdin.Fd())):
		return ask(cmd)
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" && err != nil {
		return "", fmt.Errorf("no password: %w", err)
	}
	return line, nil
}

func ask(cmd *cobra.Command) (string, error) {
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		line, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", err
		}
		typed[i] = string(line)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the passwords differ")
	}
	return typed[0], nil
}

func addAccount(file *accountsFile) *cobra.Command {
	var source password
	var application string
	var digest bool
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add an account", Args: exactly(1),
		Long: `add adds an account. It asks for the password, or reads it from standard input if that is
not a terminal. It creates the file if necessary.

With --digest, clients can log in to the account by HTTP Digest (CSTA over SOAP). The file then
has two more hashes: who reads it can log in with them without the password, and try passwords
against them far more quickly than against the usual hash. Use a long generated password.`,
		Example: `  tr87proxy accounts add crm
  tr87proxy accounts add crm --application "CRM 4" --generate
  tr87proxy accounts add crm --digest --generate
  tr87proxy accounts add crm --password-file /run/secrets/crm --accounts /etc/tr87proxy/accounts`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a := accounts.Account{Name: args[0], Application: application, Digest: digest}
			if err := a.Valid(); err != nil {
				return usageError{err}
			}
			if err := file.absent(a.Name); err != nil {
				return err
			}
			text, err := source.read(cmd)
			if err != nil {
				return err
			}
			if err := a.SetPassword(text); err != nil {
				return usageError{err}
			}
			return file.edit(func(list []accounts.Account) ([]accounts.Account, error) {
				if accounts.Find(list, a.Name) >= 0 {
					return nil, errAccountThere(a.Name)
				}
				return append(list, a), nil
			})
		},
	}
	source.flags(cmd)
	cmd.Flags().StringVar(&application, "application", "", "application ID that the client must send (default: any)")
	cmd.Flags().BoolVar(&digest, "digest", false, "store what HTTP Digest needs, too")
	return cmd
}

// absent returns an error if the account already exists, so that no password is asked for in vain.
func (f *accountsFile) absent(name string) error {
	path, err := f.find()
	if err != nil {
		return err
	}
	list, err := accounts.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && accounts.Find(list, name) >= 0 {
		err = errAccountThere(name)
	}
	return err
}

func errAccountThere(name string) error {
	return fmt.Errorf("account %q already exists; see tr87proxy accounts change --help", name)
}

func changeAccount(file *accountsFile) *cobra.Command {
	var source password
	var application string
	var digest bool
	cmd := &cobra.Command{
		Use: "change NAME", Short: "Give an account another password or application ID", Args: exactly(1),
		Long: `change gives an account another password, read as by add. With --application and without
--password-file and --generate, the password stays. An account with HTTP Digest keeps it;
--digest adds it, which needs the password, and --digest=false removes it. A running proxy
closes the account's sessions within seconds; clients must log in again.`,
		Example: `  tr87proxy accounts change crm
  tr87proxy accounts change crm --generate
  tr87proxy accounts change crm --digest
  tr87proxy accounts change crm --application ""     any application ID`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text := ""
			flag := cmd.Flags().Changed
			if digest || source.wanted() || !flag("application") && !flag("digest") {
				var err error
				if text, err = source.read(cmd); err != nil {
					return err
				}
				if err := new(accounts.Account).SetPassword(text); err != nil {
					return usageError{err}
				}
			}
			return file.edit(func(list []accounts.Account) ([]accounts.Account, error) {
				i := accounts.Find(list, args[0])
				if i < 0 {
					return nil, errNoAccount(args[0])
				}
				if flag("application") {
					list[i].Application = application
				}
				if flag("digest") {
					list[i].Digest = digest
				}
				if text == "" {
					return list, nil
				}
				return list, list[i].SetPassword(text)
			})
		},
	}
	source.flags(cmd)
	cmd.Flags().StringVar(&application, "application", "", "application ID that the client must send; empty: any")
	cmd.Flags().BoolVar(&digest, "digest", false, "store what HTTP Digest needs, too; --digest=false removes it")
	return cmd
}

func errNoAccount(name string) error {
	return fmt.Errorf("no account %q; see tr87proxy accounts list", name)
}

func removeAccount(file *accountsFile) *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Remove an account", Args: exactly(1),
		Long:    `remove removes an account. A running proxy closes its sessions within seconds.`,
		Example: `  tr87proxy accounts remove crm`,
		RunE: func(_ *cobra.Command, args []string) error {
			return file.edit(func(list []accounts.Account) ([]accounts.Account, error) {
				i := accounts.Find(list, args[0])
				if i < 0 {
					return nil, errNoAccount(args[0])
				}
				return append(list[:i], list[i+1:]...), nil
			})
		},
	}
}

func listAccounts(file *accountsFile) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the accounts", Args: exactly(0),
		Long: `list prints the name of each account, its application ID if it needs one, and digest if clients can
log in to it by HTTP Digest.`,
		Example: `  tr87proxy accounts list
  tr87proxy accounts list --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := file.find()
			if err != nil {
				return err
			}
			list, err := accounts.Read(path)
			if err != nil {
				return err
			}
			type entry struct {
				Name        string `json:"name"`
				Application string `json:"application,omitempty"`
				Digest      bool   `json:"digest,omitempty"`
			}
			entries := make([]entry, len(list))
			for i, a := range list {
				entries[i] = entry{a.Name, a.Application, a.Digest}
			}
			return write(cmd, entries, func(out io.Writer) error {
				for _, a := range entries {
					fmt.Fprintln(out, printable(strings.TrimRight(fmt.Sprintf("%-24s %-24s %s", a.Name, a.Application, map[bool]string{true: "digest"}[a.Digest]), " ")))
				}
				return nil
			})
		},
	}
}
