package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tr87proxy/tr87proxy/certs"
	"github.com/tr87proxy/tr87proxy/internal/accounts"
	"github.com/tr87proxy/tr87proxy/internal/audio"
	"github.com/tr87proxy/tr87proxy/internal/config"
	"github.com/tr87proxy/tr87proxy/internal/daemon"
	"github.com/tr87proxy/tr87proxy/tr87"
	asn1front "github.com/tr87proxy/tr87proxy/wire/asn1/front"
	xmlfront "github.com/tr87proxy/tr87proxy/wire/cstaxml/front"
	cardfront "github.com/tr87proxy/tr87proxy/wire/ctserver/front"
)

// simulation describes a simulated switch: the built-in one behind the protocol of another make.
type simulation struct {
	name      string
	what      string
	addresses []string // default addresses
	// configure adds the listener to the configuration. folder is for files that it needs.
	configure func(cfg *config.Config, addresses []string, folder string) error
	hint      string // how a client connects, printed after the addresses
	card      bool   // the addresses are those of card ports, which are not in the configuration
}

// The account of a simulated HiPath.
const hipathName, hipathPassword = "AMHOST", "77777"

var simulations = []simulation{
	{
		"hipath", "Siemens HiPath: CSTA Phase III in ASN.1, with a login", []string{"127.0.0.1:18000"},
		func(cfg *config.Config, addresses []string, folder string) error {
			cfg.Front("asn1").(*asn1front.Settings).Listen = []config.Listener{{Transport: "tcp", Address: addresses[0], Dialect: "hipath"}}
			cfg.Sessions.Modes["asn1"] = "mandatory"
			cfg.Sessions.Accounts = filepath.Join(folder, "accounts")
			cfg.Grants = []config.Grant{{Who: strings.ToLower(hipathName), Control: []string{"*"}, Dial: []string{"*"}}}
			return accounts.Edit(cfg.Sessions.Accounts, func([]accounts.Account) ([]accounts.Account, error) {
				a := accounts.Account{Name: hipathName}
				return []accounts.Account{a}, a.SetPassword(hipathPassword)
			})
		}, "AARQ with the name " + hipathName + " and the password " + hipathPassword + "; HTTP with -u " + hipathName + ":" + hipathPassword, false,
	},
	{
		"md110", "Ericsson MD110 Application Link: CSTA Phase I in ASN.1, without login", []string{"127.0.0.1:2555"},
		func(cfg *config.Config, addresses []string, _ string) error {
			cfg.Front("asn1").(*asn1front.Settings).Listen = []config.Listener{{Transport: "tcp", Address: addresses[0], Dialect: "phase1"}}
			return nil
		}, "no login; events come over the connection", false,
	},
	{
		"mxone", "Mitel MX-ONE: TR/87, and CSTA-XML over TCP and TLS", []string{"127.0.0.1:5062", "127.0.0.1:8882", "127.0.0.1:8883"},
		func(cfg *config.Config, addresses []string, folder string) error {
			cfg.Front("sip").(*tr87.FrontSettings).Listen = []config.Listener{{Transport: "udp", Address: addresses[0]}, {Transport: "tcp", Address: addresses[0]}}
			cfg.Front("xml").(*xmlfront.Settings).Listen = []config.Listener{
				{Transport: "tcp", Address: addresses[1]},
				{Transport: "tls", Address: addresses[2], Certificate: filepath.Join(folder, "switch.pem"), Key: filepath.Join(folder, "switch.key")},
			}
			if err := certs.Init(folder, "simulated MX-ONE", 365*24*time.Hour, false); err != nil {
				return err
			}
			return certs.Issue(folder, certs.Wish{Name: "switch", Kind: certs.Server, Names: []string{"localhost", "127.0.0.1"}, Valid: 364 * 24 * time.Hour})
		}, "TR/87, CSTA-XML over TCP, over TLS (a certificate of its own)", false,
	},
	{
		"ctserver", "Voicetronix ctserver: a card of four ports", []string{"127.0.0.1:1200", "127.0.0.1:1201", "127.0.0.1:1202", "127.0.0.1:1203", "127.0.0.1:1198"},
		func(*config.Config, []string, string) error { return nil },
		"hook flash and 1, 2, 3: back to the held call, change over, conference; on hook with two calls: transfer", true,
	},
}

func simulateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "simulate", Short: "Simulate another maker's switch, for developers of CTI software", GroupID: "server", Annotations: map[string]string{noJSON: "programs wait for the line that begins with Started!"},
		Long: `simulate runs the built-in switch, with the phones 100 to 109, behind the protocol of
another maker's, so that you can test a CTI program without it. It listens on loopback
by default. Whoever can connect may control every phone.`,
		Example: "  tr87proxy simulate hipath\n  tr87proxy simulate ctserver --traffic",
		Args:    noSubcommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, s := range simulations {
		cmd.AddCommand(s.command())
	}
	return cmd
}

func (s simulation) command() *cobra.Command {
	var listen []string
	var allow []string
	var sounds, http string
	var console demoConsole
	var busy, verbose bool
	cmd := &cobra.Command{
		Use: s.name, Short: s.what, Args: exactly(0),
		Example: fmt.Sprintf("  tr87proxy simulate %[1]s\n  tr87proxy simulate %[1]s --traffic\n  tr87proxy simulate %[1]s --listen 0.0.0.0 --allow 10.1.1.0/24", s.name),
		RunE: func(cmd *cobra.Command, _ []string) error {
			addresses, err := listenAt(listen, s.addresses)
			if err != nil {
				return usageError{err}
			}
			for _, network := range allow {
				if _, err := config.ParseNetwork(network); err != nil {
					return usageError{fmt.Errorf("--allow %q: write an address or a network such as 10.1.1.0/24", network)}
				}
			}
			out, log := cmd.OutOrStdout(), io.Discard
			if verbose {
				log = cmd.ErrOrStderr()
			}
			defer console.close()
			return s.run(cmd.Context(), out, log, addresses, allow, sounds, http, &console, busy)
		},
	}
	cmd.Flags().StringSliceVar(&listen, "listen", nil, "listen here: one address for all ports, or one with port for each (default "+strings.Join(s.addresses, ",")+")")
	cmd.Flags().StringSliceVar(&allow, "allow", []string{"127.0.0.0/8", "::1"}, "addresses and networks that may connect")
	cmd.Flags().StringVar(&http, "api", apiAddress, apiUsage)
	cmd.Flags().StringVar(&console.address, "console", consoleAddress, consoleUsage)
	cmd.Flags().BoolVar(&busy, "traffic", false, "let the phones call one another all the time")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "write the log to standard error")
	if s.card {
		cmd.Flags().StringVar(&sounds, "sounds", ".", "folder of the files that programs play and record; they write nowhere else")
	}
	return cmd
}

// listenAt returns the addresses of the flags, or the default ones.
func listenAt(wished, usual []string) ([]string, error) {
	addresses := make([]string, len(usual))
	copy(addresses, usual)
	if len(wished) > 1 && len(wished) != len(usual) {
		return nil, fmt.Errorf("--listen has %d addresses; write one, or %d for %s", len(wished), len(usual), strings.Join(usual, ", "))
	}
	for i := range addresses {
		if len(wished) == 0 {
			break
		}
		wish := wished[min(i, len(wished)-1)]
		_, port, _ := net.SplitHostPort(usual[i])
		switch host, given, err := net.SplitHostPort(wish); {
		case err != nil:
			addresses[i] = net.JoinHostPort(strings.Trim(wish, "[]"), port)
		case len(wished) == 1 && len(usual) > 1 && given != "0":
			return nil, fmt.Errorf("--listen %s has one port where %d are needed, for %s", wish, len(usual), strings.Join(usual, ", "))
		default:
			addresses[i] = net.JoinHostPort(host, given)
		}
	}
	return addresses, nil
}

// simulated returns the phones of a simulated switch.
func simulated() []string {
	numbers := make([]string, 10)
	for i := range numbers {
		numbers[i] = strconv.Itoa(100 + i)
	}
	return numbers
}

// run runs a simulated switch until ctx ends.
func (s simulation) run(ctx context.Context, out, log io.Writer, addresses, allow []string, sounds, http string, console *demoConsole, busy bool) error {
	folder, err := os.MkdirTemp("", "tr87proxy-simulate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	var files *audio.Directory
	if s.card {
		if files, err = audio.OpenDirectory(sounds); err != nil {
			return err
		}
		defer func() { _ = files.Close() }()
	}
	cfg := daemon.Default()
	cfg.Operations.Address = ""
	cfg.Front("sip").(*tr87.FrontSettings).Listen = nil
	serveAPI(cfg, http)
	cfg.Addresses.Allow = allow
	for _, network := range allow {
		cfg.Trusted = append(cfg.Trusted, config.Peer{Address: network})
	}
	cfg.Grants = []config.Grant{{Who: "*", Control: []string{"*"}, Dial: []string{"*"}}}
	for _, number := range simulated() {
		cfg.Switch.Extensions = append(cfg.Switch.Extensions, config.Extension{Number: number, Name: "Phone " + number, Outside: []string{"0"}})
	}
	cfg.Switch.Trunks = []config.Trunk{{Number: "900", Prefixes: []string{"0"}, Inward: []config.Inward{{Number: "5550100", To: "100"}}, Answer: 3 * time.Second}}
	if err := s.configure(cfg, addresses, folder); err != nil {
		return err
	}
	if err := console.serve(cfg); err != nil {
		return err
	}
	served := make(chan string, 8)
	n, err := daemon.New(cfg, daemon.Options{Version: version(), Play: true, Log: log, Listening: func(transport, address string) { served <- transport + " " + address }})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, 1)
	go func() { stopped <- n.Run(ctx) }()
	fmt.Fprintf(out, "A switch that looks like %s.\n", s.what)
	var group sync.WaitGroup
	defer group.Wait()
	if s.card {
		if err := n.Await(ctx); err != nil {
			return <-stopped
		}
		if err := serveCard(ctx, n.Card(simulated()[:len(addresses)-1], files), &group, out, addresses); err != nil {
			stop()
			return errors.Join(fmt.Errorf("%w (is the port taken? try --listen)", err), <-stopped)
		}
	}
	for range n.Servers() {
		select {
		case at := <-served:
			fmt.Fprintln(out, "  listening at", at)
		case err := <-stopped:
			return fmt.Errorf("%w (is a port taken? try --listen, --api and --console)", err)
		}
	}
	if console.address != "" {
		fmt.Fprintf(out, "  console: name %s, password %s\n", consoleName, console.password)
	}
	fmt.Fprintf(out, "  %s\n  phones 100 to 109; numbers that begin with 0 lead outside\nStarted! Press Ctrl-C to stop.\n", s.hint) // programs for ctserver wait for Started!
	if busy {
		traffic(ctx, n.Switch(), simulated())
	}
	return <-stopped
}

// serveCard serves the ports of a card until ctx ends. The last address is that of the manager
// connection. It returns when all listeners are open.
func serveCard(ctx context.Context, card *cardfront.Card, group *sync.WaitGroup, out io.Writer, addresses []string) error {
	for i, address := range addresses {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		port, what := i+1, fmt.Sprintf("card port %d, phone %d", i+1, 100+i)
		if i == len(addresses)-1 {
			port, what = 0, "manager connection"
		}
		fmt.Fprintf(out, "  listening at %s (%s)\n", l.Addr(), what)
		group.Go(func() { _ = card.Serve(ctx, l, port) }) // it ends with ctx
	}
	return nil
}
