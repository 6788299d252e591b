package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tr87proxy/tr87proxy/console"
	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/config"
)

// consoleAddress is where demo and simulate serve the console by default.
const (
	consoleAddress = "127.0.0.1:8870"
	consoleUsage   = "serve the console for browsers here (docs/console.md); \"\" for not at all"
	consoleName    = "admin"
)

// demoConsole is the console of a demonstration, whose account has a new password each time.
type demoConsole struct {
	address  string // "": there is none
	password string
	folder   string // has the account; "": nobody has made one
}

// serve has a configuration serve the console. It has an accounts file of its own if the configuration has none; close removes it.
func (d *demoConsole) serve(cfg *config.Config) (err error) {
	if d.address == "" {
		return nil
	}
	if cfg.Sessions.Accounts == "" {
		if d.folder, err = os.MkdirTemp("", "tr87proxy-console"); err != nil {
			return err
		}
		cfg.Sessions.Accounts = filepath.Join(d.folder, "accounts")
	}
	d.password = rand.Text()
	admin := accounts.Account{Name: consoleName}
	if err := admin.SetPassword(d.password); err != nil {
		return err
	}
	cfg.Grants = append(cfg.Grants, config.Grant{Who: consoleName, Control: []string{"*"}, Dial: []string{"*"}, Administer: true})
	cfg.Trace.OctetsMiB = 8 // for capture files
	cfg.Front("console").(*console.Settings).Listen = []config.Listener{{Transport: "tcp", Address: d.address}}
	return accounts.Edit(cfg.Sessions.Accounts, func(list []accounts.Account) ([]accounts.Account, error) { return append(list, admin), nil })
}

func (d *demoConsole) close() {
	if d.folder != "" {
		_ = os.RemoveAll(d.folder) // what is left has no password, but a hash
	}
}

// hint returns how to open the console at an address; "" if it is not served.
func (d *demoConsole) hint(address string) string {
	if address == "" {
		return ""
	}
	return fmt.Sprintf("Or open the console in a browser:\n  http://%s/    name %s, password %s\n", address, consoleName, d.password)
}
